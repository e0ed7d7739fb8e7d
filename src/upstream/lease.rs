//! A server lent to one session.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use super::health::{Failed, Standing};
use super::server::Server;
use crate::uring::Address;

/// A server that is lent to one session. It counts the server as in use until it ends, or is dropped.
#[derive(Debug)]
pub struct Lease {
    server: Arc<Server>,
    /// Whether other sessions wait for what this one finds out of the server, which was ejected.
    is_trial: Cell<bool>,
    has_ended: Cell<bool>,
    is_warm: bool,
}

impl Lease {
    /// A lease, if the server may have one more connection.
    pub(super) fn of(server: &Arc<Server>) -> Option<Self> {
        server.lend().then(|| Self::new(Arc::clone(server), false))
    }

    /// The lease of a server that has counted it already, for a connection that was opened ahead.
    pub(super) fn warm(server: Arc<Server>) -> Self {
        Self::new(server, true)
    }

    fn new(server: Arc<Server>, is_warm: bool) -> Self {
        Self { server, is_trial: Cell::new(false), has_ended: Cell::new(false), is_warm }
    }

    /// Whether it is the one that finds out whether a server that was ejected can be used, from now on.
    pub(super) fn begin_trial(&self, now: Instant) -> bool {
        let health = self.server.health();
        self.is_trial.set(health.standing(now) == Standing::Due && health.begin_trial());
        self.is_trial()
    }

    /// Whether it is that one.
    pub(super) fn is_trial(&self) -> bool {
        self.is_trial.get()
    }

    /// Ends it: the session has closed its connection to the server, and goes on to name it.
    pub fn end(&self) {
        if !self.has_ended.replace(true) {
            self.end_trial();
            self.server.take_back();
        }
    }

    /// Whether its connection was opened before the session needed it.
    pub fn is_warm(&self) -> bool {
        self.is_warm
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where to connect to.
    pub fn address(&self) -> &Address {
        self.server.address()
    }

    /// Notes that the server cannot be connected to; logs once that it is down, and when it is ejected.
    pub fn note_failure(&self, now: Instant) {
        note_failure(&self.server, self.is_trial.get(), now);
        self.end_trial();
    }

    /// Notes that the server ended a connection before its first byte, or never sent one; logs when it is ejected.
    pub fn note_unanswered(&self, now: Instant) {
        let failed = self.server.health().note_unanswered(self.server.ejection(), now);
        note_ejection(&self.server, failed, "no-answer");
    }

    /// Notes that the server sent the first byte of a connection.
    pub fn note_answer(&self) {
        self.server.health().note_answer();
    }

    /// Notes that the server can be connected to; logs once that it is up again.
    pub fn note_success(&self, now: Instant) {
        note_success(&self.server, now);
        self.end_trial();
    }

    fn end_trial(&self) {
        if self.is_trial.replace(false) {
            self.server.health().end_trial();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end();
    }
}

/// Notes a failed connect, and logs what it changes.
pub(super) fn note_failure(server: &Server, is_trial: bool, now: Instant) {
    let failed = server.health().note_failure(server.ejection(), is_trial, now);
    if failed.in_a_row == 1 {
        let (name, address) = (&**server.name(), server.address());
        tracing::warn!(upstream = name, %address, "server is down; still trying it in turn");
    }
    note_ejection(server, failed, "connect");
}

/// Notes a connect, and logs what it changes.
pub(super) fn note_success(server: &Server, now: Instant) {
    if let Some(failures) = server.health().note_success(now) {
        let (name, address) = (&**server.name(), server.address());
        tracing::info!(upstream = name, %address, failures, "server is up again");
    }
}

/// Counts an ejection, and logs it.
fn note_ejection(server: &Server, failed: Failed, cause: &'static str) {
    let Failed { in_a_row: failures, ejected_for: Some(time) } = failed else { return };
    server.incidents().count_ejection();
    let (name, address) = (&**server.name(), server.address());
    tracing::warn!(upstream = name, %address, cause, failures, ?time, "server ejected; using it only where no other is left");
}
