//! `iisplice doctor`.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::load::Error;
use super::load::target::Url;
use super::quantity::duration;
use crate::doctor::site::{self, Settings};
use crate::doctor::{Findings, log};
use crate::report::findings;

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The flags of `iisplice doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Site to probe, as its users reach it
    #[arg(value_name = "URL", required_unless_present_any = ["log"])]
    url: Option<Url>,

    /// Access log to read, of IIS (W3C), nginx (combined) or iisplice, for clients that get 401 over and over; - is standard
    /// input
    #[arg(long, value_name = "FILE", help_heading = "Other than a site")]
    log: Option<PathBuf>,

    /// Longest wait for a name, a connect, a TLS handshake or a reply
    #[arg(long, value_name = "DURATION", default_value = "5s", help_heading = "Limits", value_parser = duration(MILLISECOND..=MINUTE))]
    timeout: Duration,

    /// Print the findings as JSON
    #[arg(long, help_heading = "Results")]
    json: bool,
}

/// Runs `iisplice doctor`.
///
/// # Errors
/// See [`Error`]; what is wrong with a site is an exit code.
pub fn execute(arguments: DoctorArgs) -> Result<ExitCode, Error> {
    let DoctorArgs { url, log, timeout, json } = arguments;
    let mut found = Findings::default();
    if let Some(Url(url)) = url {
        found.extend(site::run(&Settings { url, timeout }));
    }
    if let Some(path) = log {
        found.extend(read_log(&path)?);
    }
    findings::show(&found, json)?;
    Ok(ExitCode::from(found.exit_code()))
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
