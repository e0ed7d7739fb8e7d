//! Signals, as events.
//!
//! They are blocked in every thread and taken by one that waits for nothing else (`sigwait`(3)), so that no system call
//! of a worker is ever interrupted and nothing runs in a signal's context.
//!
//! | signal | meaning |
//! | --- | --- |
//! | SIGTERM, SIGINT | drain; the second one ends at once |
//! | SIGUSR1 | open the access log anew |
//! | SIGHUP | read certificates again |
//!
//! SIGPIPE is ignored from the start of a Rust program on; splice(2) could not be told otherwise.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

use super::supervise::{Event, Request};

/// The signals that are taken, blocked.
#[derive(Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks them for this thread and those that it starts from now on; to be called before it starts any.
    ///
    /// # Errors
    /// None with valid signals, says sigprocmask(2).
    pub fn block() -> Result<Self, Errno> {
        let taken = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGHUP];
        let taken: SigSet = taken.into_iter().collect();
        taken.thread_block()?;
        Ok(Self(taken))
    }

    /// Starts the thread that takes them and sends what they mean.
    ///
    /// # Errors
    /// No thread.
    pub fn forward(self, events: Sender<Event>) -> io::Result<()> {
        let Self(taken) = self;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            // Ends with its receiver. sigwait(3) fails only for a signal that does not exist.
            while let Ok(signal) = taken.wait() {
                let request = match signal {
                    Signal::SIGTERM | Signal::SIGINT => Request::Stop,
                    Signal::SIGUSR1 => Request::ReopenLog,
                    _hang_up => Request::Reload,
                };
                tracing::info!(signal = signal.as_str(), "signal taken");
                if events.send(Event::Request(request)).is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }
}
