//! The real kernel: `io_uring(7)` for operations, plain system calls for what returns immediately.
//!
//! Socket, close and splice are calls and not operations because that is cheaper (measured: 72-82 us per connection
//! against 98-106; `IORING_OP_SPLICE` is always handed to a kernel thread). Connecting is a call because the operation
//! does the same work: it searches for a source port when it is submitted, and many that are submitted together cannot
//! be interrupted. Accepting waits for readiness on the ring and calls accept4(2), which keeps the count exact at the
//! limit.

use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, types};
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown};
use rustix::net::SendFlags;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::buffers::Region;
use super::call::Failed;
use super::feature::{Feature, FeatureSet};
use super::kernel::{Completion, IGNORED, Kernel, LocalEnd, Operation, RawPipe, SocketOptions, Wait};
use super::provided::ProvidedRing;
use super::setup::SetUp;
use super::sockopt::{bind_local_end, set_keepalive};
use super::spin::{Spin, Spinner};
use super::submission::Submission;

/// The smallest size requested for a pipe.
const PIPE_BYTES_MIN: usize = 64 * 1024;

/// A send never waits, and never raises SIGPIPE.
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// A kernel ring with its provided buffers.
pub(super) struct Linux {
    // Before the memory that the kernel uses, so that it is closed first.
    ring: IoUring,
    provided: ProvidedRing,
    spinner: Spinner,
    /// Whether the next wait is no sign of how soon messages come: a queued send completes as it is submitted, and bulk
    /// comes as fast as its ends can.
    ignores_wait: bool,
    enter_flags: u32,
    limited_multishot: bool,
    /// Multishot polls that found something and must be cancelled; a field so that the memory is reused.
    changed: Vec<u64>,
}

impl Linux {
    /// Creates a ring on the thread that will use it, without some of the features.
    pub(super) fn new(
        entries: u32,
        spin: Spin,
        without: FeatureSet,
        region: Rc<Region>,
    ) -> Result<Self, Failed> {
        let SetUp { ring, provided, features } = SetUp::new(entries, without, region)?;
        let mut enter_flags = io_uring::EnterFlags::GETEVENTS;
        if features.has(Feature::NoIowait) {
            // Waiting for clients is not waiting for a disk: keep it out of the host's iowait figure.
            enter_flags |= io_uring::EnterFlags::NO_IOWAIT;
        }
        let enter_flags = enter_flags.bits();
        let limited_multishot = features.has(Feature::RecvMultishotLimit);
        let (spinner, ignores_wait, changed) = (Spinner::new(spin), false, Vec::new());
        Ok(Self { ring, provided, spinner, ignores_wait, enter_flags, limited_multishot, changed })
    }

    /// Submits what is queued and waits for `want` completions, at most for `limit`.
    fn enter_once(&mut self, want: u32, limit: Option<Duration>) -> io::Result<()> {
        let queued = self.ring.submission().len() as u32;
        let submitter = self.ring.submitter();
        let entered = if let Some(limit) = limit {
            let limit = types::Timespec::from(limit);
            let args = types::SubmitArgs::new().timespec(&limit);
            let flags = self.enter_flags | io_uring::EnterFlags::EXT_ARG.bits();
            // SAFETY: `EXT_ARG` requires a pointer to `SubmitArgs` and its size, both of which `enter` derives from
            // `args`; `args` and the time it points to outlive the call. `Ops` keeps the memory named by queued entries
            // until their completions.
            unsafe { submitter.enter(queued, want, flags, Some(&args)) }
        } else {
            // SAFETY: as above, without an argument.
            unsafe { submitter.enter::<libc::sigset_t>(queued, want, self.enter_flags, None) }
        };
        match entered {
            Ok(_submitted) => Ok(()),
            // The time is over, a signal arrived, or completions must be taken first: the turn continues.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Polls for completions without sleeping, as long as is worth it and at most `limit`.
    fn spin(&mut self, limit: Option<Duration>) -> io::Result<bool> {
        let spin = self.spinner.limit();
        let spin = limit.map_or(spin, |limit| limit.min(spin));
        let begin = Instant::now();
        while begin.elapsed() < spin {
            self.enter_once(0, None)?;
            if !self.ring.completion().is_empty() {
                return Ok(true);
            }
            std::hint::spin_loop();
        }
        Ok(false)
    }
}

impl Kernel for Linux {
    fn push(&mut self, operation: Operation, user_data: u64) {
        let submission = match operation {
            Operation::Poll { fd, events } => Submission::poll(fd, events),
            // Reports changes after its first report (see `completions`).
            Operation::PollChange { fd, events } => Submission::poll_changes(fd, events),
            Operation::Receive { fd, poll_first } => {
                Submission::receive(fd, poll_first, self.provided.buffer_bytes())
            }
            Operation::ReceiveSeveral { fd } if self.limited_multishot => {
                Submission::limited_multishot(fd, (self.provided.buffer_bytes() / 2).max(1))
            }
            Operation::ReceiveSeveral { fd } => Submission::receive(fd, true, self.provided.buffer_bytes()),
            Operation::Send { fd, bytes, len } => {
                self.ignores_wait = true;
                Submission::send(fd, bytes, len)
            }
            Operation::Cancel { target } => Submission::cancel(target),
        };
        let entry = submission.entry(user_data);
        loop {
            // SAFETY: the memory that the entry names is owned by its slot in `Ops` until its completion.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: submit what is queued. A failure here occurs again, and is reported, at the next enter; any
            // successful submission empties the queue.
            if let Err(error) = self.ring.submit() {
                tracing::debug!(%error, "submission queue is full and the kernel accepts nothing; retrying");
            }
        }
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.provided.provide();
        let limit = match wait {
            Wait::No => {
                self.ignores_wait = false;
                return self.enter_once(0, None);
            }
            Wait::Completion => None,
            Wait::AtMost(limit) => Some(limit),
        };
        let ignores_wait = std::mem::take(&mut self.ignores_wait);
        let begin = (self.spinner.is_auto() && !ignores_wait).then(Instant::now);
        if self.spinner.limit().is_zero() || self.spinner.is_auto() && begin.is_none() || !self.spin(limit)? {
            self.enter_once(1, limit)?;
        }
        if let Some(begin) = begin {
            let completions = self.ring.completion().len();
            if completions > 0 {
                self.spinner.waited(begin.elapsed(), completions);
            }
        }
        Ok(())
    }

    fn completions(&mut self, into: &mut Vec<Completion>) {
        for entry in self.ring.completion() {
            let last = !cqueue::more(entry.flags());
            let buffer = cqueue::buffer_select(entry.flags());
            if buffer.is_some() {
                self.provided.note_picked();
            }
            if !last && buffer.is_none() {
                // A report of a `PollChange`. Its last one, after the cancellation, is its completion.
                if entry.result() & !i32::from(libc::POLLRDHUP) != 0 {
                    self.changed.push(entry.user_data());
                }
                continue;
            }
            into.push(Completion {
                user_data: entry.user_data(),
                result: entry.result(),
                buffer,
                more: cqueue::sock_nonempty(entry.flags()),
                last,
            });
        }
        while let Some(target) = self.changed.pop() {
            self.push(Operation::Cancel { target }, IGNORED);
        }
    }

    fn is_overflowing(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    fn provide(&mut self, index: u16) {
        self.provided.take_back(index);
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn socket(&mut self, domain: Domain, options: &SocketOptions) -> io::Result<RawFd> {
        let socket = Socket::new_raw(domain, Type::STREAM.nonblocking().cloexec(), None)?;
        if domain != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
            if let Some(idle) = options.keepalive {
                set_keepalive(&socket, idle)?;
            }
            if let Some(timeout) = options.user_timeout {
                socket.set_tcp_user_timeout(Some(timeout))?;
            }
        }
        Ok(socket.into_raw_fd())
    }

    fn bind(&mut self, fd: RawFd, from: LocalEnd) -> io::Result<()> {
        bind_local_end(&borrow(fd), from)
    }

    fn connect(&mut self, fd: RawFd, address: &SockAddr) -> io::Result<()> {
        SockRef::from(&borrow(fd)).connect(address)
    }

    fn take_error(&mut self, fd: RawFd) -> Option<io::Error> {
        SockRef::from(&borrow(fd)).take_error().unwrap_or_else(Some)
    }

    fn accept(&mut self, listener: RawFd) -> io::Result<(RawFd, SockAddr)> {
        let mut accepted = -1;
        // SAFETY: accept4(2) writes at most the given length, and reports how much it wrote.
        let ((), address) = unsafe {
            SockAddr::try_init(|storage, len| {
                let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
                match libc::accept4(listener, storage.cast(), len, flags) {
                    -1 => Err(io::Error::last_os_error()),
                    fd => {
                        accepted = fd;
                        Ok(())
                    }
                }
            })
        }?;
        Ok((accepted, address))
    }

    fn has_waiting(&mut self, listener: RawFd) -> bool {
        let listener = borrow(listener);
        let mut looked = [PollFd::new(listener, PollFlags::POLLIN)];
        // An error is reported by the next accept.
        poll(&mut looked, PollTimeout::ZERO).is_ok_and(|found| found > 0)
    }

    fn local_address(&mut self, fd: RawFd) -> io::Result<SockAddr> {
        SockRef::from(&borrow(fd)).local_addr()
    }

    fn is_connected(&mut self, fd: RawFd) -> bool {
        SockRef::from(&borrow(fd)).peer_addr().is_ok()
    }

    fn peek(&mut self, fd: RawFd) -> io::Result<usize> {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        Ok(nix::sys::socket::recv(fd, &mut [0], flags)?)
    }

    fn receive_now(&mut self, fd: RawFd, into: &mut [u8]) -> io::Result<usize> {
        self.ignores_wait = true;
        Ok(nix::sys::socket::recv(fd, into, MsgFlags::MSG_DONTWAIT)?)
    }

    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        // Not libc's, which makes every send a point where the thread could be cancelled: 2 % of an HTTP request.
        Ok(rustix::net::send(borrow(fd), bytes, SEND_FLAGS)?)
    }

    fn unacknowledged_bytes(&mut self, fd: RawFd) -> usize {
        let mut bytes: libc::c_int = 0;
        // SAFETY: `SIOCOUTQ`, which has the number of `TIOCOUTQ`, writes an int.
        let known = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) } == 0;
        if known { usize::try_from(bytes).unwrap_or(0) } else { 0 }
    }

    fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()> {
        Ok(nix::sys::socket::shutdown(fd, Shutdown::Write)?)
    }

    fn reset_on_close(&mut self, fd: RawFd) {
        // It may fail on a dead socket, which leaves nothing to reset.
        let _ = SockRef::from(&borrow(fd)).set_linger(Some(Duration::ZERO));
    }

    fn splice(&mut self, from: RawFd, to: RawFd, bytes: usize) -> io::Result<usize> {
        self.ignores_wait = true;
        // Without SPLICE_F_MORE, which corks for up to 200 ms; SPLICE_F_MOVE does nothing.
        Ok(nix::fcntl::splice(borrow(from), None, borrow(to), None, bytes, SpliceFFlags::SPLICE_F_NONBLOCK)?)
    }

    fn pipe(&mut self, bytes: usize) -> io::Result<RawPipe> {
        open_pipe(bytes)
    }

    fn close(&mut self, fd: RawFd) {
        close(fd);
    }
}

/// Opens a pipe of `bytes`, or of half of that, a quarter … if less is granted (pipe(7), `F_SETPIPE_SZ`).
pub(super) fn open_pipe(bytes: usize) -> io::Result<RawPipe> {
    let (read_end, write_end) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let mut wanted = bytes;
    while wanted >= PIPE_BYTES_MIN.min(bytes) {
        let size = i32::try_from(wanted).unwrap_or(i32::MAX);
        if nix::fcntl::fcntl(&write_end, FcntlArg::F_SETPIPE_SZ(size)).is_ok() {
            break;
        }
        wanted /= 2;
    }
    let bytes = nix::fcntl::fcntl(&write_end, FcntlArg::F_GETPIPE_SZ)? as usize;
    Ok(RawPipe { read_end: read_end.into_raw_fd(), write_end: write_end.into_raw_fd(), bytes })
}

/// close(2). It cannot fail for sockets and pipes in a way that leaves the descriptor open.
pub(super) fn close(fd: RawFd) {
    let _ = nix::unistd::close(fd);
}

fn borrow<'fd>(fd: RawFd) -> BorrowedFd<'fd> {
    // SAFETY: every caller got `fd` from a `Descriptor` or a pipe that stays alive during the call.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
