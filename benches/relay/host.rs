//! The host as `/proc` describes it, and the resources that its processes use.

use std::fs;

use anyhow::{Context, Result};
use procfs::process::{Process, all_processes};
use procfs::{CpuInfo, Current};
use serde::Serialize;

use crate::options::Options;

/// The conditions of the measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    pub(crate) command: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) proxy_cpu: usize,
    pub(crate) load_cpu: usize,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
}

impl Host {
    /// Reads them from `/proc`; a value that cannot be read is "unknown".
    pub(crate) fn describe(options: &Options) -> Self {
        let cpu_info = CpuInfo::current().ok();
        let arguments = std::env::args().skip(1).filter(|one| one != "--bench").map(quoted);
        Self {
            command: ["cargo bench --bench relay --".to_owned()]
                .into_iter()
                .chain(arguments)
                .collect::<Vec<_>>()
                .join(" "),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            cpu: cpu_info
                .as_ref()
                .and_then(|info| info.model_name(0))
                .map_or_else(|| "unknown".to_owned(), str::to_owned),
            cores: cpu_info.map_or(0, |info| info.num_cores()),
            proxy_cpu: options.proxy_cpu,
            load_cpu: options.load_cpu,
            rounds: options.rounds,
            seconds: options.seconds,
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

/// The CPU seconds of the processes so far, user and system, of all threads (`proc_pid_stat(5)`). The kernel's worker
/// threads of an `io_uring` belong to the process that owns the ring.
pub(crate) fn cpu_seconds(pids: &[i32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = Process::new(*pid)
            .and_then(|process| process.stat())
            .context("a process of the arm has exited")?;
        ticks += stat.utime + stat.stime;
    }
    Ok(ticks as f64 / procfs::ticks_per_second() as f64)
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

fn quoted(argument: String) -> String {
    if argument.contains(char::is_whitespace) { format!("'{argument}'") } else { argument }
}
