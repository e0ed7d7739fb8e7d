//! Whole sessions over a simulated kernel, thousands of times: from the accept to the record.
//!
//! A seed decides everything: settings, how many buffers, pipes and descriptors there are, who connects when, what
//! is sent in what pieces, who leaves how, and what the kernel does to every operation. A run fails by a violation
//! inside the kernel (`uring/sim`), by a peer that receives a byte it must not (`peer.rs`), or by a record that
//! does not fit what happened (`judge.rs`). It prints its seed:
//!
//! ```text
//! IISPLICE_SEED=4711 cargo test --lib simulation       replays one run, with its log
//! IISPLICE_SEEDS=1000000 cargo test --lib simulation   runs so many
//! ```

mod judge;
mod peer;
mod scenario;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::access_log::{self, Entry};
use super::counters::Counters;
use super::record::Record;
use super::worker::Worker;
use crate::uring::sim::{self, Dice, Outstanding, World};
use crate::uring::{Address, Ring};
use scenario::Scenario;

/// Runs in one go of the test command.
const SEEDS: u64 = 25_000;

#[test]
fn sessions_hold_their_promises_whatever_the_kernel_and_the_peers_do() {
    let number = |name| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    let seeds = match number("IISPLICE_SEED") {
        Some(seed) => {
            let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).try_init();
            seed..seed + 1
        }
        None => 0..number("IISPLICE_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("seed {seed}: failed as said above; replay it with");
            eprintln!("    IISPLICE_SEED={seed} cargo test --lib simulation");
            resume_unwind(panic);
        }
    }
}

/// One run, to its end, with all that is left behind.
fn run(seed: u64) {
    let mut dice = Dice::new(seed);
    let (scenario, servers, arrivals) = Scenario::of(&mut dice);
    let Scenario { settings, supplies, faults, sessions_max, descriptors_max, drain_after, .. } = &scenario;
    tracing::debug!(?supplies, ?faults, sessions_max, descriptors_max, ?drain_after, ?settings, "replay");
    let world = World::new(seed, scenario.faults, scenario.descriptors_max, servers);
    let begin = world.borrow().now;
    for (client, arrival) in scenario.clients.iter().zip(arrivals) {
        world.borrow_mut().arrive(client.arrives_after, arrival);
    }
    let (ring, leftovers) = sim::ring(&world, scenario.supplies);
    let (log, entries) = access_log::channel(scenario.clients.len());
    let listen = |address: &Address| {
        sim::listen(&ring, &world, address.to_sock_addr().expect("an IP address is one of the kernel's"))
    };
    let listeners = settings.listeners.iter().map(listen).collect();
    let worker = Worker::new(
        ring.clone(),
        settings.clone(),
        *sessions_max,
        Some(log),
        Arc::new(Counters::new(settings.upstreams.len())),
    );
    let worker = Rc::new(worker.expect("upstreams with IP addresses"));
    worker.start(listeners);
    spawn_drain(&ring, &worker, scenario.drain_after);

    ring.run().expect("a simulated kernel can always be entered");
    let took = world.borrow().now.duration_since(begin);
    assert!(took <= scenario.longest(), "the worker ended {took:?} after it began, though nobody was left");
    assert_eq!(ring.outstanding(), Outstanding::default(), "what is still out when all has ended");
    drop((worker, ring));
    assert!(leftovers.none(), "operations or buffers that did not come back");
    assert_eq!(world.borrow().open_descriptors(), 0, "descriptors that are still open");

    world.borrow_mut().settle();
    judge::judge(&scenario, &world.borrow(), begin, &records(&entries));
}

fn spawn_drain(ring: &Ring, worker: &Rc<Worker>, after: std::time::Duration) {
    let worker = Rc::clone(worker);
    ring.spawn(async move {
        worker.ring.sleep(after).await;
        worker.drain_and_end().await;
    });
}

fn records(entries: &Receiver<Entry>) -> Vec<Record> {
    entries
        .try_iter()
        .filter_map(|entry| match entry {
            Entry::Record(record) => Some(record),
            Entry::Request(_) | Entry::Wake => None,
        })
        .collect()
}
