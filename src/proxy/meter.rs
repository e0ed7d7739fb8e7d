//! What went through a session so far.

use std::cell::Cell;
use std::time::Instant;

/// One of the two ends of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

/// What went through a session so far.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) last_activity: Cell<Instant>,
    pub(super) first_byte: Cell<Option<Instant>>,
    pub(super) upstream_bytes: Cell<u64>,
    pub(super) client_bytes: Cell<u64>,
    pub(super) spliced_bytes: Cell<u64>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_activity: Cell::new(now),
            first_byte: Cell::new(None),
            upstream_bytes: Cell::new(0),
            client_bytes: Cell::new(0),
            spliced_bytes: Cell::new(0),
        }
    }

    pub(super) fn received(&self, from: Side, now: Instant) {
        self.last_activity.set(now);
        if from == Side::Upstream && self.first_byte.get().is_none() {
            self.first_byte.set(Some(now));
        }
    }

    pub(super) fn sent(&self, to: Side, bytes: usize, now: Instant) {
        self.last_activity.set(now);
        let total = self.total(to);
        total.set(total.get() + bytes as u64);
    }

    /// Takes back what was counted as sent.
    pub(super) fn not_sent(&self, to: Side, bytes: usize) {
        let total = self.total(to);
        total.set(total.get() - bytes as u64);
    }

    fn total(&self, to: Side) -> &Cell<u64> {
        match to {
            Side::Client => &self.client_bytes,
            Side::Upstream => &self.upstream_bytes,
        }
    }
}
