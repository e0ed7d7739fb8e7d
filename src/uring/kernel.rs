//! What this room asks of a kernel: the interface where a simulated kernel can replace Linux.
//!
//! There are two kinds of request. An [`Operation`] is queued and completes some turns later; the memory that it names
//! belongs to the operation until then. A call returns immediately: it never waits and never blocks.

use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr};

/// `user_data` of cancellations, whose own completions are ignored.
pub(crate) const IGNORED: u64 = u64::MAX;

/// A queued request. Pointers stay valid until its completion: `ops` keeps what they point to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    /// Completes when one of `events` (poll(2)) holds, or an error or hang-up; the result is the set of events found.
    /// Unlike poll(2) it also completes when the peer has ended its stream (`POLLRDHUP`), requested or not.
    Poll { fd: RawFd, events: u32 },
    /// For a peer that has ended its stream when that is not the event to wait for: completes with `ECANCELED` when
    /// another event has occurred.
    PollChange { fd: RawFd, events: u32 },
    /// Receives into a provided buffer that the kernel picks when data arrives. With `poll_first` it does not try
    /// before the socket has become readable (`IORING_RECVSEND_POLL_FIRST`).
    Receive { fd: RawFd, poll_first: bool },
    /// Same with `poll_first`, but may complete several times, each time with at most half a buffer, until half a
    /// buffer or more has arrived: all of it fits into one (`IORING_RECV_MULTISHOT` with a limit, Linux 6.17). It may
    /// miss a reset that arrives with bytes, and on a Unix socket the end of the stream: see `suspect.rs`.
    ReceiveSeveral { fd: RawFd },
    /// Sends what there is room for now, `EAGAIN` when there is none. It never waits: it is over as soon as it is
    /// submitted.
    Send { fd: RawFd, bytes: *const u8, len: u32 },
    /// Asks the kernel to end the operation queued with this `user_data` early, with `ECANCELED` if it can. This
    /// request itself never completes.
    Cancel { target: u64 },
}

/// The result of an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    /// The value given when the operation was queued.
    pub(crate) user_data: u64,
    /// A count, a file descriptor or a set of events; negative: an errno.
    pub(crate) result: i32,
    /// The provided buffer that the kernel picked. It now belongs to the receiver.
    pub(crate) buffer: Option<u16>,
    /// Whether more bytes were waiting when a receive completed (`IORING_CQE_F_SOCK_NONEMPTY`).
    pub(crate) more: bool,
    /// Whether the operation is over.
    pub(crate) last: bool,
}

/// How long entering the kernel may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Submit, collect the available completions, return.
    No,
    /// Until a completion arrives, however long it takes.
    Completion,
    /// Until a completion arrives or this time has passed.
    AtMost(Duration),
}

/// Options of a new stream socket (tcp(7)); always with `TCP_NODELAY` and non-blocking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Idle time before the first keep-alive probe; see [`set_keepalive`](super::set_keepalive).
    pub keepalive: Option<Duration>,
    /// How long sent data may stay unacknowledged.
    pub user_timeout: Option<Duration>,
}

/// The address that a socket connects from. The kernel chooses the port when it connects, so that each address has all
/// ports for each server (ip(7), `IP_BIND_ADDRESS_NO_PORT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalEnd {
    /// The address.
    pub address: IpAddr,
    /// Whether it may be the address of another host (ip(7), `IP_TRANSPARENT`).
    pub is_foreign: bool,
}

/// A pipe as the kernel created it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawPipe {
    pub(crate) read_end: RawFd,
    pub(crate) write_end: RawFd,
    /// Its real capacity, which may be less than requested.
    pub(crate) bytes: usize,
}

/// See the module docs. File descriptors are plain numbers here because a simulated kernel hands out its own; a
/// `Descriptor` owns one.
pub(crate) trait Kernel {
    /// Queues an operation. Submits it immediately if the queue is full.
    fn push(&mut self, operation: Operation, user_data: u64);

    /// Submits what is queued and waits as `wait` says.
    fn enter(&mut self, wait: Wait) -> io::Result<()>;

    /// Appends the completions that have arrived.
    fn completions(&mut self, into: &mut Vec<Completion>);

    /// Whether more completions have arrived than their queue holds.
    fn is_overflowing(&mut self) -> bool;

    /// Hands the provided buffer `index` to the kernel.
    fn provide(&mut self, index: u16);

    /// The current time.
    fn now(&self) -> Instant;

    /// socket(2), then sets the options.
    fn socket(&mut self, domain: Domain, options: &SocketOptions) -> io::Result<RawFd>;

    /// Sets where a new socket will connect from: bind(2), with the options that belong to it.
    fn bind(&mut self, fd: RawFd, from: LocalEnd) -> io::Result<()>;

    /// connect(2): `EINPROGRESS` when poll(2) will report the result, `EAGAIN` when nothing will (a Unix socket whose
    /// backlog is full).
    fn connect(&mut self, fd: RawFd, address: &SockAddr) -> io::Result<()>;

    /// Returns and clears the error of a socket (socket(7), `SO_ERROR`).
    fn take_error(&mut self, fd: RawFd) -> Option<io::Error>;

    /// accept4(2); `WouldBlock` when no client waits.
    fn accept(&mut self, listener: RawFd) -> io::Result<(RawFd, SockAddr)>;

    /// Whether a client waits to be accepted (poll(2), without waiting).
    fn has_waiting(&mut self, listener: RawFd) -> bool;

    /// getsockname(2).
    fn local_address(&mut self, fd: RawFd) -> io::Result<SockAddr>;

    /// Whether getpeername(2) returns a peer. False after a reset or a time-out; true after the peer has ended its
    /// stream.
    fn is_connected(&mut self, fd: RawFd) -> bool;

    /// recv(2) of one byte with `MSG_PEEK | MSG_DONTWAIT`: the number of bytes seen, 0 at the end of the stream.
    fn peek(&mut self, fd: RawFd) -> io::Result<usize>;

    /// recv(2) with `MSG_DONTWAIT`: the number of bytes received, 0 at the end of the stream; `WouldBlock` when there are
    /// none.
    fn receive_now(&mut self, fd: RawFd, into: &mut [u8]) -> io::Result<usize>;

    /// send(2) with `MSG_DONTWAIT`: the number of bytes there was room for; `WouldBlock` when there was none.
    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<usize>;

    /// Bytes sent and not yet acknowledged (tcp(7), `SIOCOUTQ`).
    fn unacknowledged_bytes(&mut self, fd: RawFd) -> usize;

    /// shutdown(2) with `SHUT_WR`.
    fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()>;

    /// Makes the close a reset (socket(7), `SO_LINGER` of zero seconds).
    fn reset_on_close(&mut self, fd: RawFd);

    /// splice(2) with `SPLICE_F_NONBLOCK`.
    fn splice(&mut self, from: RawFd, to: RawFd, bytes: usize) -> io::Result<usize>;

    /// pipe2(2), then `F_SETPIPE_SZ`.
    fn pipe(&mut self, bytes: usize) -> io::Result<RawPipe>;

    /// close(2).
    fn close(&mut self, fd: RawFd);
}
