//! `iisplice proxy`.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{first_line, output_of, words};
use crate::front::{Front, LogFormat, SERVER_NAME, Setup};

const ADMIN: &str = "admin.sock";

#[derive(Debug, Clone)]
pub(super) struct Iisplice {
    pub(super) program: PathBuf,
    pub(super) flags: Vec<String>,
}

pub(super) fn version(program: &Path) -> Result<String> {
    let version = first_line(&output_of(program, &["--version"])?);
    if !Command::new(program).args(["proxy", "--help"]).output().is_ok_and(|output| output.status.success()) {
        bail!("{} has no `proxy` command", program.display());
    }
    Ok(version)
}

impl Iisplice {
    pub(super) fn command(&self, setup: &Setup<'_>) -> Vec<OsString> {
        let (listen, upstream) = (setup.listen.to_string(), setup.upstream.to_string());
        let mut command = words(&[self.program.as_os_str()]);
        command.extend(words(&["proxy", "--listen", &listen, "--no-pin"]));
        command.extend(words(&["--workers", &setup.workers.to_string()]));
        if setup.front == Front::Sni {
            command.extend(words(&["--sni-route", &format!("{SERVER_NAME}={upstream}")]));
        } else {
            command.extend(words(&["--upstream", &upstream]));
        }
        if setup.front == Front::ProxyHeader {
            command.extend(words(&["--send-proxy", "v1"]));
        }
        if setup.front.reads_http() {
            command.extend(words(&["--mode", "http"]));
        }
        if setup.front.terminates() {
            for (flag, file) in
                [("--tls-cert", &setup.certificate.chain), ("--tls-key", &setup.certificate.key)]
            {
                command.extend([flag.into(), file.into()]);
            }
        }
        if setup.front == Front::TlsInFull {
            command.extend(words(&["--tls-resumption", "off"]));
        }
        if let Front::Logged(format) = setup.front {
            let format = match format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            };
            command.extend(["--access-log".into(), setup.directory.join("access.log").into()]);
            command.extend(words(&["--log-format", format]));
        }
        if setup.workers > 1 {
            command.extend(words(&["--admin", &format!("unix:{}", setup.directory.join(ADMIN).display())]));
        }
        command.extend(words(&self.flags));
        command
    }
}

/// The connections of each worker, as the admin endpoint counts them.
pub(super) fn spread(directory: &Path) -> Result<Vec<u64>> {
    let mut admin = UnixStream::connect(directory.join(ADMIN)).context("the admin endpoint")?;
    admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    admin.read_to_string(&mut page).context("the admin endpoint")?;
    page.lines()
        .filter(|line| line.starts_with("iisplice_worker_connections_active{"))
        .map(|line| {
            let value = line.rsplit(' ').next().unwrap_or_default();
            value.parse().with_context(|| format!("no number of connections: {line}"))
        })
        .collect()
}
