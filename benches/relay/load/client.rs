//! The client end of a connection.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Errand, NEWS, REPLY_BYTES, REQUEST_BYTES, Step, Tally, lighten};

/// A connection from its connect on.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    errand: Errand,
    asked: bool,
    asked_at: Instant,
    received_bytes: usize,
}

impl Errand {
    /// The first byte of the request, which tells the server what to do.
    pub(super) const fn mark(self) -> u8 {
        match self {
            Self::PingPong | Self::Once => b'p',
            Self::Bulk => b'b',
            Self::OneShot => b'c',
        }
    }
}

impl Client {
    /// Starts to connect.
    pub(super) fn connect(target: SocketAddr, errand: Errand) -> io::Result<Self> {
        let asked_at = Instant::now();
        let socket =
            Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if errand != Errand::Bulk {
            lighten(&SockRef::from(&socket))?;
        }
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => return Err(error),
            _ => {}
        }
        Ok(Self { stream: socket.into(), errand, asked: false, asked_at, received_bytes: 0 })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends the request if the connection is established; returns the events to wait for.
    pub(super) fn ask(&mut self, buffer: &[u8], now: Instant) -> EpollFlags {
        let mut request = [buffer[0]; REQUEST_BYTES];
        request[0] = self.errand.mark();
        self.received_bytes = 0;
        // The next receive reports the reason of a failed send.
        let sent = send(self.stream.as_raw_fd(), &request, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        self.asked = !matches!(sent, Err(Errno::EAGAIN));
        if !self.asked {
            return EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        }
        if self.errand != Errand::OneShot {
            self.asked_at = now;
        }
        self.awaited()
    }

    /// Level-triggered for bulk, of which more arrives than one call reads, and for one-shots, whose end may arrive with the
    /// reply.
    fn awaited(&self) -> EpollFlags {
        match self.errand {
            Errand::PingPong | Errand::Once => NEWS,
            Errand::Bulk | Errand::OneShot => EpollFlags::EPOLLIN,
        }
    }

    /// Receives what has arrived.
    pub(super) fn step(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Step {
        if !self.asked {
            let awaited = self.ask(buffer, Instant::now());
            return if self.asked { Step::Await(awaited) } else { Step::Keep };
        }
        if self.errand == Errand::Bulk {
            return self.take_bulk(buffer, tally);
        }
        let count =
            match recv(self.stream.as_raw_fd(), &mut buffer[..2 * REPLY_BYTES], MsgFlags::MSG_DONTWAIT) {
                Ok(0) if self.errand == Errand::OneShot && self.received_bytes == REPLY_BYTES => {
                    tally.connections += 1;
                    return Step::Renew(self.errand);
                }
                Ok(count) if count > 0 => count,
                Err(Errno::EAGAIN) => return Step::Keep,
                _ => {
                    tally.errors += 1;
                    return if self.errand == Errand::OneShot {
                        Step::Renew(self.errand)
                    } else {
                        Step::Close
                    };
                }
            };
        self.received_bytes += count;
        if self.received_bytes == REPLY_BYTES {
            let now = Instant::now();
            tally.replies += 1;
            tally.latency_ns.saturating_record((now - self.asked_at).as_nanos() as u64);
            if self.errand == Errand::PingPong {
                self.ask(buffer, now);
            }
        }
        Step::Keep
    }

    /// Discards the bytes in the kernel (`MSG_TRUNC`, tcp(7)), which leaves the load core to the server's sends.
    fn take_bulk(&self, buffer: &mut [u8], tally: &mut Tally) -> Step {
        match recv(self.stream.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
            Ok(count) if count > 0 => {
                tally.bulk_bytes += count as u64;
                Step::Keep
            }
            Err(Errno::EAGAIN) => Step::Keep,
            _ => {
                tally.errors += 1;
                Step::Close
            }
        }
    }
}
