//! The server end of a connection.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, recv, send};

use super::{BULK_WRITE_BYTES, Errand, REPLY_BYTES, REQUEST_BYTES, Step};

const SEND_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// A connection from its accept on.
#[derive(Debug)]
pub(super) struct Server {
    stream: TcpStream,
    mark: u8,
    received_bytes: usize,
    bulk: bool,
}

impl Server {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, mark: 0, received_bytes: 0, bulk: false }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Receives a request and replies, or sends as much bulk as there is room for. The client counts failures.
    pub(super) fn step(&mut self, buffer: &mut [u8]) -> Step {
        if self.bulk {
            return match send(self.stream.as_raw_fd(), &buffer[..BULK_WRITE_BYTES], SEND_FLAGS) {
                Ok(_) | Err(Errno::EAGAIN) => Step::Keep,
                Err(_) => Step::Close,
            };
        }
        let count =
            match recv(self.stream.as_raw_fd(), &mut buffer[..2 * REQUEST_BYTES], MsgFlags::MSG_DONTWAIT) {
                Ok(count) if count > 0 => count,
                Err(Errno::EAGAIN) => return Step::Keep,
                _ => return Step::Close,
            };
        if self.received_bytes == 0 {
            self.mark = buffer[0];
        }
        self.received_bytes += count;
        if self.received_bytes < REQUEST_BYTES {
            return Step::Keep;
        }
        self.received_bytes = 0;
        if self.mark == Errand::Bulk.mark() {
            self.bulk = true;
            return Step::Await(EpollFlags::EPOLLOUT);
        }
        // The send is never short: the socket holds no other bytes, and a reply fits the smallest send buffer.
        match send(self.stream.as_raw_fd(), &buffer[..REPLY_BYTES], SEND_FLAGS) {
            Ok(REPLY_BYTES) if self.mark != Errand::OneShot.mark() => Step::Keep,
            _ => Step::Close,
        }
    }
}
