//! The worker of a run: its services and how they change, its resources, and what must be back when it has ended.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::choices::{LATE_DRAIN, ip};
use super::counts::judge_counts;
use super::lending::{self, Finding, Found, judge_choices, judge_limits, judge_returns};
use super::operator::{self, Act, Done};
use crate::proxy::access_log::{self, Entry};
use crate::proxy::context::Context;
use crate::proxy::counters::Counters;
use crate::proxy::seats::Seats;
use crate::proxy::serving::Serving;
use crate::proxy::settings::Service;
use crate::upstream::GroupSettings;
use crate::uring::sim::{
    self, Arrival, Dice, Faults, Outstanding, Servers, SharedWorld, Supplies, Visit, World,
};
use crate::uring::{Address, Listener};

/// The memory for unfinished input.
const PEEK_BYTES_MAX: usize = 1 << 20;
/// More than a run writes.
const LOG_LINES_MAX: usize = 1000;
/// What it takes a worker to end its last operations.
const AFTERMATH: Duration = Duration::from_millis(10);
/// A client that arrives this short before the drain may come too late.
const DRAIN_MARGIN: Duration = Duration::from_millis(10);
/// How long a listener that is removed may accept clients that wait already.
const CLOSING_MAX: Duration = Duration::from_millis(20);
/// A worker that may have so many descriptors has enough.
pub(super) const DESCRIPTORS_PLENTY: usize = 1000;
/// The settings change within this time.
const CHANGES_MAX: Duration = Duration::from_millis(150);
/// The longest time from binding new listeners to the change that the worker is told of.
const BINDING_MAX: Duration = Duration::from_millis(2);

/// The worker's environment, and what it is told when.
#[derive(Debug)]
pub(super) struct Stage {
    /// What it serves: at least at first.
    pub(super) generations: Vec<Generation>,
    /// What checks find of its servers.
    pub(super) findings: Vec<Finding>,
    /// What the operator does.
    pub(super) acts: Vec<Act>,
    /// How long sessions may continue after a request to stop.
    pub(super) drain_timeout: Duration,
    pub(super) supplies: Supplies,
    pub(super) faults: Faults,
    pub(super) sessions_max: usize,
    pub(super) descriptors_max: usize,
    pub(super) drain_after: Duration,
}

/// What a worker serves from a time on.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    after: Duration,
    /// How long before new listeners are bound.
    binding: Duration,
    services: Vec<Arc<Service>>,
    /// Addresses that get another listener although there is one.
    rebound: Vec<SocketAddr>,
}

impl Generation {
    /// The generations with these services: the first one from the beginning.
    pub(super) fn all(services: Vec<Vec<Arc<Service>>>, dice: &mut Dice) -> Vec<Self> {
        let mut times: Vec<_> = services.iter().skip(1).map(|_| dice.time(CHANGES_MAX)).collect();
        times.sort();
        let times = std::iter::once(Duration::ZERO).chain(times);
        let generation = |(after, services): (_, Vec<Arc<Service>>)| {
            let binding = if after == Duration::ZERO { after } else { dice.time(BINDING_MAX) };
            let rebound = addresses(&services).filter(|_| dice.chance(50)).collect();
            Self { after, binding, services, rebound }
        };
        std::iter::zip(times, services).map(generation).collect()
    }
}

/// The groups of all services.
pub(super) fn groups(services: &[Vec<Arc<Service>>]) -> Vec<&Arc<GroupSettings>> {
    services.iter().flatten().flat_map(|service| service.groups()).collect()
}

fn addresses(services: &[Arc<Service>]) -> impl Iterator<Item = SocketAddr> {
    services.iter().flat_map(|service| &service.listeners).map(|listener| ip(&listener.address))
}

/// A listener, in the order of their opening.
struct Door {
    address: SocketAddr,
    opened: Instant,
    /// Its first generation, and the first one that does not have it, with the time of that.
    since: usize,
    until: Option<(usize, Instant)>,
}

/// A run that has ended.
pub(super) struct Played {
    pub(super) world: SharedWorld,
    pub(super) begin: Instant,
    /// What the log got.
    pub(super) entries: Vec<Entry>,
    generations: Vec<Generation>,
    doors: Vec<Door>,
    /// What checks found.
    pub(super) found: Found,
    /// What the operator did.
    pub(super) done: Done,
    drain_at: Instant,
    /// Whether clients may have to wait for a seat or a descriptor.
    is_short: bool,
}

impl Stage {
    /// Whether the drain may end sessions.
    pub(super) fn drains(&self) -> bool {
        self.drain_after != LATE_DRAIN
    }

    /// The longest time until the worker has ended. A late drain finds no session left.
    fn longest(&self) -> Duration {
        let drain = if self.drains() { self.drain_timeout } else { Duration::ZERO };
        self.drain_after + BINDING_MAX + drain + AFTERMATH
    }

    /// Number of listeners that may be open at once.
    pub(super) fn listeners(services: &[Vec<Arc<Service>>]) -> usize {
        services.iter().map(|services| addresses(services).count()).sum()
    }

    /// Runs a worker from the first arrival until it has ended by itself.
    pub(super) fn play(
        &self,
        seed: u64,
        servers: Box<dyn Servers>,
        arrivals: Vec<(Duration, Arrival)>,
    ) -> Played {
        let holders = self.holders();
        let is_short = self.sessions_max < arrivals.len()
            || self.faults.descriptor > 0
            || self.descriptors_max < DESCRIPTORS_PLENTY;
        let world = World::new(seed, self.faults, self.descriptors_max, servers);
        let begin = world.borrow().now;
        for (after, arrival) in arrivals {
            world.borrow_mut().arrive(after, arrival);
        }
        let (ring, leftovers) = sim::ring(&world, self.supplies);
        let (log, entries) = access_log::channel(LOG_LINES_MAX);
        let counters = Arc::new(Counters::default());
        let seats = Arc::new(Seats::new(self.sessions_max, 1).expect("a descriptor for a bell"));
        let context = Rc::new(Context::new(
            ring.clone(),
            PEEK_BYTES_MAX,
            (Arc::clone(&seats), 0),
            Some(log),
            Arc::clone(&counters),
        ));
        let doors = Rc::new(RefCell::default());
        let control = Control {
            serving: Serving::new(Rc::clone(&context)),
            context: Rc::clone(&context),
            world: Rc::clone(&world),
            doors: Rc::clone(&doors),
        };
        let drain = (self.drain_after, self.drain_timeout);
        ring.spawn(control.run(self.generations.clone(), drain));
        let found = Rc::new(RefCell::default());
        ring.spawn(lending::check(ring.clone(), self.findings.clone(), Rc::clone(&found)));
        let done = Rc::new(RefCell::default());
        ring.spawn(operator::work(Rc::clone(&context), self.acts.clone(), Rc::clone(&done)));

        ring.run().expect("a simulated kernel can always be entered");
        let took = world.borrow().now.duration_since(begin);
        let is_in_time = took <= self.longest();
        assert!(is_in_time, "the worker ended {took:?} after it began, though no connection was left");
        assert_eq!(ring.outstanding(), Outstanding::default(), "what is still out when all has ended");
        drop((context, ring));
        assert_eq!(self.holders(), holders, "services that are held when all sessions have ended");
        let groups: Vec<_> = self.services().flat_map(|service| service.groups()).collect();
        judge_returns(&groups, world.borrow().now);
        let limits = self.services().filter_map(|service| service.admission.as_ref()?.limits.as_ref());
        assert!(limits.into_iter().all(|limits| limits.connections() == 0), "clients that still count");
        let free = (0..=self.sessions_max).take_while(|_| seats.take(0)).count();
        assert_eq!(free, self.sessions_max, "free seats");
        assert!(leftovers.none(), "operations or buffers that did not come back");
        assert_eq!(world.borrow().open_descriptors(), 0, "descriptors that are still open");

        world.borrow_mut().settle();
        let (found, done): (Found, Done) = (found.take(), done.take());
        judge_limits(&world.borrow(), &groups);
        if !is_short {
            judge_choices(&world.borrow(), &found, &done.ordered);
        }
        let doors = doors.take();
        let entries: Vec<_> = entries.try_iter().collect();
        judge_counts(&counters, &entries);
        let generations = self.generations.clone();
        let drain_at = begin + self.drain_after;
        Played { world, begin, entries, generations, doors, found, done, drain_at, is_short }
    }

    fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.generations.iter().flat_map(|generation| &generation.services)
    }

    fn holders(&self) -> Vec<usize> {
        self.services().map(Arc::strong_count).collect()
    }
}

/// What tells a worker to change and to stop.
struct Control {
    serving: Serving,
    context: Rc<Context>,
    world: SharedWorld,
    doors: Rc<RefCell<Vec<Door>>>,
}

impl Control {
    /// Changes what is served, and at last drains.
    async fn run(self, generations: Vec<Generation>, (drain_after, drain_timeout): (Duration, Duration)) {
        let ring = &self.context.ring;
        let begin = ring.now();
        for (number, generation) in generations.into_iter().enumerate() {
            if number > 0 {
                if generation.after >= drain_after {
                    break;
                }
                ring.sleep_until(begin + generation.after).await;
            }
            let new = self.bind(number, &generation);
            if !generation.binding.is_zero() {
                // Clients may come before the change.
                ring.sleep(generation.binding).await;
            }
            self.change(number, &generation, new);
        }
        ring.sleep_until(begin + drain_after).await;
        self.context.drain_and_end(drain_timeout).await;
    }

    /// Opens the listeners that a generation has in addition.
    fn bind(&self, number: usize, generation: &Generation) -> Vec<(Address, Listener)> {
        let ring = &self.context.ring;
        let mut doors = self.doors.borrow_mut();
        let mut new = Vec::new();
        for address in addresses(&generation.services) {
            let is_open = doors.iter().any(|door| door.address == address && door.until.is_none());
            if !is_open || generation.rebound.contains(&address) {
                new.push((Address::Ip(address), sim::listen(ring, &self.world, address.into())));
                doors.push(Door { address, opened: ring.now(), since: number, until: None });
            }
        }
        new
    }

    fn change(&self, number: usize, generation: &Generation, new: Vec<(Address, Listener)>) {
        let now = self.context.ring.now();
        let is_new = |address| new.iter().any(|(new, _)| ip(new) == address);
        for door in self.doors.borrow_mut().iter_mut() {
            let stays = addresses(&generation.services).any(|address| address == door.address);
            let is_replaced = door.since < number && is_new(door.address);
            if door.until.is_none() && (!stays || is_replaced) {
                door.until = Some((number, now));
            }
        }
        self.world.borrow_mut().generation = number;
        self.serving.change(&generation.services, new);
    }
}

impl Played {
    /// The settings that the session of a client's connection began with, if the client was accepted.
    pub(super) fn service_of(&self, connection: Option<usize>) -> Option<&Arc<Service>> {
        let world = self.world.borrow();
        let Visit { listener, accepted_in, .. } = *world.visits.get(&connection?)?;
        let (door, generation) = (&self.doors[listener], accepted_in?);
        // A listener that closes still has its last service.
        let generation = door.until.map_or(generation, |(until, _)| generation.min(until - 1));
        let mut services = self.generations[generation].services.iter();
        let is_at = |address: &SocketAddr| *address == door.address;
        services.find(|service| addresses(std::slice::from_ref(service)).any(|address| is_at(&address)))
    }

    /// Checks that a client that connected then found no listener that should have been closed.
    pub(super) fn check_door(&self, after: Duration, connection: Option<usize>) {
        let world = self.world.borrow();
        let Some(visit) = connection.and_then(|id| world.visits.get(&id)) else { return };
        let door = &self.doors[visit.listener];
        let Some((_, removed)) = door.until else { return };
        let is_late = self.begin + after > removed + CLOSING_MAX;
        assert!(!is_late || self.is_short, "a client found {}, which was removed before", door.address);
    }

    /// Whether a client that connected then must have been accepted: it found a listener that stayed long enough.
    pub(super) fn must_accept(&self, to: SocketAddr, after: Duration, connection: Option<usize>) -> bool {
        let at = self.begin + after;
        let world = self.world.borrow();
        let visit = connection.and_then(|id| world.visits.get(&id));
        let is_open = |door: &Door| {
            door.address == to && door.opened < at && door.until.is_none_or(|(_, closed)| at < closed)
        };
        let found = match visit {
            Some(visit) => is_open(&self.doors[visit.listener]),
            None => self.doors.iter().any(is_open),
        };
        found && at + DRAIN_MARGIN < self.drain_at
    }
}
