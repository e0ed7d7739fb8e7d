//! `iisplice upgrade`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::{Method, StatusCode};

use super::status::{AdminArgs, Error};
use crate::report;

/// Longer than the proxy itself waits for the new process.
const WITHIN: Duration = Duration::from_secs(50);

/// The flags of `iisplice upgrade`.
#[derive(Debug, Args)]
pub struct UpgradeArgs {
    #[command(flatten)]
    endpoint: AdminArgs,
}

/// Has the running proxy hand over to the binary that stands at its path now, and prints what has become of it. Exit code 1
/// where the old process goes on.
///
/// # Errors
/// See [`Error`].
pub fn execute(UpgradeArgs { endpoint }: &UpgradeArgs) -> Result<ExitCode, Error> {
    let client = endpoint.client()?.waiting(WITHIN);
    // Not carried out, each with its reason.
    let refused = [StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE];
    let answer = client.request(&Method::POST, "/v1/upgrade", &refused)?;
    let told = answer.json(client.address())?;
    if !answer.status.is_success() {
        let why = told["error"].as_str().unwrap_or("the proxy does not say why").to_owned();
        report::complain(&format!("cannot upgrade: {why}"));
        return Ok(ExitCode::FAILURE);
    }
    let (generation, pid) = (&told["generation"], &told["pid"]);
    report::print(&format!("generation {generation} serves (pid {pid}); the one before it drains\n"))?;
    Ok(ExitCode::SUCCESS)
}
