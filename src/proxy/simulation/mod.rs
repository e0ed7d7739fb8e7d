//! Whole sessions over a simulated kernel, thousands of times: from accept to record.
//!
//! A seed decides everything: services, settings, the number of buffers, pipes and descriptors, which clients connect
//! when, what is sent in which pieces, how peers leave, and what the kernel does to every operation. A run fails by a
//! violation inside the kernel (`uring/sim`), by something that is left when the worker has ended (`stage.rs`), by a
//! peer that receives a byte it must not (`peer.rs`), or by a record that does not fit what happened (`judge.rs`). HTTP
//! mode has peers and a judge of its own (`http`). A failed run prints its seed and how to replay it (`seeds.rs`).
//!
//! There is one worker. Sessions never move between workers, and what workers share is counted and lent in steps that no
//! other thread can divide: places at servers, seats, numbers of a client's connections, and queues under a lock, of which
//! one has the clients that are given to another worker before their sessions begin. Whether these steps are sound is for tests
//! with threads (`upstream/server.rs`, `upstream/queue.rs`, `proxy/seats.rs`, `proxy/desks.rs`, `proxy/clients`), and whether
//! workers call each other for tests over sockets; a schedule of several simulated kernels would add what none of them
//! depends on.

mod admissions;
mod choices;
mod counts;
mod farm;
mod groups;
mod http;
mod judge;
mod lending;
mod operator;
mod pace;
mod peer;
mod scenario;
mod seeds;
mod services;
mod stage;
mod warm;

use std::time::Duration;

use crate::uring::sim::Dice;

use choices::{LATE_DRAIN, changes, drain_timeout, faults, supplies};
use judge::Judge;
use lending::findings;
use scenario::Scenario;
use seeds::for_each_seed;
use stage::{DESCRIPTORS_PLENTY, Generation, Stage, groups};

/// A drain that may end sessions begins within this time.
const DRAIN_AFTER_MAX: Duration = Duration::from_millis(300);

/// Runs per invocation of the test command.
const SEEDS: u64 = 25_000;

#[test]
fn sessions_hold_their_promises_whatever_the_kernel_and_the_peers_do() {
    for_each_seed(SEEDS, run);
}

/// Plays one run to its end and judges it.
fn run(seed: u64) {
    let dice = &mut Dice::new(seed);
    let (scenario, farm, arrivals) = Scenario::of(changes(dice), dice);
    let is_tight = dice.chance(150);
    let descriptors_least = Stage::listeners(&scenario.services) + dice.number(2, 6);
    let drains = dice.chance(300);
    let stage = Stage {
        supplies: supplies(dice, scenario.scale),
        faults: faults(dice),
        sessions_max: dice.number(1, scenario.clients.len() + 1),
        descriptors_max: if is_tight { descriptors_least } else { DESCRIPTORS_PLENTY },
        drain_after: if drains { dice.time(DRAIN_AFTER_MAX) } else { LATE_DRAIN },
        drain_timeout: drain_timeout(dice),
        findings: findings(&groups(&scenario.services), dice),
        acts: operator::acts(&groups(&scenario.services), dice),
        generations: Generation::all(scenario.services.clone(), dice),
    };
    tracing::debug!(?stage, "replay");
    let played = stage.play(seed, Box::new(farm), arrivals);
    Judge { stage: &stage, scenario: &scenario, played: &played }.judge();
}
