//! What another thread tells a worker to do: to serve other services, to drain, to end.
//!
//! ```text
//!   Orders::change, drain, end --mailbox, flag--> bell --> Inbox::next --> the worker's thread
//! ```
//!
//! The mailbox has a lock; the worker takes it when its bell has rung, and at no other time.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::access_log::LogSender;
use super::settings::Service;
use crate::uring::{Address, Bell, Hearing, Ring};

/// Nothing requested, a drain, an immediate end: each includes the one before.
const NOTHING: u8 = 0;
const DRAIN: u8 = 1;
const END: u8 = 2;

/// What a worker serves from now on: all of its settings that can change while it runs.
#[derive(Debug)]
pub struct Change {
    /// The services of all workers, with the addresses that their listeners are bound to.
    pub services: Vec<Arc<Service>>,
    /// The sockets of listeners that it does not serve yet. It goes on with its own socket for every other listener of
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
    changes: Arc<Mutex<Vec<Letter>>>,
}

/// A change, with what is dropped when the worker has made it.
type Letter = (Change, Sender<()>);

impl Orders {
    /// Nothing requested yet.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self { bell: Bell::new()?, requested: Arc::new(AtomicU8::new(NOTHING)), changes: Arc::default() })
    }

    /// Tells the worker to serve something else for new connections. It drops `done` afterwards, and sends nothing.
    pub fn change(&self, change: Change, done: Sender<()>) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push((change, done));
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
    /// Accept no more clients.
    Drain,
}

/// The receiving end of a worker's orders.
pub(super) struct Inbox {
    orders: Orders,
    hearing: Hearing,
}

impl Inbox {
    /// The next order: a change that was sent before a drain comes before it. After a drain there is none but to
    /// [end](Self::end_requested). An inbox that fails drains the worker.
    pub(super) async fn next(&self) -> Order {
        loop {
            if let Some((change, done)) = self.take_change() {
                return Order::Change(change, done);
            }
            if self.is_requested(DRAIN) || !self.heard().await {
                return Order::Drain;
            }
        }
    }

    /// Completes when an end was requested, or can never be requested.
    pub(super) async fn end_requested(&self) {
        while !self.is_requested(END) && self.heard().await {}
    }

    fn take_change(&self) -> Option<Letter> {
        let mut changes = self.orders.changes.lock().unwrap_or_else(PoisonError::into_inner);
        (!changes.is_empty()).then(|| changes.remove(0))
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
