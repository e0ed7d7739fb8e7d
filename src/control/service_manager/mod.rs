//! What the service manager that started the process (systemd, or one like it) is told, and whether workers still turn.
//!
//! This room owns the socket of `sd_notify`(3) and a thread. It must never make the supervisor or a worker wait: they leave
//! notes in a channel, and read or write plain numbers.
//!
//! ```text
//!   serve --Note--> keeper (thread) --Message--> outbox --> socket --> service manager --sockets--> passed --> listeners
//!                      |-- store: sockets that it keeps over a restart
//!                      |-- turns: bells and counters of the workers --> watchdog, /healthz, /readyz, /metrics
//!                      '-- board: what is served                    --> STATUS=
//! ```
//!
//! Without a service manager nothing is sent; workers are watched all the same. `NOTIFY_SOCKET` stays in the environment: the
//! only child of the process is the one that starts its successor, which needs it.

mod address;
mod environment;
mod keeper;
mod message;
mod outbox;
mod passed;
mod socket;
mod status;
mod store;
mod turns;

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::admin::Board;
use crate::proxy::counters::Counters;
use crate::proxy::orders::Orders;
use environment::Environment;
use keeper::Keeper;
use message::{Message, one_line};
use outbox::Outbox;
pub use passed::{PassedFault, PassedSockets};
pub(super) use store::Kept;
use store::Store;
pub(super) use turns::{Stuck, Turns};

/// See the module docs. Dropping it ends its thread, which sends what it has.
#[derive(Debug)]
pub(super) struct ServiceManager {
    /// `None` only while it is dropped.
    notes: Option<Sender<Note>>,
    thread: Option<JoinHandle<()>>,
    keeps_sockets: bool,
}

/// What the thread is told.
#[derive(Debug)]
enum Note {
    /// The proxy serves.
    Serves,
    /// Settings are about to be read again, at this time of the monotonic clock.
    Reloads(Duration),
    /// They are in force, or what keeps those from before in force.
    Reloaded(Result<(), String>),
    /// The service manager is to keep these sockets, and no others.
    Keep(Vec<Kept>),
    /// The proxy was told to stop; connections have this long.
    Stops(Duration),
    /// Another process serves in this one's place, and speaks for the proxy.
    Leaves,
}

impl ServiceManager {
    /// Watches these workers from now on, and tells the service manager of the environment, if there is one. It keeps what
    /// was `stored` under these names.
    ///
    /// # Errors
    /// No thread.
    pub(super) fn start(
        board: &Arc<Board>,
        (orders, counters): (&[Orders], &[Arc<Counters>]),
        stored: Vec<String>,
    ) -> io::Result<Self> {
        let environment = Environment::of_this_process();
        let outbox = environment.notify_socket.clone().map(Outbox::to);
        let turns = Turns::new(environment.watchdog, orders, counters);
        let (notes, received) = channel();
        let keeps_sockets = environment.store_max > 0;
        let store = Store::new(environment.store_max, stored);
        let keeper = Keeper::new((outbox, environment.watchdog.is_some(), store), turns, Arc::clone(board));
        let thread =
            thread::Builder::new().name("manager".to_owned()).spawn(move || keeper.run(&received))?;
        Ok(Self { notes: Some(notes), thread: Some(thread), keeps_sockets })
    }

    /// The proxy listens, and its workers run: said once each of them has taken a turn.
    pub(super) fn serves(&self) {
        self.tell(Note::Serves);
    }

    /// Whether the service manager keeps sockets over a restart.
    pub(super) fn keeps_sockets(&self) -> bool {
        self.keeps_sockets
    }

    /// The service manager is to keep these sockets, and no others.
    pub(super) fn keep(&self, sockets: Vec<Kept>) {
        self.tell(Note::Keep(sockets));
    }

    /// Settings are about to be read again.
    pub(super) fn reloads(&self) {
        self.tell(Note::Reloads(message::monotonic_time()));
    }

    /// The settings that were read are in force, or the error that keeps those from before in force.
    pub(super) fn reloaded(&self, outcome: Result<(), String>) {
        self.tell(Note::Reloaded(outcome));
    }

    /// The proxy was told to stop, and connections may take this long.
    pub(super) fn stops(&self, drain_timeout: Duration) {
        self.tell(Note::Stops(drain_timeout));
    }

    /// Another process serves in this one's place: nothing more is said here.
    pub(super) fn leaves(&self) {
        self.tell(Note::Leaves);
    }

    fn tell(&self, note: Note) {
        if let Some(notes) = &self.notes {
            // It lives as long as this.
            let _ = notes.send(note);
        }
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        drop(self.notes.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been said.
            let _ = thread.join();
        }
    }
}

/// Tells the service manager, if there is one, that this process is the one that it watches from now on. It knows when this
/// returns: the process before this one may end then.
pub(super) fn say_main_process() {
    let Some(address) = Environment::of_this_process().notify_socket else { return };
    let mut outbox = Outbox::to(address);
    outbox.push(Message::lasting().field("MAINPID", std::process::id()));
    outbox.finish();
}

/// Tells the service manager, if there is one, why the process ends: `line`, and the number of the system's error below it.
pub fn say_failure(line: &dyn Display, error: &(dyn StdError + 'static)) {
    let Some(address) = Environment::of_this_process().notify_socket else { return };
    let mut message = Message::lasting().field("STATUS", one_line(&line.to_string()));
    if let Some(number) = errno(error) {
        message = message.field("ERRNO", number);
    }
    let mut outbox = Outbox::to(address);
    outbox.push(message);
    outbox.finish();
}

/// The number of the system's error that is the cause of this one.
fn errno(error: &(dyn StdError + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Error, LogTarget};

    #[test]
    fn the_number_of_an_error_is_found_below_it() {
        let source = || io::Error::from_raw_os_error(libc::EADDRINUSE);
        let log = LogTarget::File("/x".into());
        let error = Error::AccessLog { target: log.clone(), source: source() };
        assert_eq!(errno(&error), Some(libc::EADDRINUSE));
        assert_eq!(errno(&source()), Some(libc::EADDRINUSE));
        assert_eq!(errno(&Error::UnreadAccessLog(log)), None);
    }
}
