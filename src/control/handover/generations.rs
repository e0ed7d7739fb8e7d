//! The generations of the proxy that live: this process, and those before it that still serve connections.
//!
//! Each of those before reports on the socket over which it was taken over, about once a second until its end. A process
//! gives these sockets to its successor, so that the one that serves hears from all.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{io, process, thread};

use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};

use super::message::{ToPredecessor, ToSuccessor};
use super::wire;
use crate::control::supervise::{Event, Request};
use crate::proxy::counters::Counters;

/// Most generations before this one that are heard; of more, the oldest are not.
pub(super) const OLDER_MAX: usize = wire::DESCRIPTORS_MAX;

/// From one report to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// From one look for messages to the next: what a process says without end waits in its socket, and then it waits itself.
const PAUSE: Duration = Duration::from_millis(10);

/// What a process says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct Report {
    /// Its number: the first process is 1.
    pub(in crate::control) generation: u64,
    /// Its id.
    pub(in crate::control) pid: u32,
    /// When it started, in seconds since 1970.
    pub(in crate::control) since: u64,
    /// Connections of clients that it serves.
    pub(in crate::control) connections: u64,
}

/// See the module docs.
#[derive(Debug)]
pub(in crate::control) struct Generations {
    number: u64,
    since: u64,
    older: Mutex<Vec<Older>>,
    has_left: AtomicBool,
}

/// A process before this one.
#[derive(Debug, Clone)]
pub(super) struct Older {
    pub(super) report: Report,
    pub(super) socket: Arc<OwnedFd>,
}

impl Default for Generations {
    fn default() -> Self {
        Self::new(1, Vec::new())
    }
}

impl Generations {
    /// This process is of this generation.
    pub(super) fn new(number: u64, mut older: Vec<Older>) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        older.truncate(OLDER_MAX);
        Self { number, since, older: Mutex::new(older), has_left: AtomicBool::new(false) }
    }

    /// The number of this process.
    pub(in crate::control) fn number(&self) -> u64 {
        self.number
    }

    /// This process and, if `counters` are its own, what it serves.
    pub(in crate::control) fn own<'a>(
        &self,
        counters: impl IntoIterator<Item = &'a Arc<Counters>>,
    ) -> Report {
        let connections = counters.into_iter().map(|one| one.active().get()).sum();
        Report { generation: self.number, pid: process::id(), since: self.since, connections }
    }

    /// Those before it that live, the latest first.
    pub(in crate::control) fn older(&self) -> Vec<Report> {
        self.lock().iter().map(|older| older.report.clone()).collect()
    }

    /// The same with their sockets.
    pub(super) fn with_sockets(&self) -> Vec<Older> {
        self.lock().clone()
    }

    /// Has those before it open their access logs again.
    pub(in crate::control) fn reopen_logs(&self) {
        for older in &*self.lock() {
            // One that has ended or does not listen has no log to open.
            let _ = wire::send(&older.socket, &ToPredecessor::ReopenLog, &[], Instant::now());
        }
    }

    /// A successor hears from those before from now on.
    pub(super) fn leave(&self) {
        self.has_left.store(true, Ordering::Relaxed);
        self.lock().clear();
    }

    /// Starts to hear from those before, if there are any.
    ///
    /// # Errors
    /// No thread.
    pub(in crate::control) fn listen(self: &Arc<Self>, events: Sender<Event>) -> io::Result<()> {
        if self.lock().is_empty() {
            return Ok(());
        }
        let own = Arc::clone(self);
        thread::Builder::new().name("generations".to_owned()).spawn(move || own.hear(&events))?;
        Ok(())
    }

    fn hear(&self, events: &Sender<Event>) {
        loop {
            let older = self.with_sockets();
            if older.is_empty() {
                return;
            }
            let sockets: Vec<_> = older.iter().map(|older| std::os::fd::AsFd::as_fd(&older.socket)).collect();
            // In between it looks whether it has left.
            let waited = wire::wait(&sockets, PollFlags::POLLIN, Some(Instant::now() + INTERVAL));
            if self.has_left.load(Ordering::Relaxed) {
                return;
            }
            if waited.is_ok() {
                for one in &older {
                    self.note(one, wire::receive_now(&one.socket), events);
                }
            }
            if self.lock().len() < older.len() {
                // The kernel closes the sockets of a process before it has freed all that the process had.
                thread::sleep(INTERVAL);
                let _ = events.send(Event::Relieved);
            }
            thread::sleep(PAUSE);
        }
    }

    fn note(
        &self,
        from: &Older,
        heard: io::Result<Option<wire::Message<ToSuccessor>>>,
        events: &Sender<Event>,
    ) {
        let is_it = |older: &Older| Arc::ptr_eq(&older.socket, &from.socket);
        let request = match heard {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(Some((ToSuccessor::Report(report), _))) => {
                if let Some(older) = self.lock().iter_mut().find(|older| is_it(older)) {
                    older.report = report;
                }
                return;
            }
            Ok(Some((ToSuccessor::Reload, _))) => Request::Reload,
            Ok(Some((ToSuccessor::Abort, _))) => Request::Stop,
            Ok(Some(_)) => return,
            Ok(None) | Err(_) => {
                self.lock().retain(|older| !is_it(older));
                let Report { generation, pid, .. } = from.report;
                tracing::info!(generation, pid, "the process before this one has ended");
                return;
            }
        };
        // Without a supervisor the process is ending.
        let _ = events.send(Event::Request(request));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Older>> {
        self.older.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts to report to the successor, until the end of the process.
///
/// # Errors
/// No thread.
pub(super) fn report(
    generations: Arc<Generations>,
    counters: Vec<Arc<Counters>>,
    successor: Arc<OwnedFd>,
    events: Sender<Event>,
) -> io::Result<()> {
    let work = move || {
        loop {
            let report = ToSuccessor::Report(generations.own(&counters));
            match wire::send(&successor, &report, &[], Instant::now()) {
                // It takes none for now.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(_) => return,
                Ok(()) => {}
            }
            let next = Instant::now() + INTERVAL;
            while Instant::now() < next {
                match wire::receive::<ToPredecessor>(&successor, next) {
                    Ok(Some((ToPredecessor::ReopenLog, _))) => {
                        let _ = events.send(Event::Request(Request::ReopenLog));
                    }
                    Ok(Some(_)) => {}
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                    Ok(None) | Err(_) => return,
                }
                thread::sleep(PAUSE);
            }
        }
    };
    thread::Builder::new().name("report".to_owned()).spawn(work)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Sends until the other end takes no more for now.
    fn flood(socket: &OwnedFd, message: &impl Serialize) {
        while wire::send(socket, message, &[], Instant::now()).is_ok() {}
    }

    #[test]
    fn a_process_that_talks_without_end_costs_a_bounded_number_of_events() {
        let (own, other) = wire::pair().expect("sockets");
        let report = Report { generation: 1, pid: 1, since: 0, connections: 0 };
        let older = vec![Older { report, socket: Arc::new(own) }];
        let generations = Arc::new(Generations::new(2, older));
        let (events, heard) = channel();
        generations.listen(events).expect("a thread");
        let (own, successor) = wire::pair().expect("sockets");
        let (events, reopened) = channel();
        super::report(Arc::default(), Vec::new(), Arc::new(own), events).expect("a thread");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            flood(&other, &ToSuccessor::Reload);
            flood(&successor, &ToPredecessor::ReopenLog);
        }
        let most = begun.elapsed().as_millis() / PAUSE.as_millis() + 2;
        for events in [heard, reopened] {
            let count = events.try_iter().count();
            assert!((1..=most).contains(&(count as u128)), "{count} events in {:?}", begun.elapsed());
        }
        drop((other, successor));
        while !generations.older().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "its end is not noticed");
            thread::sleep(PAUSE);
        }
    }
}
