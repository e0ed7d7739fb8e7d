//! `iisplice doctor`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::load::Error;
use super::load::target::Url;
use super::quantity::duration;
use crate::doctor::site::{self, Settings};
use crate::report::findings;

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The flags of `iisplice doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Site to probe, as its users reach it
    #[arg(value_name = "URL", required = true)]
    url: Option<Url>,

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
    let DoctorArgs { url, timeout, json } = arguments;
    let mut found = crate::doctor::Findings::default();
    if let Some(Url(url)) = url {
        found.extend(site::run(&Settings { url, timeout }));
    }
    findings::show(&found, json)?;
    Ok(ExitCode::from(found.exit_code()))
}
