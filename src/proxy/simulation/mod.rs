//! Whole sessions over a simulated kernel, thousands of times: from accept to record.
//!
//! A seed decides everything: settings, the number of buffers, pipes and descriptors, which clients connect when, what
//! is sent in which pieces, how peers leave, and what the kernel does to every operation. A run fails by a violation
//! inside the kernel (`uring/sim`), by a peer that receives a byte it must not (`peer.rs`), or by a record that does
//! not fit what happened (`judge.rs`). HTTP mode has peers and a judge of its own (`http`). A failed run prints its
//! seed and how to replay it (`seeds.rs`).

mod http;
mod judge;
mod pace;
mod peer;
mod scenario;
mod seeds;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access_log::{self, Entry};
use super::context::Context;
use super::counters::Counters;
use super::record::Record;
use super::seats::Seats;
use super::settings::{Listener, Service};
use super::worker;
use crate::upstream::GroupSettings;
use crate::uring::sim::{self, Arrival, Dice, Faults, Outstanding, Servers, SharedWorld, Supplies, World};

use scenario::Scenario;
use seeds::for_each_seed;

/// Runs per invocation of the test command.
const SEEDS: u64 = 25_000;

/// The memory for unfinished input.
const PEEK_BYTES_MAX: usize = 1 << 20;

/// More than a run writes.
const LOG_LINES_MAX: usize = 1000;

#[test]
fn sessions_hold_their_promises_whatever_the_kernel_and_the_peers_do() {
    for_each_seed(SEEDS, run);
}

/// Plays one run to its end and judges it.
fn run(seed: u64) {
    let (scenario, servers, arrivals) = Scenario::of(&mut Dice::new(seed));
    let Stage { settings, supplies, faults, sessions_max, descriptors_max, drain_after, .. } =
        &scenario.stage;
    tracing::debug!(?supplies, ?faults, sessions_max, descriptors_max, ?drain_after, ?settings, "replay");
    let arrivals = scenario.clients.iter().map(|client| client.arrives_after).zip(arrivals).collect();
    let (world, begin, entries) = scenario.stage.play(seed, servers, arrivals, scenario.longest());
    judge::judge(&scenario, &world.borrow(), begin, &records(entries));
}

/// The worker's environment, and when it is told to drain.
struct Stage {
    settings: Arc<Service>,
    /// How long sessions may continue after a request to stop.
    drain_timeout: Duration,
    supplies: Supplies,
    faults: Faults,
    sessions_max: usize,
    descriptors_max: usize,
    drain_after: Duration,
}

impl Stage {
    /// The only group.
    fn group(&self) -> &GroupSettings {
        self.settings.routes.default.as_ref().expect("everything goes to one group")
    }

    /// Runs a worker from the first arrival until it has ended by itself, `longest` after that at the latest. Gives the
    /// world, when it began, and what the log got.
    fn play(
        &self,
        seed: u64,
        servers: Box<dyn Servers>,
        arrivals: Vec<(Duration, Arrival)>,
        longest: Duration,
    ) -> (SharedWorld, Instant, Vec<Entry>) {
        let world = World::new(seed, self.faults, self.descriptors_max, servers);
        let begin = world.borrow().now;
        for (after, arrival) in arrivals {
            world.borrow_mut().arrive(after, arrival);
        }
        let (ring, leftovers) = sim::ring(&world, self.supplies);
        let (log, entries) = access_log::channel(LOG_LINES_MAX);
        let listen = |listener: &Listener| {
            let address = listener.address.to_sock_addr().expect("an IP address is one of the kernel's");
            sim::listen(&ring, &world, address)
        };
        let listeners = self.settings.listeners.iter().map(listen).collect();
        let seats = Arc::new(Seats::new(self.sessions_max, 1).expect("a descriptor for a bell"));
        let context = Rc::new(Context::new(
            ring.clone(),
            PEEK_BYTES_MAX,
            (seats, 0),
            Some(log),
            Arc::new(Counters::default()),
        ));
        worker::start(&context, std::slice::from_ref(&self.settings), vec![listeners]);
        spawn_drain(&context, self.drain_after, self.drain_timeout);

        ring.run().expect("a simulated kernel can always be entered");
        let took = world.borrow().now.duration_since(begin);
        assert!(took <= longest, "the worker ended {took:?} after it began, though no connection was left");
        assert_eq!(ring.outstanding(), Outstanding::default(), "what is still out when all has ended");
        drop((context, ring));
        for server in self.settings.groups().flat_map(|group| &group.servers) {
            assert_eq!(server.leases(), 0, "leases of {} that were not returned", server.name());
        }
        assert!(leftovers.none(), "operations or buffers that did not come back");
        assert_eq!(world.borrow().open_descriptors(), 0, "descriptors that are still open");

        world.borrow_mut().settle();
        (world, begin, entries.try_iter().collect())
    }
}

fn spawn_drain(context: &Rc<Context>, after: Duration, timeout: Duration) {
    let context = Rc::clone(context);
    context.ring.clone().spawn(async move {
        context.ring.sleep(after).await;
        context.drain_and_end(timeout).await;
    });
}

fn records(entries: Vec<Entry>) -> Vec<Record> {
    let record = |entry| match entry {
        Entry::Record(record) => Some(record),
        Entry::Request(_) | Entry::Wake => None,
    };
    entries.into_iter().filter_map(record).collect()
}
