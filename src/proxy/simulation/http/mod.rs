//! Sessions in HTTP mode: a client gets the replies to its own requests, in order and complete, from the one server end
//! that got those requests, once each, whatever happens on the way. That server is of the group that the requests lead
//! to by the service of the session, whatever other services the worker has.
//!
//! In a calm run no peer leaves, fails or times out: there every request has its reply. In all other runs there is at
//! least never a wrong reply, nor an incomplete one that looks complete.

mod cast;
mod client;
mod judge;
mod line;
mod login;
mod manners;
mod message;
mod notes;
mod server;
mod site;
mod storm;
mod wire;

use std::rc::Rc;
use std::time::Duration;

use socket2::SockAddr;

use super::choices::{self, LATE_DRAIN};
use super::farm;
use super::judge::Judge;
use super::lending::findings;
use super::operator;
use super::peer::Registry;
use super::scenario::Scenario;
use super::seeds::for_each_seed;
use super::stage::{DESCRIPTORS_PLENTY, Generation, Stage, groups};
use crate::uring::sim::{Accepted, Answer, Dice, Faults, Servers};
use cast::{ExpectedClient, Farm};
use judge::Trial;
use manners::{Manners, Sides};
use site::Sites;

/// Runs per invocation of the test command.
const SEEDS: u64 = 10_000;
/// Fewer, because handshakes take time. Each seed is for one of three tests, which can run side by side.
const TLS_SEEDS: u64 = 1000;

#[test]
fn replies_belong_to_their_requests_whatever_the_kernel_and_the_peers_do() {
    for_each_seed(SEEDS, run);
}

#[test]
fn a_stream_that_tls_of_clients_did_not_end_never_looks_complete() {
    for_each_seed(TLS_SEEDS, |seed| run_with_tls(seed, Sides { client: true, server: false }));
}

#[test]
fn a_stream_that_tls_of_servers_did_not_end_never_looks_complete() {
    for_each_seed(TLS_SEEDS, |seed| run_with_tls(seed, Sides { client: false, server: true }));
}

#[test]
fn a_stream_that_tls_of_either_side_did_not_end_never_looks_complete() {
    for_each_seed(TLS_SEEDS, |seed| run_with_tls(seed, Sides { client: true, server: true }));
}

fn run(seed: u64) {
    let dice = &mut Dice::new(seed);
    let is_http = dice.chance(850);
    let manners = Manners {
        is_calm: is_http && dice.chance(400),
        hurries: false,
        is_http,
        scale: dice.one_of(&[1, 4, 16, 64, 256, 4096]),
        tls: Sides::default(),
    };
    play(seed, manners, dice);
}

/// Plays one run if it is one with TLS on these sides.
fn run_with_tls(seed: u64, tls: Sides) {
    let dice = &mut Dice::new(seed);
    let is_http = dice.chance(600);
    let manners = Manners {
        is_calm: is_http && dice.chance(400),
        hurries: false,
        is_http,
        scale: dice.one_of(&[16, 64, 256, 4096]),
        tls: dice.one_of(&[
            Sides { client: true, server: false },
            Sides { client: false, server: true },
            Sides { client: true, server: true },
        ]),
    };
    if manners.tls == tls {
        play(seed, manners, dice);
    }
}

/// Plays one run to its end and judges it.
fn play(seed: u64, manners: Manners, dice: &mut Dice) {
    let is_calm = manners.is_calm;
    let changes = choices::changes(dice);
    let sites = Sites::of(manners, changes, dice);
    let mut faults = choices::faults(dice);
    if is_calm {
        faults = Faults { error: 0, descriptor: 0, ..faults };
    }
    let registry = Rc::new(Registry::default());
    let ends = Rc::default();
    let farm = Farm { manners, ends: Rc::clone(&ends), registry: Rc::clone(&registry) };
    // Stream services in the same worker.
    let (streams, stream_farm, mut arrivals) = if dice.chance(200) {
        let (scenario, farm, arrivals) = Scenario::of(changes, dice);
        (Some(scenario), Some(farm), arrivals)
    } else {
        (None, None, Vec::new())
    };
    let drains = !is_calm && dice.chance(300);
    let mut services = sites.services();
    if let Some(streams) = &streams {
        for (services, streams) in std::iter::zip(&mut services, &streams.services) {
            services.extend_from_slice(streams);
        }
    }
    let stage = Stage {
        drain_after: if drains { dice.time(Duration::from_millis(300)) } else { LATE_DRAIN },
        supplies: choices::supplies(dice, manners.scale),
        sessions_max: dice.number(1, 6),
        faults,
        descriptors_max: DESCRIPTORS_PLENTY,
        drain_timeout: choices::drain_timeout(dice),
        findings: if is_calm { Vec::new() } else { findings(&groups(&services), dice) },
        acts: if is_calm { Vec::new() } else { operator::acts(&groups(&services), dice) },
        generations: Generation::all(services, dice),
    };
    let clients: Vec<_> = (0..dice.one_of(&[1, 1, 2, 3, 5]))
        .map(|number| {
            let (site, after) = (sites.any(dice), dice.time(Duration::from_millis(100)));
            let (client, arrival) = ExpectedClient::new(number, manners, site, &registry, after, dice);
            arrivals.push(arrival);
            client
        })
        .collect();
    tracing::debug!(?manners, ?sites, ?stage, "replay");
    let played = stage.play(seed, Box::new(Farms { http: farm, stream: stream_farm }), arrivals);
    let trial = Trial {
        manners,
        stage: &stage,
        played: &played,
        sites: &sites,
        registry: &registry,
        ends: &ends.borrow(),
    };
    for client in &clients {
        trial.judge(client);
    }
    if let Some(scenario) = &streams {
        Judge { stage: &stage, scenario, played: &played }.judge();
    }
}

/// The servers of HTTP clients, and those of stream clients in the same run.
struct Farms {
    http: Farm,
    stream: Option<farm::Farm>,
}

impl Farms {
    fn of(&mut self, to: &SockAddr) -> &mut dyn Servers {
        match &mut self.stream {
            Some(stream) if stream.has(to) => stream,
            _ => &mut self.http,
        }
    }
}

impl Servers for Farms {
    fn answer(&mut self, to: &SockAddr, dice: &mut Dice) -> Answer {
        self.of(to).answer(to, dice)
    }

    fn accept(&mut self, to: &SockAddr, dice: &mut Dice) -> Accepted {
        self.of(to).accept(to, dice)
    }
}
