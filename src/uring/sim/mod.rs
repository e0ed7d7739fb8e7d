//! A simulated kernel for tests: the same interface as Linux, seeded, in virtual time.
//!
//! It owns a small world of sockets, pipes and the peers at their far ends, and advances it whenever the ring enters
//! the kernel. It must never use anything whose outcome the seed does not decide. Where the worker breaks a rule (a
//! descriptor closed in use, memory freed too early, a buffer returned twice) it ends the run.
//!
//! ```text
//!   Ring --push, enter--> SimKernel --> operations: tried each turn, late, cancelled, failing   (faults)
//!        --calls---------->         --> calls --> world: time, descriptors, backlogs, pipes
//!                                         '--> connection: TCP as a session sees it <-- outside: peers, scripted by tests
//! ```
//!
//! Start with [`World`], then `operations.rs`.

mod backlogs;
mod calls;
mod connection;
mod descriptors;
mod faults;
mod operations;
mod outside;
mod violation;
mod world;

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr};

use super::buffers::Region;
use super::kernel::{Completion, Kernel, LocalEnd, Operation, RawPipe, SocketOptions, Wait};
use super::listener::Listener;
use super::pipe::Pipes;
use super::ring::{Ring, SET_UP_TIME_A_TURN};

pub(crate) use super::ring::Outstanding;
pub(crate) use super::suspect::SUSPECT_DELAY;
pub(crate) use connection::{Connection, Heard};
pub(crate) use faults::{Dice, Faults};
pub(crate) use outside::{Accepted, Answer, Arrival, Far, Next, Peer, Servers};
pub(crate) use world::{SharedWorld, Visit, World};

use calls::PORT_SEARCH_MAX;
use operations::{LATE_MAX, Operations};
use violation::violation;

/// The longest turn of a worker without set-ups.
const TURN_MAX: Duration = Duration::from_micros(20);
/// The longest turn with set-ups: the last set-up begins just before their share is used up.
pub(crate) const SETTING_UP_TURN_MAX: Duration =
    TURN_MAX.saturating_add(SET_UP_TIME_A_TURN).saturating_add(PORT_SEARCH_MAX);
/// A worker that takes more turns than this while nothing in the world moves is busy-looping.
const IDLE_TURNS_MAX: u32 = 2000;

/// The resources of a ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Supplies {
    pub(crate) buffers: u16,
    pub(crate) buffer_bytes: u32,
    pub(crate) pipes: usize,
    pub(crate) pipe_bytes: usize,
}

/// Creates a ring over a simulated kernel, with a view of that kernel for when the ring is dropped.
pub(crate) fn ring(world: &SharedWorld, supplies: Supplies) -> (Ring, Leftovers) {
    let region = Rc::new(Region::new(supplies.buffers, supplies.buffer_bytes));
    let multishot = world.borrow_mut().dice.chance(700);
    let operations = Rc::new(RefCell::new(Operations::new(Rc::clone(&region), multishot)));
    let kernel = SimKernel {
        world: Rc::clone(world),
        operations: Rc::clone(&operations),
        idle_turns: 0,
        progress_seen: 0,
        left_at: None,
    };
    let pipes = Pipes::on_demand(supplies.pipes, supplies.pipe_bytes);
    (Ring::new(Box::new(kernel), region, pipes), Leftovers(operations))
}

/// A listener of a ring, in its world.
pub(crate) fn listen(ring: &Ring, world: &SharedWorld, address: SockAddr) -> Listener {
    let fd = world.borrow_mut().listen(address);
    Listener::on_descriptor(ring, fd)
}

/// What the kernel may still hold of a ring.
pub(crate) struct Leftovers(Rc<RefCell<Operations>>);

impl Leftovers {
    /// Whether nothing is queued or in flight, and every buffer is with the kernel.
    pub(crate) fn none(&self) -> bool {
        self.0.borrow().nothing_outstanding()
    }
}

/// See the module docs.
struct SimKernel {
    world: SharedWorld,
    operations: Rc<RefCell<Operations>>,
    idle_turns: u32,
    progress_seen: u64,
    /// When the worker last came back from the kernel.
    left_at: Option<Instant>,
}

impl SimKernel {
    /// Detects a worker that takes turns without progress.
    fn count_idle_turns(&mut self, slept: bool) {
        let progress = self.world.borrow().progress;
        if slept || progress != self.progress_seen {
            self.progress_seen = progress;
            self.idle_turns = 0;
            return;
        }
        self.idle_turns += 1;
        if self.idle_turns > IDLE_TURNS_MAX {
            violation("the worker takes turns without moving anything");
        }
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl Kernel for SimKernel {
    fn push(&mut self, operation: Operation, user_data: u64) {
        let mut operations = self.operations.borrow_mut();
        operations.queue(operation, user_data);
        let mut world = self.world.borrow_mut();
        let in_thousand = world.faults.late;
        if world.dice.chance(in_thousand) {
            // As if the queue were full.
            operations.submit(&mut world);
        }
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let mut slept = false;
        {
            let world = &mut *self.world.borrow_mut();
            let operations = &mut *self.operations.borrow_mut();
            if let Some(left_at) = self.left_at {
                world.longest_turn = world.longest_turn.max(world.now - left_at);
            }
            operations.submit(world);
            let until = match wait {
                Wait::No => Some(world.now),
                Wait::Completion => None,
                Wait::AtMost(limit) => Some(world.now + limit),
            };
            world.now += world.dice.time(TURN_MAX);
            loop {
                world.run_events();
                operations.advance(world);
                let interrupted = world.dice.chance(world.faults.late / 10);
                if operations.any_completed() || until.is_some_and(|until| until <= world.now) || interrupted
                {
                    break;
                }
                slept = true;
                let next = [until, world.next_event_at(), operations.next_late_at(world.now)];
                let Some(next) = next.into_iter().flatten().min() else {
                    violation("the worker waits for an event that cannot occur");
                    break;
                };
                world.now = world.now.max(next);
            }
            if world.dice.chance(world.faults.late) {
                // The worker was preempted: more has completed when it looks.
                world.now += world.dice.time(LATE_MAX);
                world.run_events();
                operations.advance(world);
            }
            self.left_at = Some(world.now);
        }
        self.count_idle_turns(slept);
        Ok(())
    }

    fn completions(&mut self, into: &mut Vec<Completion>) {
        self.operations.borrow_mut().take_completed(into);
    }

    fn is_overflowing(&mut self) -> bool {
        false
    }

    fn provide(&mut self, index: u16) {
        self.operations.borrow_mut().provide(index);
    }

    fn now(&self) -> Instant {
        self.world.borrow().now
    }

    fn socket(&mut self, _domain: Domain, _options: &SocketOptions) -> io::Result<RawFd> {
        self.world.borrow_mut().socket().map_err(error)
    }

    fn bind(&mut self, fd: RawFd, from: LocalEnd) -> io::Result<()> {
        self.world.borrow_mut().bind(fd, from).map_err(error)
    }

    fn connect(&mut self, fd: RawFd, address: &SockAddr) -> io::Result<()> {
        Err(error(self.world.borrow_mut().connect(fd, address)))
    }

    fn take_error(&mut self, fd: RawFd) -> Option<io::Error> {
        self.world.borrow_mut().take_error(fd).map(error)
    }

    fn accept(&mut self, listener: RawFd) -> io::Result<(RawFd, SockAddr)> {
        self.world.borrow_mut().accept(listener).map_err(error)
    }

    fn has_waiting(&mut self, listener: RawFd) -> bool {
        self.world.borrow().has_waiting_at(listener)
    }

    fn local_address(&mut self, fd: RawFd) -> io::Result<SockAddr> {
        Ok(self.world.borrow().local_address(fd))
    }

    fn is_connected(&mut self, fd: RawFd) -> bool {
        let world = &mut *self.world.borrow_mut();
        world.connected(fd).is_some_and(|id| world.connections[id].near_is_connected())
    }

    fn peek(&mut self, fd: RawFd) -> io::Result<usize> {
        let world = &mut *self.world.borrow_mut();
        let id = world.connected(fd).ok_or_else(|| error(libc::EBADF))?;
        world.connections[id].near_peek().map_err(error)
    }

    fn receive_now(&mut self, fd: RawFd, into: &mut [u8]) -> io::Result<usize> {
        let world = &mut *self.world.borrow_mut();
        let id = world.connected(fd).ok_or_else(|| error(libc::EBADF))?;
        let mut received = Vec::new();
        let count = world.receive(id, &mut received, into.len()).map_err(error)?;
        into[..count].copy_from_slice(&received);
        Ok(count)
    }

    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        let world = &mut *self.world.borrow_mut();
        let id = world.connected(fd).ok_or_else(|| error(libc::EBADF))?;
        if world.dice.chance(world.faults.error)
            && let Some(made_up) = world.made_up_error(id)
        {
            return Err(error(made_up));
        }
        world.send(id, bytes).map_err(error)
    }

    fn unacknowledged_bytes(&mut self, fd: RawFd) -> usize {
        let world = &mut *self.world.borrow_mut();
        // Bytes that have arrived may be unread.
        let have_arrived = world.dice.chance(500);
        world.connected(fd).map_or(0, |id| world.connections[id].near_unread_bytes(have_arrived))
    }

    fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()> {
        self.world.borrow_mut().shutdown_write(fd).map_err(error)
    }

    fn reset_on_close(&mut self, fd: RawFd) {
        self.world.borrow_mut().reset_on_close(fd);
    }

    fn splice(&mut self, from: RawFd, to: RawFd, bytes: usize) -> io::Result<usize> {
        self.world.borrow_mut().splice(from, to, bytes).map_err(error)
    }

    fn pipe(&mut self, bytes: usize) -> io::Result<RawPipe> {
        self.world.borrow_mut().pipe(bytes).map_err(error)
    }

    fn close(&mut self, fd: RawFd) {
        if self.operations.borrow().names(fd) {
            violation(&format!("descriptor {fd} was closed while an operation names it"));
        }
        self.world.borrow_mut().close(fd);
    }
}
