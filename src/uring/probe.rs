//! Whether this kernel can do what the proxy needs, and if not, the reason and the fix.

use std::io;
use std::rc::Rc;

use io_uring::{Builder, IoUring, opcode};
use nix::errno::Errno;

use super::buffers::Region;
use super::call::{Call, Failed};
use super::feature::FeatureSet;
use super::provided::ProvidedRing;
use super::setup::{NO_FILE, SetUp, knows};
use super::submission::{GROUP, OPERATIONS, Submission};

/// Entries of the rings that are only tried.
const ENTRIES: u32 = 8;

/// Why `io_uring` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kernel that grants rings and lacks something.
    #[error(
        "Linux {release} is too old: its io_uring lacks {lacking}; iisplice needs io_uring of Linux 6.1 or newer, or the \
         same in a distribution's older kernel"
    )]
    Lacks {
        /// The release as `uname -r` prints it.
        release: String,
        /// What it lacks, each with the version of Linux that has it first.
        lacking: String,
    },
    /// A ring that the kernel does not know.
    #[error(
        "io_uring_setup failed with {errno}: Linux {release} is too old for such a ring, or a sandbox answers in its \
         place; iisplice needs io_uring of Linux 6.1 or newer"
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
    /// The release as `uname -r` prints it: for readers only.
    pub release: String,
    /// Optional features that the rings of workers have.
    pub optional: FeatureSet,
    /// Optional features that were not tried.
    pub without: FeatureSet,
}

/// Tries everything that the proxy uses, and a small ring as workers have it, without some of the optional features. The
/// version of the kernel does not decide: distributions bring newer parts into older kernels (RHEL 9).
///
/// # Errors
/// The call that failed, why, and what to do; or what is missing.
pub fn probe(without: FeatureSet) -> Result<Features, Error> {
    let lacking = lacking().map_err(explain)?;
    if !lacking.is_empty() {
        return Err(Error::Lacks { release: release(), lacking: lacking.join(", ") });
    }
    let tried = SetUp::new(ENTRIES, without, Rc::new(Region::new(1, 1))).map_err(explain)?;
    Ok(Features { release: release(), optional: tried.features, without })
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
    tried().map(drop).map_err(explain)
}

/// As `uname -r` says; empty if it says nothing. It is shown only.
fn release() -> String {
    nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// What the kernel does not have of that for which there is no substitute, with the versions that have it first.
fn lacking() -> Result<Vec<String>, Failed> {
    let mut lacking = Vec::new();
    let mut require = |has: bool, name: &str, since: &str| {
        if !has {
            lacking.push(format!("{name} (Linux {since})"));
        }
    };
    let mut ring = IoUring::new(ENTRIES).map_err(Failed::at(Call::Setup))?;
    let features = ring.params();
    require(features.is_feature_nodrop(), "IORING_FEAT_NODROP", "5.5");
    require(features.is_feature_fast_poll(), "IORING_FEAT_FAST_POLL", "5.7");
    require(features.is_feature_ext_arg(), "IORING_FEAT_EXT_ARG", "5.11");

    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(Failed::at(Call::RegisterProbe))?;
    for operation in OPERATIONS {
        require(probe.is_supported(operation.code), operation.name, operation.since);
    }

    require(grants(|ring| ring.setup_cqsize(2 * ENTRIES))?, "IORING_SETUP_CQSIZE", "5.5");
    require(grants(Builder::setup_clamp)?, "IORING_SETUP_CLAMP", "5.6");
    require(grants(Builder::setup_submit_all)?, "IORING_SETUP_SUBMIT_ALL", "5.18");

    let provided = match ProvidedRing::register(&ring, GROUP, Rc::new(Region::new(1, 1))) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            require(false, "IORING_REGISTER_PBUF_RING", "5.19");
            // A kernel without it may look for the file first, so a try says nothing.
            return Ok(lacking);
        }
        provided => provided.map_err(Failed::at(Call::RegisterBuffers))?,
    };
    let tried = (|| {
        let several = Submission::poll_changes(NO_FILE, libc::POLLIN as u32).entry(0);
        require(knows(&mut ring, &several)?, "IORING_POLL_ADD_MULTI", "5.13");
        let poll_first = Submission::receive(NO_FILE, true, 1).entry(0);
        require(knows(&mut ring, &poll_first)?, "IORING_RECVSEND_POLL_FIRST", "5.19");
        Ok(())
    })();
    // The memory of the buffers is the kernel's until the ring is closed.
    drop(ring);
    drop(provided);
    tried.map(|()| lacking)
}

/// Whether the kernel knows an option of a ring.
fn grants(option: impl FnOnce(&mut Builder) -> &mut Builder) -> Result<bool, Failed> {
    let mut builder = IoUring::builder();
    option(&mut builder);
    match builder.build(ENTRIES) {
        Ok(_ring) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(Failed::at(Call::Setup)(error)),
    }
}

/// The meaning of a call that failed.
pub(super) fn explain(failed: Failed) -> Error {
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
        (Call::Setup, Errno::EINVAL) => Error::Options { release: release(), errno },
        // What a kernel lacks is found by trying it first.
        (_, Errno::EPERM | Errno::EACCES | Errno::ENOSYS | Errno::EINVAL) => Error::Denied { call, errno },
        (_, Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => Error::Limit { call, errno },
        _ => Error::Kernel { call, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_kernel_has_its_own_explanation() {
        let said_at =
            |call, errno| explain(Failed::at(call)(io::Error::from_raw_os_error(errno))).to_string();
        let said = |errno| said_at(Call::Setup, errno);
        assert!(said(libc::ENOSYS).contains("CONFIG_IO_URING"));
        assert!(said(libc::EPERM).contains("io_uring_disabled"));
        assert!(said(libc::EPERM).contains("seccomp"));
        assert!(said(libc::EINVAL).contains(&format!("Linux {} is too old", release())));
        assert!(said(libc::EMFILE).contains("of this size"));
        for call in [
            Call::Enter,
            Call::RegisterProbe,
            Call::RegisterBuffers,
            Call::RegisterRestrictions,
            Call::EnableRings,
        ] {
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
        assert!(!probe(FeatureSet::NONE).expect("tests need io_uring").release.is_empty());
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
