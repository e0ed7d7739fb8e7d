//! Pipes, lent to directions in bulk.
//!
//! A worker has a bounded number, opened at start so that what the system grants is known and logged then: beyond
//! `fs.pipe-user-pages-soft` (pipe(7)) an unprivileged user gets tiny pipes. A pipe that still holds bytes when its
//! loan ends is closed, since those bytes belong to a session.

use std::cell::{Cell, RefCell};
use std::io;

use super::kernel::{Kernel, RawPipe};
use super::linux;
use super::ring::Ring;
use super::shortage::Shortage;
use super::socket::Socket;

/// A smaller pipe makes splice more expensive than copying (measured: 64 KiB equals large copies).
const USEFUL_BYTES_MIN: usize = 64 * 1024;

/// The pipes of one worker before its ring exists.
#[derive(Debug, Default)]
pub struct PipeSet {
    pipes: Vec<RawPipe>,
    /// How many more were wanted.
    refused: usize,
    pipe_bytes: usize,
}

impl PipeSet {
    /// Opens `wanted` pipes of `pipe_bytes` for each of `workers`, in turn, so that what the system grants is
    /// distributed evenly. Fewer than wanted is no error: directions without a pipe copy.
    pub fn open(workers: usize, wanted: usize, pipe_bytes: usize) -> Vec<Self> {
        let mut sets: Vec<Self> =
            (0..workers).map(|_| Self { pipes: Vec::new(), refused: wanted, pipe_bytes }).collect();
        for _ in 0..wanted {
            for set in &mut sets {
                let Ok(pipe) = linux::open_pipe(pipe_bytes) else { return sets };
                if pipe.bytes < USEFUL_BYTES_MIN.min(pipe_bytes) {
                    linux::close(pipe.read_end);
                    linux::close(pipe.write_end);
                    return sets;
                }
                set.pipes.push(pipe);
                set.refused -= 1;
            }
        }
        sets
    }

    /// Number of granted pipes.
    pub fn granted(&self) -> usize {
        self.pipes.len()
    }

    /// Capacity of the smallest pipe.
    pub fn bytes_min(&self) -> usize {
        self.pipes.iter().map(|pipe| pipe.bytes).min().unwrap_or(0)
    }
}

impl Drop for PipeSet {
    fn drop(&mut self) {
        for pipe in self.pipes.drain(..) {
            linux::close(pipe.read_end);
            linux::close(pipe.write_end);
        }
    }
}

/// The pipes of one ring.
pub(super) struct Pipes {
    free: RefCell<Vec<RawPipe>>,
    lent: Cell<usize>,
    /// Pipes that were closed with bytes in them: opened again when needed.
    missing: Cell<usize>,
    /// Pipes that were not granted at start: requested again by [`Ring::ask_for_pipes`].
    refused: Cell<usize>,
    pipe_bytes: usize,
}

impl Pipes {
    pub(super) fn new(mut set: PipeSet) -> Self {
        let free = RefCell::new(std::mem::take(&mut set.pipes));
        let refused = Cell::new(set.refused);
        Self { free, lent: Cell::new(0), missing: Cell::new(0), refused, pipe_bytes: set.pipe_bytes }
    }

    /// All pipes opened on demand, by a simulated kernel.
    #[cfg(test)]
    pub(super) fn on_demand(count: usize, pipe_bytes: usize) -> Self {
        let (free, lent, refused) = Default::default();
        Self { free, lent, missing: Cell::new(count), refused, pipe_bytes }
    }

    /// Number of lent pipes.
    pub(super) fn lent(&self) -> usize {
        self.lent.get()
    }

    /// Number of pipes, lent or not.
    pub(super) fn count(&self) -> usize {
        self.free.borrow().len() + self.lent.get() + self.missing.get()
    }

    /// Closes the free pipes when the ring is dropped.
    pub(super) fn close(&mut self, kernel: &mut dyn Kernel) {
        for pipe in self.free.get_mut().drain(..) {
            kernel.close(pipe.read_end);
            kernel.close(pipe.write_end);
        }
    }
}

/// A pipe on loan, between two sockets. Bytes go in by [`Pipe::fill`] and out by [`Pipe::flush`].
pub struct Pipe {
    ring: Ring,
    raw: RawPipe,
    queued_bytes: usize,
}

/// The result of one splice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// This many bytes; at least one.
    Bytes(usize),
    /// None now: the socket would block.
    Blocked,
    /// None ever again: the stream has ended.
    End,
}

impl Ring {
    /// Lends a pipe; none when all are lent.
    pub fn lend_pipe(&self) -> Option<Pipe> {
        let pipes = &self.inner().pipes;
        let raw = pipes.free.borrow_mut().pop().or_else(|| self.reopen_pipe());
        if let Some(raw) = raw {
            pipes.lent.set(pipes.lent.get() + 1);
            return Some(Pipe { ring: self.clone(), raw, queued_bytes: 0 });
        }
        self.note_shortage(Shortage::Pipes);
        None
    }

    fn reopen_pipe(&self) -> Option<RawPipe> {
        let pipes = &self.inner().pipes;
        let missing = pipes.missing.get().checked_sub(1)?;
        let raw = self.open_pipe()?;
        pipes.missing.set(missing);
        Some(raw)
    }

    /// Opens the pipes that were not granted at start, as far as they are granted now. Returns how many.
    pub fn ask_for_pipes(&self) -> usize {
        let pipes = &self.inner().pipes;
        let asked = pipes.refused.get();
        let opened = (0..asked).map_while(|_| self.open_pipe());
        pipes.free.borrow_mut().extend(opened.inspect(|_| pipes.refused.set(pipes.refused.get() - 1)));
        self.counters().pipes.set(pipes.count() as u64);
        asked - pipes.refused.get()
    }

    fn open_pipe(&self) -> Option<RawPipe> {
        let pipe_bytes = self.inner().pipes.pipe_bytes;
        let mut kernel = self.inner().kernel.borrow_mut();
        let raw = kernel.pipe(pipe_bytes).ok()?;
        if raw.bytes < USEFUL_BYTES_MIN.min(pipe_bytes) {
            kernel.close(raw.read_end);
            kernel.close(raw.write_end);
            return None;
        }
        Some(raw)
    }
}

impl Pipe {
    /// Bytes in the pipe.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Moves at most `bytes` from a socket into the pipe, as far as both allow.
    ///
    /// # Errors
    /// Those of splice(2), for the socket.
    ///
    /// # Panics
    /// When a receive is pending on the socket: its bytes would be reordered.
    pub fn fill(&mut self, from: &Socket, bytes: usize) -> io::Result<Moved> {
        assert!(!from.is_receiving(), "splice from a socket with a pending receive");
        let moved = self.ring.inner().kernel.borrow_mut().splice(from.fd(), self.raw.write_end, bytes);
        let moved = moved_of(moved)?;
        if let Moved::Bytes(bytes) = moved {
            self.queued_bytes += bytes;
        }
        Ok(moved)
    }

    /// Moves the bytes in the pipe to a socket, as far as it allows. The pipe must not be empty.
    ///
    /// # Errors
    /// Those of splice(2), for the socket.
    pub fn flush(&mut self, to: &Socket) -> io::Result<Moved> {
        debug_assert!(self.queued_bytes > 0, "an empty pipe blocks like a full socket");
        let moved =
            self.ring.inner().kernel.borrow_mut().splice(self.raw.read_end, to.fd(), self.queued_bytes);
        let moved = moved_of(moved)?;
        if let Moved::Bytes(bytes) = moved {
            self.queued_bytes -= bytes;
        }
        Ok(moved)
    }
}

fn moved_of(result: io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(0) => Ok(Moved::End),
        Ok(bytes) => Ok(Moved::Bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Moved::Blocked),
        Err(error) => Err(error),
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let inner = self.ring.inner();
        let pipes = &inner.pipes;
        pipes.lent.set(pipes.lent.get() - 1);
        if self.queued_bytes == 0 {
            pipes.free.borrow_mut().push(self.raw);
            return;
        }
        pipes.missing.set(pipes.missing.get() + 1);
        let mut kernel = inner.kernel.borrow_mut();
        kernel.close(self.raw.read_end);
        kernel.close(self.raw.write_end);
    }
}
