//! Sessions in HTTP mode: a client gets the replies to its own requests, in order and complete, from the one server end
//! that got those requests, once each, whatever happens on the way.
//!
//! In a calm run no peer leaves, fails or times out: there every request has its reply. In all other runs there is at
//! least never a wrong reply, nor an incomplete one that looks complete.

mod client;
mod judge;
mod line;
mod login;
mod message;
mod server;
mod storm;
mod wire;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::SockAddr;

use super::Stage;
use super::pace::Leaving;
use super::peer::{Registry, SERVER_NUMBER_MIN};
use super::scenario::{self, AFTERMATH, LATE_DRAIN, milliseconds, socket_bytes, source};
use super::seeds::for_each_seed;
use crate::proxy::settings::{ClientTls, ForwardedFor, Http, Mode, Service, Timeouts};
use crate::upstream;
use crate::uring::sim::{Accepted, Answer, Arrival, Dice, Faults, Servers};
use client::{Client, ClientNotes, Farewell, Hearing};
use judge::Trial;
use line::{Line, LineNotes, Pace, Parting};
use server::{Server, ServerNotes};
use wire::{TlsConfigs, Wire};

/// Runs per invocation of the test command.
const SEEDS: u64 = 10_000;
/// Fewer, because handshakes take time.
const TLS_SEEDS: u64 = 1000;
/// A time that no session of a run reaches.
const IDLE_TIMEOUT_LONG: Duration = Duration::from_secs(20);

#[test]
fn replies_belong_to_their_requests_whatever_the_kernel_and_the_peers_do() {
    for_each_seed(SEEDS, run);
}

#[test]
fn a_stream_that_tls_did_not_end_never_looks_complete() {
    for_each_seed(TLS_SEEDS, run_with_tls);
}

/// What a peer left behind.
struct Left<N> {
    line: Rc<RefCell<LineNotes>>,
    notes: Rc<RefCell<N>>,
}

impl<N: Default> Default for Left<N> {
    fn default() -> Self {
        Self { line: Rc::default(), notes: Rc::default() }
    }
}

impl<N> Clone for Left<N> {
    fn clone(&self) -> Self {
        Self { line: Rc::clone(&self.line), notes: Rc::clone(&self.notes) }
    }
}

/// A client before it arrives.
struct ExpectedClient {
    address: SocketAddr,
    changes_user: bool,
    pipelines: bool,
    left: Left<ClientNotes>,
}

/// The properties of a run's peers.
#[derive(Clone, Copy)]
struct Manners {
    is_calm: bool,
    /// Whether they make no long pauses.
    hurries: bool,
    /// Whether the proxy is in HTTP mode: it serves clients of HTTP/1.0 and clients that pipeline.
    is_http: bool,
    scale: usize,
    tls: Sides,
}

/// The sides of the proxy that use TLS.
#[derive(Debug, Clone, Copy, Default)]
struct Sides {
    client: bool,
    server: bool,
}

impl Manners {
    fn pace(self, dice: &mut Dice) -> Pace {
        let leaves = !self.is_calm && dice.chance(200);
        let patience = dice.time(Duration::from_millis(200));
        Pace {
            piece_bytes_max: self.scale * dice.one_of(&[1, 4, 16, 64]),
            pause_max: milliseconds(dice, if self.hurries { &[0, 1] } else { &[0, 1, 20] }),
            patience: leaves.then(|| (patience, dice.one_of(&[Leaving::Close, Leaving::Reset]))),
            single_bytes: if dice.chance(200) { dice.number(1, 400) } else { 0 },
        }
    }

    fn body_bytes_max(self, dice: &mut Dice) -> u64 {
        dice.one_of(&[0, 10, self.scale, self.scale * 8, self.scale * 30]) as u64
    }

    fn tunnel_bytes(self, dice: &mut Dice) -> u64 {
        let most = self.body_bytes_max(dice) as usize;
        dice.number(0, most) as u64
    }

    fn client(self, dice: &mut Dice) -> client::Script {
        let is_http10 = self.is_http && dice.chance(150);
        let scheme = dice.one_of(&[None, None, Some("NTLM"), Some("Negotiate")]);
        let tunnel_bytes = (!is_http10 && dice.chance(200)).then(|| self.tunnel_bytes(dice));
        // A client that has ended its stream can send nothing in a login or a tunnel.
        let may_end = scheme.is_none() && tunnel_bytes.is_none();
        let farewell = match dice.number(0, 9) {
            0..=2 => Farewell::Said,
            3..=4 if may_end => Farewell::Early,
            _ => Farewell::None,
        };
        // In a calm run a bare end must matter only to the proxy.
        let may_be_bare =
            self.tls.client && (!self.is_calm || tunnel_bytes.is_none() && farewell != Farewell::Early);
        client::Script {
            wishes: dice.number(1, 6) as u64,
            body_bytes_max: self.body_bytes_max(dice),
            hearing: match dice.number(0, 5) {
                0 => Hearing::Late,
                1..=2 if self.is_http => Hearing::Ahead,
                _ => Hearing::Always,
            },
            farewell,
            parting: if may_be_bare && dice.chance(300) { Parting::Bare } else { Parting::Orderly },
            is_http10,
            scheme,
            secret: if scheme.is_some() { dice.one_of(&[0, 300, 1000]) } else { 0 },
            logs_in: dice.one_of(&[0, 0, 200]),
            changes_user: dice.chance(300),
            tunnel_bytes,
        }
    }

    fn server(self, dice: &mut Dice) -> server::Script {
        let parting = match dice.number(0, 3) {
            0 => Parting::Close,
            1 if !self.is_calm => Parting::Reset,
            2 if self.tls.server => Parting::Bare,
            _ => Parting::Orderly,
        };
        server::Script {
            body_bytes_max: self.body_bytes_max(dice),
            early: dice.one_of(&[0, 0, 300]),
            last: dice.one_of(&[0, 0, 100]),
            hangs: if self.is_calm { 0 } else { dice.one_of(&[0, 0, 100]) },
            parting,
            // An immediate close may cut off a reply that only the end of the stream ends; in a calm run nothing is cut
            // off.
            ends_replies: parting == Parting::Orderly || !self.is_calm && parting != Parting::Close,
            tunnel_bytes: dice.chance(800).then(|| self.tunnel_bytes(dice)),
            scheme: dice.one_of(&["NTLM", "Negotiate"]),
        }
    }
}

/// The servers.
struct Farm {
    manners: Manners,
    ends: Rc<RefCell<Vec<Left<ServerNotes>>>>,
    registry: Rc<Registry>,
}

impl Servers for Farm {
    fn answer(&mut self, _to: &SockAddr, dice: &mut Dice) -> Answer {
        let refuses = !self.manners.is_calm && dice.chance(100);
        Answer { after: dice.time(Duration::from_millis(1)), error: refuses.then_some(libc::ECONNREFUSED) }
    }

    fn accept(&mut self, _to: &SockAddr, dice: &mut Dice) -> Accepted {
        let left = Left::<ServerNotes>::default();
        let mut ends = self.ends.borrow_mut();
        left.notes.borrow_mut().number = SERVER_NUMBER_MIN + ends.len() as u32;
        ends.push(left.clone());
        let script = self.manners.server(dice);
        let server = Server::new(script, left.notes, &self.registry);
        let wire =
            if self.manners.tls.server { Wire::tls_server(TlsConfigs::get().server) } else { Wire::plain() };
        let peer = Box::new(Line::new(server, self.manners.pace(dice), left.line, wire));
        Accepted { peer, socket_bytes: socket_bytes(dice, self.manners.scale) }
    }
}

/// Time-outs, each either long or short enough to end sessions now and then.
fn timeouts(dice: &mut Dice) -> Timeouts {
    let default = Timeouts::default();
    let mut timeout = |long| if dice.chance(200) { dice.time(Duration::from_millis(200)) } else { long };
    Timeouts {
        head: timeout(default.head),
        keepalive: timeout(default.keepalive),
        body: timeout(default.body),
        reply: timeout(default.reply),
        send: timeout(default.send),
        ..default
    }
}

fn has_short_timeouts(settings: &Service) -> bool {
    let Timeouts { idle, head, keepalive, body, reply, send, .. } = settings.timeouts;
    [idle, head, keepalive, body, reply, send].into_iter().any(|timeout| timeout < IDLE_TIMEOUT_LONG)
}

fn settings(is_calm: bool, sides: Sides, dice: &mut Dice) -> Service {
    let mut group = scenario::group(dice);
    group.send_proxy = None;
    if is_calm {
        group.connect_timeout = Duration::from_secs(3);
        group.connect_budget = Duration::from_secs(6);
    }
    if sides.server {
        let TlsConfigs { client: config, verifier, .. } = TlsConfigs::get();
        let (trusts_any_certificate, warnings) = (false, Vec::new());
        group.tls = Some(upstream::Tls { config, verifier, trusts_any_certificate, warnings });
    }
    let mut settings = scenario::settings(group, dice);
    if sides.client {
        let config = Arc::new(ArcSwap::new(TlsConfigs::get().server));
        settings.client_tls = Some(ClientTls { config });
    }
    let idle = if is_calm { IDLE_TIMEOUT_LONG } else { settings.timeouts.idle };
    let of_http = if is_calm { Timeouts::default() } else { timeouts(dice) };
    settings.timeouts = Timeouts { idle, ..of_http };
    settings.accept_proxy = false;
    settings.mode = Mode::Http(Box::new(Http {
        // In a calm run, a client that ends its stream after its last request still gets its reply.
        ignore_client_close: is_calm || dice.chance(500),
        head_bytes_max: 16 * 1024,
        forwarded: dice.one_of(&[ForwardedFor::Off, ForwardedFor::Replace]),
        rewrite_redirects: dice.chance(500),
        secure_cookies: dice.chance(500),
        close_on_identity_change: dice.chance(500),
        ..Http::default()
    }));
    settings
}

fn expected_client(
    number: u32,
    manners: Manners,
    listeners: usize,
    registry: &Rc<Registry>,
    dice: &mut Dice,
) -> (ExpectedClient, Arrival) {
    let address = source(10_000 + number, dice);
    let script = manners.client(dice);
    let left = Left::default();
    let expected = ExpectedClient {
        address,
        changes_user: script.changes_user,
        pipelines: script.hearing == Hearing::Ahead,
        left: left.clone(),
    };
    let client = Client::new(number, script, left.notes, registry);
    let wire = if manners.tls.client { Wire::tls_client(TlsConfigs::get().client) } else { Wire::plain() };
    let arrival = Arrival {
        listener: dice.number(0, listeners - 1),
        address: address.into(),
        peer: Box::new(Line::new(client, manners.pace(dice), left.line, wire)),
        socket_bytes: socket_bytes(dice, manners.scale),
    };
    (expected, arrival)
}

fn run(seed: u64) {
    let dice = &mut Dice::new(seed);
    let manners = Manners {
        is_calm: dice.chance(400),
        hurries: false,
        is_http: true,
        scale: dice.one_of(&[1, 4, 16, 64, 256, 4096]),
        tls: Sides::default(),
    };
    play(seed, manners, dice);
}

fn run_with_tls(seed: u64) {
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
    play(seed, manners, dice);
}

/// Plays one run to its end and judges it.
fn play(seed: u64, manners: Manners, dice: &mut Dice) {
    let is_calm = manners.is_calm;
    let mut settings = settings(is_calm, manners.tls, dice);
    if !manners.is_http {
        settings.mode = Mode::Stream;
    }
    let settings = Arc::new(settings);
    let mut faults = scenario::faults(dice);
    if is_calm {
        faults = Faults { error: 0, descriptor: 0, ..faults };
    }
    let registry = Rc::new(Registry::default());
    let ends = Rc::default();
    let farm = Farm { manners, ends: Rc::clone(&ends), registry: Rc::clone(&registry) };
    let drain_timeout = scenario::drain_timeout(dice);
    let drains = !is_calm && dice.chance(300);
    let stage = Stage {
        drain_after: if drains { dice.time(Duration::from_millis(300)) } else { LATE_DRAIN },
        supplies: scenario::supplies(dice, manners.scale),
        sessions_max: dice.number(1, 6),
        faults,
        descriptors_max: 1000,
        drain_timeout,
        settings: Arc::clone(&settings),
    };
    let (expected_clients, arrivals): (Vec<_>, Vec<_>) = (0..dice.one_of(&[1, 1, 2, 3, 5]))
        .map(|number| {
            let (expected, arrival) =
                expected_client(number, manners, settings.listeners.len(), &registry, dice);
            (expected, (dice.time(Duration::from_millis(100)), arrival))
        })
        .unzip();
    tracing::debug!(is_calm, manners.scale, ?manners.tls, ?settings, ?faults, "replay");
    let longest = stage.drain_after + if drains { drain_timeout } else { Duration::ZERO } + AFTERMATH;
    let (world, begin, entries) = stage.play(seed, Box::new(farm), arrivals, longest);
    let trial = Trial {
        is_calm,
        is_orderly: !drains && settings.timeouts.idle >= IDLE_TIMEOUT_LONG,
        ends_from: begin
            + if has_short_timeouts(&settings) { Duration::ZERO } else { stage.drain_after + drain_timeout },
        tls: manners.tls,
        http: match &settings.mode {
            Mode::Http(http) => Some(http),
            Mode::Stream => None,
        },
        world: &world.borrow(),
        registry: &registry,
        ends: &ends.borrow(),
        entries: &entries,
    };
    for expected in &expected_clients {
        trial.judge(expected);
    }
}
