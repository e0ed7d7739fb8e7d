//! `iisplice doctor`.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::load::target::Url;
use super::load::{Error, users};
use super::proxy::plan_of;
use super::quantity::duration;
use crate::control::limits::{self, Host};
use crate::control::tls;
use crate::doctor::host::{self, Files, Readings};
use crate::doctor::site::{self, Settings};
use crate::doctor::{Findings, log};
use crate::protocol::ntlm::Credentials;
use crate::report::findings;

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The flags of `iisplice doctor`.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Site to probe, as its users reach it
    #[arg(value_name = "URL", required_unless_present_any = ["log", "host"])]
    url: Option<Url>,

    /// Access log to read, of IIS (W3C), nginx (combined) or iisplice, for clients that get 401 over and over; - is standard
    /// input
    #[arg(long, value_name = "FILE", help_heading = "Other than a site")]
    log: Option<PathBuf>,
    /// Probe this URL as well, the same site past the proxy, and say what the proxy in between changes
    #[arg(long, value_name = "DIRECT_URL", requires = "url")]
    compare: Option<Url>,

    /// Log in as this user: CORP\alice, CORP\alice:secret or alice@corp.example.com; at most one login fails, because
    /// accounts lock out
    #[arg(long, value_name = "USER", help_heading = "Logins")]
    user: Option<String>,
    /// Password of the user; safer in the environment or a file, because `ps` shows the command line
    #[arg(
        long,
        value_name = "TEXT",
        env = "IISPLICE_PASSWORD",
        hide_env_values = true,
        help_heading = "Logins"
    )]
    password: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE", conflicts_with = "password", help_heading = "Logins")]
    password_file: Option<PathBuf>,
    /// Log in without a channel binding first: tells a wrong password from one that is bound to the wrong certificate
    #[arg(long, requires = "user", help_heading = "Logins")]
    bind_later: bool,
    /// Reply header that names the user, instead of the "user" of a JSON body
    #[arg(long, value_name = "NAME", help_heading = "Logins")]
    identity_header: Option<String>,

    /// Trust the certificates in this PEM file instead of this host's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = "TLS")]
    ca: Option<PathBuf>,
    /// Do not judge who signed the certificate
    #[arg(long, help_heading = "TLS")]
    insecure: bool,

    /// Check this machine before it serves: kernel, limits, network, clock
    #[arg(long, help_heading = "Other than a site")]
    host: bool,
    /// Settings file of iisplice proxy that --host takes the servers, workers and connections from
    #[arg(long, value_name = "FILE", help_heading = "Other than a site", requires = "host")]
    config: Option<PathBuf>,

    /// Leave a connection idle for this long, and see whether it is closed [default: not at all]
    #[arg(long, value_name = "DURATION", help_heading = "Limits", value_parser = duration(MILLISECOND..=HOUR))]
    idle_probe: Option<Duration>,
    /// Page that takes some seconds, to see whether replies arrive as they are made
    #[arg(long, value_name = "PATH", help_heading = "Limits", value_parser = path)]
    slow_path: Option<String>,
    /// Page that upgrades to WebSocket
    #[arg(long, value_name = "PATH", help_heading = "Limits", value_parser = path)]
    websocket_path: Option<String>,
    /// Also send 1 MB to the URL with a login, as a POST, which the application sees
    #[arg(long, requires = "user", help_heading = "Limits")]
    post: bool,
    /// Longest wait for a name, a connect, a TLS handshake or a reply
    #[arg(long, value_name = "DURATION", default_value = "5s", help_heading = "Limits", value_parser = duration(MILLISECOND..=MINUTE))]
    timeout: Duration,

    /// Print the findings as JSON
    #[arg(long, help_heading = "Results")]
    json: bool,
}

/// A path, with its query.
fn path(text: &str) -> Result<String, &'static str> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path { Ok(text.to_owned()) } else { Err("give a path such as /app/events, with blanks as %20") }
}

impl DoctorArgs {
    fn credentials(&self) -> Result<Option<Credentials>, Error> {
        let Some(user) = &self.user else { return Ok(None) };
        let password = match &self.password_file {
            Some(path) => Some(users::first_line(path)?),
            None => self.password.clone(),
        };
        users::user(user, password.as_deref()).map(Some)
    }

    fn trust(&self) -> Result<site::Trust, Error> {
        let verifier = |is_insecure| {
            let trust = tls::Trust {
                ca: self.ca.as_deref(),
                is_insecure,
                ca_flag: "--ca",
                insecure_flag: "--insecure",
            };
            tls::verifier(trust).map_err(|error| Error::Host(error.into()))
        };
        Ok(site::Trust {
            any: verifier(true)?,
            trusted: if self.insecure { None } else { Some(verifier(false)?) },
        })
    }

    fn site(&self, url: &Url) -> Result<Settings, Error> {
        Ok(Settings {
            url: url.0.clone(),
            compare: self.compare.as_ref().map(|url| url.0.clone()),
            posts: self.post,
            idle_probe: self.idle_probe.unwrap_or_default(),
            slow_path: self.slow_path.clone(),
            websocket_path: self.websocket_path.clone(),
            user: self.credentials()?,
            binds_later: self.bind_later,
            identity_header: self.identity_header.clone(),
            trust: if url.is_https() || self.compare.as_ref().is_some_and(Url::is_https) {
                Some(self.trust()?)
            } else {
                None
            },
            timeout: self.timeout,
        })
    }
}

/// Runs `iisplice doctor`.
///
/// # Errors
/// See [`Error`]; what is wrong with a site is an exit code.
pub fn execute(arguments: &DoctorArgs) -> Result<ExitCode, Error> {
    let mut found = Findings::default();
    if let Some(url) = &arguments.url {
        found.extend(site::run(&arguments.site(url)?));
    }
    if arguments.host {
        found.extend(check_host(arguments.config.as_deref())?);
    }
    if let Some(path) = &arguments.log {
        found.extend(read_log(path)?);
    }
    findings::show(&found, arguments.json)?;
    Ok(ExitCode::from(found.exit_code()))
}

/// Compares this machine with what a settings file wants of it, or the default settings.
fn check_host(config: Option<&Path>) -> Result<Findings, Error> {
    /// The plan is made for a machine without limits: what is too small here is a finding, and no error.
    const ENOUGH: u64 = 1 << 40;
    let cannot_read =
        |errno| Error::Host(super::Error::Usage(format!("cannot read this process's limits: {errno}")));
    let here = Host::prepare().map_err(cannot_read)?;
    let plan = plan_of(config, &Host { descriptors_max: ENOUGH, ..here.clone() }).map_err(Error::Host)?;
    let mut wanted = limits::wanted(&plan, here.descriptors_max);
    if config.is_none() {
        wanted.servers = None;
        wanted.stays_root = None;
    }
    let readings = Readings::read(&Files::of_this_host()).tried(&wanted);
    Ok(host::findings(&readings, &wanted))
}

/// Reads a log, or standard input for `-`.
fn read_log(path: &Path) -> Result<Findings, Error> {
    const BUFFER_BYTES: usize = 256 * 1024;
    let read = if path.as_os_str() == "-" {
        log::read(io::stdin().lock())
    } else {
        File::open(path)
            .map_err(log::Error::Io)
            .and_then(|file| log::read(BufReader::with_capacity(BUFFER_BYTES, file)))
    };
    read.map_err(|error| match error {
        log::Error::Io(source) => {
            Error::Host(super::Error::Unreadable { flag: "--log", path: path.to_owned(), source })
        }
        error => Error::Usage(format!("--log {}: {error}", path.display())),
    })
}
