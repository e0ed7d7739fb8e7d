//! `HAProxy`: `mode tcp` or `mode http`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{find_program, first_line, output_of, words, write};
use crate::front::{Front, LogFormat, SERVER_NAME, Setup};

const ADMIN: &str = "haproxy.sock";

#[derive(Debug, Clone)]
pub(super) struct Haproxy {
    program: PathBuf,
    /// Whether replies go through pipes.
    splice: bool,
    /// Whether each client has connections to the server of its own (`http-reuse never`).
    never_reuses: bool,
    has_tls: bool,
    /// A line of the section `global`.
    pub(super) global: String,
}

impl Haproxy {
    pub(super) fn find(asked: Option<&Path>, splice: bool, never_reuses: bool) -> Result<(Self, String)> {
        let (program, version) = find_program(asked, &["haproxy", "/usr/sbin/haproxy"], "-v")?;
        if !version.contains("HAProxy") {
            bail!("{} is no HAProxy", program.display());
        }
        let has_tls = output_of(&program, &["-vv"])?.contains("+OPENSSL");
        let haproxy = Self { program, splice, never_reuses, has_tls, global: String::new() };
        Ok((haproxy, first_line(&version)))
    }

    pub(super) fn without_tls(&self) -> Option<&'static str> {
        (!self.has_tls).then_some("this HAProxy is built without TLS")
    }

    pub(super) fn command(&self, setup: &Setup<'_>) -> Result<Vec<OsString>> {
        let file = setup.directory.join("haproxy.cfg");
        write(&file, &self.configuration(setup))?;
        let mut command = words(&[self.program.as_os_str()]);
        command.extend(words(&["-db", "-q", "-f"]));
        command.push(file.into());
        Ok(command)
    }

    fn configuration(&self, setup: &Setup<'_>) -> String {
        let Setup { front, listen, upstream, directory, workers, connections_max, .. } = setup;
        let mut global = vec![format!("nbthread {workers}"), format!("maxconn {connections_max}")];
        let mut defaults = vec![
            if front.reads_http() { "mode http" } else { "mode tcp" }.to_owned(),
            "timeout connect 5s".to_owned(),
            "timeout client 1h".to_owned(),
            "timeout server 1h".to_owned(),
        ];
        let mut frontend = Vec::new();
        let (mut bind, mut server) =
            (format!("bind {listen} backlog 4096"), format!("server upstream {upstream}"));
        if self.splice {
            // `maxpipes` keeps the descriptors that HAProxy reserves for pipes within the process's limit.
            global.extend(["tune.pipesize 1048576".to_owned(), "maxpipes 128".to_owned()]);
            defaults.extend(["option splice-response".to_owned(), "option splice-request".to_owned()]);
        }
        if !self.global.is_empty() {
            global.push(self.global.clone());
        }
        if *workers > 1 {
            global.push(format!("stats socket {} thread 1", directory.join(ADMIN).display()));
        }
        if front.reads_http() {
            defaults.extend(["option forwardfor", "timeout tunnel 1h"].map(str::to_owned));
            frontend.push("http-request set-header X-Forwarded-Proto http".to_owned());
            if self.never_reuses {
                defaults.push("http-reuse never".to_owned());
            }
        }
        if front.terminates() {
            let _ = write!(bind, " ssl crt {}", setup.certificate.both.display());
            if setup.front == Front::TlsInFull {
                bind.push_str(" no-tls-tickets");
                global.push("tune.ssl.cachesize 0".to_owned());
            }
        }
        match front {
            Front::ProxyHeader => server.push_str(" send-proxy"),
            Front::Sni => frontend.extend([
                "tcp-request inspect-delay 3s".to_owned(),
                "tcp-request content accept if { req.ssl_hello_type 1 }".to_owned(),
                format!("use_backend out if {{ req.ssl_sni {SERVER_NAME} }}"),
            ]),
            Front::Logged(format) => {
                // Standard output is a file.
                global.push("log stdout len 4096 format raw local0 info".to_owned());
                defaults.push("log global".to_owned());
                defaults.push(match format {
                    LogFormat::Text => "option httplog".to_owned(),
                    LogFormat::Json => JSON_LINE.to_owned(),
                });
            }
            _ => {}
        }
        if *front != Front::Sni {
            frontend.push("default_backend out".to_owned());
        }
        let section = |name: &str, lines: &[String]| format!("{name}\n    {}\n", lines.join("\n    "));
        frontend.insert(0, bind);
        section("global", &global)
            + &section("defaults", &defaults)
            + &section("frontend in", &frontend)
            + &section("backend out", &[server])
    }
}

const JSON_LINE: &str = r#"log-format '{"time":"%trl","client":"%ci:%cp","method":"%HM","path":"%HPO","status":%ST,"sent":%B,"ms":%Ta,"server":"%si:%sp"}'"#;

/// The connections of each thread: those that were given to its queue.
pub(super) fn spread(directory: &Path) -> Result<Vec<u64>> {
    let mut admin = UnixStream::connect(directory.join(ADMIN)).context("the stats socket")?;
    admin.write_all(b"show activity\n")?;
    let mut page = String::new();
    admin.read_to_string(&mut page).context("the stats socket")?;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("accq_pushed:"))
        .context("this HAProxy does not show what its threads accept (accq_pushed)")?;
    let threads = line.split(['[', ']']).nth(1).context("accq_pushed has no threads")?;
    threads.split_whitespace().map(|count| count.parse().context("accq_pushed has no number")).collect()
}
