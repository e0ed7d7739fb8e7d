//! A relay that moves every byte with `IORING_OP_SPLICE` from socket to pipe to socket.
//!
//! The kernel passes each such operation to one of its worker threads, which waits in splice(2). This arm measures the
//! cost on the running kernel.

// Not in `uring`, because this baseline is not part of the product and uses the ring directly.
#![allow(unsafe_code)]

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};
use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;
use slab::Slab;

use super::pipe::{PIPE_BYTES, Pipe};
use crate::load::listen_on;

const RING_ENTRIES: u32 = 1024;
const LISTENER: u64 = u64::MAX;
/// No offset: neither end is a file.
const NO_OFFSET: i64 = -1;

/// A client's connection, its upstream connection, and a pipe for each direction.
struct Session {
    /// Direction `d` goes from socket `d` to the other.
    sockets: [TcpStream; 2],
    pipes: [Pipe; 2],
    running: u32,
}

/// What an operation does, encoded in its `user_data`: slot, direction, and whether it fills or empties the pipe.
#[derive(Clone, Copy)]
struct Operation {
    slot: usize,
    direction: usize,
    fills: bool,
}

struct Relay {
    ring: IoUring,
    listener: TcpListener,
    upstream: SocketAddr,
    sessions: Slab<Session>,
}

/// Relays until the process ends.
pub(crate) fn run(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let ring = IoUring::builder()
        .setup_cqsize(RING_ENTRIES * 8)
        .build(RING_ENTRIES)
        .context("cannot make an io_uring")?;
    keep_workers_on_own_core(&ring)?;
    let listener = listen_on(listen).with_context(|| format!("cannot listen on {listen}"))?;
    Relay { ring, listener, upstream, sessions: Slab::new() }.run()
}

impl Relay {
    fn run(mut self) -> Result<()> {
        self.watch_listener()?;
        loop {
            self.ring.submit_and_wait(1).context("io_uring_enter")?;
            let completions: Vec<(u64, i32)> =
                self.ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
            for (user_data, result) in completions {
                if user_data == LISTENER {
                    self.accept_all()?;
                    self.watch_listener()?;
                } else {
                    self.advance(Operation::from_user_data(user_data), result)?;
                }
            }
        }
    }

    fn watch_listener(&mut self) -> Result<()> {
        let poll = opcode::PollAdd::new(Fd(self.listener.as_raw_fd()), libc::POLLIN as u32).build();
        push(&mut self.ring, &poll.user_data(LISTENER))
    }

    /// Accepts all clients, and connects to the server with a blocking call, which does not wait on loopback.
    fn accept_all(&mut self) -> Result<()> {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            let upstream = TcpStream::connect(self.upstream).context("cannot connect to the server")?;
            client.set_nodelay(true).context("TCP_NODELAY")?;
            upstream.set_nodelay(true).context("TCP_NODELAY")?;
            let slot = self.sessions.insert(Session {
                sockets: [client, upstream],
                pipes: [Pipe::new()?, Pipe::new()?],
                running: 2,
            });
            for direction in 0..2 {
                self.start(Operation { slot, direction, fills: true })?;
            }
        }
    }

    /// Takes the result of a splice, and starts the next one of its direction.
    fn advance(&mut self, operation: Operation, result: i32) -> Result<()> {
        let session = &mut self.sessions[operation.slot];
        let pipe = &mut session.pipes[operation.direction];
        let destination = &session.sockets[1 - operation.direction];
        if result > 0 {
            if operation.fills {
                pipe.queued_bytes = result as usize;
            } else {
                pipe.queued_bytes -= result as usize;
            }
            let fills = pipe.queued_bytes == 0;
            return self.start(Operation { fills, ..operation });
        }
        if result == 0 && operation.fills {
            // This fails if the other end has closed already.
            let _ = destination.shutdown(Shutdown::Write);
        } else {
            // The other direction waits in the kernel on one of the two, and ends too.
            for socket in &session.sockets {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        session.running -= 1;
        if session.running == 0 {
            drop(self.sessions.remove(operation.slot));
        }
        Ok(())
    }

    fn start(&mut self, operation: Operation) -> Result<()> {
        let session = &self.sessions[operation.slot];
        let pipe = &session.pipes[operation.direction];
        let (from, to, length_bytes): (RawFd, RawFd, u32) = if operation.fills {
            (session.sockets[operation.direction].as_raw_fd(), pipe.input.as_raw_fd(), PIPE_BYTES)
        } else {
            let destination = &session.sockets[1 - operation.direction];
            (pipe.output.as_raw_fd(), destination.as_raw_fd(), pipe.queued_bytes as u32)
        };
        let splice = opcode::Splice::new(Fd(from), NO_OFFSET, Fd(to), NO_OFFSET, length_bytes).build();
        push(&mut self.ring, &splice.user_data(operation.to_user_data()))
    }
}

impl Operation {
    fn to_user_data(self) -> u64 {
        (self.slot as u64) << 2 | (self.direction as u64) << 1 | u64::from(self.fills)
    }

    fn from_user_data(user_data: u64) -> Self {
        Self {
            slot: (user_data >> 2) as usize,
            direction: (user_data >> 1 & 1) as usize,
            fills: user_data & 1 == 1,
        }
    }
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) -> Result<()> {
    // SAFETY: the entries made here, polls and splices, name descriptors and no memory. The descriptors are open when
    // the kernel takes the entries, at the latest in the next `submit`: a session is dropped only with the completion
    // of its last operation, and `run` keeps the listener.
    if unsafe { ring.submission().push(entry) }.is_ok() {
        return Ok(());
    }
    ring.submit().context("io_uring_enter")?;
    // SAFETY: as above.
    unsafe { ring.submission().push(entry) }.context("the submission queue stays full")
}

/// Pins the ring's worker threads. By default they take their cores from the cpuset and not from the thread that made the
/// ring, and would use the load core as well.
fn keep_workers_on_own_core(ring: &IoUring) -> Result<()> {
    let own = sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity")?;
    // SAFETY: a `cpu_set_t` is an array of integers, for which all zeroes is the empty set.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in 0..nix::sched::CpuSet::count() {
        if own.is_set(cpu).unwrap_or(false) {
            // SAFETY: `cpu` is below the number of bits in the set, and the set is ours.
            unsafe { libc::CPU_SET(cpu, &mut cpus) };
        }
    }
    ring.submitter().register_iowq_aff(&cpus).context("cannot pin the ring's workers")
}
