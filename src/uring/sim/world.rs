//! What a simulated kernel has: time, connections with the peers at their far ends, and what descriptors name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::SockAddr;

use super::backlogs::Backlogs;
use super::connection::Connection;
use super::descriptors::{Attempt, Descriptors, PipeBytes};
use super::faults::{Dice, Faults};
use super::outside::{Arrival, Far, Next, Peer, Servers};

/// The longest time until the other end of a connection notices something.
const LATENCY_MAX: Duration = Duration::from_micros(500);

enum Event {
    Turn(usize),
    Arrive(Box<Arrival>),
    DeliverReset(usize),
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Served {
    /// Its index among the connections of the world.
    pub(crate) id: usize,
    /// The server.
    pub(crate) to: SockAddr,
    pub(crate) began: Instant,
    /// The address that it comes from, unless the kernel chose it.
    pub(crate) from: Option<IpAddr>,
}

/// A client that found a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit {
    /// The listener, by the order in which listeners were opened.
    pub(crate) listener: usize,
    /// How often what the worker serves had changed when the client was accepted, if it was.
    pub(crate) accepted_in: Option<usize>,
    /// How many clients were accepted before it, if it was.
    pub(crate) order: usize,
}

/// A peer, with its next turn and whether a change at the near end wakes it.
struct Present {
    peer: Box<dyn Peer>,
    turn: Option<(Instant, u64)>,
    dormant: bool,
}

/// See the module docs.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) connections: Vec<Connection>,
    /// The clients that found a listener, by their connections.
    pub(crate) visits: BTreeMap<usize, Visit>,
    /// How many clients were accepted.
    pub(super) accepted: usize,
    /// How often what the worker serves has changed.
    pub(crate) generation: usize,
    /// All attempts to connect, with their times.
    pub(crate) connects: Vec<(Instant, SockAddr)>,
    /// Where sockets that are not connected yet will connect from.
    pub(super) bound: BTreeMap<RawFd, IpAddr>,
    /// The connections to servers.
    pub(crate) served: Vec<Served>,
    /// The last time that no provided buffer was free.
    pub(crate) buffers_short_at: Option<Instant>,
    /// The longest time between two entries into the kernel.
    pub(crate) longest_turn: Duration,
    /// Counts everything that moves, to detect a worker that takes turns without progress.
    pub(super) progress: u64,
    pub(super) dice: Dice,
    pub(super) faults: Faults,
    pub(super) servers: Box<dyn Servers>,
    pub(super) descriptors: Descriptors,
    pub(super) backlogs: Backlogs,
    pub(super) pipes: Vec<PipeBytes>,
    pub(super) attempts: Vec<Attempt>,
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
            visits: BTreeMap::new(),
            accepted: 0,
            generation: 0,
            connects: Vec::new(),
            bound: BTreeMap::new(),
            served: Vec::new(),
            buffers_short_at: None,
            longest_turn: Duration::ZERO,
            progress: 0,
            dice: Dice::new(seed),
            faults,
            servers,
            descriptors: Descriptors::new(descriptors_max),
            backlogs: Backlogs::default(),
            pipes: Vec::new(),
            attempts: Vec::new(),
            peers: Vec::new(),
            events: BTreeMap::new(),
            next_event: 0,
        }))
    }

    /// Number of open descriptors.
    pub(crate) fn open_descriptors(&self) -> usize {
        self.descriptors.open_count()
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
        if let Some(listener) = self.backlogs.at(&arrival.to, &mut self.dice) {
            let id = self.connect_peer(arrival.peer, arrival.socket_bytes);
            self.backlogs.push(listener, id, arrival.address);
            self.visits.insert(id, Visit { listener, accepted_in: None, order: 0 });
        }
    }

    pub(super) fn connect_peer(&mut self, peer: Box<dyn Peer>, (inward, outward): (usize, usize)) -> usize {
        let id = self.connections.len();
        self.connections.push(Connection::new(inward, outward, self.now));
        self.peers.push(Some(Present { peer, turn: None, dormant: false }));
        self.schedule_turn(id, Duration::ZERO);
        id
    }

    /// Notes that the near end did something that the far end may notice.
    pub(super) fn changed(&mut self, id: usize) {
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
}
