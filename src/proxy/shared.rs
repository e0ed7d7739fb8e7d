//! What workers share beside their settings: plain numbers that each of them may change.

use std::io;

use super::outage::Outages;
use super::seats::Seats;
use super::settings::Upstream;

/// See the module's head.
#[derive(Debug)]
pub struct Shared {
    /// Sessions that are served at once.
    pub seats: Seats,
    /// Servers that are down.
    pub outages: Outages,
}

impl Shared {
    /// For so many workers, which serve so many sessions at once.
    ///
    /// # Errors
    /// As eventfd(2).
    pub fn new(sessions_max: usize, workers: usize, upstreams: &[Upstream]) -> io::Result<Self> {
        Ok(Self { seats: Seats::new(sessions_max, workers)?, outages: Outages::new(upstreams) })
    }
}
