//! What this machine says of itself: files of `/proc` and `/sys`, limits, and what a try finds.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Pid, geteuid};

use super::cgroup;
use super::files::Files;
use super::wanted::Wanted;
use crate::uring::{self, Clock, Features, PipeSet, Ring};

/// Pipes that were opened, and the size of the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// How many.
    pub pipes: usize,
    /// Bytes of the smallest; 0 without any.
    pub bytes: usize,
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub name: String,
    /// Receive queues.
    pub queues: usize,
    /// Whether each queue's packets are spread over several CPUs (`rps_cpus`).
    pub spreads: bool,
    /// Whether each queue has entries for flows (`rps_flow_cnt`).
    pub has_flows: bool,
}

/// Readings; `None` where the machine does not say.
#[derive(Debug, Default)]
pub struct Readings {
    pub(super) is_root: bool,
    pub(super) io_uring_disabled: Option<u8>,
    pub(super) io_uring_group: Option<i64>,
    /// Whether a seccomp filter stands before the kernel.
    pub(super) has_seccomp: bool,
    pub(super) memlock_bytes: Option<u64>,
    pub(super) nr_open: Option<u64>,
    pub(super) files_open: Option<u64>,
    pub(super) files_max: Option<u64>,
    pub(super) pipe_pages_soft: Option<u64>,
    pub(super) pipe_bytes_max: Option<u64>,
    pub(super) ports: Option<u64>,
    pub(super) somaxconn: Option<u32>,
    pub(super) syn_backlog: Option<u32>,
    pub(super) syn_cookies: Option<u8>,
    pub(super) conntrack: Option<(u64, u64)>,
    pub(super) devices: Vec<Device>,
    pub(super) flow_entries: Option<u64>,
    pub(super) cpus: usize,
    /// CPUs' worth of time that the control group allows.
    pub(super) quota: Option<f64>,
    pub(super) has_smt: bool,
    /// Found by trying.
    pub(super) ring: Option<Result<Features, uring::Error>>,
    pub(super) ring_of_full_size: Option<Result<(), uring::Error>>,
    pub(super) pipes: Option<Granted>,
    pub(super) clock: Option<Clock>,
}

impl Readings {
    /// Reads files and limits; nothing is tried.
    pub fn read(files: &Files<'_>) -> Self {
        let conntrack = || {
            let count = files.sysctl("net.netfilter.nf_conntrack_count")?;
            Some((count, files.sysctl("net.netfilter.nf_conntrack_max")?))
        };
        let mut open = files.text("proc/sys/fs/file-nr").unwrap_or_default();
        open.truncate(open.find(char::is_whitespace).unwrap_or(0));
        Self {
            is_root: geteuid().is_root(),
            io_uring_disabled: files.sysctl("kernel.io_uring_disabled"),
            io_uring_group: files.sysctl("kernel.io_uring_group"),
            has_seccomp: files.text("proc/self/status").is_some_and(|status| is_filtered(&status)),
            memlock_bytes: getrlimit(Resource::RLIMIT_MEMLOCK).ok().map(|(soft, _)| soft),
            nr_open: files.sysctl("fs.nr_open"),
            files_open: open.parse().ok(),
            files_max: files.sysctl("fs.file-max"),
            pipe_pages_soft: files.sysctl("fs.pipe-user-pages-soft"),
            pipe_bytes_max: files.sysctl("fs.pipe-max-size"),
            ports: ports(files),
            somaxconn: files.sysctl("net.core.somaxconn"),
            syn_backlog: files.sysctl("net.ipv4.tcp_max_syn_backlog"),
            syn_cookies: files.sysctl("net.ipv4.tcp_syncookies"),
            conntrack: conntrack(),
            devices: devices(files),
            flow_entries: files.sysctl("net.core.rps_sock_flow_entries"),
            cpus: cpus(),
            quota: quota(files),
            has_smt: files.value::<u8>("sys/devices/system/cpu/smt/active") == Some(1),
            ..Self::default()
        }
    }

    /// Tries what cannot be read: a ring, pipes, the clock.
    #[must_use]
    pub fn tried(mut self, wanted: &Wanted) -> Self {
        let ring = uring::probe(wanted.ring.without);
        if ring.is_ok() {
            self.ring_of_full_size = Some(Ring::open(&wanted.ring, PipeSet::default()).map(drop));
        }
        self.ring = Some(ring);
        let sets = PipeSet::open(1, wanted.pipes, wanted.pipe_bytes);
        self.pipes = sets.first().map(|set| Granted { pipes: set.granted(), bytes: set.bytes_min() });
        self.clock = uring::clock().ok();
        self
    }

    /// With the pipes that a process was granted.
    #[must_use]
    pub fn granted(self, pipes: Granted) -> Self {
        Self { pipes: Some(pipes), ..self }
    }
}

/// The CPUs in the process's affinity mask.
fn cpus() -> usize {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return 1 };
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count().max(1)
}

/// Mode 2 of `Seccomp:` in `/proc/self/status` is a filter.
fn is_filtered(status: &str) -> bool {
    status.lines().filter_map(|line| line.strip_prefix("Seccomp:")).any(|mode| mode.trim() == "2")
}

/// The ports of `ip_local_port_range` without those of `ip_local_reserved_ports`.
fn ports(files: &Files<'_>) -> Option<u64> {
    let range = files.text("proc/sys/net/ipv4/ip_local_port_range")?;
    let (low, high) = range.trim().split_once(char::is_whitespace)?;
    let (low, high): (u64, u64) = (low.parse().ok()?, high.trim().parse().ok()?);
    let reserved = files.text("proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let within = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some((last.min(high) + 1).saturating_sub(first.max(low)))
    };
    let reserved: u64 = reserved.trim().split(',').filter_map(within).sum();
    Some((high + 1).saturating_sub(low).saturating_sub(reserved))
}

/// Devices that are more than software, and up.
fn devices(files: &Files<'_>) -> Vec<Device> {
    const NET: &str = "sys/class/net";
    let mut devices = Vec::new();
    for name in files.names(NET) {
        let device = format!("{NET}/{name}");
        let is_down =
            files.value::<String>(&format!("{device}/operstate")).is_some_and(|state| state == "down");
        if is_down || !files.has(&format!("{device}/device")) {
            continue;
        }
        let queues = files.names(&format!("{device}/queues"));
        let queues: Vec<_> = queues.iter().filter(|queue| queue.starts_with("rx-")).collect();
        let all = |holds: &dyn Fn(&str) -> bool| {
            queues.iter().all(|queue| holds(&format!("{device}/queues/{queue}")))
        };
        let spreads = |queue: &str| {
            let mask = files.text(format!("{queue}/rps_cpus")).unwrap_or_default();
            mask.chars().filter_map(|digit| digit.to_digit(16)).map(u32::count_ones).sum::<u32>() > 1
        };
        let has_flows = |queue: &str| files.value::<u64>(&format!("{queue}/rps_flow_cnt")) > Some(0);
        devices.push(Device {
            queues: queues.len(),
            spreads: all(&spreads),
            has_flows: all(&has_flows),
            name,
        });
    }
    devices
}

/// The lowest quota on the process's group and its ancestors, in CPUs.
fn quota(files: &Files<'_>) -> Option<f64> {
    let groups = files.text("proc/self/cgroup")?;
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| *number > 0.0);
    let quota = |(directory, is_unified): (std::path::PathBuf, bool)| {
        if is_unified {
            let text = files.text(directory.join("cpu.max"))?;
            let (quota, period) = text.trim().split_once(' ')?;
            return Some(number(quota)? / number(period)?);
        }
        let read = |name: &str| number(files.text(directory.join(name))?.trim());
        Some(read("cpu.cfs_quota_us")? / read("cpu.cfs_period_us")?)
    };
    let quotas = cgroup::directories(&groups, "cpu").into_iter().filter_map(quota);
    quotas.min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::super::files::testing::Root;
    use super::*;

    #[test]
    fn another_host_is_read_from_its_files() {
        let root = Root::with(&[
            ("proc/sys/kernel/io_uring_disabled", "1\n"),
            ("proc/sys/kernel/io_uring_group", "-1\n"),
            ("proc/self/status", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("proc/sys/net/ipv4/ip_local_reserved_ports", "8080,40000-40009,60999-65000\n"),
            ("proc/sys/net/core/somaxconn", "128\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "17\n"),
            ("proc/sys/fs/file-nr", "2522\t0\t2466177\n"),
            ("proc/self/cgroup", "0::/box\n"),
            ("sys/fs/cgroup/box/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("sys/devices/system/cpu/smt/active", "1\n"),
            ("sys/class/net/lo/queues/rx-0/rps_cpus", "0\n"),
            ("sys/class/net/eth0/device/vendor", "0x1af4\n"),
            ("sys/class/net/eth0/operstate", "up\n"),
            ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,000000ff\n"),
            ("sys/class/net/eth0/queues/rx-0/rps_flow_cnt", "0\n"),
            ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0\n"),
            ("sys/class/net/eth1/device/vendor", "0x1af4\n"),
            ("sys/class/net/eth1/operstate", "down\n"),
        ]);
        let readings = Readings::read(&root.files());
        assert_eq!((readings.io_uring_disabled, readings.io_uring_group), (Some(1), Some(-1)));
        assert!(readings.has_seccomp && readings.has_smt);
        assert_eq!(readings.ports, Some(28_232 - 10 - 1));
        assert_eq!((readings.somaxconn, readings.conntrack), (Some(128), Some((17, 262_144))));
        assert_eq!((readings.files_open, readings.quota), (Some(2522), Some(1.5)));
        let eth0 = Device { name: "eth0".to_owned(), queues: 1, spreads: true, has_flows: false };
        assert_eq!(readings.devices, [eth0]);
    }

    #[test]
    fn a_quota_of_the_old_hierarchy_is_read() {
        let root = Root::with(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/box\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(quota(&root.files()), Some(0.5));
    }

    #[test]
    fn a_host_without_files_says_nothing() {
        let readings = Readings::read(&Root::with(&[]).files());
        assert_eq!((readings.ports, readings.conntrack, readings.quota), (None, None, None));
        assert!(readings.devices.is_empty() && !readings.has_seccomp && readings.cpus > 0);
    }

    #[test]
    fn this_host_says_something() {
        let readings = Readings::read(&Files::of_this_host());
        assert!(readings.ports.is_some() && readings.somaxconn.is_some(), "{readings:?}");
    }
}
