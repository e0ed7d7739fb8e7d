//! Counters of a worker, readable from other threads: sessions and their bytes, requests, logins, the legs of logins,
//! and symptoms of trouble.
//!
//! One thread writes each counter, so counting is a load and a store; readers sum over workers.
//!
//! ```text
//!   Counters, one a worker --totals: what the last line of a run says
//!                          |- ring: turns, completions, shortages
//!                          '- cells: by service, group and server --> `control::metrics`
//! ```

mod cells;
mod logins;
mod table;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::record::End;
use crate::counter::{Gauge, Tally};
use crate::protocol::login::{Leg, Mechanism};
use crate::uring::RingCounters;

pub use crate::counter::Counter;
pub use cells::{Cells, Handshake, Key, Login, Outcome, Status, Unconnected};
pub(super) use logins::Logins;
pub(super) use table::Next;
use table::Table;

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Counters {
    /// By [`End`].
    sessions: Tally<{ End::ALL.len() }>,
    upstream_bytes: Counter,
    client_bytes: Counter,
    requests: Counter,
    logins: [Counter; Mechanism::ALL.len()],
    refused_logins: Counter,
    unnamed_requests: Counter,
    identity_changes: Counter,
    legs: [Histogram; Leg::ALL.len()],
    accepted: Counter,
    given: Counter,
    active: Gauge,
    ring: OnceLock<Arc<RingCounters>>,
    cells: Table,
}

impl Counters {
    /// Connections that the worker has accepted, or was given by another worker, and serves or has served.
    pub fn accepted(&self) -> &Counter {
        &self.accepted
    }

    /// Connections that the worker has accepted and given to another one.
    pub fn given(&self) -> &Counter {
        &self.given
    }

    /// Sessions of the worker.
    pub fn active(&self) -> &Gauge {
        &self.active
    }

    /// What its ring counts, once it has one.
    pub fn ring(&self) -> Option<&RingCounters> {
        self.ring.get().map(|ring| &**ring)
    }

    /// Sets what its ring counts.
    pub(super) fn set_ring(&self, ring: &Arc<RingCounters>) {
        self.ring.get_or_init(|| Arc::clone(ring));
    }

    /// What it counts for each service, group and server that it serves now.
    pub fn cells(&self) -> Vec<Arc<Cells>> {
        self.cells.served()
    }

    /// What it counts for all that it serves and has served.
    #[cfg(test)]
    pub(super) fn all_cells(&self) -> Vec<Arc<Cells>> {
        self.cells.all()
    }

    /// The cells of what it serves next; they are shown when this is dropped.
    pub(super) fn next_cells(&self) -> Next<'_> {
        self.cells.next()
    }

    /// Sessions with this end.
    pub fn sessions(&self, end: End) -> &Counter {
        self.sessions.of(end as usize)
    }

    /// Bytes from clients to upstreams, in sessions that have ended.
    pub fn upstream_bytes(&self) -> &Counter {
        &self.upstream_bytes
    }

    /// Bytes from upstreams to clients, in sessions that have ended.
    pub fn client_bytes(&self) -> &Counter {
        &self.client_bytes
    }

    /// Requests that were answered, or could not be.
    pub fn requests(&self) -> &Counter {
        &self.requests
    }

    /// Accepted logins.
    pub fn logins(&self, mechanism: Mechanism) -> &Counter {
        &self.logins[mechanism as usize]
    }

    /// Logins answered with 401.
    pub fn refused_logins(&self) -> &Counter {
        &self.refused_logins
    }

    /// Requests whose credentials name no user in readable form: mostly Kerberos tickets.
    pub fn unnamed_requests(&self) -> &Counter {
        &self.unnamed_requests
    }

    /// How often the user of a client connection changed, or was about to.
    pub fn identity_changes(&self) -> &Counter {
        &self.identity_changes
    }

    /// Durations of this leg.
    pub fn leg(&self, leg: Leg) -> &Histogram {
        &self.legs[leg as usize]
    }
}

/// Buckets per power of two of microseconds: percentiles are exact to one eighth.
const PARTS: usize = 8;
/// Covers up to 2^32 us, over an hour; longer durations count as that.
const POWERS: usize = 30;

/// Durations in logarithmic buckets.
#[derive(Debug)]
pub struct Histogram([Counter; PARTS * POWERS]);

impl Default for Histogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Histogram {
    /// Records one duration; for the owning thread only.
    pub(super) fn record(&self, duration: Duration) {
        self.0[bucket(duration)].increase();
    }

    /// The duration that `share` of those in `histograms` do not exceed; none when there are no durations.
    pub fn percentile<'a>(
        histograms: &(impl Iterator<Item = &'a Self> + Clone),
        share: f64,
    ) -> Option<Duration> {
        let counts = |at: usize| histograms.clone().map(move |histogram| histogram.0[at].get()).sum::<u64>();
        let total: u64 = (0..PARTS * POWERS).map(counts).sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        (0..PARTS * POWERS).find_map(|at| {
            seen += counts(at);
            (seen >= wanted).then(|| upper_bound(at))
        })
    }
}

/// The bucket of a duration. The first [`PARTS`] buckets are a microsecond wide; after them each power of two has as
/// many.
fn bucket(duration: Duration) -> usize {
    let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let bits = PARTS.ilog2();
    let Some(power) = microseconds.checked_ilog2().filter(|power| *power >= bits) else {
        return microseconds as usize;
    };
    let part = (microseconds >> (power - bits)) as usize - PARTS;
    (((power - bits + 1) as usize) * PARTS + part).min(PARTS * POWERS - 1)
}

fn upper_bound(bucket: usize) -> Duration {
    let (power, part) = (bucket / PARTS, bucket % PARTS);
    let microseconds = match power {
        0 => part as u64,
        _ => (((PARTS + part + 1) as u64) << (power - 1)) - 1,
    };
    Duration::from_micros(microseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_the_durations_up_to_its_bound() {
        for microseconds in (0..5000).chain([1 << 20, (1 << 20) + 1, (1 << 31) - 1]) {
            let at = bucket(Duration::from_micros(microseconds));
            assert!(upper_bound(at) >= Duration::from_micros(microseconds), "{microseconds}");
            assert!(
                at == 0 || upper_bound(at - 1) < Duration::from_micros(microseconds),
                "{microseconds} belongs before bucket {at}"
            );
        }
        assert_eq!(bucket(Duration::MAX), PARTS * POWERS - 1);
    }

    #[test]
    fn percentiles_are_taken_over_all_workers() {
        let workers = [Histogram::default(), Histogram::default()];
        assert_eq!(Histogram::percentile(&workers.iter(), 0.5), None);
        for milliseconds in 1..=100 {
            workers[milliseconds % 2].record(Duration::from_millis(milliseconds as u64));
        }
        let percentile = |share| Histogram::percentile(&workers.iter(), share).expect("some were recorded");
        for (share, milliseconds) in [(0.5, 50), (0.99, 99), (1.0, 100)] {
            let exact = Duration::from_millis(milliseconds);
            assert!(percentile(share) >= exact && percentile(share) <= exact * 9 / 8, "{share}");
        }
    }
}
