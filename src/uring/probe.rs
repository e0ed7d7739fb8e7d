//! Whether this kernel can do what the proxy needs, and if not, the reason and the fix.

use std::fmt;
use std::io;
use std::rc::Rc;

use io_uring::{IoUring, opcode};
use nix::errno::Errno;

use super::buffers::Region;
use super::linux::{self, GROUP};
use super::provided::ProvidedRing;

/// The first kernel with all that is needed: `IORING_SETUP_DEFER_TASKRUN`, after buffer rings (5.19).
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Entries of the rings that are only tried.
const ENTRIES: u32 = 8;

/// A system call that a ring needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `io_uring_setup(2)`, and mapping what it made.
    Setup,
    /// `io_uring_enter(2)`.
    Enter,
    /// `io_uring_register(2)` with `IORING_REGISTER_PROBE`.
    RegisterProbe,
    /// `io_uring_register(2)` with `IORING_REGISTER_PBUF_RING`.
    RegisterBuffers,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setup => "io_uring_setup",
            Self::Enter => "io_uring_enter",
            Self::RegisterProbe => "io_uring_register (IORING_REGISTER_PROBE)",
            Self::RegisterBuffers => "io_uring_register (IORING_REGISTER_PBUF_RING)",
        })
    }
}

/// A call that failed, and how.
#[derive(Debug)]
pub(super) struct Failed {
    call: Call,
    source: io::Error,
}

impl Failed {
    /// What turns an error of `call` into this.
    pub(super) fn at(call: Call) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { call, source }
    }
}

/// Why `io_uring` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kernel before everything that the proxy is built on.
    #[error("Linux {release} is too old: iisplice needs io_uring of Linux 6.1 or newer")]
    TooOld {
        /// The release as `uname -r` prints it.
        release: String,
    },
    /// A kernel that grants rings and lacks operations.
    #[error(
        "Linux {release} is too old: its io_uring lacks {operations}; iisplice needs io_uring of Linux 6.1 or newer"
    )]
    Lacks {
        /// The release as `uname -r` prints it.
        release: String,
        /// Their names.
        operations: String,
    },
    /// Options of the ring that the kernel does not know.
    #[error(
        "io_uring_setup failed with {errno}: Linux {release} is too old for the options of the ring, or a sandbox \
         answers in its place; iisplice needs io_uring of Linux 6.1 or newer"
    )]
    Options {
        /// The release as `uname -r` prints it.
        release: String,
        /// Why the call failed.
        errno: Errno,
    },
    /// Disabled by the sysctl, or forbidden by a container's seccomp profile.
    #[error(
        "io_uring is not permitted: io_uring_setup failed with {errno}; {}; a container's seccomp profile may also \
         forbid io_uring_setup, io_uring_enter and io_uring_register",
        disabled_hint(*.disabled)
    )]
    Forbidden {
        /// Why the call failed.
        errno: Errno,
        /// The value of `kernel.io_uring_disabled`, if it could be read.
        disabled: Option<u8>,
    },
    /// The first call works and a later one does not: the kernel has `io_uring`, so something stands before it.
    #[error(
        "io_uring is not permitted: io_uring_setup works and {call} failed with {errno}, so the kernel has io_uring \
         and a seccomp profile denies this call; allow io_uring_setup, io_uring_enter and io_uring_register in the \
         profile (docker run --security-opt seccomp=PROFILE, SystemCallFilter= of systemd)"
    )]
    Denied {
        /// Which call.
        call: Call,
        /// Why it failed.
        errno: Errno,
    },
    /// The system call does not exist.
    #[error(
        "io_uring is missing: io_uring_setup failed with {errno}; this kernel was built without CONFIG_IO_URING, or a \
         container's seccomp profile hides it; allow io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Missing {
        /// Why the call failed.
        errno: Errno,
    },
    /// Not enough lockable memory or descriptors.
    #[error(
        "cannot create an io_uring of this size: {call} failed with {errno}; raise the limits (ulimit -l, -n)"
    )]
    Limit {
        /// Which call.
        call: Call,
        /// Why it failed.
        errno: Errno,
    },
    /// Any other error of the kernel.
    #[error("cannot set up io_uring: {call} failed: {source}")]
    Kernel {
        /// Which call.
        call: Call,
        /// Why it failed.
        source: io::Error,
    },
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

/// Tries a small ring with everything that the proxy uses. The version of the kernel does not decide: distributions bring
/// newer parts into older kernels (RHEL 9).
///
/// # Errors
/// The call that failed, why, and what to do.
pub fn probe() -> Result<Features, Error> {
    let release = release();
    let explained = |failed| explain(failed, &release);
    let mut ring = linux::build(ENTRIES).map_err(explained)?;
    let lacking = lacking_operations(&ring).map_err(explained)?;
    if !lacking.is_empty() {
        return Err(Error::Lacks { release, operations: lacking.join(", ") });
    }
    let mut optional = Vec::new();
    if ring.params().is_feature_no_iowait() {
        optional.push("no-iowait");
    }
    if linux::has_limited_multishot(&mut ring).map_err(explained)? {
        optional.push("recv-multishot-limit");
    }
    let provided = ProvidedRing::register(&ring, GROUP, Rc::new(Region::new(1, 1)));
    // Its memory is the kernel's until the ring is closed.
    drop(ring);
    provided.map_err(Failed::at(Call::RegisterBuffers)).map_err(explained)?;
    Ok(Features { release, optional })
}

/// Tries what every user of `io_uring` needs: a ring, and entering it. The load generator and the mock use no more.
///
/// # Errors
/// The call that failed, why, and what to do.
pub fn probe_basics() -> Result<(), Error> {
    let tried = || {
        let mut ring = IoUring::new(ENTRIES).map_err(Failed::at(Call::Setup))?;
        // SAFETY: the entry names no memory, and the ring is new: its queue has room.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }
            .map_err(io::Error::other)
            .and_then(|()| ring.submit_and_wait(1))
            .map_err(Failed::at(Call::Enter))
    };
    tried().map(drop).map_err(|failed| explain(failed, &release()))
}

/// As `uname -r` says; empty if it says nothing.
pub(super) fn release() -> String {
    nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// What the kernel does not have of the operations that the proxy uses.
fn lacking_operations(ring: &IoUring) -> Result<Vec<&'static str>, Failed> {
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(Failed::at(Call::RegisterProbe))?;
    let needed = [
        ("IORING_OP_POLL_ADD", opcode::PollAdd::CODE),
        ("IORING_OP_RECV", opcode::Recv::CODE),
        ("IORING_OP_SEND", opcode::Send::CODE),
        ("IORING_OP_CONNECT", opcode::Connect::CODE),
        ("IORING_OP_ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ];
    Ok(needed.into_iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| name).collect())
}

/// The meaning of a call that failed.
pub(super) fn explain(failed: Failed, release: &str) -> Error {
    let Failed { call, source } = failed;
    let Some(errno) = source.raw_os_error().map(Errno::from_raw) else {
        return Error::Kernel { call, source };
    };
    match (call, errno) {
        (Call::Setup, Errno::EPERM | Errno::EACCES) => {
            let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            Error::Forbidden { errno, disabled: disabled.ok().and_then(|value| value.trim().parse().ok()) }
        }
        (Call::Setup, Errno::ENOSYS) => Error::Missing { errno },
        (Call::Setup, Errno::EINVAL) if version(release).is_some_and(|version| version < KERNEL_MIN) => {
            Error::TooOld { release: release.to_owned() }
        }
        (Call::Setup, Errno::EINVAL) => Error::Options { release: release.to_owned(), errno },
        // A kernel that grants a ring with these options has the rest too.
        (_, Errno::EPERM | Errno::EACCES | Errno::ENOSYS | Errno::EINVAL) => Error::Denied { call, errno },
        (_, Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => Error::Limit { call, errno },
        _ => Error::Kernel { call, source },
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
        let said_at =
            |call, errno| explain(Failed::at(call)(io::Error::from_raw_os_error(errno)), "6.9.1").to_string();
        let said = |errno| said_at(Call::Setup, errno);
        assert!(said(libc::ENOSYS).contains("CONFIG_IO_URING"));
        assert!(said(libc::EPERM).contains("io_uring_disabled"));
        assert!(said(libc::EPERM).contains("seccomp"));
        assert!(said(libc::EINVAL).contains("Linux 6.9.1 is too old"));
        let old = Failed::at(Call::Setup)(io::Error::from_raw_os_error(libc::EINVAL));
        assert!(matches!(explain(old, "5.10.0"), Error::TooOld { .. }));
        assert!(said(libc::EMFILE).contains("of this size"));
        for call in [Call::Enter, Call::RegisterProbe, Call::RegisterBuffers] {
            for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EINVAL] {
                let line = said_at(call, errno);
                let expected =
                    format!("io_uring_setup works and {call} failed with {}", Errno::from_raw(errno));
                assert!(line.contains(&expected) && line.contains("seccomp"), "{line}");
                assert!(!line.contains("too old") && !line.contains("io_uring_disabled"), "{line}");
            }
            assert!(said_at(call, libc::ENOMEM).contains("ulimit -l"));
            assert!(said_at(call, libc::EIO).contains(&call.to_string()));
        }
    }

    #[test]
    fn this_kernel_passes() {
        assert!(!probe().expect("tests need io_uring").release.is_empty());
        probe_basics().expect("tests need io_uring");
    }

    #[test]
    fn the_sysctl_decides_which_fix_is_named() {
        let said = |disabled| Error::Forbidden { errno: Errno::EPERM, disabled }.to_string();
        assert!(said(Some(2)).contains("sysctl kernel.io_uring_disabled=0"));
        assert!(said(Some(1)).contains("io_uring_group"));
        assert!(said(Some(0)).contains("something else"));
    }
}
