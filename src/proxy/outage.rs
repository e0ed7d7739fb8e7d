//! Which servers are down according to all workers, so that each change is logged once.
//!
//! It decides nothing: every session still tries every server in turn.

use std::sync::atomic::{AtomicU64, Ordering};

use super::settings::Upstream;

/// For each address of each server, the failed attempts since the last success.
#[derive(Debug)]
pub struct Outages(Box<[Box<[AtomicU64]>]>);

impl Outages {
    /// All servers up.
    pub fn new(upstreams: &[Upstream]) -> Self {
        let all_up = |upstream: &Upstream| upstream.addresses.iter().map(|_| AtomicU64::new(0)).collect();
        Self(upstreams.iter().map(all_up).collect())
    }

    /// Notes a failed attempt to connect. True for the first failure.
    pub(super) fn note_failure(&self, upstream: usize, address: usize) -> bool {
        self.0[upstream][address].fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Notes a successful attempt to connect. Returns the number of failures before it, if there were any.
    pub(super) fn note_success(&self, upstream: usize, address: usize) -> Option<u64> {
        let failures = &self.0[upstream][address];
        // Usually there are none: nothing is written then, so that the cache line stays shared between workers.
        let is_down = failures.load(Ordering::Relaxed) > 0;
        is_down.then(|| failures.swap(0, Ordering::Relaxed)).filter(|failures| *failures > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::Address;

    #[test]
    fn each_address_goes_down_and_up_once() {
        let address = |port: u16| Address::Ip(([192, 0, 2, 1], port).into());
        let upstream = |addresses| Upstream { name: "iis1:80".to_owned(), addresses, tls_name: None };
        let outages = Outages::new(&[upstream(vec![address(1)]), upstream(vec![address(2), address(3)])]);
        assert_eq!(outages.note_success(1, 1), None);
        assert!(outages.note_failure(1, 1) && !outages.note_failure(1, 1));
        assert_eq!(outages.note_success(1, 0), None, "a different address");
        assert_eq!(outages.note_success(1, 1), Some(2));
        assert_eq!(outages.note_success(1, 1), None);
        assert!(outages.note_failure(1, 1), "down again");
    }
}
