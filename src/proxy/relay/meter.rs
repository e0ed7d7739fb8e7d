//! What a session has moved so far, and when.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::side::Side;

/// Byte counts and times of a session.
#[derive(Debug)]
pub(in crate::proxy) struct Meter {
    /// When the client was accepted.
    pub(in crate::proxy) accepted: Instant,
    /// When bytes for the upstream side were last received or sent: nanoseconds after `accepted`, to keep idle sessions
    /// small.
    upstream_activity: Cell<u64>,
    /// Same for the client side.
    client_activity: Cell<u64>,
    pub(in crate::proxy) first_byte: Cell<Option<Instant>>,
    pub(in crate::proxy) upstream_bytes: Cell<u64>,
    pub(in crate::proxy) client_bytes: Cell<u64>,
    pub(in crate::proxy) spliced_bytes: Cell<u64>,
}

impl Meter {
    pub(in crate::proxy) fn new(accepted: Instant) -> Self {
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
    pub(in crate::proxy) fn activity(&self, to: Side) -> Instant {
        self.accepted + Duration::from_nanos(self.activity_cell(to).get())
    }

    /// When a byte last moved on either side.
    pub(in crate::proxy) fn last_activity(&self) -> Instant {
        self.activity(Side::Upstream).max(self.activity(Side::Client))
    }

    /// Starts the idle time now.
    pub(in crate::proxy) fn begin(&self, now: Instant) {
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

    /// True for the first bytes from the upstream side.
    pub(super) fn received(&self, from: Side, now: Instant) -> bool {
        self.moves(from.other(), now);
        let is_first = from == Side::Upstream && self.first_byte.get().is_none();
        if is_first {
            self.first_byte.set(Some(now));
        }
        is_first
    }

    pub(in crate::proxy) fn sent(&self, to: Side, bytes: usize, now: Instant) {
        self.moves(to, now);
        let total = self.total(to);
        total.set(total.get() + bytes as u64);
    }

    /// Subtracts bytes that were counted as sent and were not.
    pub(in crate::proxy) fn not_sent(&self, to: Side, bytes: usize) {
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
