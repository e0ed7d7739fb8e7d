//! The process's own log, on standard error.
//!
//! Lines go through a bounded queue to a thread that writes them: a paused terminal, or a pipe without a reader, costs
//! lines and never stalls a worker. Lines that clients and servers cause are limited: see `log_limit.rs`.

use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

use super::log_limit;

/// Most lines that wait to be written.
const LINES_MAX: usize = 4096;

/// Writes waiting lines when it is dropped.
#[must_use = "waiting lines are lost without it"]
pub struct Logging(#[expect(dead_code, reason = "kept for what its drop does")] WorkerGuard);

impl Drop for Logging {
    fn drop(&mut self) {
        log_limit::flush();
    }
}

/// Starts the log; dropping the guard writes waiting lines, for at most about a second.
pub fn start(least: LevelFilter) -> Logging {
    start_to(least, io::stderr())
}

/// The same for a standard error that something else writes to as well.
pub fn start_to(least: LevelFilter, stderr: impl Write + Send + 'static) -> Logging {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log")
        .finish(stderr);
    let lines = tracing_subscriber::fmt::layer()
        .compact()
        .with_ansi(has_colours())
        .with_target(false)
        .with_writer(writer);
    let subscriber = tracing_subscriber::registry().with(lines).with(log_limit::start()).with(own(least));
    // Fails if there is a subscriber already, which then serves as well.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Logging(guard)
}

/// Lines of the program itself: what a library says of a DNS server, this says in its own words.
fn own(least: LevelFilter) -> Targets {
    let libraries = ["hickory_net", "hickory_proto", "hickory_resolver"];
    Targets::new().with_default(least).with_targets(libraries.map(|library| (library, LevelFilter::OFF)))
}

/// Whether the log has colours: by the rules of `--help`, which are those of `NO_COLOR`, `CLICOLOR` and `TERM`.
fn has_colours() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}
