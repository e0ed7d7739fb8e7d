//! What one end still has to send.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

/// The rest of a message, and how many bytes of filling follow it.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    rest: &'static [u8],
    filling_bytes: usize,
}

static FILLING: [u8; 256 << 10] = [b'x'; 256 << 10];

impl Outgoing {
    pub(super) fn of(message: &'static [u8]) -> Self {
        Self { rest: message, filling_bytes: 0 }
    }

    /// A message with so many bytes behind it.
    pub(super) fn with_filling(message: &'static [u8], filling_bytes: usize) -> Self {
        Self { rest: message, filling_bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.filling_bytes == 0
    }

    /// Sends as much as there is room for. `EAGAIN` means that nothing went.
    pub(super) fn send(&mut self, stream: &TcpStream) -> Result<(), Errno> {
        let mut went = false;
        while !self.is_empty() {
            let bytes = if self.rest.is_empty() {
                &FILLING[..FILLING.len().min(self.filling_bytes)]
            } else {
                self.rest
            };
            match send(stream.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(count) if self.rest.is_empty() => self.filling_bytes -= count,
                Ok(count) => self.rest = &self.rest[count..],
                Err(Errno::EAGAIN) if went => return Ok(()),
                Err(error) => return Err(error),
            }
            went = true;
        }
        Ok(())
    }
}
