//! One direction of a session.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::baseline::pipe::{PIPE_BYTES, Pipe};

/// Bytes that one `recv` takes at most. A copy of as many costs less than two splices (measured with 64 KiB).
pub(super) const READ_BYTES: usize = 128 << 10;

/// Bytes on their way from one socket to the other.
///
/// They are copied until a read fills the buffer, and spliced from then on.
#[derive(Default)]
pub(super) struct Direction {
    pub(super) state: State,
    /// Whether the source has sent its last byte.
    pub(super) hangs_up: bool,
    /// What the destination had no room for, from [`Self::rest_sent_bytes`] on.
    pub(super) rest: Vec<u8>,
    rest_sent_bytes: usize,
    /// Whether a read has filled the buffer.
    pub(super) has_bulk: bool,
    /// Given to a direction that has bulk.
    pub(super) pipe: Option<Pipe>,
}

/// What a direction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    /// For bytes.
    #[default]
    Waits,
    /// For its turn: there may be more bytes.
    Due,
    /// For room.
    Blocked,
    /// For nothing any more.
    Ended,
}

impl Direction {
    /// Moves up to a buffer or a pipe of bytes.
    pub(super) fn advance(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        buffer: &mut [u8],
    ) -> Result<State, Errno> {
        if !self.send_rest(to)? {
            return Ok(State::Blocked);
        }
        match &mut self.pipe {
            Some(pipe) => pipe.advance(from, to),
            None => self.copy(from, to, buffer),
        }
    }

    fn copy(&mut self, from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> Result<State, Errno> {
        let count = match recv(from.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Ok(State::Ended),
            Err(Errno::EAGAIN) => return Ok(State::Waits),
            other => other?,
        };
        let sent = send_now(to, &buffer[..count])?;
        self.rest.extend_from_slice(&buffer[sent..count]);
        self.has_bulk = count == buffer.len();
        Ok(if sent < count { State::Blocked } else { self.state_after_read() })
    }

    /// Sends the rest as far as there is room; whether nothing is left of it.
    pub(super) fn send_rest(&mut self, to: &TcpStream) -> Result<bool, Errno> {
        if !self.rest.is_empty() {
            self.rest_sent_bytes += send_now(to, &self.rest[self.rest_sent_bytes..])?;
            if self.rest_sent_bytes < self.rest.len() {
                return Ok(false);
            }
            self.rest.clear();
            self.rest_sent_bytes = 0;
        }
        Ok(true)
    }

    /// What it waits for when all that it has read is sent.
    pub(super) fn state_after_read(&self) -> State {
        if self.has_bulk {
            State::Due
        } else if self.hangs_up {
            // A read that does not fill the buffer has taken all that there was (epoll(7)): no other one has to say so.
            State::Ended
        } else {
            State::Waits
        }
    }
}

impl Pipe {
    fn advance(&mut self, from: &TcpStream, to: &TcpStream) -> Result<State, Errno> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        if self.queued_bytes == 0 {
            self.queued_bytes = match splice(from, None, &self.input, None, PIPE_BYTES as usize, flags) {
                Ok(0) => return Ok(State::Ended),
                Err(Errno::EAGAIN) => return Ok(State::Waits),
                other => other?,
            };
        }
        match splice(&self.output, None, to, None, self.queued_bytes, flags) {
            Err(Errno::EAGAIN) => {}
            other => self.queued_bytes -= other?,
        }
        Ok(if self.queued_bytes > 0 { State::Blocked } else { State::Due })
    }
}

/// Sends as much as there is room for.
pub(super) fn send_now(to: &TcpStream, bytes: &[u8]) -> Result<usize, Errno> {
    match send(to.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Err(Errno::EAGAIN) => Ok(0),
        other => other,
    }
}
