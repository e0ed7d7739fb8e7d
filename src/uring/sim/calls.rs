//! Calls of the worker, which return at once: sockets, pipes, and what they do to connections.
//!
//! A descriptor that names nothing, or the wrong kind of file, is a violation: our bug, and the end of the run.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use socket2::SockAddr;

use super::connection::Connection;
use super::descriptors::{Attempt, File, PipeBytes};
use super::outside::{Accepted, Answer};
use super::violation::violation;
use super::world::{Served, Visit, World};
use crate::uring::kernel::{LocalEnd, RawPipe};

/// How long a connect may search for a source port when they run short.
pub(super) const PORT_SEARCH_MAX: Duration = Duration::from_millis(2);

/// The port of sockets that were bound to an address.
const BOUND_PORT: u16 = 40_000;

impl World {
    /// The file behind a descriptor.
    pub(super) fn file(&self, fd: RawFd) -> Option<File> {
        self.descriptors.file(fd)
    }

    /// The connection of a connected socket.
    pub(super) fn connected(&self, fd: RawFd) -> Option<usize> {
        match self.file(fd) {
            Some(File::Socket(Some(id))) => Some(id),
            Some(_) => {
                violation(&format!("descriptor {fd} is not a connected socket"));
                None
            }
            None => None,
        }
    }

    fn descriptors_left(&mut self, wanted: usize) -> Result<(), i32> {
        if !self.descriptors.have_room(wanted) {
            return Err(libc::EMFILE);
        }
        if self.dice.chance(self.faults.descriptor) {
            return Err(self.dice.one_of(&[libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM]));
        }
        Ok(())
    }

    /// A listening socket.
    pub(crate) fn listen(&mut self, address: SockAddr) -> RawFd {
        let listener = self.backlogs.open(address);
        self.descriptors.open(File::Listener(listener))
    }

    /// Whether a client waits to be accepted.
    pub(super) fn has_waiting(&self, listener: usize) -> bool {
        self.backlogs.has_waiting(listener)
    }

    /// The same for the descriptor of a listener.
    pub(super) fn has_waiting_at(&self, fd: RawFd) -> bool {
        matches!(self.file(fd), Some(File::Listener(listener)) if self.has_waiting(listener))
    }

    pub(super) fn accept(&mut self, fd: RawFd) -> Result<(RawFd, SockAddr), i32> {
        let Some(File::Listener(listener)) = self.file(fd) else {
            violation(&format!("accept on {fd}, which is not a listener"));
            return Err(libc::EINVAL);
        };
        if !self.backlogs.has_waiting(listener) {
            return Err(libc::EAGAIN);
        }
        self.descriptors_left(1)?;
        let Some((id, address)) = self.backlogs.pop(listener) else {
            return Err(libc::EAGAIN);
        };
        self.progress += 1;
        if self.dice.chance(self.faults.error) {
            self.connections[id].fail(libc::ECONNABORTED, self.now);
            self.changed(id);
            return Err(libc::ECONNABORTED);
        }
        let (accepted_in, order) = (Some(self.generation), self.accepted);
        self.visits.insert(id, Visit { listener, accepted_in, order });
        self.accepted += 1;
        Ok((self.descriptors.open(File::Socket(Some(id))), address))
    }

    pub(super) fn socket(&mut self) -> Result<RawFd, i32> {
        self.descriptors_left(1)?;
        Ok(self.descriptors.open(File::Socket(None)))
    }

    /// Sets where a new socket will connect from.
    pub(super) fn bind(&mut self, fd: RawFd, from: LocalEnd) -> Result<(), i32> {
        if !matches!(self.file(fd), Some(File::Socket(None))) || self.bound.insert(fd, from.address).is_some()
        {
            violation(&format!("bind on {fd}, which is not a new socket"));
            return Err(libc::EINVAL);
        }
        Ok(())
    }

    /// Begins to connect a socket, which takes time when source ports are searched. Returns the error that ends it, or
    /// `EINPROGRESS`.
    pub(super) fn connect(&mut self, fd: RawFd, to: &SockAddr) -> i32 {
        if !matches!(self.file(fd), Some(File::Socket(None))) {
            violation(&format!("connect on {fd}, which is not a new socket"));
            return libc::EISCONN;
        }
        if self.dice.chance(self.faults.late) {
            self.now += self.dice.time(PORT_SEARCH_MAX);
        }
        self.progress += 1;
        let from = self.bound.remove(&fd);
        self.connects.push((self.now, to.clone()));
        let Answer { after, error } = self.servers.answer(to, &mut self.dice);
        match error {
            Some(error) if after.is_zero() || error == libc::EADDRNOTAVAIL => error,
            _ => {
                let ends_at = self.now + after;
                self.attempts.push(Attempt { ends_at, error, to: to.clone(), from, reset_on_close: false });
                self.descriptors.set(fd, File::Connecting(self.attempts.len() - 1));
                libc::EINPROGRESS
            }
        }
    }

    /// When an attempt to connect ends.
    pub(super) fn connecting_ends_at(&self, attempt: usize) -> Instant {
        self.attempts[attempt].ends_at
    }

    /// poll(2) of a socket that is being connected.
    pub(super) fn connecting_events(&self, attempt: usize) -> u32 {
        let Attempt { ends_at, error, .. } = self.attempts[attempt];
        let events = match error {
            _ if ends_at > self.now => 0,
            None => libc::POLLOUT,
            Some(_) => libc::POLLOUT | libc::POLLERR | libc::POLLHUP,
        };
        u32::from(events as u16)
    }

    /// Ends a socket's attempt to connect; after a success the socket has a connection.
    pub(super) fn end_attempt(&mut self, fd: RawFd, attempt: usize) {
        let Attempt { error: None, to, from, reset_on_close, .. } = &self.attempts[attempt] else { return };
        let Accepted { peer, socket_bytes } = self.servers.accept(to, &mut self.dice);
        let (from, reset_on_close) = (*from, *reset_on_close);
        let to = to.clone();
        let id = self.connect_peer(peer, socket_bytes);
        self.served.push(Served { id, to, began: self.now, from });
        if reset_on_close {
            self.connections[id].near_reset_on_close();
        }
        self.descriptors.set(fd, File::Socket(Some(id)));
        self.progress += 1;
    }

    /// getsockopt(2) with `SO_ERROR`.
    pub(super) fn take_error(&mut self, fd: RawFd) -> Option<i32> {
        match self.file(fd) {
            Some(File::Connecting(attempt)) => {
                self.descriptors.set(fd, File::Socket(None));
                self.attempts[attempt].error
            }
            Some(File::Socket(Some(id))) => self.connections[id].near_take_error(),
            _ => None,
        }
    }

    /// Makes the close of a socket a reset, if it has a connection by then.
    pub(super) fn reset_on_close(&mut self, fd: RawFd) {
        match self.file(fd) {
            Some(File::Socket(Some(id))) => self.connections[id].near_reset_on_close(),
            Some(File::Connecting(attempt)) => self.attempts[attempt].reset_on_close = true,
            _ => {}
        }
    }

    pub(super) fn local_address(&self, fd: RawFd) -> SockAddr {
        let id = self.connected(fd).expect("a connected socket");
        if let Some(visit) = self.visits.get(&id) {
            return self.backlogs.address(visit.listener).clone();
        }
        let served = self.served.iter().find(|served| served.id == id);
        let from = served.and_then(|served| served.from).expect("a client's socket, or one that was bound");
        SocketAddr::new(from, BOUND_PORT).into()
    }

    pub(super) fn receive(&mut self, id: usize, into: &mut Vec<u8>, bytes_max: usize) -> Result<usize, i32> {
        self.take_in(id, into, bytes_max, Connection::near_receive, true)
    }

    fn take_in(
        &mut self,
        id: usize,
        into: &mut Vec<u8>,
        bytes_max: usize,
        take: fn(&mut Connection, &mut Vec<u8>, usize, Instant) -> Result<usize, i32>,
        passes_mark: bool,
    ) -> Result<usize, i32> {
        let partial = self.faults.partial;
        let there = self.connections[id].near_readable_bytes(passes_mark);
        let bytes = self.dice.part(bytes_max.min(there), partial);
        let received = take(&mut self.connections[id], into, bytes, self.now);
        if received != Err(libc::EAGAIN) {
            self.changed(id);
        }
        received
    }

    pub(super) fn send(&mut self, id: usize, bytes: &[u8]) -> Result<usize, i32> {
        if self.connections[id].near_has_ended() {
            violation("a send after the end of the stream");
        }
        let part = self.dice.part(bytes.len(), self.faults.partial);
        let sent = self.connections[id].near_send(&bytes[..part], self.now);
        if sent != Err(libc::EAGAIN) {
            self.changed(id);
        }
        sent
    }

    /// Injects a failure: of the transfer, or of the whole connection, which the transfer then finds.
    pub(super) fn made_up_error(&mut self, id: usize) -> Option<i32> {
        self.connections[id].faulted = true;
        if self.dice.chance(300) {
            return Some(self.dice.one_of(&[libc::ENOMEM, libc::EINTR, libc::EIO]));
        }
        let error =
            self.dice.one_of(&[libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ECONNRESET, libc::ENETDOWN]);
        self.connections[id].fail(error, self.now);
        None
    }

    pub(super) fn shutdown_write(&mut self, fd: RawFd) -> Result<(), i32> {
        let Some(id) = self.connected(fd) else { return Err(libc::EBADF) };
        if self.connections[id].near_has_ended() {
            violation("a stream was ended twice");
        }
        self.connections[id].near_shutdown_write(self.now)?;
        self.changed(id);
        Ok(())
    }

    /// A pipe; the kernel decides its capacity.
    pub(super) fn pipe(&mut self, bytes: usize) -> Result<RawPipe, i32> {
        self.descriptors_left(2)?;
        let small = self.dice.chance(self.faults.small_pipe);
        let bytes_max = if small { self.dice.number(1, bytes) } else { bytes };
        self.pipes.push(PipeBytes { queue: VecDeque::new(), bytes_max });
        let id = self.pipes.len() - 1;
        Ok(RawPipe {
            read_end: self.descriptors.open(File::PipeRead(id)),
            write_end: self.descriptors.open(File::PipeWrite(id)),
            bytes: bytes_max,
        })
    }

    pub(super) fn splice(&mut self, from: RawFd, to: RawFd, bytes: usize) -> Result<usize, i32> {
        match (self.file(from), self.file(to)) {
            (Some(File::Socket(Some(id))), Some(File::PipeWrite(pipe))) => self.splice_in(id, pipe, bytes),
            (Some(File::PipeRead(pipe)), Some(File::Socket(Some(id)))) => self.splice_out(pipe, id, bytes),
            _ => {
                violation(&format!("splice from {from} to {to}, which are not a socket and a pipe"));
                Err(libc::EBADF)
            }
        }
    }

    fn splice_in(&mut self, id: usize, pipe: usize, bytes: usize) -> Result<usize, i32> {
        let PipeBytes { queue, bytes_max } = &self.pipes[pipe];
        let room = bytes_max - queue.len();
        // A pipe is full when its slots are, even with few bytes in each.
        let full = room == 0 || !queue.is_empty() && self.dice.chance(self.faults.partial);
        if full {
            return Err(libc::EAGAIN);
        }
        let mut moved = Vec::new();
        let count = self.take_in(id, &mut moved, bytes.min(room), Connection::near_splice, false)?;
        self.pipes[pipe].queue.extend(&moved);
        Ok(count)
    }

    fn splice_out(&mut self, pipe: usize, id: usize, bytes: usize) -> Result<usize, i32> {
        let count = bytes.min(self.pipes[pipe].queue.len());
        if count == 0 {
            return Err(libc::EAGAIN);
        }
        let offered: Vec<u8> = self.pipes[pipe].queue.iter().take(count).copied().collect();
        let sent = self.send(id, &offered)?;
        self.pipes[pipe].queue.drain(..sent);
        Ok(sent)
    }

    pub(super) fn close(&mut self, fd: RawFd) {
        let Some(file) = self.descriptors.close(fd) else { return };
        self.bound.remove(&fd);
        match file {
            File::Socket(Some(id)) => self.close_near(id),
            File::Listener(listener) => {
                for id in self.backlogs.close(listener) {
                    self.connections[id].near_reset_on_close();
                    self.close_near(id);
                }
            }
            File::Socket(None) | File::Connecting(_) | File::PipeRead(_) | File::PipeWrite(_) => {}
        }
    }

    fn close_near(&mut self, id: usize) {
        let dice = &mut self.dice;
        let kept = |bytes| if dice.chance(500) { bytes } else { dice.number(0, bytes) };
        self.connections[id].near_close(kept, self.now);
        self.changed(id);
    }
}
