//! The client end of a connection.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::errand::{CLIENT_FRAME, LAST, MESSAGE_BYTES, REPLY_BYTES};
use super::{
    BULK_WRITE_BYTES, Errand, NEWS, NEWS_AND_ROOM, Outgoing, SMALL_READ_BYTES, Step, Tally, lighten,
};

/// A connection from its connect on.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    errand: Errand,
    /// Whether the first request has left.
    asked: bool,
    asked_at: Instant,
    received_bytes: usize,
    outgoing: Outgoing,
    /// WebSocket: whether the server has agreed.
    upgraded: bool,
}

impl Client {
    /// Starts to connect.
    pub(super) fn connect(target: SocketAddr, errand: Errand) -> io::Result<Self> {
        let asked_at = Instant::now();
        let socket =
            Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if !errand.is_download() && !errand.is_upload() && errand != Errand::Messages {
            lighten(&SockRef::from(&socket))?;
        }
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => return Err(error),
            _ => {}
        }
        Ok(Self {
            stream: socket.into(),
            errand,
            asked: false,
            asked_at,
            received_bytes: 0,
            outgoing: Outgoing::default(),
            upgraded: false,
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends the request if the connection is established; returns the events to wait for.
    pub(super) fn ask(&mut self, now: Instant) -> EpollFlags {
        self.received_bytes = 0;
        self.outgoing = Outgoing::of(if self.upgraded { &CLIENT_FRAME } else { self.errand.request() });
        // The next receive reports the reason of a failed send.
        let sent = self.outgoing.send(&self.stream);
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
            Errand::PingPong | Errand::Once | Errand::HttpOnce | Errand::WebSocket => NEWS,
            Errand::Messages => NEWS_AND_ROOM,
            Errand::Upload | Errand::HttpUpload => EpollFlags::EPOLLOUT,
            Errand::Download | Errand::HttpDownload | Errand::HeldDownload | Errand::OneShot => {
                EpollFlags::EPOLLIN
            }
        }
    }

    /// Receives what has arrived, or sends what there is room for.
    pub(super) fn step(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Step {
        if !self.asked {
            let awaited = self.ask(Instant::now());
            return if self.asked { Step::Await(awaited) } else { Step::Keep };
        }
        if self.errand.is_download() {
            return self.take_bulk(buffer, tally);
        } else if self.errand.is_upload() {
            return self.give_bulk(buffer, tally);
        }
        if !self.outgoing.is_empty() {
            // The next receive reports the reason of a failed send.
            let _ = self.outgoing.send(&self.stream);
        }
        let room = if self.errand == Errand::Messages { MESSAGE_BYTES } else { SMALL_READ_BYTES };
        loop {
            let count = match recv(self.stream.as_raw_fd(), &mut buffer[..room], MsgFlags::MSG_DONTWAIT) {
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
            if self.has_reply(&buffer[..count]) {
                self.count_reply(tally);
            }
            if self.errand != Errand::Messages {
                return Step::Keep;
            }
        }
    }

    /// Whether these bytes end a reply. The length of one over HTTP depends on what the proxy adds to its head.
    fn has_reply(&self, received: &[u8]) -> bool {
        match self.errand {
            Errand::HttpOnce => received.last() == Some(&LAST),
            Errand::WebSocket if !self.upgraded => received.ends_with(b"\r\n\r\n"),
            Errand::Messages => self.received_bytes == MESSAGE_BYTES,
            _ => self.received_bytes == REPLY_BYTES,
        }
    }

    fn count_reply(&mut self, tally: &mut Tally) {
        let now = Instant::now();
        if self.errand == Errand::WebSocket && !self.upgraded {
            self.upgraded = true;
        } else {
            tally.replies += 1;
            tally.latency_ns.saturating_record((now - self.asked_at).as_nanos() as u64);
        }
        if self.errand.repeats() {
            self.ask(now);
        }
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

    /// Sends; the server counts what arrives.
    fn give_bulk(&self, buffer: &[u8], tally: &mut Tally) -> Step {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.stream.as_raw_fd(), &buffer[..BULK_WRITE_BYTES], flags) {
            Ok(_) | Err(Errno::EAGAIN) => Step::Keep,
            Err(_) => {
                tally.errors += 1;
                Step::Close
            }
        }
    }
}
