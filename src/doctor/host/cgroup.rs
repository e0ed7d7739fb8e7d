//! Control groups (cgroups(7)): the files of a process's group and of those around it.

use std::path::{Path, PathBuf};

/// Where control groups are mounted by convention (cgroups(7), file-hierarchy(7)).
pub(super) const GROUPS: &str = "sys/fs/cgroup";

/// The directories with the limits of a controller, from the process's own group outwards; whether each is of the unified
/// hierarchy; as paths from the root. `groups` is its `/proc/PID/cgroup`.
pub(super) fn directories(groups: &str, controller: &str) -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let is_unified = controllers.is_empty();
        if !is_unified && !controllers.split(',').any(|name| name == controller) {
            continue;
        }
        let mount = Path::new(GROUPS).join(if is_unified { "" } else { controller });
        let group = mount.join(path.trim_start_matches('/'));
        let around = group.ancestors().take_while(|group| group.starts_with(&mount));
        found.extend(around.map(|group| (group.to_owned(), is_unified)));
    }
    found
}
