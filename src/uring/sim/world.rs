//! The descriptors of a simulated kernel, with the peers at the far ends.
//!
//! Descriptors are numbers as Linux assigns them: the lowest free one. A number that names nothing, or the wrong kind
//! of file, is a violation: our bug, and the end of the run.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::SockAddr;

use super::connection::Connection;
use super::faults::{Dice, Faults};
use super::outside::{Accepted, Answer, Arrival, Far, Next, Peer, Servers};
use crate::uring::kernel::RawPipe;

/// Descriptors begin after the standard streams.
const FD_MIN: usize = 3;
/// The longest time until the other end of a connection notices something.
const LATENCY_MAX: Duration = Duration::from_micros(500);

/// How long a connect may search for a source port when they run short.
pub(super) const PORT_SEARCH_MAX: Duration = Duration::from_millis(2);

/// Ends the run because the code under test broke a rule.
pub(super) fn violation(what: &str) {
    // While a first violation unwinds, cleanup may break further rules.
    assert!(std::thread::panicking(), "violation: {what}");
}

enum Event {
    Turn(usize),
    Arrive(Box<Arrival>),
    DeliverReset(usize),
}

#[derive(Clone, Copy)]
pub(super) enum File {
    Listener(usize),
    /// A socket, and its connection once it has one.
    Socket(Option<usize>),
    /// A socket that is being connected.
    Connecting(usize),
    PipeRead(usize),
    PipeWrite(usize),
}

struct Backlog {
    address: SockAddr,
    open: bool,
    waiting: VecDeque<(usize, SockAddr)>,
}

/// A peer, with its next turn and whether a change at the near end wakes it.
struct Present {
    peer: Box<dyn Peer>,
    turn: Option<(Instant, u64)>,
    dormant: bool,
}

/// An attempt to connect.
struct Attempt {
    ends_at: Instant,
    error: Option<i32>,
    to: SockAddr,
    reset_on_close: bool,
}

struct PipeBytes {
    queue: VecDeque<u8>,
    bytes_max: usize,
}

/// See the module docs.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) connections: Vec<Connection>,
    /// Connections that were taken out of a backlog.
    pub(crate) accepted: Vec<usize>,
    /// The last time that no provided buffer was free.
    pub(crate) buffers_short_at: Option<Instant>,
    /// The longest time between two entries into the kernel.
    pub(crate) longest_turn: Duration,
    /// Counts everything that moves, to detect a worker that takes turns without progress.
    pub(super) progress: u64,
    pub(super) dice: Dice,
    pub(super) faults: Faults,
    servers: Box<dyn Servers>,
    descriptors_max: usize,
    files: Vec<Option<File>>,
    backlogs: Vec<Backlog>,
    pipes: Vec<PipeBytes>,
    attempts: Vec<Attempt>,
    /// One entry for each connection; none where the peer is done.
    peers: Vec<Option<Present>>,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
}

/// Shared by the kernel and the judge of the run.
pub(crate) type SharedWorld = Rc<RefCell<World>>;

impl World {
    pub(crate) fn new(
        seed: u64,
        faults: Faults,
        descriptors_max: usize,
        servers: Box<dyn Servers>,
    ) -> SharedWorld {
        Rc::new(RefCell::new(Self {
            now: Instant::now(),
            connections: Vec::new(),
            accepted: Vec::new(),
            buffers_short_at: None,
            longest_turn: Duration::ZERO,
            progress: 0,
            dice: Dice::new(seed),
            faults,
            servers,
            descriptors_max,
            files: (0..FD_MIN).map(|_| None).collect(),
            backlogs: Vec::new(),
            pipes: Vec::new(),
            attempts: Vec::new(),
            peers: Vec::new(),
            events: BTreeMap::new(),
            next_event: 0,
        }))
    }

    /// Number of open descriptors.
    pub(crate) fn open_descriptors(&self) -> usize {
        self.files.iter().flatten().count()
    }

    /// Schedules a client to connect after a time.
    pub(crate) fn arrive(&mut self, after: Duration, arrival: Arrival) {
        self.schedule(after, Event::Arrive(Box::new(arrival)));
    }

    /// Lets the peers continue without the worker until they are done.
    pub(crate) fn settle(&mut self) {
        while let Some(at) = self.next_event_at() {
            self.now = self.now.max(at);
            self.run_events();
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now + after, self.next_event), event);
    }

    pub(super) fn next_event_at(&self) -> Option<Instant> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Runs all due events of the outside.
    pub(super) fn run_events(&mut self) {
        while let Some(first) = self.events.first_entry() {
            if first.key().0 > self.now {
                return;
            }
            let event = first.remove();
            self.progress += 1;
            match event {
                Event::Turn(id) => self.turn(id),
                Event::Arrive(arrival) => self.let_in(*arrival),
                Event::DeliverReset(id) => self.connections[id].deliver_due_reset(self.now),
            }
        }
    }

    fn turn(&mut self, id: usize) {
        let Some(peer) = &mut self.peers[id] else { return };
        let connection = &mut self.connections[id];
        let mut far = Far { id, now: self.now, dice: &mut self.dice, connection };
        let next = peer.peer.turn(&mut far);
        peer.turn = None;
        peer.dormant = matches!(next, Next::ChangeOr(_));
        match next {
            Next::After(time) | Next::ChangeOr(Some(time)) => self.schedule_turn(id, time),
            Next::ChangeOr(None) => {}
            Next::Done => self.peers[id] = None,
        }
    }

    /// Schedules the next turn of a peer, unless an earlier one is scheduled.
    fn schedule_turn(&mut self, id: usize, after: Duration) {
        let Some(peer) = &mut self.peers[id] else { return };
        let at = self.now + after;
        if let Some(key) = peer.turn {
            if key.0 <= at {
                return;
            }
            self.events.remove(&key);
        }
        peer.turn = Some((at, self.next_event + 1));
        self.schedule(after, Event::Turn(id));
    }

    fn let_in(&mut self, arrival: Arrival) {
        let backlog = &self.backlogs[arrival.listener];
        if backlog.open {
            let id = self.connect_peer(arrival.peer, arrival.socket_bytes);
            self.backlogs[arrival.listener].waiting.push_back((id, arrival.address));
        }
    }

    fn connect_peer(&mut self, peer: Box<dyn Peer>, (inward, outward): (usize, usize)) -> usize {
        let id = self.connections.len();
        self.connections.push(Connection::new(inward, outward, self.now));
        self.peers.push(Some(Present { peer, turn: None, dormant: false }));
        self.schedule_turn(id, Duration::ZERO);
        id
    }

    /// Notes that the near end did something that the far end may notice.
    fn changed(&mut self, id: usize) {
        self.progress += 1;
        if self.peers[id].as_mut().is_some_and(|peer| std::mem::take(&mut peer.dormant)) {
            let latency = self.dice.time(LATENCY_MAX);
            self.schedule_turn(id, latency);
        }
        if self.connections[id].is_reset_due() {
            let latency = self.dice.time(LATENCY_MAX);
            self.schedule(latency, Event::DeliverReset(id));
        }
    }

    fn open(&mut self, file: File) -> RawFd {
        let free = self.files.iter().skip(FD_MIN).position(Option::is_none).map(|index| index + FD_MIN);
        let fd = free.unwrap_or_else(|| {
            self.files.push(None);
            self.files.len() - 1
        });
        self.files[fd] = Some(file);
        fd as RawFd
    }

    /// The file behind a descriptor. Using one that is not open is a violation.
    pub(super) fn file(&self, fd: RawFd) -> Option<File> {
        let file = usize::try_from(fd).ok().and_then(|fd| self.files.get(fd).copied().flatten());
        if file.is_none() {
            violation(&format!("descriptor {fd} is not open"));
        }
        file
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
        if self.open_descriptors() + wanted > self.descriptors_max {
            return Err(libc::EMFILE);
        }
        if self.dice.chance(self.faults.descriptor) {
            return Err(self.dice.one_of(&[libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM]));
        }
        Ok(())
    }

    /// A listening socket.
    pub(crate) fn listen(&mut self, address: SockAddr) -> RawFd {
        self.backlogs.push(Backlog { address, open: true, waiting: VecDeque::new() });
        self.open(File::Listener(self.backlogs.len() - 1))
    }

    /// Whether a client waits to be accepted.
    pub(super) fn has_waiting(&self, listener: usize) -> bool {
        !self.backlogs[listener].waiting.is_empty()
    }

    pub(super) fn accept(&mut self, fd: RawFd) -> Result<(RawFd, SockAddr), i32> {
        let Some(File::Listener(listener)) = self.file(fd) else {
            violation(&format!("accept on {fd}, which is not a listener"));
            return Err(libc::EINVAL);
        };
        if self.backlogs[listener].waiting.is_empty() {
            return Err(libc::EAGAIN);
        }
        self.descriptors_left(1)?;
        let Some((id, address)) = self.backlogs[listener].waiting.pop_front() else {
            return Err(libc::EAGAIN);
        };
        self.progress += 1;
        if self.dice.chance(self.faults.error) {
            self.connections[id].fail(libc::ECONNABORTED, self.now);
            self.changed(id);
            return Err(libc::ECONNABORTED);
        }
        self.accepted.push(id);
        Ok((self.open(File::Socket(Some(id))), address))
    }

    pub(super) fn socket(&mut self) -> Result<RawFd, i32> {
        self.descriptors_left(1)?;
        Ok(self.open(File::Socket(None)))
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
        let Answer { after, error } = self.servers.answer(to, &mut self.dice);
        match error {
            Some(error) if after.is_zero() || error == libc::EADDRNOTAVAIL => error,
            _ => {
                let ends_at = self.now + after;
                self.attempts.push(Attempt { ends_at, error, to: to.clone(), reset_on_close: false });
                self.files[fd as usize] = Some(File::Connecting(self.attempts.len() - 1));
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
        let Attempt { error: None, to, reset_on_close, .. } = &self.attempts[attempt] else { return };
        let Accepted { peer, socket_bytes } = self.servers.accept(to, &mut self.dice);
        let reset_on_close = *reset_on_close;
        let id = self.connect_peer(peer, socket_bytes);
        if reset_on_close {
            self.connections[id].near_reset_on_close();
        }
        self.files[fd as usize] = Some(File::Socket(Some(id)));
        self.progress += 1;
    }

    /// getsockopt(2) with `SO_ERROR`.
    pub(super) fn take_error(&mut self, fd: RawFd) -> Option<i32> {
        match self.file(fd) {
            Some(File::Connecting(attempt)) => {
                self.files[fd as usize] = Some(File::Socket(None));
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
        // All listeners of a run are equivalent: which one it was makes no difference.
        let _ = self.connected(fd);
        self.backlogs[0].address.clone()
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
            read_end: self.open(File::PipeRead(id)),
            write_end: self.open(File::PipeWrite(id)),
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
        let Some(file) = self.file(fd) else { return };
        self.files[fd as usize] = None;
        match file {
            File::Socket(Some(id)) => self.close_near(id),
            File::Listener(listener) => {
                self.backlogs[listener].open = false;
                while let Some((id, _)) = self.backlogs[listener].waiting.pop_front() {
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
