//! Operations of a simulated kernel: submitted, waiting for their condition, completed or cancelled.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::descriptors::File;
use super::violation::violation;
use super::world::World;
use crate::uring::buffers::Region;
use crate::uring::kernel::{Completion, IGNORED, Operation};

/// The longest delay of an operation that could complete, and of a worker that looks for completions.
pub(super) const LATE_MAX: Duration = Duration::from_millis(2);
/// `io_uring` always reports these (`IO_POLL_UNMASK`; poll(2) does so without `POLLRDHUP`).
const ALWAYS_REPORTED: u32 = (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL | libc::POLLRDHUP) as u32;
/// Freed buffers are filled with this, so that a later read is noticed.
const POISON: u8 = 0xdb;

/// An operation that the kernel has.
struct InFlight {
    user_data: u64,
    operation: Operation,
    /// The content of the memory it names at submission.
    memory: Vec<u8>,
    /// The earliest time of its completion.
    earliest: Instant,
    was_late: bool,
    was_tried: bool,
    cancelled: bool,
    /// For a receive: the bytes it has delivered.
    received_bytes: usize,
    hearing: Hearing,
}

/// Whether an operation notices what happens to its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hearing {
    Good,
    /// A reset arrived with the last bytes that it delivered, and will cause no event for it.
    MissedAReset,
}

/// The result of an operation, final or not.
struct Ended {
    result: i32,
    buffer: Option<u16>,
    more: bool,
    last: bool,
}

impl Ended {
    fn with(result: i32) -> Self {
        Self { result, buffer: None, more: false, last: true }
    }
}

/// All operations, and the provided buffers.
pub(super) struct Operations {
    region: Rc<Region>,
    /// Whether a receive that waited completes several times.
    multishot: bool,
    free_buffers: VecDeque<u16>,
    queued: VecDeque<(u64, Operation)>,
    in_flight: Vec<InFlight>,
    completed: Vec<Completion>,
}

/// The descriptor that an operation names.
fn descriptor(operation: &Operation) -> Option<RawFd> {
    match operation {
        Operation::Poll { fd, .. }
        | Operation::PollChange { fd, .. }
        | Operation::Receive { fd, .. }
        | Operation::ReceiveSeveral { fd }
        | Operation::Send { fd, .. } => Some(*fd),
        Operation::Cancel { .. } => None,
    }
}

/// The current content of the memory that an operation names.
fn memory(operation: &Operation) -> Vec<u8> {
    match operation {
        Operation::Send { bytes, len, .. } => {
            // SAFETY: the contract of `Operation`: it is valid from the push to the completion. The simulation checks
            // that it keeps its bytes for that time.
            unsafe { std::slice::from_raw_parts(*bytes, *len as usize) }.to_vec()
        }
        _ => Vec::new(),
    }
}

impl Operations {
    pub(super) fn new(region: Rc<Region>, multishot: bool) -> Self {
        let free_buffers = (0..region.count()).collect();
        Self {
            region,
            multishot,
            free_buffers,
            queued: VecDeque::new(),
            in_flight: Vec::new(),
            completed: Vec::new(),
        }
    }

    pub(super) fn queue(&mut self, operation: Operation, user_data: u64) {
        self.queued.push_back((user_data, operation));
    }

    /// Whether everything lent has come back.
    pub(super) fn nothing_outstanding(&self) -> bool {
        self.queued.is_empty()
            && self.in_flight.is_empty()
            && self.free_buffers.len() == usize::from(self.region.count())
    }

    pub(super) fn names(&self, fd: RawFd) -> bool {
        let queued = self.queued.iter().map(|(_, operation)| operation);
        let in_flight = self.in_flight.iter().map(|op| &op.operation);
        queued.chain(in_flight).any(|operation| descriptor(operation) == Some(fd))
    }

    pub(super) fn take_completed(&mut self, into: &mut Vec<Completion>) {
        into.append(&mut self.completed);
    }

    pub(super) fn any_completed(&self) -> bool {
        !self.completed.is_empty()
    }

    /// When the next delayed operation may be tried again.
    pub(super) fn next_late_at(&self, now: Instant) -> Option<Instant> {
        self.in_flight.iter().map(|op| op.earliest).filter(|at| *at > now).min()
    }

    /// Takes a buffer back.
    pub(super) fn provide(&mut self, index: u16) {
        if self.free_buffers.contains(&index) {
            violation(&format!("buffer {index} was provided twice"));
            return;
        }
        let begin = self.region.address(index);
        let bytes = self.region.buffer_bytes() as usize;
        for op in &self.in_flight {
            if let Operation::Send { bytes: named, .. } = op.operation
                && (begin.addr()..begin.addr() + bytes).contains(&named.addr())
            {
                violation(&format!("buffer {index} was provided while it was being sent"));
            }
        }
        // SAFETY: the region's buffers are `bytes` long, and this one is the kernel's again: its loan is over.
        unsafe { begin.write_bytes(POISON, bytes) };
        self.free_buffers.push_back(index);
    }

    /// Submits what is queued.
    pub(super) fn submit(&mut self, world: &mut World) {
        while let Some((user_data, operation)) = self.queued.pop_front() {
            if let Operation::Cancel { target } = operation {
                self.cancel(target, world);
                continue;
            }
            self.check_rules(&operation, world);
            let earliest = match descriptor(&operation).and_then(|fd| world.file(fd)) {
                Some(File::Connecting(attempt)) => world.now.max(world.connecting_ends_at(attempt)),
                _ => world.now,
            };
            self.in_flight.push(InFlight {
                user_data,
                memory: memory(&operation),
                operation,
                earliest,
                was_late: false,
                was_tried: false,
                cancelled: false,
                received_bytes: 0,
                hearing: Hearing::Good,
            });
        }
    }

    fn check_rules(&self, operation: &Operation, world: &World) {
        let Some(fd) = descriptor(operation) else { return };
        let suits = match world.file(fd) {
            Some(File::Listener(_) | File::Connecting(_)) => matches!(operation, Operation::Poll { .. }),
            Some(File::Socket(Some(_))) => true,
            Some(File::Socket(None) | File::PipeRead(_) | File::PipeWrite(_)) | None => false,
        };
        if !suits {
            violation(&format!("{operation:?} does not suit descriptor {fd}"));
        }
        let kind = |operation: &Operation| match operation {
            Operation::ReceiveSeveral { fd } => {
                std::mem::discriminant(&Operation::Receive { fd: *fd, poll_first: true })
            }
            other => std::mem::discriminant(other),
        };
        let same = |other: &InFlight| {
            descriptor(&other.operation) == Some(fd)
                && !matches!(operation, Operation::Poll { .. } | Operation::PollChange { .. })
                && kind(&other.operation) == kind(operation)
        };
        if self.in_flight.iter().any(same) {
            violation(&format!(
                "two operations of a kind at once would change the order of bytes: {operation:?}"
            ));
        }
    }

    fn cancel(&mut self, target: u64, world: &mut World) {
        let found = self.in_flight.iter_mut().find(|op| op.user_data == target);
        let result = if let Some(op) = found {
            op.cancelled = true;
            let late = world.dice.chance(world.faults.late);
            op.earliest = if late { world.now + world.dice.time(LATE_MAX) } else { world.now };
            0
        } else {
            -libc::ENOENT
        };
        self.completed.push(Completion { user_data: IGNORED, result, buffer: None, more: false, last: true });
    }

    /// Tries every operation, in random order.
    pub(super) fn advance(&mut self, world: &mut World) {
        if self.free_buffers.is_empty() {
            world.buffers_short_at = Some(world.now);
        }
        if self.in_flight.is_empty() {
            return;
        }
        let first = world.dice.number(0, self.in_flight.len() - 1);
        self.in_flight.rotate_left(first);
        let mut waiting = Vec::with_capacity(self.in_flight.len());
        for mut op in std::mem::take(&mut self.in_flight) {
            match self.attempt(&mut op, world) {
                None => waiting.push(op),
                Some(Ended { result, buffer, more, last }) => {
                    if memory(&op.operation) != op.memory {
                        violation(&format!("memory changed while it was in use: {:?}", op.operation));
                    }
                    self.completed.push(Completion { user_data: op.user_data, result, buffer, more, last });
                    if !last {
                        waiting.push(op);
                    }
                }
            }
        }
        self.in_flight = waiting;
    }

    fn attempt(&mut self, op: &mut InFlight, world: &mut World) -> Option<Ended> {
        let is_first = !std::mem::replace(&mut op.was_tried, true);
        if op.earliest > world.now {
            return None;
        }
        if op.cancelled {
            let lost_the_race = world.dice.chance(300) && Self::is_ready(op, world);
            if !lost_the_race {
                return Some(Ended::with(-libc::ECANCELED));
            }
        } else if matches!(op.operation, Operation::Receive { poll_first: false, .. })
            && is_first
            && self.free_buffers.is_empty()
        {
            // It picks a buffer before it checks whether there is anything to receive.
            return Some(Ended::with(-libc::ENOBUFS));
        } else if !Self::is_ready(op, world) {
            return None;
        } else if !op.was_late
            && !matches!(op.operation, Operation::Send { .. })
            && world.dice.chance(world.faults.late)
        {
            op.was_late = true;
            // Always later than now: only then does time stop there again.
            op.earliest = world.now + Duration::from_micros(1) + world.dice.time(LATE_MAX);
            return None;
        }
        if world.dice.chance(world.faults.error)
            && let Some(error) = Self::made_up_error(op, world)
        {
            return Some(Ended::with(-error));
        }
        self.complete(op, world)
    }

    fn is_ready(op: &InFlight, world: &World) -> bool {
        op.hearing == Hearing::Good && Self::events(&op.operation, world) != 0
    }

    /// The events that hold and let an operation proceed.
    fn events(operation: &Operation, world: &World) -> u32 {
        let Some(fd) = descriptor(operation) else { return 0 };
        let wanted = match operation {
            Operation::Poll { events, .. } => *events | ALWAYS_REPORTED,
            Operation::PollChange { events, .. } => (*events | ALWAYS_REPORTED) & !(libc::POLLRDHUP as u32),
            Operation::Receive { .. } | Operation::ReceiveSeveral { .. } => libc::POLLIN as u32,
            Operation::Send { .. } | Operation::Cancel { .. } => return 1,
        };
        let holding = match world.file(fd) {
            Some(File::Listener(listener)) if world.has_waiting(listener) => libc::POLLIN as u32,
            Some(File::Socket(Some(id))) => world.connections[id].near_events(),
            Some(File::Connecting(attempt)) => world.connecting_events(attempt),
            _ => 0,
        };
        holding & wanted
    }

    fn made_up_error(op: &InFlight, world: &mut World) -> Option<i32> {
        let Some(File::Socket(Some(id))) = world.file(descriptor(&op.operation)?) else { return None };
        if matches!(op.operation, Operation::Poll { .. } | Operation::PollChange { .. }) {
            world.connections[id].faulted = true;
            return Some(world.dice.one_of(&[libc::ENOMEM, libc::EINTR]));
        }
        world.made_up_error(id)
    }

    fn complete(&mut self, op: &mut InFlight, world: &mut World) -> Option<Ended> {
        // A cancelled operation is no activity of a session.
        if op.cancelled
            && let Some(File::Socket(Some(id))) = descriptor(&op.operation).and_then(|fd| world.file(fd))
        {
            let Connection { last_moved, last_awaited, .. } = world.connections[id];
            let ended = self.transfer(op, world);
            world.connections[id].last_moved = last_moved;
            world.connections[id].last_awaited = last_awaited;
            return ended;
        }
        self.transfer(op, world)
    }

    fn transfer(&mut self, op: &mut InFlight, world: &mut World) -> Option<Ended> {
        match op.operation {
            Operation::Poll { fd, .. } => {
                let events = Self::events(&op.operation, world);
                if let Some(File::Connecting(attempt)) = world.file(fd) {
                    world.end_attempt(fd, attempt);
                }
                Some(Ended::with(events as i32))
            }
            Operation::PollChange { .. } => Some(Ended::with(-libc::ECANCELED)),
            Operation::Receive { fd, .. } => self.receive(fd, false, op, world),
            Operation::ReceiveSeveral { fd } => self.receive(fd, self.multishot, op, world),
            Operation::Send { fd, .. } => match world.send(world.connected(fd)?, &op.memory) {
                Err(error) => Some(Ended::with(-error)),
                Ok(sent) => Some(Ended::with(sent as i32)),
            },
            Operation::Cancel { .. } => unreachable!("handled at submission"),
        }
    }

    fn receive(&mut self, fd: RawFd, several: bool, op: &mut InFlight, world: &mut World) -> Option<Ended> {
        let id = world.connected(fd)?;
        let Some(index) = self.free_buffers.front().copied() else {
            return Some(Ended::with(-libc::ENOBUFS));
        };
        let buffer_bytes = self.region.buffer_bytes() as usize;
        let bytes_max = if several { (buffer_bytes / 2).max(1) } else { buffer_bytes };
        let mut bytes = Vec::new();
        let last_awaited = world.connections[id].last_awaited;
        let received = world.receive(id, &mut bytes, bytes_max);
        if op.received_bytes > 0 {
            world.connections[id].last_awaited = last_awaited;
        }
        match received {
            Err(libc::EAGAIN) => None,
            // A kernel thread that ran it cannot return the buffer.
            Ok(0) if world.dice.chance(world.faults.error) => {
                self.free_buffers.pop_front();
                Some(Ended { buffer: Some(index), ..Ended::with(0) })
            }
            Ok(0) => Some(Ended::with(0)),
            Err(error) => Some(Ended::with(-error)),
            Ok(count) => {
                self.free_buffers.pop_front();
                // SAFETY: `receive` returned at most the length of a buffer, and this one was the kernel's until now.
                unsafe { self.region.address(index).copy_from_nonoverlapping(bytes.as_ptr(), count) };
                let more = world.connections[id].near_is_nonempty();
                op.received_bytes += count;
                // It may end earlier (`io_req_post_cqe` without room for a completion).
                let last =
                    !several || op.received_bytes >= bytes_max || world.dice.chance(world.faults.error);
                if !last && !more && world.connections[id].near_is_reset() && world.dice.chance(500) {
                    op.hearing = Hearing::MissedAReset;
                }
                Some(Ended { result: count as i32, buffer: Some(index), more, last })
            }
        }
    }
}
