//! What a session has moved so far, and when.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::side::Side;
use crate::counter::Bytes;
use crate::proxy::counters::Cells;

/// Byte counts and times of a session.
pub(in crate::proxy) struct Meter {
    /// When the client was accepted.
    pub(in crate::proxy) accepted: Instant,
    /// When bytes for the upstream side were last received or sent: nanoseconds after `accepted`, to keep idle sessions
    /// small.
    upstream_activity: Cell<u64>,
    /// Same for the client side.
    client_activity: Cell<u64>,
    /// Same for the first bytes from the upstream side.
    first_byte: Cell<Option<NonZeroU64>>,
    pub(in crate::proxy) upstream_bytes: Cell<u64>,
    pub(in crate::proxy) client_bytes: Cell<u64>,
    pub(in crate::proxy) spliced_bytes: Cell<u64>,
    /// Where the session counts now; never none between two calls.
    cells: Cell<Option<Arc<Cells>>>,
}

impl Meter {
    pub(in crate::proxy) fn new(accepted: Instant, cells: Arc<Cells>) -> Self {
        Self {
            accepted,
            upstream_activity: Cell::new(0),
            client_activity: Cell::new(0),
            first_byte: Cell::new(None),
            upstream_bytes: Cell::new(0),
            client_bytes: Cell::new(0),
            spliced_bytes: Cell::new(0),
            cells: Cell::new(Some(cells)),
        }
    }

    /// The cells in which the session counts from now on. Returns those before.
    pub(in crate::proxy) fn set_cells(&self, cells: Arc<Cells>) -> Option<Arc<Cells>> {
        self.cells.replace(Some(cells))
    }

    /// Calls `with` with the cells in which the session counts now.
    pub(in crate::proxy) fn with_cells<T>(&self, with: impl FnOnce(&Arc<Cells>) -> T) -> Option<T> {
        // A RefCell would add a word to every idle session.
        let cells = self.cells.take();
        let result = cells.as_ref().map(with);
        self.cells.set(cells);
        result
    }

    /// When a byte last moved towards this side.
    pub(in crate::proxy) fn activity(&self, to: Side) -> Instant {
        self.accepted + Duration::from_nanos(self.activity_cell(to).get())
    }

    /// When a byte last moved on either side.
    pub(in crate::proxy) fn last_activity(&self) -> Instant {
        self.accepted + Duration::from_nanos(self.upstream_activity.get().max(self.client_activity.get()))
    }

    /// Starts the idle time now.
    pub(in crate::proxy) fn begin(&self, now: Instant) {
        self.moves(Side::Upstream, now);
        self.moves(Side::Client, now);
    }

    /// The time from accepting the client to the first bytes from the upstream side, if some have come.
    pub(in crate::proxy) fn first_byte_time(&self) -> Option<Duration> {
        self.first_byte.get().map(|nanoseconds| Duration::from_nanos(nanoseconds.get()))
    }

    fn moves(&self, to: Side, now: Instant) {
        self.activity_cell(to).set(self.nanoseconds(now));
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        now.duration_since(self.accepted).as_nanos() as u64
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
            // No time at all is kept as the least that there is.
            self.first_byte.set(Some(NonZeroU64::new(self.nanoseconds(now)).unwrap_or(NonZeroU64::MIN)));
        }
        is_first
    }

    pub(in crate::proxy) fn sent(&self, to: Side, bytes: usize, now: Instant) {
        self.moves(to, now);
        let total = self.total(to);
        total.set(total.get() + bytes as u64);
        self.with_cells(|cells| shown(cells, to).add(bytes as u64));
    }

    /// Counts bytes that went through a pipe, besides [`sent`](Self::sent).
    pub(super) fn spliced(&self, bytes: usize) {
        self.spliced_bytes.set(self.spliced_bytes.get() + bytes as u64);
        self.with_cells(|cells| cells.spliced_bytes.add(bytes as u64));
    }

    /// Subtracts bytes that were counted as sent and were not.
    pub(in crate::proxy) fn not_sent(&self, to: Side, bytes: usize) {
        let total = self.total(to);
        total.set(total.get() - bytes as u64);
        self.with_cells(|cells| shown(cells, to).take_back(bytes as u64));
    }

    fn total(&self, to: Side) -> &Cell<u64> {
        match to {
            Side::Client => &self.client_bytes,
            Side::Upstream => &self.upstream_bytes,
        }
    }
}

/// What readers see of the bytes to this side.
fn shown(cells: &Cells, to: Side) -> &Bytes {
    match to {
        Side::Client => &cells.client_bytes,
        Side::Upstream => &cells.upstream_bytes,
    }
}
