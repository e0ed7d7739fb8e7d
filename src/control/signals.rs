//! Signals, as events.
//!
//! They are blocked in every thread and received by one that waits for nothing else (`sigwait`(3)), so that no system
//! call of a worker is ever interrupted and nothing runs in a signal handler.
//!
//! | signal | meaning |
//! | --- | --- |
//! | SIGTERM, SIGQUIT | drain; the second one stops immediately, unless it repeats the first within a second: `timeout`(1) sends two |
//! | SIGINT | drain; the second one stops immediately, however soon: it comes from the keyboard |
//! | SIGUSR1 | reopen the access log |
//! | SIGHUP | read the settings again |
//! | SIGUSR2 | have a new process serve in this one's place |
//!
//! Rust programs ignore SIGPIPE from their start; splice(2) has no flag for that.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

use super::supervise::{Event, Request};

/// The same stop signal within this time counts once.
const TWICE: Duration = Duration::from_secs(1);

/// The signals that are received, blocked.
#[derive(Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks them for this thread and all threads it starts later; call it before starting any.
    ///
    /// # Errors
    /// None with valid signals, according to sigprocmask(2).
    pub fn block() -> Result<Self, Errno> {
        let stops = [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGINT];
        let others = [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGHUP];
        let taken: SigSet = stops.into_iter().chain(others).collect();
        taken.thread_block()?;
        Ok(Self(taken))
    }

    /// Starts the thread that receives signals and sends the requests they stand for.
    ///
    /// # Errors
    /// No thread.
    pub fn forward(self, events: Sender<Event>) -> io::Result<()> {
        let Self(taken) = self;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut stops = Stops::default();
            // Ends with its receiver. sigwait(3) fails only for a signal that does not exist.
            while let Ok(signal) = taken.wait() {
                let request = match signal {
                    Signal::SIGTERM | Signal::SIGQUIT | Signal::SIGINT
                        if stops.is_repeated(signal, Instant::now()) =>
                    {
                        tracing::info!(
                            signal = signal.as_str(),
                            "received the signal twice within a second; it counts once"
                        );
                        continue;
                    }
                    Signal::SIGTERM | Signal::SIGQUIT | Signal::SIGINT => Request::Stop,
                    Signal::SIGUSR1 => Request::ReopenLog,
                    Signal::SIGUSR2 => Request::Upgrade,
                    _hang_up => Request::Reload,
                };
                tracing::info!(signal = signal.as_str(), "received signal");
                if events.send(Event::Request(request)).is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }
}

/// The last stop signal that counted, and when.
#[derive(Default)]
struct Stops(Option<(Signal, Instant)>);

impl Stops {
    /// Whether this repeats the last one too soon to be intended.
    fn is_repeated(&mut self, signal: Signal, now: Instant) -> bool {
        let is_repeated = signal != Signal::SIGINT
            && self.0.is_some_and(|(last, at)| last == signal && now.duration_since(at) < TWICE);
        if !is_repeated {
            self.0 = Some((signal, now));
        }
        is_repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_signal_within_a_second_counts_once_but_for_the_keyboards() {
        use Signal::{SIGINT, SIGQUIT, SIGTERM};
        let begin = Instant::now();
        for (signals, counted) in [
            (&[(SIGTERM, 0), (SIGTERM, 1), (SIGTERM, 999)][..], &[0][..]),
            (&[(SIGTERM, 0), (SIGTERM, 600), (SIGTERM, 1200)], &[0, 1200]),
            (&[(SIGQUIT, 0), (SIGQUIT, 10), (SIGTERM, 20)], &[0, 20]),
            (&[(SIGINT, 0), (SIGINT, 1)], &[0, 1]),
            (&[(SIGTERM, 0), (SIGINT, 1), (SIGTERM, 2)], &[0, 1, 2]),
        ] {
            let mut stops = Stops::default();
            let at = |milliseconds| begin + Duration::from_millis(milliseconds);
            let counts = |(signal, after): &&(Signal, u64)| !stops.is_repeated(*signal, at(*after));
            let counting: Vec<_> = signals.iter().filter(counts).map(|(_, after)| *after).collect();
            assert_eq!(counting, counted, "{signals:?}");
        }
    }
}
