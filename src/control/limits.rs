//! The resources that this host gives the process.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::memory::memory_bytes;

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
