//! What this host lets the process have.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::memory::memory_bytes;

/// What the plan of the workers depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The CPUs in the process's affinity mask, ascending; never empty.
    pub cpus: Vec<usize>,
    /// Descriptors that this process may have open.
    pub descriptors_max: u64,
    /// Memory that it can have, as far as that can be told.
    pub memory_bytes: Option<u64>,
}

impl Host {
    /// Raises the descriptor limit to its hard limit and looks around.
    ///
    /// # Errors
    /// Whatever getrlimit(2), setrlimit(2) or `sched_getaffinity`(2) say; with valid arguments only a security
    /// module that forbids them.
    pub fn prepare() -> Result<Self, Errno> {
        Ok(Self { cpus: cpus()?, descriptors_max: raise_descriptors()?, memory_bytes: memory_bytes() })
    }
}

/// The hard limit, which is the limit in force from now on.
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
