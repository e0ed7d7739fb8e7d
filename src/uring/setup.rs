//! A worker's ring: set up with the features that the kernel has, restricted to what a worker does, then enabled.
//!
//! ```text
//!   io_uring_setup, disabled --> provided buffers --> restrictions --> enabled: the calling thread is its worker
//! ```
//!
//! A feature is there if the kernel grants it; its version says little, since distributions bring newer parts into older
//! kernels.

use std::io;
use std::rc::Rc;

use io_uring::register::Restriction;
use io_uring::{IoUring, squeue};

use super::buffers::Region;
use super::call::{Call, Failed};
use super::feature::{Feature, FeatureSet};
use super::provided::ProvidedRing;
use super::submission::{FLAGS, GROUP, OPERATIONS, Submission};

/// Completion entries for each submission entry: an overflow stalls connections.
const COMPLETIONS_PER_SUBMISSION: u32 = 8;

/// Options that a kernel may refuse, from the best to none.
const TRIES: [FeatureSet; 6] = {
    let restricted = FeatureSet::NONE.with(Feature::Restrictions);
    [
        restricted.with(Feature::DeferTaskrun),
        restricted.with(Feature::CoopTaskrun),
        restricted,
        FeatureSet::NONE.with(Feature::DeferTaskrun),
        FeatureSet::NONE.with(Feature::CoopTaskrun),
        FeatureSet::NONE,
    ]
};

/// `IORING_REGISTER_ENABLE_RINGS`.
const REGISTER_ENABLE_RINGS: u8 = 12;

/// A ring that is ready, and its provided buffers.
pub(super) struct SetUp {
    // Before the memory that the kernel uses, so that it is closed first.
    pub(super) ring: IoUring,
    pub(super) provided: ProvidedRing,
    /// What of the optional features it has.
    pub(super) features: FeatureSet,
}

impl SetUp {
    /// Sets up a ring on the thread that will use it, without some of the features.
    pub(super) fn new(entries: u32, without: FeatureSet, region: Rc<Region>) -> Result<Self, Failed> {
        let (ring, features) = build(entries, without)?;
        let provided =
            ProvidedRing::register(&ring, GROUP, region).map_err(Failed::at(Call::RegisterBuffers))?;
        let mut this = Self { ring, provided, features };
        if features.has(Feature::Restrictions) {
            if !restrict(&this.ring)? {
                this.features = features.without(Feature::Restrictions);
            }
            let enabled = this.ring.submitter().register_enable_rings();
            enabled.map_err(Failed::at(Call::EnableRings))?;
        }
        if !without.has(Feature::NoIowait) && this.ring.params().is_feature_no_iowait() {
            this.features = this.features.with(Feature::NoIowait);
        }
        if !without.has(Feature::RecvMultishotLimit) && knows(&mut this.ring, &limited_multishot())? {
            this.features = this.features.with(Feature::RecvMultishotLimit);
        }
        Ok(this)
    }
}

/// A ring with the best options that the kernel knows. It is disabled if it is to be restricted.
fn build(entries: u32, without: FeatureSet) -> Result<(IoUring, FeatureSet), Failed> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for wanted in TRIES {
        let wanted: FeatureSet = wanted.iter().filter(|feature| !without.has(*feature)).collect();
        let mut builder = IoUring::builder();
        builder
            .setup_submit_all()
            .setup_cqsize(entries.saturating_mul(COMPLETIONS_PER_SUBMISSION))
            .setup_clamp()
            .dontfork();
        if wanted.has(Feature::DeferTaskrun) {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        if wanted.has(Feature::CoopTaskrun) {
            builder.setup_coop_taskrun();
        }
        if wanted.has(Feature::Restrictions) {
            builder.setup_r_disabled();
        }
        match builder.build(entries) {
            Ok(ring) => return Ok((ring, wanted)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(Failed::at(Call::Setup)(error)),
        }
    }
    Err(Failed::at(Call::Setup)(refused))
}

/// Restricts a disabled ring to the listed operations, from when it is enabled. False where the kernel cannot.
fn restrict(ring: &IoUring) -> Result<bool, Failed> {
    let mut allowed: Vec<_> =
        OPERATIONS.iter().map(|operation| Restriction::sqe_op(operation.code)).collect();
    allowed.push(Restriction::sqe_flags_allowed(FLAGS.bits()));
    // It fails on a ring that is enabled: nothing can be registered any more. Listed, since a list without any could be
    // read as one that leaves this open.
    allowed.push(Restriction::register_op(REGISTER_ENABLE_RINGS));
    match ring.submitter().register_restrictions(&mut allowed) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(Failed::at(Call::RegisterRestrictions)(error)),
    }
}

/// A receive of the kind that only some kernels know (Linux 6.17); earlier ones reject the field. It names no file.
fn limited_multishot() -> squeue::Entry {
    Submission::limited_multishot(NO_FILE, 1).entry(0)
}

/// A descriptor that is never open.
pub(super) const NO_FILE: i32 = -1;

/// Whether the kernel knows what this entry asks for: then it looks for the file, which does not exist.
pub(super) fn knows(ring: &mut IoUring, entry: &squeue::Entry) -> Result<bool, Failed> {
    // SAFETY: the entry names no memory, and nothing is queued in a new ring: there is room.
    unsafe { ring.submission().push(entry) }
        .map_err(io::Error::other)
        .and_then(|()| ring.submit_and_wait(1))
        .map_err(Failed::at(Call::Enter))?;
    Ok(ring.completion().any(|completion| completion.result() == -libc::EBADF))
}

#[cfg(test)]
mod tests {
    use io_uring::opcode;

    use super::*;

    fn set_up(without: FeatureSet) -> SetUp {
        SetUp::new(8, without, Rc::new(Region::new(1, 1))).expect("tests need io_uring")
    }

    fn result_of(ring: &mut IoUring, entry: &squeue::Entry) -> i32 {
        // SAFETY: every entry here names no memory.
        unsafe { ring.submission().push(entry) }.expect("it has room");
        ring.submit_and_wait(1).expect("it can be entered");
        ring.completion().next().expect("it is complete").result()
    }

    /// An operation that names no file and no memory.
    fn operation(code: u8) -> squeue::Entry {
        let mut entry = opcode::Nop::new().build();
        // SAFETY: an entry is `repr(C)` around the kernel's `io_uring_sqe`, whose first byte is the operation's code.
        unsafe { (&raw mut entry).cast::<u8>().write(code) };
        entry
    }

    #[test]
    fn a_workers_ring_refuses_every_operation_that_is_not_listed() {
        let mut this = set_up(FeatureSet::NONE);
        assert!(this.features.has(Feature::Restrictions), "Linux 5.10 has them");
        let mut refused = Vec::new();
        for code in 0..=u8::MAX {
            let is_listed = OPERATIONS.iter().any(|listed| listed.code == code);
            let result = result_of(&mut this.ring, &operation(code));
            match (is_listed, result) {
                (true, result) => assert_ne!(result, -libc::EACCES, "operation {code}"),
                (false, result) if result == -libc::EACCES => refused.push(code),
                // Codes that the kernel does not know.
                (false, result) => assert_eq!(result, -libc::EINVAL, "operation {code}"),
            }
        }
        for code in [
            opcode::Nop::CODE,
            opcode::OpenAt::CODE,
            opcode::OpenAt2::CODE,
            opcode::UringCmd16::CODE,
            opcode::Connect::CODE,
            opcode::Socket::CODE,
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::SendMsg::CODE,
            opcode::Splice::CODE,
            opcode::UnlinkAt::CODE,
        ] {
            assert!(refused.contains(&code), "operation {code}");
        }
    }

    #[test]
    fn a_workers_ring_refuses_flags_that_its_entries_do_not_have() {
        for flag in squeue::Flags::all().iter().filter(|flag| !FLAGS.contains(*flag)) {
            let mut this = set_up(FeatureSet::NONE);
            let entry = Submission::poll(NO_FILE, 0).entry(0);
            assert_eq!(result_of(&mut this.ring, &entry), -libc::EBADF);
            assert_eq!(result_of(&mut this.ring, &entry.flags(flag)), -libc::EACCES, "{flag:?}");
        }
    }

    #[test]
    fn nothing_can_be_registered_with_a_workers_ring_that_is_ready() {
        let this = set_up(FeatureSet::NONE);
        let submitter = this.ring.submitter();
        for (result, expected) in [
            (submitter.register_probe(&mut io_uring::Probe::new()), libc::EACCES),
            (submitter.register_files(&[0]), libc::EACCES),
            (submitter.register_personality().map(drop), libc::EACCES),
            (submitter.unregister_buf_ring(GROUP), libc::EACCES),
            (submitter.register_restrictions(&mut [Restriction::sqe_op(0)]), libc::EACCES),
            (submitter.register_enable_rings(), libc::EBADFD),
        ] {
            assert_eq!(result.expect_err("it is refused").raw_os_error(), Some(expected));
        }
    }

    #[test]
    fn each_feature_can_be_left_out() {
        let granted = set_up(FeatureSet::NONE).features;
        for feature in Feature::ALL {
            let this = set_up(FeatureSet::NONE.with(feature));
            assert!(!this.features.has(feature), "{feature}");
            // Instead of the better one, which is tried before.
            let but = |features: FeatureSet| {
                features.without(feature).without(Feature::DeferTaskrun).without(Feature::CoopTaskrun)
            };
            assert_eq!(but(this.features), but(granted), "{feature}");
        }
        let mut bare = set_up(Feature::ALL.into_iter().collect());
        assert_eq!(bare.features, FeatureSet::NONE);
        assert_eq!(result_of(&mut bare.ring, &operation(opcode::Nop::CODE)), 0, "it is not restricted");
    }
}
