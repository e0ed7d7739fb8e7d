//! Sockets on the ring: descriptors that close when nothing can name them any more, and their operations.

use std::cell::Cell;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr};

use super::address::Address;
use super::kernel::{LocalEnd, Operation, SocketOptions};
use super::ops::{Held, InFlight, Key};
use super::ring::Ring;

/// How long a connect to a Unix socket pauses while the listener's backlog is full: there is no event to wait for.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// A file descriptor. Operations in flight share it, so that its number cannot be reused for another file while the
/// kernel may still read it from the queue.
pub(super) struct Descriptor {
    pub(super) ring: Ring,
    pub(super) fd: RawFd,
    /// The receive that is armed for it or has something to report: see `receive.rs`. Here and not in `Socket`, of
    /// which every idle session has several copies.
    pub(super) receive: Cell<Option<Key>>,
    /// The last send, until it is complete or its result was taken: see `send.rs`.
    pub(super) send: Cell<Option<Key>>,
    /// Whether a receive may complete several times. Not on a Unix socket, where it may miss the end: see `suspect.rs`.
    pub(super) receives_several: bool,
    /// Whether a task waits for room to send.
    awaits_room: Cell<bool>,
    /// Whether bytes for the peer are held outside of the socket, and whether its close will be a reset.
    has_held: Cell<bool>,
    resets: Cell<bool>,
    /// Whether it is closed by its other owners.
    pub(super) is_shared: bool,
}

// An idle session has two, of a size that an allocator does not round up.
const _: () = assert!(size_of::<Descriptor>() <= 40);

impl Drop for Descriptor {
    fn drop(&mut self) {
        if !self.is_shared {
            self.ring.inner().kernel.borrow_mut().close(self.fd);
        }
    }
}

impl Descriptor {
    /// A descriptor that is not received from.
    pub(super) fn new(ring: &Ring, fd: RawFd) -> Rc<Self> {
        Self::with(ring, fd, false, false)
    }

    /// A descriptor that others own as well, and close.
    pub(super) fn shared(ring: &Ring, fd: RawFd) -> Rc<Self> {
        Self::with(ring, fd, false, true)
    }

    /// A socket that is connected to `address`, or will be.
    pub(super) fn connected(ring: &Ring, fd: RawFd, address: &Address) -> Rc<Self> {
        Self::with(ring, fd, matches!(address, Address::Ip(_)), false)
    }

    fn with(ring: &Ring, fd: RawFd, receives_several: bool, is_shared: bool) -> Rc<Self> {
        let (receive, send, awaits_room, has_held, resets) = Default::default();
        Rc::new(Self {
            ring: ring.clone(),
            fd,
            receive,
            send,
            receives_several,
            awaits_room,
            has_held,
            resets,
            is_shared,
        })
    }

    /// Waits until an attempt to connect has ended.
    async fn end_of_connecting(self: &Rc<Self>) -> io::Result<()> {
        let events = self.poll(libc::POLLOUT).await?;
        if events & (libc::POLLERR | libc::POLLHUP) == 0 {
            return Ok(());
        }
        let error = self.ring.inner().kernel.borrow_mut().take_error(self.fd);
        error.map_or(Ok(()), Err)
    }

    fn start(self: &Rc<Self>, operation: Operation, socket: Option<Arc<OwnedFd>>) -> InFlight {
        InFlight::start(&self.ring, operation, Held { _descriptor: Rc::clone(self), _socket: socket })
    }

    /// Waits for one of `events` (poll(2)); returns the events found, including errors and hang-ups.
    pub(super) async fn poll(self: &Rc<Self>, events: i16) -> io::Result<i16> {
        self.poll_holding(events, || None).await
    }

    /// The same, while every operation holds a listening socket as well.
    pub(super) async fn poll_holding(
        self: &Rc<Self>,
        events: i16,
        socket: impl Fn() -> Option<Arc<OwnedFd>>,
    ) -> io::Result<i16> {
        let wanted = events | libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        let (fd, events) = (self.fd, u32::from(events as u16));
        loop {
            let result = self.start(Operation::Poll { fd, events }, socket()).await;
            let found = errno(result)? as i16;
            if found & wanted != 0 {
                return Ok(found);
            }
            // Only the end of the peer's stream, which stays reported.
            let result = self.start(Operation::PollChange { fd, events }, socket()).await;
            if result < 0 && result != -libc::ECANCELED {
                errno(result)?;
            }
        }
    }
}

/// A socket that is being connected. Dropping this while connecting resets a connection that has been established.
struct Unfinished<'a>(Option<&'a Rc<Descriptor>>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(descriptor) = self.0 {
            descriptor.ring.inner().kernel.borrow_mut().reset_on_close(descriptor.fd);
        }
    }
}

/// A result of the kernel: a count, or a negative errno.
pub(super) fn errno(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_negative| io::Error::from_raw_os_error(-result))
}

/// Whether an error means that no descriptor, or no memory for one, is available now.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// A stream socket that is not connected yet.
pub struct NewSocket(Rc<Descriptor>);

impl NewSocket {
    /// A socket to connect to `address`.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open(ring: &Ring, address: &Address, options: &SocketOptions) -> io::Result<Self> {
        let fd = ring.inner().kernel.borrow_mut().socket(address.domain(), options)?;
        Ok(Self(Descriptor::connected(ring, fd, address)))
    }

    /// Sets where it connects from.
    ///
    /// # Errors
    /// Those of [`bind_local_end`](super::bind_local_end).
    pub fn bind(&self, from: LocalEnd) -> io::Result<()> {
        self.0.ring.inner().kernel.borrow_mut().bind(self.0.fd, from)
    }

    /// Connects it. Dropping the future resets a connection that is not in use yet: an orderly close would keep a source
    /// port (`TIME_WAIT`).
    ///
    /// # Errors
    /// Those of connect(2).
    pub async fn connect(self, to: &SockAddr) -> io::Result<Socket> {
        let Self(descriptor) = self;
        let Descriptor { ring, fd, .. } = &*descriptor;
        let mut unfinished = Unfinished(Some(&descriptor));
        let connected = loop {
            let connected = ring.inner().kernel.borrow_mut().connect(*fd, to);
            match connected {
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                    break descriptor.end_of_connecting().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ring.sleep(BACKLOG_PAUSE).await,
                other => break other,
            }
        };
        unfinished.0 = None;
        drop(unfinished);
        connected.map(|()| Socket(descriptor))
    }
}

/// A connected stream socket. It can be shut down and dropped, but not handed on: there is no way to get it out of the
/// session that owns it.
pub struct Socket(pub(super) Rc<Descriptor>);

impl Socket {
    /// Sends what there is room for now, by a system call; 0 when there is none. For bytes that are not in a
    /// [`Buffer`](super::Buffer), whose memory no operation could keep.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        debug_assert!(self.0.send.get().is_none(), "a queued send would be overtaken");
        match self.0.ring.inner().kernel.borrow_mut().send(self.0.fd, bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        }
    }

    /// Waits until a receive would not block.
    ///
    /// # Errors
    /// Those of poll(2).
    pub async fn readable(&self) -> io::Result<()> {
        self.0.poll(libc::POLLIN | libc::POLLRDHUP).await.map(|_events| ())
    }

    /// Waits until a send would not block, or fails. Every wait for this needs a time-out: a peer may never receive.
    ///
    /// # Errors
    /// Those of poll(2).
    pub async fn writable(&self) -> io::Result<()> {
        let _until_dropped = AwaitsRoom::new(&self.0.awaits_room);
        self.0.poll(libc::POLLOUT).await.map(|_events| ())
    }

    /// Whether a task waits for this socket to be [`writable`](Self::writable) at this moment.
    pub fn awaits_room(&self) -> bool {
        self.0.awaits_room.get()
    }

    /// Waits until the peer has ended its stream, or the connection is dead.
    ///
    /// # Errors
    /// Those of poll(2).
    pub async fn peer_closed(&self) -> io::Result<()> {
        self.0.poll(libc::POLLRDHUP).await.map(|_events| ())
    }

    /// Waits until the connection is dead: reset, timed out, or ended both ways.
    ///
    /// # Errors
    /// Those of poll(2).
    pub async fn dead(&self) -> io::Result<()> {
        self.0.poll(0).await.map(|_events| ())
    }

    /// Whether there are bytes to receive. False at the end of the stream; an error when the connection is dead, and
    /// `WouldBlock` when it is alive and silent.
    ///
    /// # Errors
    /// Those of recv(2).
    pub fn has_bytes(&self) -> io::Result<bool> {
        if self.has_received()? {
            return Ok(true);
        }
        self.0.ring.inner().kernel.borrow_mut().peek(self.0.fd).map(|bytes| bytes > 0)
    }

    /// Whether a connection, or half of one, still exists. A reset is reported to one operation only: another one in
    /// flight takes it for the end of the stream (`tcp_recvmsg_locked`, on a closed socket).
    pub fn is_connected(&self) -> bool {
        self.0.ring.inner().kernel.borrow_mut().is_connected(self.0.fd)
    }

    /// Whether bytes are on the way: received and not taken, or sent and not acknowledged.
    pub fn has_undelivered(&self) -> bool {
        self.unsent_bytes() > 0
            || self.0.has_held.get()
            || matches!(self.has_bytes(), Ok(true))
            || self.0.ring.inner().kernel.borrow_mut().unacknowledged_bytes(self.0.fd) > 0
    }

    /// Ends our stream to the peer, which may continue its own.
    ///
    /// # Errors
    /// Those of shutdown(2).
    pub fn shutdown_write(&self) -> io::Result<()> {
        debug_assert!(self.0.send.get().is_none(), "a queued send would be overtaken");
        self.0.ring.inner().kernel.borrow_mut().shutdown_write(self.0.fd)
    }

    /// Sets whether bytes for the peer, which the socket had no room for, are held in a pipe or a buffer.
    pub fn set_held(&self, has_held: bool) {
        self.0.has_held.set(has_held);
    }

    /// Whether the close will be a reset.
    pub fn resets_on_close(&self) -> bool {
        self.0.resets.get()
    }

    /// Makes the close a reset instead of an orderly end: the peer learns that bytes were lost.
    pub fn reset_on_close(&self) {
        self.0.resets.set(true);
        self.0.ring.inner().kernel.borrow_mut().reset_on_close(self.0.fd);
    }

    /// The address that the peer connected to.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_address(&self) -> io::Result<Option<Address>> {
        let address = self.0.ring.inner().kernel.borrow_mut().local_address(self.0.fd)?;
        Ok(Address::from_sock_addr(&address))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.fd
    }
}

/// Marks room as awaited until it is dropped.
struct AwaitsRoom<'a>(&'a Cell<bool>);

impl<'a> AwaitsRoom<'a> {
    fn new(awaits_room: &'a Cell<bool>) -> Self {
        awaits_room.set(true);
        Self(awaits_room)
    }
}

impl Drop for AwaitsRoom<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// The family of an address, to create a socket.
impl Address {
    fn domain(&self) -> Domain {
        match self {
            Self::Ip(address) => Domain::for_address(*address),
            Self::Unix(_) => Domain::UNIX,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io::Read;
    use std::net::{Shutdown, TcpStream};
    use std::time::Duration;

    use futures_lite::future::or;

    use super::*;
    use crate::uring::testing::with_peer;

    /// Runs `session` with a connection and its peer, which has ended its stream.
    fn with_half_closed_peer<F: Future<Output = ()> + 'static>(
        session: impl FnOnce(Ring, Socket, TcpStream) -> F + 'static,
    ) {
        with_peer(|ring, socket, peer| {
            peer.shutdown(Shutdown::Write).expect("connected");
            session(ring, socket, peer)
        });
    }

    /// True when `future` does not complete for a while.
    async fn is_pending<T>(ring: &Ring, future: impl Future<Output = T>) -> bool {
        let completed = async {
            future.await;
            false
        };
        let waited = async {
            ring.sleep(Duration::from_millis(50)).await;
            true
        };
        or(completed, waited).await
    }

    #[test]
    fn a_peer_that_has_ended_its_stream_is_dead_when_it_resets() {
        with_half_closed_peer(|ring, socket, peer| async move {
            socket.peer_closed().await.expect("a socket can be polled");
            assert!(is_pending(&ring, socket.dead()).await, "it may still receive");
            let reset = async {
                ring.sleep(Duration::from_millis(1)).await;
                socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a socket");
                drop(peer);
            };
            let ((), dead) = futures_lite::future::zip(reset, socket.dead()).await;
            dead.expect("a socket can be polled");
        });
    }

    #[test]
    fn a_full_socket_to_a_half_closed_peer_is_writable_when_that_receives() {
        with_half_closed_peer(|ring, socket, mut peer| async move {
            fill(&socket);
            assert!(is_pending(&ring, socket.writable()).await, "there is no room");
            let receive = async {
                ring.sleep(Duration::from_millis(1)).await;
                let mut bytes = vec![0; 4 << 20];
                peer.set_nonblocking(true).expect("a socket");
                while peer.read(&mut bytes).is_ok() {}
            };
            let ((), writable) = futures_lite::future::zip(receive, socket.writable()).await;
            writable.expect("a socket can be polled");
        });
    }

    static BYTES: [u8; 65536] = [0; 65536];

    #[test]
    fn a_send_without_room_does_not_wait_in_the_kernel() {
        with_half_closed_peer(|_ring, socket, peer| async move {
            let descriptor = &socket.0;
            let refused = loop {
                let operation = Operation::Send { fd: descriptor.fd, bytes: BYTES.as_ptr(), len: 65536 };
                let result = descriptor.start(operation, None).await;
                if result < 0 {
                    break result;
                }
            };
            assert_eq!(refused, -libc::EAGAIN);
            drop(peer);
        });
    }

    fn fill(socket: &Socket) {
        while socket.send_now(&[0; 8192]).expect("the peer may still receive") > 0 {}
    }

    #[test]
    fn connected_sockets_probe_a_silent_peer_for_the_idle_time_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = Address::Ip(listener.local_addr().expect("it is bound"));
        with_peer(move |ring, _socket, _peer| async move {
            let options = SocketOptions { keepalive: Some(Duration::from_secs(60)), user_timeout: None };
            let to = address.to_sock_addr().expect("an IP address");
            let socket = NewSocket::open(&ring, &address, &options).expect("a descriptor");
            let socket = socket.connect(&to).await.expect("it listens");
            // SAFETY: the socket outlives it.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(socket.fd()) };
            let socket = socket2::SockRef::from(&fd);
            assert!(socket.keepalive().expect("a socket"));
            assert_eq!(socket.tcp_keepalive_time().expect("a socket"), Duration::from_secs(60));
            assert_eq!(socket.tcp_keepalive_interval().expect("a socket"), Duration::from_secs(10));
            assert_eq!(socket.tcp_keepalive_retries().expect("a socket"), 6);
        });
    }
}
