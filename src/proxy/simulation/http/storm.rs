//! Storms: many clients that connect and reset in the same turns, while established ones continue.
//!
//! Afterwards nothing is left of them (checked by `Stage::play`), no turn took longer than its shares, the established
//! clients got their replies in time, and no connection to a server was closed in a way that keeps its port in use.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::cast::{ExpectedClient, Farm};
use super::judge::Trial;
use super::manners::{Manners, Sides};
use super::site::Sites;
use crate::proxy::settings::Service;
use crate::proxy::simulation::choices::{LATE_DRAIN, drain_timeout, entrance, source, supplies};
use crate::proxy::simulation::peer::Registry;
use crate::proxy::simulation::seeds::for_each_seed;
use crate::proxy::simulation::stage::{Generation, Stage};
use crate::uring::sim::{Arrival, Dice, Far, Faults, Next, Peer, SETTING_UP_TURN_MAX};

/// Runs per invocation of the test command.
const SEEDS: u64 = 300;
/// Numbers from here on are those of clients that leave.
const QUITTER_NUMBER_MIN: u32 = 5000;
/// By then each established client has all its replies, which takes a tenth of that without a storm.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn established_clients_go_on_while_others_connect_and_reset() {
    for_each_seed(SEEDS, run);
}

/// A client that leaves before it gets anything.
struct Quitter {
    says: String,
    stays: Duration,
    leaves_at: Option<Instant>,
}

impl Peer for Quitter {
    fn turn(&mut self, far: &mut Far<'_>) -> Next {
        let leaves_at = *self.leaves_at.get_or_insert_with(|| {
            far.send(self.says.as_bytes());
            far.now + self.stays
        });
        if leaves_at <= far.now {
            far.reset();
            return Next::Done;
        }
        Next::After(leaves_at - far.now)
    }
}

fn quitter(number: u32, longest: Duration, service: &Service, dice: &mut Dice) -> (Duration, Arrival) {
    let request = format!("GET /{}/0 HTTP/1.1\r\nHost: web\r\n\r\n", QUITTER_NUMBER_MIN + number);
    let says = request[..dice.one_of(&[0, 0, 10, request.len()])].to_owned();
    let arrival = Arrival {
        to: entrance(service, dice).into(),
        address: source(20_000 + number, dice).into(),
        peer: Box::new(Quitter { says, stays: dice.time(Duration::from_millis(3)), leaves_at: None }),
        socket_bytes: (100, 100),
    };
    (dice.time(longest), arrival)
}

/// Plays one run to its end and judges it.
fn run(seed: u64) {
    let dice = &mut Dice::new(seed);
    let is_http = dice.chance(600);
    let manners = Manners {
        is_calm: true,
        hurries: true,
        is_http,
        scale: dice.one_of(&[16, 64, 256]),
        tls: Sides::default(),
    };
    let sites = Sites::one(manners, dice);
    let site = sites.any(dice);
    let registry = Rc::new(Registry::default());
    let ends = Rc::new(RefCell::default());
    let farm = Farm { manners, ends: Rc::clone(&ends), registry: Rc::clone(&registry) };
    let (expected_clients, mut arrivals): (Vec<ExpectedClient>, Vec<_>) = (0..dice.number(1, 3))
        .map(|number| ExpectedClient::new(number as u32, manners, site, &registry, Duration::ZERO, dice))
        .unzip();
    let quitters = dice.one_of(&[20, 100, 300]);
    let longest = dice.one_of(&[Duration::from_millis(1), Duration::from_millis(30)]);
    arrivals.extend((0..quitters).map(|number| quitter(number, longest, &site.settings, dice)));
    let stage = Stage {
        drain_after: LATE_DRAIN,
        supplies: supplies(dice, manners.scale),
        sessions_max: dice.one_of(&[expected_clients.len(), 8, 1000]).max(expected_clients.len()),
        // Late: connects may have to search for a port.
        faults: Faults { partial: 50, late: dice.one_of(&[0, 400]), error: 0, descriptor: 0, small_pipe: 0 },
        descriptors_max: 3000,
        drain_timeout: drain_timeout(dice),
        findings: Vec::new(),
        acts: Vec::new(),
        generations: Generation::all(sites.services(), dice),
    };
    tracing::debug!(quitters, ?longest, ?sites, "replay");
    let played = stage.play(seed, Box::new(farm), arrivals);
    let begin = played.begin;
    let turn = played.world.borrow().longest_turn;
    assert!(turn <= SETTING_UP_TURN_MAX, "a turn took {turn:?} while all other sessions waited");
    // In stream mode a client's requests are not told apart from those that leave.
    let manners = Manners { is_calm: is_http, ..manners };
    let ends = &ends.borrow();
    let trial = Trial { manners, stage: &stage, played: &played, sites: &sites, registry: &registry, ends };
    for expected in &expected_clients {
        trial.judge(expected);
        let heard_at = expected.left.line.borrow().heard_at;
        let in_time = heard_at.is_some_and(|at| at < begin + PATIENCE);
        assert!(in_time, "{} waited in the storm: {:?}", expected.address, expected.left.notes.borrow());
    }
}
