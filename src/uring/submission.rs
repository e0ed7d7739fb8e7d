//! What is submitted to a ring: the operations of a worker, and their entries. Both are made here only.
//!
//! An entry can be built of a listed operation only, and the list is what a worker's ring is restricted to: an operation
//! that is not in it does not compile. The same holds for the flags of entries.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

/// The only group of provided buffers.
pub(super) const GROUP: u16 = 0;
/// `IORING_RECVSEND_POLL_FIRST` (`io_uring_prep_recv(3)`); the crate does not name it.
const POLL_FIRST: u16 = 1;
/// `IORING_RECV_MULTISHOT` (`io_uring_prep_recv_multishot(3)`), also in `ioprio`.
const MULTISHOT: u16 = 2;

/// An operation that may be submitted.
trait Listed {
    fn build(self) -> squeue::Entry;
}

/// An operation as the kernel knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    /// Its name in the kernel's header.
    pub(super) name: &'static str,
    pub(super) code: u8,
    /// The version of Linux that has it first.
    pub(super) since: &'static str,
}

macro_rules! operations {
    ($($operation:ident is $name:literal since $since:literal),* $(,)?) => {
        /// All operations of a worker.
        pub(super) const OPERATIONS: &[Listing] =
            &[$(Listing { name: $name, code: opcode::$operation::CODE, since: $since }),*];

        $(impl Listed for opcode::$operation {
            fn build(self) -> squeue::Entry {
                Self::build(self)
            }
        })*
    };
}

operations! {
    PollAdd is "IORING_OP_POLL_ADD" since "5.1",
    Recv is "IORING_OP_RECV" since "5.6",
    Send is "IORING_OP_SEND" since "5.6",
    AsyncCancel is "IORING_OP_ASYNC_CANCEL" since "5.5",
}

/// All flags that entries have.
pub(super) const FLAGS: squeue::Flags = squeue::Flags::BUFFER_SELECT;

/// An entry for the submission queue.
pub(super) struct Submission(squeue::Entry);

impl Submission {
    fn of(operation: impl Listed) -> Self {
        Self(operation.build())
    }

    /// Lets the kernel pick a provided buffer.
    fn selecting_buffer(self) -> Self {
        const { assert!(FLAGS.contains(squeue::Flags::BUFFER_SELECT)) };
        Self(self.0.flags(squeue::Flags::BUFFER_SELECT))
    }

    /// Completes when one of `events` holds.
    pub(super) fn poll(fd: RawFd, events: u32) -> Self {
        Self::of(opcode::PollAdd::new(types::Fd(fd), events))
    }

    /// Completes at each change, until it is cancelled.
    pub(super) fn poll_changes(fd: RawFd, events: u32) -> Self {
        Self::of(opcode::PollAdd::new(types::Fd(fd), events).multi(true))
    }

    /// A receive that completes once.
    pub(super) fn receive(fd: RawFd, poll_first: bool, bytes_max: u32) -> Self {
        let ioprio = if poll_first { POLL_FIRST } else { 0 };
        let receive = opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), bytes_max);
        Self::of(receive.buf_group(GROUP).ioprio(ioprio)).selecting_buffer()
    }

    /// A receive that completes repeatedly, each time with at most `limit` bytes, until `limit` bytes or more have
    /// arrived.
    pub(super) fn limited_multishot(fd: RawFd, limit: u32) -> Self {
        /// The position of `optlen` in `io_uring_sqe`, in units of its type; the crate sets it for socket options only.
        const OPTLEN: usize = 44 / size_of::<u32>();
        const { assert!(size_of::<squeue::Entry>() == 64) };
        let receive = opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), limit);
        let mut this = Self::of(receive.buf_group(GROUP).ioprio(POLL_FIRST | MULTISHOT)).selecting_buffer();
        // SAFETY: an entry is `repr(C)` around the kernel's `io_uring_sqe`, 64 bytes in which any value of these four is
        // a valid `__u32`.
        unsafe { (&raw mut this.0).cast::<u32>().add(OPTLEN).write(limit) };
        this
    }

    /// A send of what there is room for. The kernel must not wait: for a peer that has ended its own stream it would
    /// wait in a thread of its own, since its poll finds POLLRDHUP again and again.
    pub(super) fn send(fd: RawFd, bytes: *const u8, len: u32) -> Self {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        Self::of(opcode::Send::new(types::Fd(fd), bytes, len).flags(flags))
    }

    /// Ends the operation with this `user_data`.
    pub(super) fn cancel(target: u64) -> Self {
        Self::of(opcode::AsyncCancel::new(target))
    }

    /// As the queue takes it.
    pub(super) fn entry(self, user_data: u64) -> squeue::Entry {
        self.0.user_data(user_data)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn code(submission: Submission) -> u8 {
        let entry = submission.entry(0);
        // SAFETY: an entry is `repr(C)` around the kernel's `io_uring_sqe`, whose first byte is the operation's code.
        unsafe { (&raw const entry).cast::<u8>().read() }
    }

    #[test]
    fn the_list_has_what_is_submitted_and_no_more() {
        let submitted = [
            Submission::poll(-1, 0),
            Submission::poll_changes(-1, 0),
            Submission::receive(-1, true, 1),
            Submission::limited_multishot(-1, 1),
            Submission::send(-1, std::ptr::null(), 0),
            Submission::cancel(0),
        ];
        let submitted: BTreeSet<_> = submitted.map(code).into();
        let listed: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.code).collect();
        assert_eq!(submitted, listed);
        assert_eq!(listed.len(), OPERATIONS.len(), "one is listed twice");
    }
}
