//! What another thread tells a worker to do: to serve other services, to look at servers, to drain, to end; and what it
//! asks.
//!
//! ```text
//!   Orders::change, ask --mailbox--.
//!   drain, end, look -----flags----+--> bell --> Inbox::next --> the worker's thread
//! ```
//!
//! The mailbox has a lock; the worker takes it when its bell has rung, and at no other time.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::access_log::LogSender;
use super::settings::Service;
use super::survey::{Sight, Wanted};
use crate::uring::{Address, Bell, Hearing, Ring};

/// A drain, an immediate end, which includes it; 0 is neither.
const DRAIN: u8 = 1;
const END: u8 = 2;

/// What a worker serves from now on: all of its settings that can change while it runs.
#[derive(Debug)]
pub struct Change {
    /// The services of all workers, with the addresses that their listeners are bound to.
    pub services: Vec<Arc<Service>>,
    /// The sockets of listeners that it does not serve yet; the first at an address is its own. It goes on with its own socket for every other listener of
    /// the services, and closes what is no listener of theirs.
    pub sockets: Vec<(Address, Arc<OwnedFd>)>,
    /// Where records go, if there is an access log.
    pub log: Option<LogSender>,
    /// Memory limit for unfinished heads, hellos and handshakes of clients.
    pub peek_bytes_max: usize,
    /// How long sessions may continue after a request to stop.
    pub drain_timeout: Duration,
}

/// The sending end of a worker's orders; clones reach the same worker.
#[derive(Debug, Clone)]
pub struct Orders {
    bell: Bell,
    requested: Arc<AtomicU8>,
    /// Whether orders for servers have changed.
    servers_changed: Arc<AtomicBool>,
    letters: Arc<Mutex<Vec<Letter>>>,
}

#[derive(Debug)]
enum Letter {
    /// A change, with what is dropped when the worker has made it.
    Change(Change, Sender<()>),
    /// A question.
    Ask(Question),
    /// To leave the listeners at these addresses to another process.
    Leave(Vec<Address>),
    /// To close the sockets that get no more clients, with what is dropped when the worker has begun to.
    CloseExtra(Sender<()>),
    /// To ask again for the pipes that were not granted at start.
    AskForPipes,
}

/// What a worker is asked.
#[derive(Debug)]
pub(super) enum Question {
    /// Which of these sessions it has.
    Sessions(Wanted, Reply<Vec<Sight>>),
    /// To end the session with this id, and whether it has it.
    End(u64, Reply<bool>),
}

/// Who waits for an answer; dropped without one when the worker ends.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    /// Calls this with the answer, on the worker's thread: it must not wait.
    pub fn new(with: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(with))
    }

    /// Answers.
    pub(super) fn send(self, answer: T) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

impl Orders {
    /// Nothing requested yet.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> io::Result<Self> {
        let (requested, servers_changed, letters) = Default::default();
        Ok(Self { bell: Bell::new()?, requested, servers_changed, letters })
    }

    /// Tells the worker to serve something else for new connections. It drops `done` afterwards, and sends nothing.
    pub fn change(&self, change: Change, done: Sender<()>) {
        self.send(Letter::Change(change, done));
    }

    /// Asks which of these sessions the worker has.
    pub fn look_at_sessions(&self, wanted: Wanted, reply: Reply<Vec<Sight>>) {
        self.send(Letter::Ask(Question::Sessions(wanted, reply)));
    }

    /// Has the worker end the session with this id, and asks whether it had it.
    pub fn end_session(&self, id: u64, reply: Reply<bool>) {
        self.send(Letter::Ask(Question::End(id, reply)));
    }

    /// Tells the worker to leave the listeners at these addresses at once: another process accepts their clients.
    pub fn leave(&self, addresses: Vec<Address>) {
        self.send(Letter::Leave(addresses));
    }

    /// Tells the worker to close the sockets that it has besides its own at an address. It drops `done` afterwards.
    pub fn close_extra(&self, done: Sender<()>) {
        self.send(Letter::CloseExtra(done));
    }

    /// Tells the worker to ask again for the pipes that were not granted when it started.
    pub fn ask_for_pipes(&self) {
        self.send(Letter::AskForPipes);
    }

    /// Tells the worker that orders for servers have changed: sessions look at them.
    pub fn look_at_servers(&self) {
        self.servers_changed.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Has the worker take a turn, in which it has nothing to do: one that takes none is stuck.
    pub fn turn(&self) {
        self.bell.ring();
    }

    /// Tells the worker to stop accepting, and to end when its sessions have ended.
    pub fn drain(&self) {
        self.request(DRAIN);
    }

    /// Tells the worker to end its sessions immediately.
    pub fn end(&self) {
        self.request(END);
    }

    fn send(&self, letter: Letter) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
        self.bell.ring();
    }

    fn request(&self, what: u8) {
        self.requested.fetch_max(what, Ordering::Release);
        self.bell.ring();
    }

    /// The receiving end.
    ///
    /// # Errors
    /// Those of dup(2).
    pub(super) fn listen(self, ring: &Ring) -> io::Result<Inbox> {
        Ok(Inbox { hearing: self.bell.listen(ring)?, orders: self })
    }
}

/// An order.
pub(super) enum Order {
    /// Serve something else; drop the sender afterwards.
    Change(Change, Sender<()>),
    /// Have sessions look at what is ordered for their servers.
    Look,
    /// Answer a question.
    Ask(Question),
    /// Leave these listeners.
    Leave(Vec<Address>),
    /// Close the sockets that get no more clients; drop the sender afterwards.
    CloseExtra(Sender<()>),
    /// Ask again for the pipes that were not granted at start.
    AskForPipes,
    /// Accept no more clients.
    Drain,
    /// End at once.
    End,
}

/// The receiving end of a worker's orders.
pub(super) struct Inbox {
    orders: Orders,
    hearing: Hearing,
}

impl Inbox {
    /// The next order; what was sent before a drain comes before it. Once it drains (`is_draining`), there is no other
    /// drain. An inbox that fails drains the worker, and ends it then.
    pub(super) async fn next(&self, is_draining: bool) -> Order {
        loop {
            if is_draining && self.is_requested(END) {
                return Order::End;
            }
            if let Some(letter) = self.take_letter() {
                return match letter {
                    Letter::Change(change, done) => Order::Change(change, done),
                    Letter::Ask(question) => Order::Ask(question),
                    Letter::Leave(addresses) => Order::Leave(addresses),
                    Letter::CloseExtra(done) => Order::CloseExtra(done),
                    Letter::AskForPipes => Order::AskForPipes,
                };
            }
            if self.orders.servers_changed.swap(false, Ordering::AcqRel) {
                return Order::Look;
            }
            if !is_draining && self.is_requested(DRAIN) {
                return Order::Drain;
            }
            if !self.heard().await {
                return if is_draining { Order::End } else { Order::Drain };
            }
        }
    }

    fn take_letter(&self) -> Option<Letter> {
        let mut letters = self.orders.letters.lock().unwrap_or_else(PoisonError::into_inner);
        (!letters.is_empty()).then(|| letters.remove(0))
    }

    fn is_requested(&self, what: u8) -> bool {
        self.orders.requested.load(Ordering::Acquire) >= what
    }

    /// Completes when the bell has rung; false if it can never be heard.
    async fn heard(&self) -> bool {
        match self.hearing.rung().await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "worker cannot receive orders; stopping now");
                false
            }
        }
    }
}
