//! A window of the benchmark's own load.

use anyhow::Result;

use super::{Set, Stage};
use crate::clocks::{Spent, Watch};
use crate::figures::Measured;
use crate::load::{Errand, Tally};

impl Stage<'_> {
    pub(super) fn window(&mut self, errands: &[(Errand, u32)], set: &Set) -> Result<Measured> {
        for (errand, count) in errands {
            self.load.open(*errand, *count)?;
        }
        self.load.run_for(self.warm_up)?;
        self.load.take_tally()?;
        let watch = Watch::start(set.proxy.as_ref(), &set.servers())?;
        self.load.run_for(self.window)?;
        let spent = watch.stop()?;
        let tally = self.load.take_tally()?;
        let mut measured = Measured::default();
        add_tally(&tally, &spent, &mut measured);
        spent.add_conditions(self.options.proxy_cpu, &self.load_cpus, &mut measured);
        Ok(measured)
    }
}

/// The figures of all cases; the report picks those of this one.
fn add_tally(tally: &Tally, spent: &Spent, measured: &mut Measured) {
    let seconds = spent.seconds;
    let gigabytes = tally.bulk_bytes as f64 / 1e9;
    measured.push("bulk_gb_per_s", gigabytes / seconds);
    measured.push("requests_per_s", tally.replies as f64 / seconds);
    measured.push("connections_per_s", tally.connections as f64 / seconds);
    if tally.replies > 0 {
        measured.push("p50_us", tally.latency_us(50.0));
        measured.push("p99_us", tally.latency_us(99.0));
    }
    measured.push("errors", tally.errors as f64);
    if let Some(cpu_seconds) = spent.proxy_cpu_seconds {
        measured.push("proxy_cpu_s_per_gb", cpu_seconds / gigabytes);
        measured.push("proxy_cpu_us_per_request", cpu_seconds * 1e6 / tally.replies as f64);
        measured.push("proxy_cpu_us_per_connection", cpu_seconds * 1e6 / tally.connections as f64);
    }
}
