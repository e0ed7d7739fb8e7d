//! What this room asks of a kernel, and nothing else: the seam where a simulated one stands in for Linux.
//!
//! Two kinds of request. An [`Operation`] is queued, and completes some turns later; whatever memory it names
//! belongs to the operation until then. A call returns at once: it never waits and never blocks.

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr};

/// A queued request. Pointers stay valid until its completion: `ops` keeps what they point to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    /// Completes when one of `events` (poll(2)) holds, or an error or hang-up; the result is the events found.
    /// Unlike poll(2) it also completes when the peer has ended its stream (`POLLRDHUP`), wanted or not.
    Poll { fd: RawFd, events: u32 },
    /// For when that is so and not wanted: completes with `ECANCELED` when something else has come up.
    PollChange { fd: RawFd, events: u32 },
    /// Receives into a provided buffer that the kernel picks when data is there. With `poll_first` it does
    /// not try before the socket was found readable (`IORING_RECVSEND_POLL_FIRST`).
    Receive { fd: RawFd, poll_first: bool },
    /// The same with `poll_first`, and it may complete several times, each time with at most half a buffer, until half a
    /// buffer or more has arrived: all of it has room in one (`IORING_RECV_MULTISHOT` with a limit, Linux 6.17).
    /// It may miss a reset that arrives with bytes, and on a Unix socket the end of the stream: see `doubt.rs`.
    ReceiveSeveral { fd: RawFd },
    /// Sends what there is room for now, `EAGAIN` when that is nothing. It waits for nothing: it is over when it has
    /// been submitted.
    Send { fd: RawFd, bytes: *const u8, len: u32 },
    /// Asks for the operation queued with this `user_data` to end early, with `ECANCELED` if it can.
    /// Itself it never completes.
    Cancel { target: u64 },
}

/// What became of an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    /// As given when it was queued.
    pub(crate) user_data: u64,
    /// A count, a file descriptor or a set of events; negative: an errno.
    pub(crate) result: i32,
    /// The provided buffer that the kernel picked. It is the receiver's now.
    pub(crate) buffer: Option<u16>,
    /// More bytes were waiting when a receive completed (`IORING_CQE_F_SOCK_NONEMPTY`).
    pub(crate) more: bool,
    /// The operation is over.
    pub(crate) last: bool,
}

/// How long entering the kernel may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Submit, collect what is there, return.
    No,
    /// Until a completion arrives, however long it takes.
    Completion,
    /// Until a completion arrives or this much time has gone by.
    AtMost(Duration),
}

/// Options of a new stream socket (tcp(7)); `TCP_NODELAY` and non-blocking always.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketOptions {
    /// Idle time before the first keep-alive probe; see [`set_keepalive`](super::set_keepalive).
    pub keepalive: Option<Duration>,
    /// How long sent data may stay unacknowledged.
    pub user_timeout: Option<Duration>,
}

/// A pipe as the kernel made it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawPipe {
    pub(crate) read_end: RawFd,
    pub(crate) write_end: RawFd,
    /// What it really holds, which may be less than was asked for.
    pub(crate) bytes: usize,
}

/// See the module's head. File descriptors are plain numbers here because a simulated kernel hands out its
/// own; `Descriptor` is what owns one.
pub(crate) trait Kernel {
    /// Queues an operation. It may be submitted at once if the queue is full.
    fn push(&mut self, operation: Operation, user_data: u64);

    /// Submits what is queued and waits as told.
    fn enter(&mut self, wait: Wait) -> io::Result<()>;

    /// Appends the completions that have arrived.
    fn completions(&mut self, into: &mut Vec<Completion>);

    /// Hands the provided buffer `index` to the kernel.
    fn provide(&mut self, index: u16);

    /// The time.
    fn now(&self) -> Instant;

    /// socket(2), with its options.
    fn socket(&mut self, domain: Domain, options: &SocketOptions) -> io::Result<RawFd>;

    /// connect(2): `EINPROGRESS` when poll(2) will say how it ends, `EAGAIN` when nothing will (a Unix socket whose
    /// backlog is full).
    fn connect(&mut self, fd: RawFd, address: &SockAddr) -> io::Result<()>;

    /// The error of a socket, which it has no longer then (socket(7), `SO_ERROR`).
    fn take_error(&mut self, fd: RawFd) -> Option<io::Error>;

    /// accept4(2); `WouldBlock` when nobody waits.
    fn accept(&mut self, listener: RawFd) -> io::Result<(RawFd, SockAddr)>;

    /// getsockname(2).
    fn local_address(&mut self, fd: RawFd) -> io::Result<SockAddr>;

    /// Does getpeername(2) name a peer? Not after a reset or a time-out; also after the peer has ended its stream.
    fn is_connected(&mut self, fd: RawFd) -> bool;

    /// recv(2) of one byte with `MSG_PEEK | MSG_DONTWAIT`: how many are there, 0 at the end of the stream.
    fn peek(&mut self, fd: RawFd) -> io::Result<usize>;

    /// send(2) with `MSG_DONTWAIT`: how many there was room for; `WouldBlock` when there was none.
    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<usize>;

    /// Bytes that were sent and are not known to have arrived (tcp(7), `SIOCOUTQ`).
    fn unacknowledged_bytes(&mut self, fd: RawFd) -> usize;

    /// shutdown(2) with `SHUT_WR`.
    fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()>;

    /// Makes the coming close a reset (socket(7), `SO_LINGER` of zero seconds).
    fn reset_on_close(&mut self, fd: RawFd);

    /// splice(2) with `SPLICE_F_NONBLOCK`.
    fn splice(&mut self, from: RawFd, to: RawFd, bytes: usize) -> io::Result<usize>;

    /// pipe2(2), then `F_SETPIPE_SZ`.
    fn pipe(&mut self, bytes: usize) -> io::Result<RawPipe>;

    /// close(2).
    fn close(&mut self, fd: RawFd);
}
