//! `io_uring`: whether the kernel has it, and lets this user and others have it.

use super::readings::Readings;
use super::{Finding, Findings, Id};
use crate::uring::{Error, Feature};

/// The kernel's own default since Linux 5.16.
const MEMLOCK_BYTES: u64 = 8 << 20;

pub(super) fn judge(readings: &Readings, found: &mut Findings) {
    ring(readings, found);
    sysctl(readings, found);
    memlock(readings, found);
}

fn ring(readings: &Readings, found: &mut Findings) {
    const WHY: &str = "the proxy is built on io_uring and does not start without it";
    let id = Id::IoUring.as_str();
    let filter = if readings.has_seccomp { "; a seccomp filter is in force" } else { "" };
    found.add(match &readings.ring {
        None => return,
        Some(Ok(features)) => {
            let optional = match &features.optional.iter().map(Feature::name).collect::<Vec<_>>()[..] {
                [] => "none of the optional features".to_owned(),
                optional => optional.join(", "),
            };
            Finding::fine(id, format!("Linux {} grants rings, with {optional}{filter}", features.release))
        }
        Some(Err(error)) => Finding::broken(id, format!("{error}{filter}"), WHY, fix(error)),
    });
}

fn fix(error: &Error) -> &'static str {
    match error {
        Error::Lacks { .. } | Error::Options { .. } => {
            "install a kernel with the io_uring of Linux 6.1 or newer"
        }
        Error::Forbidden { disabled: Some(1 | 2), .. } => "sysctl -w kernel.io_uring_disabled=0",
        Error::Forbidden { .. } | Error::Denied { .. } | Error::Missing { .. } => {
            "docker run --security-opt seccomp=PROFILE, with io_uring_setup, io_uring_enter and io_uring_register in the \
             profile; in a systemd unit SystemCallFilter=@io-event @system-service io_uring_setup io_uring_enter \
             io_uring_register"
        }
        Error::Limit { .. } => "ulimit -l unlimited; ulimit -n 1048576 (LimitMEMLOCK=, LimitNOFILE=)",
        Error::Kernel { .. } => "dmesg | tail, and the kernel's release notes",
    }
}

/// A try as root says nothing of the user that the service runs as.
fn sysctl(readings: &Readings, found: &mut Findings) {
    let id = Id::IoUringSysctl.as_str();
    let why = "a service as another user than root is refused its rings";
    found.add(match (readings.io_uring_disabled, readings.io_uring_group) {
        (None, _) => return,
        (Some(0), _) => Finding::fine(id, "kernel.io_uring_disabled is 0: every user may have rings"),
        (Some(1), Some(group)) if group >= 0 => Finding::fine(
            id,
            format!("kernel.io_uring_disabled is 1: users in the group {group} may have rings (SupplementaryGroups={group})"),
        ),
        (Some(1), _) => Finding::warning(
            id,
            "kernel.io_uring_disabled is 1 and kernel.io_uring_group names no group",
            why,
            "sysctl -w kernel.io_uring_group=$(id -g iisplice), or sysctl -w kernel.io_uring_disabled=0",
        ),
        (Some(value), _) => Finding::broken(
            id,
            format!("kernel.io_uring_disabled is {value}: no process may have a ring"),
            "the proxy does not start",
            "sysctl -w kernel.io_uring_disabled=0",
        ),
    });
}

fn memlock(readings: &Readings, found: &mut Findings) {
    let id = Id::Memlock.as_str();
    let fix = "ulimit -l 8192, or LimitMEMLOCK=8M in the unit";
    let limit = readings.memlock_bytes;
    let shown = match limit {
        None => "an unknown limit".to_owned(),
        Some(u64::MAX) => "no limit".to_owned(),
        Some(bytes) => format!("a limit of {} KiB", bytes / 1024),
    };
    found.add(match &readings.ring_of_full_size {
        None => return,
        Some(Err(error)) => Finding::broken(
            id,
            format!("{error}; locked memory has {shown}"),
            "the proxy does not start",
            fix,
        ),
        Some(Ok(())) if limit.is_some_and(|bytes| bytes < MEMLOCK_BYTES) && !readings.is_root => {
            Finding::warning(
                id,
                format!("a ring of full size is granted; locked memory has {shown}"),
                "some kernels count the memory of rings and of their buffers",
                fix,
            )
        }
        Some(Ok(())) => {
            Finding::fine(id, format!("a ring of full size is granted; locked memory has {shown}"))
        }
    });
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::super::testing::only;
    use super::*;
    use crate::doctor::Severity::{Broken, Fine, Warning};
    use crate::uring::{Call, FeatureSet, Features};

    fn judged(readings: &Readings) -> Findings {
        let mut found = Findings::default();
        judge(readings, &mut found);
        found
    }

    fn refused(error: Error) -> Readings {
        Readings { ring: Some(Err(error)), ..Readings::default() }
    }

    #[test]
    fn a_kernel_with_all_is_fine() {
        let optional = FeatureSet::NONE.with(Feature::NoIowait);
        let features = Features { release: "6.18.0".to_owned(), optional, without: FeatureSet::NONE };
        let readings = Readings { ring: Some(Ok(features)), has_seccomp: true, ..Readings::default() };
        only(
            &judged(&readings),
            Id::IoUring,
            Fine,
            &["Linux 6.18.0", "no-iowait", "seccomp filter is in force"],
        );
    }

    #[test]
    fn each_refusal_has_its_command() {
        let errno = Errno::EPERM;
        for (error, fix) in [
            (
                Error::Lacks {
                    release: "5.10".to_owned(),
                    lacking: "IORING_FEAT_EXT_ARG (Linux 5.11)".to_owned(),
                },
                "install a kernel",
            ),
            (Error::Forbidden { errno, disabled: Some(2) }, "sysctl -w kernel.io_uring_disabled=0"),
            (Error::Forbidden { errno, disabled: Some(0) }, "--security-opt seccomp="),
            (Error::Denied { call: Call::Enter, errno }, "SystemCallFilter="),
            (Error::Missing { errno: Errno::ENOSYS }, "--security-opt seccomp="),
            (Error::Limit { call: Call::Setup, errno: Errno::ENOMEM }, "ulimit -l"),
        ] {
            let said = error.to_string();
            only(&judged(&refused(error)), Id::IoUring, Broken, &[&said, fix]);
        }
    }

    #[test]
    fn the_sysctl_is_judged_for_other_users_than_root() {
        let with = |disabled, group| Readings {
            io_uring_disabled: Some(disabled),
            io_uring_group: group,
            ..Readings::default()
        };
        only(&judged(&with(0, Some(-1))), Id::IoUringSysctl, Fine, &[]);
        only(&judged(&with(1, Some(-1))), Id::IoUringSysctl, Warning, &["kernel.io_uring_group=$("]);
        only(&judged(&with(1, Some(990))), Id::IoUringSysctl, Fine, &["SupplementaryGroups=990"]);
        only(&judged(&with(2, None)), Id::IoUringSysctl, Broken, &["sysctl -w kernel.io_uring_disabled=0"]);
        assert!(judged(&Readings::default()).findings.is_empty());
    }

    #[test]
    fn locked_memory_is_judged_by_a_ring_of_full_size() {
        let with = |ring, memlock_bytes| Readings {
            ring_of_full_size: Some(ring),
            memlock_bytes: Some(memlock_bytes),
            ..Readings::default()
        };
        only(&judged(&with(Ok(()), u64::MAX)), Id::Memlock, Fine, &["no limit"]);
        only(&judged(&with(Ok(()), 8 << 20)), Id::Memlock, Fine, &["8192 KiB"]);
        only(&judged(&with(Ok(()), 64 << 10)), Id::Memlock, Warning, &["64 KiB", "LimitMEMLOCK=8M"]);
        let limit = Error::Limit { call: Call::Setup, errno: Errno::ENOMEM };
        only(&judged(&with(Err(limit), 0)), Id::Memlock, Broken, &["0 KiB", "ulimit -l"]);
    }
}
