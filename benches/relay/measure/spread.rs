//! How evenly two workers share connections.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Set, Stage};
use crate::arms::Arm;
use crate::child::Program;
use crate::figures::Measured;
use crate::load::Errand;

/// How often the connections are opened anew: each time is a sample.
const OPENINGS: usize = 10;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the proxy to end connections, or to count them.
const SETTLE_TIME: Duration = Duration::from_millis(40);

impl Stage<'_> {
    pub(super) fn spread(&mut self, connections: u32, arm: &Arm, set: &Set) -> Result<Measured> {
        let proxy = set.proxy.as_ref().context("the arm has no proxy")?;
        let mut measured = Measured::default();
        for _ in 0..OPENINGS {
            let before = self.counts(arm, proxy, set)?;
            self.load.take_tally()?;
            self.load.open(Errand::Once, connections)?;
            self.load.run_until(|tally| tally.replies >= connections.into(), ANSWER_TIMEOUT)?;
            let after = self.counts(arm, proxy, set)?;
            let opened: Vec<u64> =
                after.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before)).collect();
            let (sum, most) = (opened.iter().sum::<u64>(), opened.iter().max().copied().unwrap_or(0));
            if sum != u64::from(connections) {
                bail!("its workers count {opened:?} of {connections} connections");
            }
            measured.push("busiest_worker_times_its_share", (most * opened.len() as u64) as f64 / sum as f64);
            self.load.reset_all();
        }
        Ok(measured)
    }

    fn counts(&mut self, arm: &Arm, proxy: &Program, set: &Set) -> Result<Vec<u64>> {
        self.load.run_for(SETTLE_TIME)?;
        arm.spread(&proxy.pids()?, set.directory.path())
    }
}
