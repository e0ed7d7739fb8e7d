//! The host as `/proc` describes it, and the resources that its processes use.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use procfs::process::{Process, all_processes};
use procfs::{CpuInfo, CpuTime, Current, CurrentSI, KernelStats};
use serde::Serialize;

use crate::options::Options;

/// The conditions of the measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    pub(crate) command: String,
    pub(crate) started: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) is_virtual: bool,
    pub(crate) cores: usize,
    pub(crate) proxy_cpu: usize,
    pub(crate) load_cpus: Vec<usize>,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

impl Host {
    /// Reads them from `/proc`; a value that cannot be read is "unknown".
    pub(crate) fn describe(options: &Options) -> Self {
        let cpu_info = CpuInfo::current().ok();
        let flags = cpu_info.as_ref().and_then(|info| info.flags(0)).unwrap_or_default();
        Self {
            command: options.command(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            cpu: cpu_info
                .as_ref()
                .and_then(|info| info.model_name(0))
                .map_or_else(|| "unknown".to_owned(), str::to_owned),
            is_virtual: flags.contains(&"hypervisor"),
            cores: cpu_info.map_or(0, |info| info.num_cores()),
            proxy_cpu: options.proxy_cpu,
            load_cpus: options.load_cpus(),
            rounds: options.rounds(),
            seconds: options.window().as_secs_f64(),
            seed: options.seed,
        }
    }
}

/// The pids of a process and its descendants.
pub(crate) fn family(pid: i32) -> Result<Vec<i32>> {
    let parents: Vec<(i32, i32)> = all_processes()
        .context("cannot list /proc")?
        .filter_map(|process| process.ok()?.stat().ok())
        .map(|stat| (stat.pid, stat.ppid))
        .collect();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(family)
}

/// The CPU seconds of the processes so far, user and system, of all threads, those that have ended and the kernel's worker
/// threads of an `io_uring` included (`clock_getcpuclockid(3)`).
pub(crate) fn cpu_seconds(pids: &[i32]) -> Result<f64> {
    let mut seconds = 0.0;
    for pid in pids {
        let used = clock_getcpuclockid(Pid::from_raw(*pid))
            .and_then(clock_gettime)
            .context("a process of the arm has ended")?;
        seconds += Duration::from(used).as_secs_f64();
    }
    Ok(seconds)
}

/// What the cores have done so far, in seconds.
#[derive(Debug, Clone)]
pub(crate) struct Cores(Vec<Core>);

#[derive(Debug, Clone, Copy)]
struct Core {
    busy_seconds: f64,
    stolen_seconds: f64,
}

impl Cores {
    /// Reads `/proc/stat`, which counts in ticks of 10 ms.
    pub(crate) fn now() -> Result<Self> {
        let stat = KernelStats::current().context("/proc/stat")?;
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        let core = |time: &CpuTime| Core {
            busy_seconds: seconds(
                time.user + time.nice + time.system + time.irq.unwrap_or(0) + time.softirq.unwrap_or(0),
            ),
            stolen_seconds: seconds(time.steal.unwrap_or(0)),
        };
        Ok(Self(stat.cpu_time.iter().map(core).collect()))
    }

    /// The share of the time that each core was busy since `before`, in percent.
    pub(crate) fn busy_percent_since(&self, before: &Self, seconds: f64) -> Vec<f64> {
        let pairs = self.0.iter().zip(&before.0);
        pairs.map(|(now, then)| (now.busy_seconds - then.busy_seconds) / seconds * 100.0).collect()
    }

    /// The largest share of a core's time that the hypervisor gave to others, in percent.
    pub(crate) fn stolen_percent_since(&self, before: &Self, seconds: f64) -> f64 {
        let pairs = self.0.iter().zip(&before.0);
        pairs
            .map(|(now, then)| (now.stolen_seconds - then.stolen_seconds) / seconds * 100.0)
            .fold(0.0, f64::max)
    }
}

/// The memory of the processes in bytes: anonymous and shared-memory pages. A page that several processes map counts
/// proportionally (`Pss_Anon` and `Pss_Shmem`, `proc_pid_smaps(5)`).
pub(crate) fn memory_bytes(pids: &[i32]) -> Result<u64> {
    let mut bytes = 0;
    for pid in pids {
        let rollup = Process::new(*pid)
            .and_then(|process| process.smaps_rollup())
            .context("cannot read smaps_rollup")?;
        for map in &rollup.memory_map_rollup {
            bytes +=
                ["Pss_Anon", "Pss_Shmem"].iter().filter_map(|key| map.extension.map.get(*key)).sum::<u64>();
        }
    }
    Ok(bytes)
}
