//! The memory available to this process: the host's, or the limit of its control group (cgroups(7)).

use std::fs;
use std::path::Path;

/// Where control groups are mounted by convention (cgroups(7), file-hierarchy(7)).
const GROUPS: &str = "/sys/fs/cgroup";

/// The bytes available to this process, if known.
pub(super) fn memory_bytes() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let host = read(Path::new("/proc/meminfo")).and_then(|text| total_bytes(&text));
    let group = read(Path::new("/proc/self/cgroup")).and_then(|text| group_limit_bytes(&text, read));
    host.into_iter().chain(group).min()
}

/// `MemTotal` of `/proc/meminfo` (proc(5)).
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The lowest limit on a process's group and its ancestors. `groups` is its `/proc/PID/cgroup`.
fn group_limit_bytes(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => (Path::new(GROUPS).to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (Path::new(GROUPS).join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = root.join(path.trim_start_matches('/'));
        // `max` instead of a number means no limit.
        let limits = group
            .ancestors()
            .take_while(|group| group.starts_with(&root))
            .filter_map(|group| read(&group.join(file))?.trim().parse::<u64>().ok());
        least = limits.chain(least).min();
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_memory_is_read() {
        assert_eq!(total_bytes("MemFree: 1 kB\nMemTotal:       24683520 kB\n"), Some(24_683_520 * 1024));
        assert_eq!(total_bytes("MemTotal: much\n"), None);
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20), "this host has memory");
    }

    #[test]
    fn the_least_limit_of_the_groups_around_a_process_holds() {
        let limit = |groups: &str, files: &[(&str, &str)]| {
            group_limit_bytes(groups, |path| {
                let found = files.iter().find(|(name, _)| Path::new(GROUPS).join(name) == path);
                found.map(|(_, text)| (*text).to_owned())
            })
        };
        let unified = "0::/system.slice/iisplice.service\n";
        let own = ("system.slice/iisplice.service/memory.max", "50331648\n");
        assert_eq!(limit(unified, &[own]), Some(50_331_648));
        assert_eq!(limit(unified, &[own, ("system.slice/memory.max", "1000\n")]), Some(1000));
        assert_eq!(limit(unified, &[own, ("system.slice/memory.max", "max\n")]), Some(50_331_648));
        assert_eq!(limit(unified, &[]), None);
        assert_eq!(limit("0::/\n", &[("memory.max", "7\n")]), Some(7), "in a namespace of its own");
        let old = "5:cpu,memory:/box\n4:pids:/box\n";
        assert_eq!(limit(old, &[("memory/box/memory.limit_in_bytes", "123\n")]), Some(123));
        assert_eq!(limit("nonsense\n", &[]), None);
    }
}
