//! The process's own log, on standard error.
//!
//! Lines go through a bounded queue to a thread that writes them: a paused terminal, or a pipe without a reader, costs
//! lines and never stalls a worker. Lines that clients and servers cause are limited: see `log_limit.rs`.
//!
//! A proxy starts that thread when it has dropped its rights, which each thread has for itself. Until then lines are
//! written by the thread that logs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anstream::{AutoStream, ColorChoice};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use super::log_limit;

/// Most lines that wait to be written.
const LINES_MAX: usize = 4096;

/// Writes waiting lines when it is dropped.
#[must_use = "waiting lines are lost without it"]
pub struct Logging {
    output: Arc<Output>,
    guard: OnceLock<WorkerGuard>,
}

impl Logging {
    /// Has a thread write the lines from now on.
    pub fn start_thread(&self) {
        let stderr = self.output.direct.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(stderr) = stderr else { return };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
        let (writer, guard) = builder.thread_name("log").finish(stderr);
        // There was a direct output until now, so neither is set.
        let _ = (self.output.queue.set(writer), self.guard.set(guard));
        log_limit::start();
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        log_limit::flush();
    }
}

/// Where lines go: to standard error, and to the queue once there is one.
struct Output {
    direct: Mutex<Option<Box<dyn Write + Send>>>,
    queue: OnceLock<NonBlocking>,
}

/// A line's way out.
enum Line<'a> {
    Direct(&'a Output),
    Queued(NonBlocking),
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(output) => {
                match &mut *output.direct.lock().unwrap_or_else(PoisonError::into_inner) {
                    Some(stderr) => stderr.write(line),
                    None => Ok(line.len()),
                }
            }
            Self::Queued(queue) => queue.write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the subscriber has of the output.
struct ToOutput(Arc<Output>);

impl<'a> MakeWriter<'a> for ToOutput {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        self.0.queue.get().map_or(Line::Direct(&self.0), |queue| Line::Queued(queue.clone()))
    }
}

/// Starts the log; dropping the guard writes waiting lines, for at most about a second.
pub fn start(least: LevelFilter) -> Logging {
    start_to(least, io::stderr())
}

/// The same for a standard error that something else writes to as well.
pub fn start_to(least: LevelFilter, stderr: impl Write + Send + 'static) -> Logging {
    let logging = start_without_thread_to(least, stderr);
    logging.start_thread();
    logging
}

/// The same without a thread, until it is asked for.
pub fn start_without_thread(least: LevelFilter) -> Logging {
    start_without_thread_to(least, io::stderr())
}

fn start_without_thread_to(least: LevelFilter, stderr: impl Write + Send + 'static) -> Logging {
    let output = Arc::new(Output { direct: Mutex::new(Some(Box::new(stderr))), queue: OnceLock::new() });
    let lines = tracing_subscriber::fmt::layer()
        .compact()
        .with_ansi(has_colours())
        .with_target(false)
        .with_writer(ToOutput(Arc::clone(&output)));
    let subscriber = tracing_subscriber::registry().with(lines).with(log_limit::layer()).with(own(least));
    // Fails if there is a subscriber already, which then serves as well.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Logging { output, guard: OnceLock::new() }
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
