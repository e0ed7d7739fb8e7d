//! The memory available to this process: the host's, or the limit of its control group.

use std::path::PathBuf;

use super::cgroup;
use super::files::Files;

/// The bytes available to this process, if known.
pub fn memory_bytes() -> Option<u64> {
    bytes(&Files::of_this_host())
}

fn bytes(files: &Files<'_>) -> Option<u64> {
    let host = files.text("proc/meminfo").and_then(|text| total_bytes(&text));
    let group = files.text("proc/self/cgroup").and_then(|groups| group_limit_bytes(files, &groups));
    host.into_iter().chain(group).min()
}

/// `MemTotal` of `/proc/meminfo` (proc(5)).
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The lowest limit on a process's group and its ancestors.
fn group_limit_bytes(files: &Files<'_>, groups: &str) -> Option<u64> {
    let limit = |(directory, is_unified): (PathBuf, bool)| {
        let file = if is_unified { "memory.max" } else { "memory.limit_in_bytes" };
        // `max` instead of a number means no limit.
        files.text(directory.join(file))?.trim().parse::<u64>().ok()
    };
    cgroup::directories(groups, "memory").into_iter().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::doctor::host::files::testing::Root;

    #[test]
    fn the_hosts_memory_is_read() {
        assert_eq!(total_bytes("MemFree: 1 kB\nMemTotal:       24683520 kB\n"), Some(24_683_520 * 1024));
        assert_eq!(total_bytes("MemTotal: much\n"), None);
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20), "this host has memory");
    }

    #[test]
    fn the_least_limit_of_the_groups_around_a_process_holds() {
        let limit = |groups: &str, files: &[(&str, &str)]| {
            let root = Root::with(&[]);
            for (name, text) in files {
                root.write(&Path::new(cgroup::GROUPS).join(name), text);
            }
            group_limit_bytes(&root.files(), groups)
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
