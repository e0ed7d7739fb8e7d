//! The clocks before and after a window: what the proxy, the ends and the cores have used meanwhile.

use std::time::Instant;

use anyhow::Result;

use crate::child::Program;
use crate::figures::Measured;
use crate::host::{self, Cores};

/// The clocks at the begin of a window.
pub(crate) struct Watch {
    pids: Option<Vec<i32>>,
    began_at: Instant,
    proxy_cpu_seconds: Option<f64>,
    /// This process, and the programs that are ends.
    ends: Vec<i32>,
    ends_cpu_seconds: f64,
    cores: Cores,
}

/// What a window has used.
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    /// `None` without a proxy.
    pub(crate) proxy_cpu_seconds: Option<f64>,
    ends_cpu_seconds: f64,
    cores_percent: Vec<f64>,
    stolen_percent: f64,
}

impl Watch {
    /// Reads them for a proxy, and for this process with the programs that are ends as well.
    pub(crate) fn start(proxy: Option<&Program>, ends: &[&Program]) -> Result<Self> {
        let pids = proxy.map(Program::pids).transpose()?;
        let mut pids_of_ends = vec![std::process::id() as i32];
        for program in ends {
            pids_of_ends.extend(program.pids()?);
        }
        Ok(Self {
            began_at: Instant::now(),
            proxy_cpu_seconds: pids.as_deref().map(host::cpu_seconds).transpose()?,
            ends_cpu_seconds: host::cpu_seconds(&pids_of_ends)?,
            ends: pids_of_ends,
            cores: Cores::now()?,
            pids,
        })
    }

    pub(crate) fn stop(self) -> Result<Spent> {
        let seconds = self.began_at.elapsed().as_secs_f64();
        let used = self.pids.as_deref().map(host::cpu_seconds).transpose()?;
        let used_by_ends = host::cpu_seconds(&self.ends)?;
        let cores = Cores::now()?;
        Ok(Spent {
            seconds,
            proxy_cpu_seconds: used.zip(self.proxy_cpu_seconds).map(|(after, before)| after - before),
            ends_cpu_seconds: used_by_ends - self.ends_cpu_seconds,
            cores_percent: cores.busy_percent_since(&self.cores, seconds),
            stolen_percent: cores.stolen_percent_since(&self.cores, seconds),
        })
    }
}

impl Spent {
    /// The proxy's CPU seconds for each second.
    pub(crate) fn proxy_cpu_share(&self) -> Option<f64> {
        Some(self.proxy_cpu_seconds? / self.seconds)
    }

    /// Adds what tells how far the host allowed to measure.
    pub(crate) fn add_conditions(self, proxy_cpu: usize, load_cpus: &[usize], measured: &mut Measured) {
        let of = |cpu: usize| self.cores_percent.get(cpu).copied().unwrap_or(0.0);
        measured.push("proxy_core_busy_percent", of(proxy_cpu));
        measured.push("load_core_busy_percent", load_cpus.iter().map(|cpu| of(*cpu)).fold(0.0, f64::max));
        measured.push("stolen_percent", self.stolen_percent);
        let ends_percent = self.ends_cpu_seconds / self.seconds * 100.0;
        let load_cores_percent: f64 = load_cpus.iter().map(|cpu| of(*cpu)).sum();
        measured.push("ends_cpu_percent", ends_percent);
        measured.push("others_on_load_cores_percent", (load_cores_percent - ends_percent).max(0.0));
        if let Some(share) = self.proxy_cpu_share() {
            measured.push("proxy_cpu_percent", share * 100.0);
            measured.push("others_on_proxy_core_percent", (of(proxy_cpu) - share * 100.0).max(0.0));
        }
        measured.cores_percent = self.cores_percent;
    }
}
