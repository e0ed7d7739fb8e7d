//! Whether this kernel can do what the proxy needs, and if not, the reason and the fix.

use std::io;

use io_uring::{IoUring, opcode};

use super::linux;

/// The first kernel with all that is needed: `IORING_SETUP_DEFER_TASKRUN`, after buffer rings (5.19).
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Why `io_uring` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel lacks something that the proxy needs.
    #[error("Linux {release} is too old: iisplice needs io_uring of Linux 6.1 or newer")]
    TooOld {
        /// The release as `uname -r` prints it.
        release: String,
    },
    /// Disabled by the sysctl, or forbidden by a container's seccomp profile.
    #[error(
        "io_uring is not permitted: {}; a container's seccomp profile may also forbid io_uring_setup, \
         io_uring_enter and io_uring_register",
        disabled_hint(*.disabled)
    )]
    Forbidden {
        /// The value of `kernel.io_uring_disabled`, if it could be read.
        disabled: Option<u8>,
    },
    /// The system call does not exist.
    #[error(
        "io_uring is missing: this kernel was built without CONFIG_IO_URING, or a container's seccomp profile \
         hides it; allow io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Missing,
    /// Not enough lockable memory or descriptors.
    #[error(
        "cannot create an io_uring of this size: {0}; lower --ring-entries or --buffers, or raise the limits (ulimit -l, -n)"
    )]
    Limit(#[source] io::Error),
    /// Any other error of the kernel.
    #[error("cannot set up io_uring: {0}")]
    Kernel(#[source] io::Error),
}

fn disabled_hint(disabled: Option<u8>) -> &'static str {
    match disabled {
        Some(2) => "kernel.io_uring_disabled is 2; set it with `sysctl kernel.io_uring_disabled=0`",
        Some(1) => {
            "kernel.io_uring_disabled is 1; set it to 0, put the user into the group kernel.io_uring_group, or \
             run with CAP_SYS_ADMIN"
        }
        _ => "kernel.io_uring_disabled allows it, so something else forbids it",
    }
}

/// The kernel's release and features.
#[derive(Debug, Clone)]
pub struct Features {
    /// The release as `uname -r` prints it.
    pub release: String,
    /// Optional features of later kernels, used where available.
    pub optional: Vec<&'static str>,
}

/// Tries a small ring with everything that the proxy uses.
///
/// # Errors
/// The reason, with a fix.
pub fn probe() -> Result<Features, Error> {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    if version(&release).is_some_and(|version| version < KERNEL_MIN) {
        return Err(Error::TooOld { release });
    }
    let mut ring = linux::build(8).map_err(|error| explain(error, &release))?;
    if !supports_operations(&ring) {
        return Err(Error::TooOld { release });
    }
    let mut optional = Vec::new();
    if ring.params().is_feature_no_iowait() {
        optional.push("no-iowait");
    }
    if linux::has_limited_multishot(&mut ring).map_err(|error| explain(error, &release))? {
        optional.push("recv-multishot-limit");
    }
    Ok(Features { release, optional })
}

fn supports_operations(ring: &IoUring) -> bool {
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).is_ok()
        && [
            opcode::PollAdd::CODE,
            opcode::Recv::CODE,
            opcode::Send::CODE,
            opcode::Connect::CODE,
            opcode::AsyncCancel::CODE,
        ]
        .into_iter()
        .all(|code| probe.is_supported(code))
}

/// Explains a failed `io_uring_setup(2)`.
pub(super) fn explain(error: io::Error, release: &str) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            Error::Forbidden { disabled: disabled.ok().and_then(|value| value.trim().parse().ok()) }
        }
        Some(libc::ENOSYS) => Error::Missing,
        Some(libc::EINVAL) => Error::TooOld { release: release.to_owned() },
        Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE) => Error::Limit(error),
        _ => Error::Kernel(error),
    }
}

/// Major and minor of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_up_to_its_minor_number() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.15.153.1-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(version("6.18-rc1"), Some((6, 18)));
        assert_eq!(version("Linux"), None);
    }

    #[test]
    fn each_refusal_of_the_kernel_has_its_own_explanation() {
        let said = |errno| explain(io::Error::from_raw_os_error(errno), "6.9.1").to_string();
        assert!(said(libc::ENOSYS).contains("CONFIG_IO_URING"));
        assert!(said(libc::EPERM).contains("io_uring_disabled"));
        assert!(said(libc::EPERM).contains("seccomp"));
        assert!(said(libc::EINVAL).contains("Linux 6.9.1 is too old"));
        assert!(said(libc::EMFILE).contains("--ring-entries"));
    }

    #[test]
    fn the_sysctl_decides_which_mend_is_named() {
        let said = |disabled| Error::Forbidden { disabled }.to_string();
        assert!(said(Some(2)).contains("sysctl kernel.io_uring_disabled=0"));
        assert!(said(Some(1)).contains("io_uring_group"));
        assert!(said(Some(0)).contains("something else"));
    }
}
