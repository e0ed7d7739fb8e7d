//! `iisplice top`.

use std::env;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::quantity::duration;
use super::status::{self, AdminArgs};
use crate::report;
use crate::top::{self, Ending};

const INTERVAL_MIN: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);

/// Columns of a picture that no terminal shows: all there are.
const WIDTH: u16 = 160;

/// The flags of `iisplice top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    endpoint: AdminArgs,
    /// How often to ask; rates are of this time
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration(INTERVAL_MIN..=HOUR))]
    interval: Duration,
    /// Print one picture as text, of one interval, and end
    #[arg(long)]
    once: bool,
}

/// Why a running proxy cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint cannot be asked.
    #[error(transparent)]
    Endpoint(#[from] status::Error),
    /// There is no terminal to draw on.
    #[error("standard output is no terminal that can be drawn on; --once prints one picture as text")]
    NoTerminal,
    /// It ended by an error.
    #[error(transparent)]
    Top(#[from] top::Error),
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] report::ReportError),
}

impl Error {
    /// 2 for arguments that will not do, and when no proxy answers; otherwise 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Endpoint(error) => error.exit_code(),
            Self::NoTerminal | Self::Top(top::Error::Client(_)) => ExitCode::from(2),
            Self::Top(_) | Self::Print(_) => ExitCode::FAILURE,
        }
    }
}

/// Shows the proxy until a key or a signal ends it, or once.
///
/// # Errors
/// See [`Error`].
pub fn execute(arguments: &TopArgs) -> Result<ExitCode, Error> {
    let TopArgs { endpoint, interval, once } = arguments;
    if *once {
        let width = console::Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| columns.max(1));
        report::print(&top::once(&endpoint.client()?, *interval, width)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !io::stdout().is_terminal() || env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(Error::NoTerminal);
    }
    match top::live(endpoint.client()?, *interval, console::colors_enabled())? {
        Ending::Quit => Ok(ExitCode::SUCCESS),
        Ending::Signal(code) => Ok(ExitCode::from(code)),
    }
}
