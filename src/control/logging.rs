//! The process's own log, on standard error.
//!
//! Lines go through a bounded queue to a thread that writes them: a terminal that is held, or a pipe that nobody reads,
//! costs lines and never stalls a worker.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

/// Lines that may wait to be written.
const LINES_MAX: usize = 4096;

/// Logs from now on; dropping the guard writes what waits, for at most about a second.
#[must_use = "lines that wait are lost without it"]
pub fn start(least: LevelFilter) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log")
        .finish(io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .compact()
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_max_level(least)
        .with_writer(writer)
        .finish();
    // Fails when there is one already, which then serves as well.
    let _ = tracing::subscriber::set_global_default(subscriber);
    guard
}
