//! The server end of a connection.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, recv, send};

use super::errand::{Errand, MESSAGE_BYTES, REPLY_BYTES, REQUEST_BYTES, SERVER_FRAME};
use super::http::{self, Answer};
use super::{BULK_WRITE_BYTES, NEWS_AND_ROOM, Outgoing, SERVER_READ_BYTES, Step, Tally};

const SEND_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);
static REPLY: [u8; REPLY_BYTES] = [b'x'; REPLY_BYTES];

/// A connection from its accept on.
#[derive(Debug)]
pub(super) struct Server {
    stream: TcpStream,
    talk: Talk,
    outgoing: Outgoing,
    /// Whether the end waits for room to send in.
    waits_for_room: bool,
}

/// What the connection carries; its first byte tells.
#[derive(Debug)]
enum Talk {
    Unknown,
    /// Messages of one length, each answered by another one.
    Messages {
        length: usize,
        received_bytes: usize,
        reply: &'static [u8],
        closes: bool,
    },
    Http(http::Request),
    /// Endless bytes to the client.
    Source,
    /// The same at a held rate, which [`Server::send_due`] keeps.
    HeldSource,
    /// Endless bytes from the client.
    Sink,
}

impl Server {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, talk: Talk::Unknown, outgoing: Outgoing::default(), waits_for_room: false }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Receives a request and replies, or moves as much bulk as there is. The client counts failures.
    pub(super) fn step(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Step {
        match self.talk {
            Talk::Source => return self.send_bulk(&buffer[..BULK_WRITE_BYTES]),
            Talk::HeldSource => return Step::Keep,
            Talk::Sink => return self.discard(buffer, tally),
            _ => {}
        }
        if self.outgoing.send(&self.stream).is_err_and(|error| error != Errno::EAGAIN) {
            return Step::Close;
        }
        loop {
            let room = &mut buffer[..SERVER_READ_BYTES];
            let count = match recv(self.stream.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
                Ok(count) if count > 0 => count,
                Err(Errno::EAGAIN) => return Step::Keep,
                _ => return Step::Close,
            };
            match self.take(&buffer[..count]) {
                Step::Keep if count == SERVER_READ_BYTES => {}
                step => return step,
            }
        }
    }

    /// Sends up to so many bytes of a held stream; returns how many went, or `None` if the connection has ended.
    pub(super) fn send_due(&self, filling: &[u8], due_bytes: usize) -> Option<usize> {
        match send(self.stream.as_raw_fd(), &filling[..due_bytes.min(filling.len())], SEND_FLAGS) {
            Ok(count) => Some(count),
            Err(Errno::EAGAIN) => Some(0),
            Err(_) => None,
        }
    }

    /// Takes received bytes.
    fn take(&mut self, received: &[u8]) -> Step {
        match &mut self.talk {
            Talk::Unknown => {
                // A proxy may send the client's address first, in a line (PROXY protocol, version 1).
                let received = if received.starts_with(b"PROXY ") {
                    memchr::memchr(b'\n', received).map_or(&[][..], |end| &received[end + 1..])
                } else {
                    received
                };
                let Some(mark) = received.first() else { return Step::Keep };
                self.talk = Talk::begin(*mark);
                match self.talk {
                    Talk::Source => Step::Await(EpollFlags::EPOLLOUT),
                    Talk::HeldSource => Step::Hold,
                    Talk::Sink => Step::Await(EpollFlags::EPOLLIN),
                    _ => self.take(received),
                }
            }
            Talk::Messages { length, received_bytes, reply, closes } => {
                *received_bytes += received.len();
                if received_bytes < length {
                    return Step::Keep;
                }
                *received_bytes = 0;
                self.outgoing = Outgoing::of(reply);
                let closes = *closes;
                match self.reply() {
                    // A reply to a one-shot is never short: the socket holds no other bytes.
                    Step::Keep if closes => Step::Close,
                    step => step,
                }
            }
            Talk::Http(request) => match request.take(received) {
                None => Step::Keep,
                Some(Answer::Message(message, filling_bytes)) => {
                    self.outgoing = Outgoing::with_filling(message, filling_bytes);
                    self.reply()
                }
                Some(Answer::Source(head)) => {
                    self.talk = Talk::Source;
                    self.outgoing = Outgoing::of(head);
                    let _ = self.outgoing.send(&self.stream);
                    Step::Await(EpollFlags::EPOLLOUT)
                }
                Some(Answer::Sink) => {
                    self.talk = Talk::Sink;
                    Step::Await(EpollFlags::EPOLLIN)
                }
                Some(Answer::Upgrade(head)) => {
                    self.talk = Talk::messages(REQUEST_BYTES, &SERVER_FRAME);
                    self.outgoing = Outgoing::of(head);
                    self.reply()
                }
                Some(Answer::Refuse) => Step::Close,
            },
            Talk::Source | Talk::HeldSource | Talk::Sink => Step::Keep,
        }
    }

    /// Sends the reply; waits for room once there is none.
    fn reply(&mut self) -> Step {
        match self.outgoing.send(&self.stream) {
            Err(error) if error != Errno::EAGAIN => Step::Close,
            _ if self.outgoing.is_empty() || self.waits_for_room => Step::Keep,
            _ => {
                self.waits_for_room = true;
                Step::Await(NEWS_AND_ROOM)
            }
        }
    }

    fn send_bulk(&self, filling: &[u8]) -> Step {
        match send(self.stream.as_raw_fd(), filling, SEND_FLAGS) {
            Ok(_) | Err(Errno::EAGAIN) => Step::Keep,
            Err(_) => Step::Close,
        }
    }

    fn discard(&self, buffer: &mut [u8], tally: &mut Tally) -> Step {
        match recv(self.stream.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
            Ok(count) if count > 0 => {
                tally.bulk_bytes += count as u64;
                Step::Keep
            }
            Err(Errno::EAGAIN) => Step::Keep,
            _ => Step::Close,
        }
    }
}

impl Talk {
    /// What a connection carries that begins with this byte of [`Errand::request`] or of HTTP.
    fn begin(mark: u8) -> Self {
        let is = |errand: Errand| errand.request()[0] == mark;
        if is(Errand::OneShot) {
            Self::Messages { length: REQUEST_BYTES, received_bytes: 0, reply: &REPLY, closes: true }
        } else if is(Errand::PingPong) {
            Self::messages(REQUEST_BYTES, &REPLY)
        } else if is(Errand::Messages) {
            Self::messages(MESSAGE_BYTES, Errand::Messages.request())
        } else if is(Errand::Download) {
            Self::Source
        } else if is(Errand::HeldDownload) {
            Self::HeldSource
        } else if is(Errand::Upload) {
            Self::Sink
        } else {
            Self::Http(http::Request::default())
        }
    }

    fn messages(length: usize, reply: &'static [u8]) -> Self {
        Self::Messages { length, received_bytes: 0, reply, closes: false }
    }
}
