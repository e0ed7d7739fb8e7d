//! `iisplice demo`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use nix::sys::signal::{SigSet, Signal};

use super::load::{Outcome, exit_code, exit_interrupted};
use super::quantity::{duration, number};
use crate::demo::{self, Demo};
use crate::load::plan::Length;
use crate::report::compare::{self, Comparison};
use crate::report::live::Live;
use crate::report::{self, Outputs, ReportError};

/// At four descriptors each, this fits the 1,024 that every host grants.
const CONNECTIONS_MAX: u32 = 200;
const DURATION_MIN: Duration = Duration::from_millis(200);
const HOUR: Duration = Duration::from_secs(3600);

/// The flags of `iisplice demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Duration of the demo: the first half without the proxy, the second half through it
    #[arg(short, long, value_name = "DURATION", default_value = "5s", value_parser = duration(DURATION_MIN..=HOUR))]
    duration: Duration,
    /// Number of concurrent connections
    #[arg(short, long, value_name = "N", default_value = "16", value_parser = number(1..=CONNECTIONS_MAX))]
    connections: u32,
    /// Write the report of the second half as a self-contained HTML page
    #[arg(long, value_name = "FILE", value_parser = file)]
    html: Option<PathBuf>,
}

/// Standard output gets the comparison, so a page cannot go there.
fn file(text: &str) -> Result<PathBuf, String> {
    match text {
        "" | "-" => Err("give a file name; standard output is used for the report".to_owned()),
        _ => Ok(text.into()),
    }
}

/// Why the demo did not complete.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cause on this host.
    #[error(transparent)]
    Demo(#[from] crate::demo::Error),
    /// The page cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Runs `iisplice demo`.
///
/// # Errors
/// See [`Error`]; a leak is an exit code, as in `iisplice load`.
pub fn execute(arguments: DemoArgs, live: &Live) -> Result<ExitCode, Error> {
    let DemoArgs { duration, connections, html } = arguments;
    let running = Demo::start(connections as usize)?;
    let half = duration / 2;
    let (warmup, measured) = demo::parts(half);
    live.begin(demo::SCENARIO, Length::Time(measured), warmup);
    let direct = running.direct(half, |second| live.show(second));
    live.begin(demo::SCENARIO, Length::Time(measured), warmup);
    let proxied = running.proxied(half, |second| live.show(second));
    live.end();
    // Before the load's result, because a failed worker explains what the load saw.
    running.stop()?;
    let (direct, proxied) = ([direct?], [proxied?]);
    report::show(&proxied[0], &Outputs { html, ..Outputs::default() })?;
    let table = compare::text(&Comparison::of(&direct, &proxied), None);
    report::print(&format!("\nwithout the proxy (base) and through the proxy (new):\n{table}"))?;
    let [direct] = direct;
    let [proxied] = proxied;
    Ok(exit_code(if direct.has_leak() { &direct } else { &proxied }, Outcome::default()))
}

/// Makes Ctrl-C and SIGTERM end the process without a report. For a time when no other thread is there: they inherit
/// the mask.
///
/// # Errors
/// No thread, or no mask.
pub fn end_on_signal(live: &Live) -> std::io::Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    signals.thread_block()?;
    let live = live.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.wait().is_ok() {
            exit_interrupted(&live);
        }
    })?;
    Ok(())
}
