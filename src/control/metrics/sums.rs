//! The cells of all workers, summed by what they count for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::counter::Spread;
use crate::protocol::login::Leg;
use crate::proxy::counters::{Cells, Counters, Handshake, Key, Login, Outcome, Status, Unconnected};
use crate::proxy::record::End;

/// What workers count for each service, group and server that they serve. What a service counts stands before the sums of
/// its groups, and those before the sums of their servers; none of them includes another.
pub(in crate::control) type Sums = BTreeMap<Key, Sum>;

/// Reads the cells of all workers.
pub(in crate::control) fn sums(counters: &[Arc<Counters>]) -> Sums {
    let mut sums = Sums::new();
    for cells in counters.iter().flat_map(|counters| counters.cells()) {
        sums.entry(cells.key().clone()).or_default().add(&cells);
    }
    sums
}

/// One of the [`Sums`]. The fields are those of [`Cells`].
#[derive(Debug, Clone, Default)]
pub(in crate::control) struct Sum {
    pub(in crate::control) has_requests: bool,
    pub(in crate::control) accepted: u64,
    pub(in crate::control) active: u64,
    ended: Words<{ End::ALL.len() }>,
    pub(in crate::control) upstream_bytes: u64,
    pub(in crate::control) client_bytes: u64,
    pub(in crate::control) spliced_bytes: u64,
    pub(in crate::control) connected: u64,
    pub(in crate::control) warm: u64,
    unconnected: Words<{ Unconnected::ALL.len() }>,
    pub(in crate::control) connect_time: Spread,
    pub(in crate::control) first_byte_time: Spread,
    pub(in crate::control) queue_time: Spread,
    pub(in crate::control) requests: u64,
    replies: Words<{ Status::ALL.len() }>,
    pub(in crate::control) reply_head_time: Spread,
    logins: [Words<{ Outcome::ALL.len() }>; Login::ALL.len()],
    legs: [Spread; Leg::ALL.len()],
    handshakes: Words<{ Handshake::ALL.len() }>,
}

/// A number for each of several words.
#[derive(Debug, Clone, Copy)]
struct Words<const N: usize>([u64; N]);

impl<const N: usize> Default for Words<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl Sum {
    fn add(&mut self, cells: &Cells) {
        self.has_requests |= cells.has_requests();
        // A session is in the cells that it enters before it leaves others.
        self.active += cells.active.get();
        self.accepted += cells.accepted.get();
        for end in End::ALL {
            self.ended.0[end as usize] += cells.ended(end).get();
        }
        self.upstream_bytes += cells.upstream_bytes.get();
        self.client_bytes += cells.client_bytes.get();
        self.spliced_bytes += cells.spliced_bytes.get();
        self.connected += cells.connected.get();
        self.warm += cells.warm.get();
        for cause in Unconnected::ALL {
            self.unconnected.0[cause as usize] += cells.unconnected(cause).get();
        }
        self.connect_time.add(&cells.connect_time.read());
        self.first_byte_time.add(&cells.first_byte_time.read());
        self.queue_time.add(&cells.queue_time.read());
        self.requests += cells.requests.get();
        for status in Status::ALL {
            self.replies.0[status as usize] += cells.replies(status).get();
        }
        self.reply_head_time.add(&cells.reply_head_time.read());
        for login in Login::ALL {
            for outcome in Outcome::ALL {
                self.logins[login as usize].0[outcome as usize] += cells.logins(login, outcome).get();
            }
        }
        for leg in Leg::ALL {
            self.legs[leg as usize].add(&cells.leg(leg).read());
        }
        for handshake in Handshake::ALL {
            self.handshakes.0[handshake as usize] += cells.handshakes(handshake).get();
        }
    }

    /// Sessions that ended with this end.
    pub(in crate::control) fn ended(&self, end: End) -> u64 {
        self.ended.0[end as usize]
    }

    /// Attempts to connect that led to no connection, for this reason.
    pub(in crate::control) fn unconnected(&self, cause: Unconnected) -> u64 {
        self.unconnected.0[cause as usize]
    }

    /// Replies with this status.
    pub(in crate::control) fn replies(&self, status: Status) -> u64 {
        self.replies.0[status as usize]
    }

    /// Logins of this kind that came so far.
    pub(in crate::control) fn logins(&self, login: Login, outcome: Outcome) -> u64 {
        self.logins[login as usize].0[outcome as usize]
    }

    /// Durations of this leg.
    pub(in crate::control) fn leg(&self, leg: Leg) -> &Spread {
        &self.legs[leg as usize]
    }

    /// TLS handshakes that went like this.
    pub(in crate::control) fn handshakes(&self, handshake: Handshake) -> u64 {
        self.handshakes.0[handshake as usize]
    }
}
