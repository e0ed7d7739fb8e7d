//! The workers as a whole: either all of them serve, or none does.
//!
//! ```text
//! signals --Request--.
//! reload ---Read------>-- one channel --> wait() --Command--> orders to workers, log
//! workers --Ended----'                       `--> Drained | AtOnce | WorkerFailure
//! ```
//!
//! A worker that panics, fails or just returns stops the process: otherwise connections that the kernel puts into its
//! share of the listeners' queues would hang.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::timeouts::WORKERS_END;

/// What the supervisor waits for.
#[derive(Debug)]
pub enum Event {
    /// From outside the process.
    Request(Request),
    /// The settings were read again, or could not be.
    Read,
    /// Names stand for other servers.
    Resolved,
    /// A new process serves in this one's place, or the upgrade has failed.
    Upgraded,
    /// Nothing arrives any more on sockets that an earlier process had more of.
    Quiet,
    /// A process before this one has ended: what it had is free.
    Relieved,
    /// A drain that waited is to begin.
    Waited,
    /// A worker's thread ended.
    Ended {
        /// Which one, from 0.
        worker: usize,
        /// `None` if it ended as requested.
        fault: Option<Fault>,
    },
}

/// An operator's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Stop: drain on the first request, immediately on the second.
    Stop,
    /// Reopen the access log.
    ReopenLog,
    /// Read the settings again.
    Reload,
    /// Have a new process serve in this one's place.
    Upgrade,
}

/// What the supervisor asks its caller to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Drain every worker: it accepts no more clients, and ends when its sessions have ended. A caller that waits first
    /// (`true`) is asked again after [`Event::Waited`].
    Drain,
    /// Reopen the access log.
    ReopenLog,
    /// Read the settings again.
    Reload,
    /// Take over the settings that were read.
    TakeOver,
    /// Take over what names stand for.
    TakeNames,
    /// Start the process that is to serve in this one's place.
    Upgrade,
    /// See what has become of it.
    Upgraded,
    /// Close sockets on which nothing arrives any more.
    CloseExtra,
    /// Ask again for pipes that were not granted at start.
    AskForPipes,
    /// End the sessions of every worker immediately.
    End,
    /// See whether the process has to stay: every worker has ended. Asked again when a process before it has ended.
    Ended,
}

/// How the workers ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After a request; every worker has ended.
    Drained,
    /// After a second request. A worker that has not ended one second later still runs.
    AtOnce,
}

/// A worker that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("worker {worker} {fault}")]
pub struct WorkerFailure {
    /// Which one, from 0.
    pub worker: usize,
    /// The failure.
    pub fault: Fault,
}

/// The failure of a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It reported why it cannot continue.
    #[error("failed: {0}")]
    Failed(String),
    /// Our bug: message and place.
    #[error("panicked: {0}; this is a bug in iisplice")]
    Panicked(String),
    /// Our bug: it returned unasked.
    #[error("ended unexpectedly; this is a bug in iisplice")]
    Ended,
}

/// Starts workers and waits for them.
#[derive(Debug)]
pub struct Supervisor {
    sender: Sender<Event>,
    events: Receiver<Event>,
    workers: usize,
}

impl Default for Supervisor {
    fn default() -> Self {
        let (sender, events) = channel();
        Self { sender, events, workers: 0 }
    }
}

impl Supervisor {
    /// A sender for requests.
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Starts the next worker in a thread of its own, named `worker-0` and up.
    ///
    /// # Errors
    /// No thread.
    pub fn start<E: Display>(
        &mut self,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> io::Result<()> {
        keep_panics_of_workers();
        let worker = self.workers;
        let events = self.sender.clone();
        thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
            let fault = run(work);
            // Without a supervisor the process is ending.
            let _ = events.send(Event::Ended { worker, fault });
        })?;
        self.workers += 1;
        Ok(())
    }

    /// Waits until all workers have ended on request, the second request, or the first failure.
    ///
    /// # Errors
    /// The first failure of a worker; the others may still run.
    ///
    /// Of what the caller carries out, [`Command::Upgraded`] drains the workers if a new process serves (`true`): after that,
    /// the first request to stop changes nothing, because it is usually meant for all processes. [`Command::Ended`] keeps the
    /// process (`true`).
    pub fn wait(self, mut carry_out: impl FnMut(Command) -> bool) -> Result<End, WorkerFailure> {
        let (mut is_draining, mut is_stopping) = (false, false);
        let mut running = self.workers;
        for event in &self.events {
            match event {
                Event::Request(Request::Stop) if is_stopping => {
                    carry_out(Command::End);
                    self.wait_for_ends(running);
                    return Ok(End::AtOnce);
                }
                Event::Request(Request::Stop) => {
                    is_stopping = true;
                    if !is_draining {
                        is_draining = !carry_out(Command::Drain);
                    }
                }
                Event::Waited => {
                    is_draining = true;
                    carry_out(Command::Drain);
                }
                Event::Request(Request::Upgrade) => _ = carry_out(Command::Upgrade),
                Event::Upgraded => is_draining |= carry_out(Command::Upgraded),
                Event::Quiet => _ = carry_out(Command::CloseExtra),
                Event::Relieved => _ = carry_out(Command::AskForPipes),
                Event::Request(Request::ReopenLog) => _ = carry_out(Command::ReopenLog),
                Event::Request(Request::Reload) => _ = carry_out(Command::Reload),
                Event::Read => _ = carry_out(Command::TakeOver),
                Event::Resolved => _ = carry_out(Command::TakeNames),
                Event::Ended { worker, fault: Some(fault) } => return Err(WorkerFailure { worker, fault }),
                Event::Ended { worker, fault: None } if !is_draining => {
                    return Err(WorkerFailure { worker, fault: Fault::Ended });
                }
                Event::Ended { .. } => running -= 1,
            }
            if running == 0 && !carry_out(Command::Ended) {
                return Ok(End::Drained);
            }
        }
        unreachable!("the supervisor holds a sender of its own events")
    }

    /// Waits for all to end, but not for long: connections that the end of the process closes look complete to the
    /// other end.
    fn wait_for_ends(&self, mut running: usize) {
        let deadline = Instant::now() + WORKERS_END;
        while running > 0 {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Ended { .. }) => running -= 1,
                Ok(
                    Event::Request(_)
                    | Event::Read
                    | Event::Resolved
                    | Event::Upgraded
                    | Event::Quiet
                    | Event::Relieved
                    | Event::Waited,
                ) => {}
                Err(_) => return,
            }
        }
    }
}

/// Tells the supervisor of this event after this time.
///
/// # Errors
/// There is no thread for it.
pub fn send_later(events: Sender<Event>, time: Duration, event: Event) -> io::Result<()> {
    thread::Builder::new().name("later".to_owned()).spawn(move || {
        thread::sleep(time);
        // Without a supervisor the process is ending.
        let _ = events.send(event);
    })?;
    Ok(())
}

thread_local! {
    /// In a worker's thread: the message and place of its panic.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

fn run<E: Display>(work: impl FnOnce() -> Result<(), E>) -> Option<Fault> {
    IS_WORKER.set(true);
    // State that the panic left half changed is not used again: the process ends.
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Fault::Failed(error.to_string())),
        Err(payload) => {
            let said = PANIC.take().unwrap_or_else(|| message(&*payload).to_owned());
            Some(Fault::Panicked(said))
        }
    }
}

/// Only the hook knows a panic's place; for a worker it is kept for the last line of the process.
fn keep_panics_of_workers() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let otherwise = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if !IS_WORKER.get() {
                return otherwise(info);
            }
            let words: Vec<&str> = message(info.payload()).split_whitespace().collect();
            let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
            PANIC.set(Some(words.join(" ") + &place));
        }));
    });
}

fn message(payload: &dyn Any) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A worker that ends when asked to.
    fn obedient(supervisor: &mut Supervisor) -> Sender<()> {
        let (stop, stopped) = channel();
        let work = move || stopped.recv().map_err(|_| "its stop signal is gone");
        supervisor.start(work).expect("a thread");
        stop
    }

    fn never(_: Command) -> bool {
        panic!("no command was expected");
    }

    #[test]
    fn a_drain_can_wait_and_is_asked_for_again() {
        let mut supervisor = Supervisor::default();
        let stop = obedient(&mut supervisor);
        let events = supervisor.sender();
        events.send(Event::Request(Request::Stop)).expect("it listens");
        let mut commands = Vec::new();
        let end = supervisor.wait(|command| {
            commands.push(command);
            match commands.len() {
                1 => events.send(Event::Waited).expect("it listens"),
                2 => stop.send(()).expect("the worker waits"),
                _ => {}
            }
            commands.len() == 1
        });
        assert_eq!(end, Ok(End::Drained));
        assert_eq!(commands, [Command::Drain, Command::Drain, Command::Ended]);
    }

    #[test]
    fn a_second_request_does_not_wait_for_a_drain_that_waits() {
        let mut supervisor = Supervisor::default();
        let _stop = obedient(&mut supervisor);
        let events = supervisor.sender();
        for _ in 0..2 {
            events.send(Event::Request(Request::Stop)).expect("it listens");
        }
        let end = supervisor.wait(|command| command == Command::Drain);
        assert_eq!(end, Ok(End::AtOnce));
    }

    #[test]
    fn a_worker_that_returns_while_a_drain_waits_takes_all_down() {
        let mut supervisor = Supervisor::default();
        let stop = obedient(&mut supervisor);
        supervisor.sender().send(Event::Request(Request::Stop)).expect("it listens");
        let end = supervisor.wait(|_| {
            stop.send(()).expect("the worker waits");
            true
        });
        assert_eq!(end, Err(WorkerFailure { worker: 0, fault: Fault::Ended }));
    }

    #[test]
    fn a_request_drains_every_worker_and_waits_for_all() {
        let mut supervisor = Supervisor::default();
        let stops = [obedient(&mut supervisor), obedient(&mut supervisor)];
        supervisor.sender().send(Event::Request(Request::Stop)).expect("it listens");
        let mut commands = Vec::new();
        let end = supervisor.wait(|command| {
            commands.push(command);
            if command == Command::Drain {
                for stop in &stops {
                    stop.send(()).expect("the worker waits");
                }
            }
            false
        });
        assert_eq!(end, Ok(End::Drained));
        assert_eq!(commands, [Command::Drain, Command::Ended]);
    }

    #[test]
    fn a_process_that_is_to_stay_ends_when_one_before_it_has_ended() {
        let mut supervisor = Supervisor::default();
        let stop = obedient(&mut supervisor);
        let events = supervisor.sender();
        events.send(Event::Request(Request::Stop)).expect("it listens");
        let mut commands = Vec::new();
        let end = supervisor.wait(|command| {
            commands.push(command);
            match commands.len() {
                1 => stop.send(()).expect("the worker waits"),
                2 => events.send(Event::Relieved).expect("it listens"),
                _ => {}
            }
            commands.len() == 2
        });
        assert_eq!(end, Ok(End::Drained));
        assert_eq!(commands, [Command::Drain, Command::Ended, Command::AskForPipes, Command::Ended]);
    }

    #[test]
    fn a_second_request_ends_at_once() {
        let mut supervisor = Supervisor::default();
        let _stop = obedient(&mut supervisor);
        let events = supervisor.sender();
        for _ in 0..2 {
            events.send(Event::Request(Request::Stop)).expect("it listens");
        }
        let mut commands = Vec::new();
        // The worker does not listen.
        let end = supervisor.wait(|command| {
            commands.push(command);
            false
        });
        assert_eq!(end, Ok(End::AtOnce));
        assert_eq!(commands, [Command::Drain, Command::End]);
    }

    #[test]
    fn a_process_that_was_taken_over_from_ends_at_the_second_request() {
        let mut supervisor = Supervisor::default();
        let _stop = obedient(&mut supervisor);
        let events = supervisor.sender();
        for event in [Event::Upgraded, Event::Upgraded, Event::Request(Request::Stop)] {
            events.send(event).expect("it listens");
        }
        events.send(Event::Request(Request::Stop)).expect("it listens");
        let mut commands = Vec::new();
        let end = supervisor.wait(|command| {
            commands.push(command);
            // The first upgrade fails.
            commands.len() == 2
        });
        assert_eq!(end, Ok(End::AtOnce));
        assert_eq!(commands, [Command::Upgraded, Command::Upgraded, Command::End]);
    }

    #[test]
    fn the_log_is_opened_anew_however_often_it_is_asked_for() {
        let mut supervisor = Supervisor::default();
        let stop = obedient(&mut supervisor);
        let events = supervisor.sender();
        for request in [Request::ReopenLog, Request::ReopenLog, Request::Stop, Request::ReopenLog] {
            events.send(Event::Request(request)).expect("it listens");
        }
        let commands = Arc::new(Mutex::new(Vec::new()));
        let end = supervisor.wait(|command| {
            let mut commands = commands.lock().expect("no panic while locked");
            commands.push(command);
            if commands.len() == 4 {
                stop.send(()).expect("the worker waits");
            }
            false
        });
        assert_eq!(end, Ok(End::Drained));
        let (drain, reopen) = (Command::Drain, Command::ReopenLog);
        let expected = [reopen, reopen, drain, reopen, Command::Ended];
        assert_eq!(*commands.lock().expect("no panic while locked"), expected);
    }

    #[test]
    fn a_panic_takes_all_down_and_says_where() {
        let mut supervisor = Supervisor::default();
        let _stop = obedient(&mut supervisor);
        let line = line!() + 1;
        supervisor.start(|| -> Result<(), String> { panic!("a table\nwith {} legs", 3) }).expect("a thread");
        let failure = supervisor.wait(never).expect_err("a worker panicked");
        let said = failure.to_string();
        assert!(
            said.starts_with("worker 1 panicked: a table with 3 legs at src/control/supervise.rs:"),
            "{said}"
        );
        assert!(said.contains(&format!(".rs:{line}:")) && !said.contains('\n'), "line {line}: {said}");
    }

    #[test]
    fn an_error_takes_all_down_and_is_told() {
        let mut supervisor = Supervisor::default();
        let _stop = obedient(&mut supervisor);
        supervisor.start(|| Err("no ring")).expect("a thread");
        let failure = supervisor.wait(never).expect_err("a worker failed");
        assert_eq!(failure.to_string(), "worker 1 failed: no ring");
    }

    #[test]
    fn a_worker_that_just_returns_takes_all_down() {
        let mut supervisor = Supervisor::default();
        supervisor.start(|| Ok::<(), String>(())).expect("a thread");
        assert_eq!(supervisor.wait(never), Err(WorkerFailure { worker: 0, fault: Fault::Ended }));
    }

    #[test]
    fn a_worker_that_fails_while_draining_is_a_failure() {
        let mut supervisor = Supervisor::default();
        let (stop, stopped) = channel::<()>();
        supervisor.start(move || stopped.recv().map_err(|_| "the ring is gone")).expect("a thread");
        supervisor.sender().send(Event::Request(Request::Stop)).expect("it listens");
        let mut stop = Some(stop);
        let failure = supervisor.wait(|_| stop.take().is_none()).expect_err("the worker failed");
        assert_eq!(failure.fault, Fault::Failed("the ring is gone".to_owned()));
    }
}
