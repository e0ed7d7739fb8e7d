//! The worker of a run: its services, its resources, and what must be back when it has ended.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::choices::LATE_DRAIN;
use crate::proxy::access_log::{self, Entry};
use crate::proxy::context::Context;
use crate::proxy::counters::Counters;
use crate::proxy::seats::Seats;
use crate::proxy::serving::Serving;
use crate::proxy::settings::{Listener, Service};
use crate::uring::sim::{self, Arrival, Faults, Outstanding, Servers, SharedWorld, Supplies, World};

/// The memory for unfinished input.
const PEEK_BYTES_MAX: usize = 1 << 20;
/// More than a run writes.
const LOG_LINES_MAX: usize = 1000;
/// What it takes a worker to end its last operations.
const AFTERMATH: Duration = Duration::from_millis(10);

/// The worker's environment, and when it is told to drain.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) services: Vec<Arc<Service>>,
    /// How long sessions may continue after a request to stop.
    pub(super) drain_timeout: Duration,
    pub(super) supplies: Supplies,
    pub(super) faults: Faults,
    pub(super) sessions_max: usize,
    pub(super) descriptors_max: usize,
    pub(super) drain_after: Duration,
}

/// A run that has ended.
pub(super) struct Played {
    pub(super) world: SharedWorld,
    pub(super) begin: Instant,
    /// What the log got.
    pub(super) entries: Vec<Entry>,
    /// The services of the listeners, in the order in which these were opened.
    services: Vec<Arc<Service>>,
}

impl Stage {
    /// Whether the drain may end sessions.
    pub(super) fn drains(&self) -> bool {
        self.drain_after != LATE_DRAIN
    }

    /// The longest time until the worker has ended. A late drain finds no session left.
    fn longest(&self) -> Duration {
        let drain = if self.drains() { self.drain_timeout } else { Duration::ZERO };
        self.drain_after + drain + AFTERMATH
    }

    /// Number of listeners.
    pub(super) fn listeners(services: &[Arc<Service>]) -> usize {
        services.iter().map(|service| service.listeners.len()).sum()
    }

    /// Runs a worker from the first arrival until it has ended by itself.
    pub(super) fn play(
        &self,
        seed: u64,
        servers: Box<dyn Servers>,
        arrivals: Vec<(Duration, Arrival)>,
    ) -> Played {
        let world = World::new(seed, self.faults, self.descriptors_max, servers);
        let begin = world.borrow().now;
        for (after, arrival) in arrivals {
            world.borrow_mut().arrive(after, arrival);
        }
        let (ring, leftovers) = sim::ring(&world, self.supplies);
        let (log, entries) = access_log::channel(LOG_LINES_MAX);
        let listen = |listener: &Listener| {
            let address = listener.address.to_sock_addr().expect("an IP address is one of the kernel's");
            (listener.address.clone(), sim::listen(&ring, &world, address))
        };
        let listeners = self.services.iter().flat_map(|service| &service.listeners).map(listen).collect();
        let seats = Arc::new(Seats::new(self.sessions_max, 1).expect("a descriptor for a bell"));
        let context = Rc::new(Context::new(
            ring.clone(),
            PEEK_BYTES_MAX,
            (seats, 0),
            Some(log),
            Arc::new(Counters::default()),
        ));
        Serving::new(Rc::clone(&context)).change(&self.services, listeners);
        spawn_drain(&context, self.drain_after, self.drain_timeout);

        ring.run().expect("a simulated kernel can always be entered");
        let took = world.borrow().now.duration_since(begin);
        let is_in_time = took <= self.longest();
        assert!(is_in_time, "the worker ended {took:?} after it began, though no connection was left");
        assert_eq!(ring.outstanding(), Outstanding::default(), "what is still out when all has ended");
        drop((context, ring));
        for server in
            self.services.iter().flat_map(|service| service.groups()).flat_map(|group| &group.servers)
        {
            assert_eq!(server.leases(), 0, "leases of {} that were not returned", server.name());
        }
        assert!(leftovers.none(), "operations or buffers that did not come back");
        assert_eq!(world.borrow().open_descriptors(), 0, "descriptors that are still open");

        world.borrow_mut().settle();
        let each = |service: &Arc<Service>| std::iter::repeat_n(Arc::clone(service), service.listeners.len());
        let services = self.services.iter().flat_map(each).collect();
        Played { world, begin, entries: entries.try_iter().collect(), services }
    }
}

fn spawn_drain(context: &Rc<Context>, after: Duration, timeout: Duration) {
    let context = Rc::clone(context);
    context.ring.clone().spawn(async move {
        context.ring.sleep(after).await;
        context.drain_and_end(timeout).await;
    });
}

impl Played {
    /// The settings that the session of a client's connection began with, if the client was accepted.
    pub(super) fn service_of(&self, connection: Option<usize>) -> Option<&Arc<Service>> {
        let world = self.world.borrow();
        Some(&self.services[*world.accepted.get(&connection?)?])
    }
}
