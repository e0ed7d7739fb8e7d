//! What went through a session so far.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// One of the two ends of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

impl Side {
    /// The end opposite to this one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

/// What went through a session so far.
#[derive(Debug)]
pub(super) struct Meter {
    /// When the client was accepted.
    pub(super) accepted: Instant,
    /// When something was last received for the upstream, or sent to it: nanoseconds behind `accepted`, since every idle
    /// session carries this.
    upstream_activity: Cell<u64>,
    /// The same of the client.
    client_activity: Cell<u64>,
    pub(super) first_byte: Cell<Option<Instant>>,
    pub(super) upstream_bytes: Cell<u64>,
    pub(super) client_bytes: Cell<u64>,
    pub(super) spliced_bytes: Cell<u64>,
}

impl Meter {
    pub(super) fn new(accepted: Instant) -> Self {
        Self {
            accepted,
            upstream_activity: Cell::new(0),
            client_activity: Cell::new(0),
            first_byte: Cell::new(None),
            upstream_bytes: Cell::new(0),
            client_bytes: Cell::new(0),
            spliced_bytes: Cell::new(0),
        }
    }

    /// When a byte last moved towards this side.
    pub(super) fn activity(&self, to: Side) -> Instant {
        self.accepted + Duration::from_nanos(self.activity_cell(to).get())
    }

    /// When a byte last moved.
    pub(super) fn last_activity(&self) -> Instant {
        self.activity(Side::Upstream).max(self.activity(Side::Client))
    }

    /// Counts what comes as idle from now on.
    pub(super) fn begin(&self, now: Instant) {
        self.moves(Side::Upstream, now);
        self.moves(Side::Client, now);
    }

    fn moves(&self, to: Side, now: Instant) {
        let nanoseconds = now.duration_since(self.accepted).as_nanos();
        self.activity_cell(to).set(nanoseconds as u64);
    }

    fn activity_cell(&self, to: Side) -> &Cell<u64> {
        match to {
            Side::Client => &self.client_activity,
            Side::Upstream => &self.upstream_activity,
        }
    }

    pub(super) fn received(&self, from: Side, now: Instant) {
        self.moves(from.other(), now);
        if from == Side::Upstream && self.first_byte.get().is_none() {
            self.first_byte.set(Some(now));
        }
    }

    pub(super) fn sent(&self, to: Side, bytes: usize, now: Instant) {
        self.moves(to, now);
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
