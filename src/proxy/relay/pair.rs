//! A session's two connections, and what becomes of them when the session is dropped.

use std::cell::Cell;
use std::io;
use std::time::Instant;

use super::meter::Meter;
use super::side::Side;
use crate::proxy::connection::{Connection, cut};
use crate::proxy::settings::{Splice, Timeouts};
use crate::upstream::Lease;
use crate::uring::Ring;

/// How a relay ended.
#[derive(Debug)]
pub(in crate::proxy) enum Outcome {
    /// Both streams ended and were delivered; `first` is the side that ended its stream first.
    Closed { first: Side },
    /// This side's connection failed.
    Broken { side: Side, error: io::Error },
    /// No byte moved either way for the idle time-out.
    Idle,
}

/// What is reset when a session is dropped before its end, because the drain time-out expired or the process stops
/// immediately. An incomplete stream must not look complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Reset {
    /// Nothing: the session has reached an end that decides how the connections are closed.
    Nothing,
    /// Both connections, if any bytes are on the way; nothing else is known of the streams.
    InFlight,
    /// Both connections: a message is in progress, even if all bytes of it so far have arrived.
    All,
}

/// A session's two connections and how to treat them.
pub(in crate::proxy) struct Relay<'a> {
    pub(in crate::proxy) ring: &'a Ring,
    pub(in crate::proxy) client: &'a Connection,
    pub(in crate::proxy) upstream: &'a Connection,
    pub(in crate::proxy) meter: &'a Meter,
    /// The session's server.
    pub(in crate::proxy) lease: &'a Cell<Option<Lease>>,
    pub(in crate::proxy) splice: Splice,
    pub(in crate::proxy) timeouts: &'a Timeouts,
    pub(in crate::proxy) accepts_missing_close_notify: bool,
    pub(in crate::proxy) reset: Cell<Reset>,
    /// The side that ended its stream first.
    pub(in crate::proxy) first_end: Cell<Option<Side>>,
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        match self.reset.get() {
            Reset::Nothing => {}
            Reset::InFlight => cut(self.client, self.upstream),
            Reset::All => {
                self.client.reset_on_close();
                self.upstream.reset_on_close();
            }
        }
    }
}

impl Relay<'_> {
    /// Counts bytes from this side.
    pub(in crate::proxy) fn received(&self, from: Side, now: Instant) {
        if self.meter.received(from, now) {
            let took = now.duration_since(self.meter.accepted);
            self.meter.with_cells(|cells| cells.first_byte_time.record(took));
            let lease = self.lease.take();
            if let Some(lease) = &lease {
                lease.note_answer();
            }
            self.lease.set(lease);
        }
    }

    pub(in crate::proxy) fn connection(&self, side: Side) -> &Connection {
        match side {
            Side::Client => self.client,
            Side::Upstream => self.upstream,
        }
    }
}
