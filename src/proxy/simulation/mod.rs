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
use super::counters::Counters;
use super::record::Record;
use super::settings::Settings;
use super::shared::Shared;
use super::worker::Worker;
use crate::uring::sim::{self, Arrival, Dice, Faults, Outstanding, Servers, SharedWorld, Supplies, World};
use crate::uring::{Address, Ring};
use scenario::Scenario;
use seeds::for_each_seed;

/// Runs per invocation of the test command.
const SEEDS: u64 = 25_000;

/// More than a run writes.
const LOG_LINES_MAX: usize = 1000;

#[test]
fn sessions_hold_their_promises_whatever_the_kernel_and_the_peers_do() {
    for_each_seed(SEEDS, run);
}

/// Plays one run to its end and judges it.
fn run(seed: u64) {
    let (scenario, servers, arrivals) = Scenario::of(&mut Dice::new(seed));
    let Stage { settings, supplies, faults, sessions_max, descriptors_max, drain_after } = &scenario.stage;
    tracing::debug!(?supplies, ?faults, sessions_max, descriptors_max, ?drain_after, ?settings, "replay");
    let arrivals = scenario.clients.iter().map(|client| client.arrives_after).zip(arrivals).collect();
    let (world, begin, entries) = scenario.stage.play(seed, servers, arrivals, scenario.longest());
    judge::judge(&scenario, &world.borrow(), begin, &records(entries));
}

/// The worker's environment, and when it is told to drain.
struct Stage {
    settings: Arc<Settings>,
    supplies: Supplies,
    faults: Faults,
    sessions_max: usize,
    descriptors_max: usize,
    drain_after: Duration,
}

impl Stage {
    /// Runs a worker from the first arrival until it has ended by itself, at the latest `longest` later. Returns the
    /// world, when the run began, and the log's entries.
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
        let listen = |address: &Address| {
            sim::listen(&ring, &world, address.to_sock_addr().expect("an IP address is one of the kernel's"))
        };
        let listeners = self.settings.listeners.iter().map(listen).collect();
        let shared = Shared::new(self.sessions_max, 1, &self.settings.upstreams);
        let worker = Worker::new(
            ring.clone(),
            Arc::clone(&self.settings),
            (Arc::new(shared.expect("a descriptor for a bell")), 0),
            Some(log),
            Arc::new(Counters::new(self.settings.upstreams.len())),
        );
        let worker = Rc::new(worker.expect("upstreams with IP addresses"));
        worker.start(listeners);
        spawn_drain(&ring, &worker, self.drain_after);

        ring.run().expect("a simulated kernel can always be entered");
        let took = world.borrow().now.duration_since(begin);
        assert!(took <= longest, "the worker ended {took:?} after it began, though no session was left");
        assert_eq!(ring.outstanding(), Outstanding::default(), "outstanding resources after the end");
        drop((worker, ring));
        assert!(leftovers.none(), "operations or buffers were not returned");
        assert_eq!(world.borrow().open_descriptors(), 0, "open descriptors (left)");

        world.borrow_mut().settle();
        (world, begin, entries.try_iter().collect())
    }
}

fn spawn_drain(ring: &Ring, worker: &Rc<Worker>, after: Duration) {
    let worker = Rc::clone(worker);
    ring.spawn(async move {
        worker.ring.sleep(after).await;
        worker.drain_and_end().await;
    });
}

fn records(entries: Vec<Entry>) -> Vec<Record> {
    let record = |entry| match entry {
        Entry::Record(record) => Some(record),
        Entry::Request(_) | Entry::Wake => None,
    };
    entries.into_iter().filter_map(record).collect()
}
