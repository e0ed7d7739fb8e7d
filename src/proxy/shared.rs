//! What workers share besides their settings: plain numbers that each of them may change.

use std::io;

use super::outage::Outages;
use super::seats::Seats;
use super::settings::Upstream;

/// See the module docs.
#[derive(Debug)]
pub struct Shared {
    /// Limits how many sessions are served at once.
    pub seats: Seats,
    /// Which servers are down.
    pub outages: Outages,
}

impl Shared {
    /// For this many workers, which together serve up to `sessions_max` sessions at once.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new(sessions_max: usize, workers: usize, upstreams: &[Upstream]) -> io::Result<Self> {
        Ok(Self { seats: Seats::new(sessions_max, workers)?, outages: Outages::new(upstreams) })
    }
}
