//! Sockets on the ring: descriptors that close when nothing can name them any more, and their operations.

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use socket2::{Domain, SockAddr};

use super::address::Address;
use super::buffers::Buffer;
use super::kernel::{Operation, SocketOptions};
use super::ops::{Finished, Held, InFlight, Memory};
use super::ring::Ring;
use super::shortage::Shortage;

/// A file descriptor. Operations in flight share it, so that its number cannot be given to another file while
/// the kernel may still read it from the queue.
pub(super) struct Descriptor {
    pub(super) ring: Ring,
    pub(super) fd: RawFd,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.ring.inner().kernel.borrow_mut().close(self.fd);
    }
}

impl Descriptor {
    pub(super) fn new(ring: &Ring, fd: RawFd) -> Rc<Self> {
        Rc::new(Self { ring: ring.clone(), fd })
    }

    fn start(self: &Rc<Self>, operation: Operation, memory: Memory) -> InFlight {
        InFlight::start(&self.ring, operation, Held { descriptor: Rc::clone(self), memory })
    }

    /// Waits for one of `events` (poll(2)); gives those found, errors and hang-ups among them.
    pub(super) async fn poll(self: &Rc<Self>, events: i16) -> io::Result<i16> {
        let operation = Operation::Poll { fd: self.fd, events: u32::from(events as u16) };
        let finished = self.start(operation, Memory::Nothing).await;
        errno(finished.result).map(|found| found as i16)
    }
}

/// A result of the kernel: a count, or a negative errno.
fn errno(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_negative| io::Error::from_raw_os_error(-result))
}

/// Has an error the meaning that a descriptor, or memory for one, is not to be had now?
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// A connected stream socket. It can be shut down and dropped, and given to nobody: there is no way to get it
/// out of the session that owns it.
pub struct Socket(Rc<Descriptor>);

/// When bytes are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Some are probably there: try first.
    Now,
    /// Most likely none: wait before trying, which saves a failed attempt.
    Later,
}

/// Bytes from a socket.
pub struct Received {
    /// The bytes, at least one.
    pub buffer: Buffer,
    /// There were more.
    pub more: bool,
}

impl Socket {
    /// Connects a new socket.
    ///
    /// # Errors
    /// As socket(2) and connect(2).
    pub async fn connect(
        ring: &Ring,
        address: &Address,
        sock_addr: &Rc<SockAddr>,
        options: &SocketOptions,
    ) -> io::Result<Self> {
        let fd = ring.inner().kernel.borrow_mut().socket(address.domain(), options)?;
        let descriptor = Descriptor::new(ring, fd);
        let operation = Operation::Connect { fd, address: Rc::as_ptr(sock_addr) };
        let finished = descriptor.start(operation, Memory::Address(Rc::clone(sock_addr))).await;
        errno(finished.result).map(|_zero| Self(descriptor))
    }

    /// Receives what is there, at most a buffer; nothing at the end of the stream. When the worker has no
    /// buffer left it waits for one, first come first served.
    ///
    /// # Errors
    /// As recv(2).
    pub async fn receive(&self, expect: Expect) -> io::Result<Option<Received>> {
        let ring = &self.0.ring;
        let mut poll_first = expect == Expect::Later;
        loop {
            let operation = Operation::Receive { fd: self.0.fd, poll_first };
            let Finished { result, more, received, .. } = self.0.start(operation, Memory::Nothing).await;
            match (result, received) {
                (1.., Some(buffer)) => return Ok(Some(Received { buffer, more })),
                (0, _) => return Ok(None),
                (result, _) if result == -libc::ENOBUFS => {
                    // Tried before waiting, it fails for want of a buffer even when there is nothing to
                    // receive. After waiting it means that bytes are there.
                    if poll_first {
                        ring.inner().shortages.note(Shortage::Buffers, ring.now());
                        ring.buffer_returned().await;
                    }
                    poll_first = !poll_first;
                }
                (result, _) => {
                    return Err(errno(result).err().unwrap_or_else(|| io::ErrorKind::InvalidData.into()));
                }
            }
        }
    }

    /// Sends some of the buffer, in one operation.
    ///
    /// # Errors
    /// As send(2); the buffer is given up then.
    pub async fn send(&self, buffer: Buffer) -> io::Result<(usize, Buffer)> {
        let operation = Operation::Send { fd: self.0.fd, bytes: buffer.as_ptr(), len: buffer.len() as u32 };
        let finished = self.0.start(operation, Memory::Buffer(buffer)).await;
        match finished.memory {
            Memory::Buffer(buffer) => errno(finished.result).map(|sent| (sent, buffer)),
            _ => unreachable!("an operation gives back what it was given"),
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// As send(2); some may have gone out.
    pub async fn send_bytes(&self, bytes: Box<[u8]>) -> io::Result<()> {
        let mut sent = 0;
        let mut bytes = bytes;
        while sent < bytes.len() {
            let rest = &bytes[sent..];
            let operation = Operation::Send { fd: self.0.fd, bytes: rest.as_ptr(), len: rest.len() as u32 };
            let finished = self.0.start(operation, Memory::Bytes(bytes)).await;
            sent += errno(finished.result)?;
            match finished.memory {
                Memory::Bytes(same) => bytes = same,
                _ => unreachable!("an operation gives back what it was given"),
            }
        }
        Ok(())
    }

    /// Waits until a receive would not block.
    ///
    /// # Errors
    /// As poll(2).
    pub async fn readable(&self) -> io::Result<()> {
        self.0.poll(libc::POLLIN | libc::POLLRDHUP).await.map(|_events| ())
    }

    /// Waits until a send would not block.
    ///
    /// # Errors
    /// As poll(2).
    pub async fn writable(&self) -> io::Result<()> {
        self.0.poll(libc::POLLOUT).await.map(|_events| ())
    }

    /// Waits until the peer has ended its stream, or the connection is dead.
    ///
    /// # Errors
    /// As poll(2).
    pub async fn peer_closed(&self) -> io::Result<()> {
        self.0.poll(libc::POLLRDHUP).await.map(|_events| ())
    }

    /// Waits until the connection is dead: reset, timed out, or ended both ways.
    ///
    /// # Errors
    /// As poll(2).
    pub async fn dead(&self) -> io::Result<()> {
        self.0.poll(0).await.map(|_events| ())
    }

    /// Are there bytes to receive? False at the end of the stream; an error when the connection is dead, and
    /// `WouldBlock` when it is alive and silent.
    ///
    /// # Errors
    /// As recv(2).
    pub fn has_bytes(&self) -> io::Result<bool> {
        self.0.ring.inner().kernel.borrow_mut().peek(self.0.fd).map(|bytes| bytes > 0)
    }

    /// Ends our stream to the peer; it may go on with its own.
    ///
    /// # Errors
    /// As shutdown(2).
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.0.ring.inner().kernel.borrow_mut().shutdown_write(self.0.fd)
    }

    /// Closes by a reset instead of an orderly end: the peer learns that something was lost.
    pub fn reset(self) {
        self.0.ring.inner().kernel.borrow_mut().reset_on_close(self.0.fd);
    }

    /// The address that the peer connected to.
    ///
    /// # Errors
    /// As getsockname(2).
    pub fn local_address(&self) -> io::Result<Option<Address>> {
        let address = self.0.ring.inner().kernel.borrow_mut().local_address(self.0.fd)?;
        Ok(Address::from_sock_addr(&address))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.fd
    }
}

/// A listening socket.
pub struct Listener(Rc<Descriptor>);

impl Listener {
    /// Takes over a non-blocking listening socket.
    pub fn new(ring: &Ring, socket: OwnedFd) -> Self {
        Self(Descriptor::new(ring, socket.into_raw_fd()))
    }

    /// Waits until someone is to be accepted.
    ///
    /// # Errors
    /// As poll(2).
    pub async fn readable(&self) -> io::Result<()> {
        self.0.poll(libc::POLLIN).await.map(|_events| ())
    }

    /// Accepts one client if one waits, with its address. Accepted sockets take their options over from the
    /// listening one.
    ///
    /// # Errors
    /// `WouldBlock` when nobody waits, else as accept4(2).
    pub fn accept(&self) -> io::Result<(Socket, Address)> {
        let (fd, address) = self.0.ring.inner().kernel.borrow_mut().accept(self.0.fd)?;
        let address = Address::from_sock_addr(&address).unwrap_or(Address::Unix(std::path::PathBuf::new()));
        Ok((Socket(Descriptor::new(&self.0.ring, fd)), address))
    }
}

/// The family of an address, for making a socket.
impl Address {
    fn domain(&self) -> Domain {
        match self {
            Self::Ip(address) => Domain::for_address(*address),
            Self::Unix(_) => Domain::UNIX,
        }
    }
}
