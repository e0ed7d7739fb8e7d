//! The totals of a run over all workers, for its last line.

use std::fmt;
use std::sync::Arc;

use crate::proxy::counters::{Counter, Counters};
use crate::proxy::record::End;

/// The totals; see the module documentation.
#[derive(Debug)]
pub(super) struct Totals<'a> {
    /// One for each worker.
    pub(super) counters: &'a [Arc<Counters>],
    /// Whether requests are counted.
    pub(super) has_requests: bool,
    /// How often a client had to wait because all seats were taken.
    pub(super) times_full: u64,
}

impl fmt::Display for Totals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: &dyn Fn(&Counters) -> &Counter| -> u64 {
            self.counters.iter().map(|counters| of(counters).get()).sum()
        };
        let ends = End::ALL.map(|end| (end, sum(&|counters| counters.sessions(end))));
        write!(f, "connections={}", ends.iter().map(|(_end, count)| count).sum::<u64>())?;
        if self.has_requests {
            write!(f, " requests={}", sum(&Counters::requests))?;
        }
        write!(f, " to_upstream_bytes={}", sum(&Counters::upstream_bytes))?;
        write!(f, " to_client_bytes={}", sum(&Counters::client_bytes))?;
        for (end, count) in ends.into_iter().filter(|(_end, count)| *count > 0) {
            write!(f, " {}={count}", end.as_str())?;
        }
        if self.times_full > 0 {
            write!(f, " limit_reached={}", self.times_full)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_sums_over_all_workers_and_name_what_happened_only() {
        let counters = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        let line =
            |has_requests, times_full| Totals { counters: &counters, has_requests, times_full }.to_string();
        assert_eq!(line(false, 0), "connections=0 to_upstream_bytes=0 to_client_bytes=0");
        counters[0].sessions(End::Idle).increase();
        for worker in &counters {
            worker.sessions(End::ClientClose).increase();
            worker.requests().add(5);
            worker.upstream_bytes().add(100);
            worker.client_bytes().add(1 << 40);
        }
        assert_eq!(
            line(true, 4),
            "connections=3 requests=10 to_upstream_bytes=200 to_client_bytes=2199023255552 client-close=2 idle=1 \
             limit_reached=4"
        );
    }
}
