//! The resources that this host gives the process, and what the settings want of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::setting::{Named, setting};
use super::{Plan, descriptors_a_session};
use crate::doctor::host::{Wanted, memory_bytes};
use crate::proxy::settings::{Service, WorkerSettings};
use crate::upstream::{GroupSettings, Sources};
use crate::uring::{Address, RingOptions};

/// The resources that the plan of the workers depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The CPUs in the process's affinity mask, ascending; never empty.
    pub cpus: Vec<usize>,
    /// Most descriptors that this process may have open.
    pub descriptors_max: u64,
    /// Memory available to the process, if known.
    pub memory_bytes: Option<u64>,
}

impl Host {
    /// Raises the descriptor limit to its hard limit and reads the host's resources.
    ///
    /// # Errors
    /// The errors of getrlimit(2), setrlimit(2) and `sched_getaffinity`(2); with valid arguments they occur only if a
    /// security module forbids the calls.
    pub fn prepare() -> Result<Self, Errno> {
        Ok(Self { cpus: cpus()?, descriptors_max: raise_descriptors()?, memory_bytes: memory_bytes() })
    }
}

/// Raises the descriptor limit and returns the hard limit, which now applies.
fn raise_descriptors() -> Result<u64, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

fn cpus() -> Result<Vec<usize>, Errno> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// What the plan wants of this host. `descriptors_max` is the limit in force.
pub fn wanted(plan: &Plan, descriptors_max: u64) -> Wanted {
    let services: Vec<_> = plan.services.iter().map(|planned| &planned.service).collect();
    let connections = plan.sessions_are_asked.then_some(plan.sessions_max as u64);
    Wanted {
        named: named_in(plan.named),
        stays_root: Some(plan.user.is_none()),
        ..wanted_by(&services, &plan.workers, connections, (descriptors_max, plan.descriptors_reserved))
    }
}

fn named_in(named: Named) -> fn(&str) -> String {
    match named {
        Named::Flags => |name| format!("--{name}"),
        Named::Keys => str::to_owned,
    }
}

/// The same for what runs. `descriptors`: how many there are at most, and how many connections cannot use.
pub(super) fn wanted_by(
    services: &[&Service],
    workers: &[WorkerSettings],
    connections: Option<u64>,
    (descriptors_max, descriptors_reserved): (u64, u64),
) -> Wanted {
    // All workers are alike.
    let worker = workers.first().copied().unwrap_or_default();
    let groups = services.iter().flat_map(|service| service.groups());
    let listeners = services.iter().flat_map(|service| &service.listeners);
    Wanted {
        workers: workers.len(),
        ring: RingOptions {
            entries: worker.ring_entries,
            buffers: worker.buffers,
            buffer_bytes: worker.buffer_bytes,
            spin: worker.spin,
            without: worker.without,
        },
        pipes: workers.len() * usize::from(worker.pipes),
        pipe_bytes: worker.pipe_bytes as usize,
        connections,
        descriptors_a_connection: descriptors_a_session(services.iter().copied()),
        descriptors_reserved,
        descriptors_max,
        servers: Some(groups.flat_map(|group| connected(group)).collect()),
        backlog: listeners.map(|listener| listener.backlog).max().unwrap_or(0),
        stays_root: None,
        named: |name| setting(name).to_string(),
    }
}

/// The TCP servers of a group with the addresses that connections to them come from. Where those are the clients', ports do
/// not run out.
fn connected(group: &GroupSettings) -> BTreeSet<(SocketAddr, Option<IpAddr>)> {
    let own: &[IpAddr] = match &group.sources {
        Sources::Kernel => &[],
        Sources::Own(addresses) => addresses,
        Sources::Client => return BTreeSet::new(),
    };
    let mut pairs = BTreeSet::new();
    for server in &group.servers {
        let Address::Ip(server) = *server.address() else { continue };
        let of_family = own.iter().filter(|source| source.is_ipv4() == server.is_ipv4());
        let known = pairs.len();
        pairs.extend(of_family.map(|source| (server, Some(*source))));
        if pairs.len() == known {
            pairs.insert((server, None));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_in_force_is_the_hard_limit() {
        let host = Host::prepare().expect("no security module forbids it");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a valid resource");
        assert_eq!((soft, hard), (host.descriptors_max, host.descriptors_max));
        assert!(!host.cpus.is_empty());
    }
}
