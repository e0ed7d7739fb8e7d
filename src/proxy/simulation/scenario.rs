//! What a seed decides: the settings, the resources, the peers and their behaviour.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockAddr;

use super::Stage;
use super::pace::Leaving;
use super::peer::{Fin, Notes, Registry, SERVER_NUMBER_MIN, Script, Scripted};
use crate::protocol::proxy_protocol::{self, Version};
use crate::proxy::routes::Routes;
use crate::proxy::settings::{Listener, Service, Splice, Timeouts};
use crate::upstream::{GroupSettings, Server};
use crate::uring::sim::{Accepted, Answer, Arrival, Dice, Faults, Servers, Supplies};
use crate::uring::{Address, SocketOptions};

/// A drain so late that every session has ended by itself.
pub(super) const LATE_DRAIN: Duration = Duration::from_secs(3600);

/// The name in every certificate.
pub(super) const TLS_NAME: &str = "web.test";

/// What it takes a worker to end its last operations.
pub(super) const AFTERMATH: Duration = Duration::from_millis(10);

/// See the module docs.
pub(super) struct Scenario {
    pub(super) stage: Stage,
    pub(super) clients: Vec<Client>,
    pub(super) servers: Rc<RefCell<ServerNotes>>,
    pub(super) registry: Rc<Registry>,
    /// The unit of all sizes.
    scale: usize,
}

/// A client before it arrives.
pub(super) struct Client {
    pub(super) notes: Rc<RefCell<Notes>>,
    pub(super) address: SocketAddr,
    /// The source in its PROXY header, if the header is valid.
    pub(super) proxied: Option<SocketAddr>,
    pub(super) has_sound_header: bool,
    pub(super) arrives_after: Duration,
}

/// What happened at the servers.
#[derive(Default)]
pub(super) struct ServerNotes {
    /// Their ends of connections.
    pub(super) ends: Vec<Rc<RefCell<Notes>>>,
    /// Errors that ended attempts to connect.
    pub(super) errors: BTreeSet<i32>,
}

/// How a server responds to attempts to connect.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    Sound,
    Refusing,
    Silent,
    Unreachable,
    Flaky,
}

/// The servers of a run.
struct Farm {
    behaviours: Vec<(SocketAddr, usize, Behaviour)>,
    notes: Rc<RefCell<ServerNotes>>,
    registry: Rc<Registry>,
    scale: usize,
    longest: Duration,
    expects_header: bool,
}

impl Scenario {
    pub(super) fn of(dice: &mut Dice) -> (Self, Box<dyn Servers>, Vec<Arrival>) {
        let scale = dice.one_of(&[1, 4, 16, 16, 64, 256, 4096]);
        let group = group(dice);
        let settings = Arc::new(settings(group.clone(), dice));
        let registry = Rc::new(Registry::default());
        let servers = Rc::new(RefCell::new(ServerNotes::default()));
        let farm = Farm {
            behaviours: behaviours(dice, &group),
            notes: Rc::clone(&servers),
            registry: Rc::clone(&registry),
            scale,
            longest: group.connect_timeout * 5 / 4,
            expects_header: group.send_proxy.is_some(),
        };
        let client_count = dice.one_of(&[1, 1, 2, 3, 4, 6]);
        let tight = dice.chance(150);
        let stage = Stage {
            supplies: supplies(dice, scale),
            faults: faults(dice),
            sessions_max: dice.number(1, client_count + 1),
            descriptors_max: if tight { settings.listeners.len() + dice.number(2, 6) } else { 1000 },
            drain_after: if dice.chance(300) { dice.time(Duration::from_millis(300)) } else { LATE_DRAIN },
            drain_timeout: drain_timeout(dice),
            settings,
        };
        let mut scenario = Self { stage, clients: Vec::new(), servers, registry, scale };
        let arrivals = (0..client_count).map(|number| scenario.client(number as u32, dice)).collect();
        (scenario, Box::new(farm), arrivals)
    }

    /// The longest time until a worker has ended. A late drain finds no session left.
    pub(super) fn longest(&self) -> Duration {
        let Stage { drain_timeout, drain_after, .. } = &self.stage;
        let drain = if *drain_after == LATE_DRAIN { Duration::ZERO } else { *drain_timeout };
        *drain_after + drain + AFTERMATH
    }

    fn client(&mut self, number: u32, dice: &mut Dice) -> Arrival {
        let address = source(10_000 + number, dice);
        let mut script = script(dice, self.scale, self.stage.settings.timeouts.idle);
        let mut proxied = None;
        let mut has_sound_header = true;
        if self.stage.settings.accept_proxy {
            let header = Header::of(number, dice);
            script.preamble = header.bytes;
            has_sound_header = header.is_sound;
            proxied = header.source;
        }
        self.registry.sources.borrow_mut().insert(proxied.unwrap_or(address), number);
        let preamble_left_bytes = script.preamble.len();
        let notes = Rc::new(RefCell::new(Notes { number, preamble_left_bytes, ..Notes::default() }));
        let peer = Box::new(Scripted::new(Rc::clone(&notes), script, &self.registry));
        let arrives_after = dice.time(Duration::from_millis(100));
        self.clients.push(Client { notes, address, proxied, has_sound_header, arrives_after });
        Arrival {
            listener: dice.number(0, self.stage.settings.listeners.len() - 1),
            address: address.into(),
            peer,
            socket_bytes: socket_bytes(dice, self.scale),
        }
    }
}

/// A client's PROXY header.
struct Header {
    bytes: Vec<u8>,
    is_sound: bool,
    source: Option<SocketAddr>,
}

impl Header {
    fn of(number: u32, dice: &mut Dice) -> Self {
        let version = dice.one_of(&[Version::V1, Version::V2]);
        let address = source(20_000 + number, dice);
        let destination = match address {
            SocketAddr::V4(_) => (Ipv4Addr::new(198, 51, 100, 1), 80).into(),
            SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 80).into(),
        };
        match dice.number(0, 9) {
            // UNKNOWN or LOCAL.
            0 => Self { bytes: proxy_protocol::write(version, None).to_vec(), is_sound: true, source: None },
            1 => {
                let mut bytes = proxy_protocol::write(version, Some((address, destination))).to_vec();
                let at = dice.number(0, 11.min(bytes.len() - 1));
                bytes[at] ^= 0x80;
                Self { bytes, is_sound: false, source: None }
            }
            _ => {
                let bytes = proxy_protocol::write(version, Some((address, destination))).to_vec();
                Self { bytes, is_sound: true, source: Some(address) }
            }
        }
    }
}

pub(super) fn source(port: u32, dice: &mut Dice) -> SocketAddr {
    let port = port as u16;
    if dice.chance(700) {
        (Ipv4Addr::new(192, 0, 2, 1), port).into()
    } else {
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), port).into()
    }
}

pub(super) fn milliseconds(dice: &mut Dice, choices: &[u64]) -> Duration {
    Duration::from_millis(dice.one_of(choices))
}

/// A group of one to three servers. The order of the dice decides what a seed stands for.
pub(super) fn group(dice: &mut Dice) -> GroupSettings {
    let server = |number: usize, at: usize| {
        let address = Address::Ip((Ipv4Addr::new(10, 0, number as u8, at as u8), 80).into());
        let tls_name = Some(TLS_NAME.try_into().expect("a name"));
        Arc::new(Server::new(format!("server{number}"), address, tls_name).expect("an IP address"))
    };
    let names = dice.number(1, 3);
    let mut servers = Vec::new();
    for number in 0..names {
        servers.extend((0..dice.one_of(&[1, 1, 1, 2])).map(|at| server(number, at)));
    }
    GroupSettings {
        send_proxy: dice.one_of(&[None, None, Some(Version::V1), Some(Version::V2)]),
        connect_timeout: milliseconds(dice, &[5, 100, 3000]),
        connect_budget: milliseconds(dice, &[5, 150, 6000]),
        ..GroupSettings::new("servers", servers)
    }
}

/// A service that sends everything to `group`.
pub(super) fn settings(group: GroupSettings, dice: &mut Dice) -> Service {
    let listen =
        |number: usize| Listener::at(Address::Ip((Ipv4Addr::new(203, 0, 113, 1), 80 + number as u16).into()));
    let listeners = (0..dice.number(1, 2)).map(listen).collect();
    let (idle, header) = (milliseconds(dice, &[50, 2000, 20_000]), milliseconds(dice, &[0, 0, 3000, 30]));
    Service {
        timeouts: Timeouts { idle, accept_proxy: header, ..Timeouts::default() },
        accept_proxy: !header.is_zero(),
        splice: dice.one_of(&[Splice::Auto, Splice::Auto, Splice::Never, Splice::Always]),
        tcp: SocketOptions::default(),
        ..Service::new("simulated", listeners, Routes::all(Arc::new(group)))
    }
}

pub(super) fn drain_timeout(dice: &mut Dice) -> Duration {
    milliseconds(dice, &[0, 10, 200, 30_000])
}

pub(super) fn supplies(dice: &mut Dice, scale: usize) -> Supplies {
    Supplies {
        buffers: dice.one_of(&[1, 2, 3, 8, 64]),
        buffer_bytes: (scale * dice.number(1, 4)) as u32,
        pipes: dice.one_of(&[0, 1, 2, 2, 16]),
        pipe_bytes: scale * dice.number(1, 32),
    }
}

/// A third of the runs are calm.
pub(super) fn faults(dice: &mut Dice) -> Faults {
    Faults {
        partial: dice.one_of(&[0, 50, 400]),
        late: dice.one_of(&[0, 50, 400]),
        error: dice.one_of(&[0, 0, 2, 20]),
        descriptor: dice.one_of(&[0, 0, 100]),
        small_pipe: dice.one_of(&[0, 0, 500]),
    }
}

fn script(dice: &mut Dice, scale: usize, idle_timeout: Duration) -> Script {
    let content = dice.one_of(&[0, 1, 3, scale, scale * 8, scale * 30]);
    let fin = if dice.chance(50) {
        Fin::Never
    } else {
        dice.one_of(&[Fin::AfterContent, Fin::AfterContent, Fin::AfterPeer])
    };
    let leaves = dice.chance(200);
    let longest = dice.one_of(&[Duration::from_millis(5), Duration::from_millis(200), idle_timeout * 2]);
    let stays = dice.time(longest);
    let patience = leaves.then(|| (stays, dice.one_of(&[Leaving::Close, Leaving::Reset])));
    let stalls = dice.one_of(&[0, 0, 5, 1500]);
    Script {
        preamble: Vec::new(),
        content_bytes: dice.number(content / 2, content) as u64,
        send_bytes_max: scale * dice.one_of(&[1, 4, 16]),
        send_pause_max: milliseconds(dice, &[0, 1, 20]),
        urgent: dice.one_of(&[0, 0, 0, 100, 500]),
        receive_bytes_max: scale * dice.one_of(&[1, 4, 16]),
        receive_pause_max: milliseconds(dice, &[0, 1, 20]),
        receive_from: dice.time(Duration::from_millis(stalls)),
        fin,
        patience,
    }
}

pub(super) fn socket_bytes(dice: &mut Dice, scale: usize) -> (usize, usize) {
    let sizes = [scale, scale * 2, scale * 16, scale * 64];
    (dice.one_of(&sizes), dice.one_of(&sizes))
}

fn behaviours(dice: &mut Dice, group: &GroupSettings) -> Vec<(SocketAddr, usize, Behaviour)> {
    let all_sound = dice.chance(600);
    let mut behaviours = Vec::new();
    for (index, server) in group.servers.iter().enumerate() {
        let Address::Ip(address) = server.address() else { continue };
        let behaviour = if all_sound {
            Behaviour::Sound
        } else {
            dice.one_of(&[
                Behaviour::Sound,
                Behaviour::Sound,
                Behaviour::Refusing,
                Behaviour::Silent,
                Behaviour::Unreachable,
                Behaviour::Flaky,
            ])
        };
        behaviours.push((*address, index, behaviour));
    }
    behaviours
}

impl Farm {
    fn server(&self, to: &SockAddr) -> (usize, Behaviour) {
        let address = to.as_socket().expect("upstreams have IP addresses");
        let found = self.behaviours.iter().find(|(at, ..)| *at == address);
        let (_, index, behaviour) = found.expect("the proxy connects only to upstreams");
        (*index, *behaviour)
    }
}

impl Servers for Farm {
    fn answer(&mut self, to: &SockAddr, dice: &mut Dice) -> Answer {
        let longest = if dice.chance(100) { self.longest } else { Duration::from_millis(1) };
        let after = dice.time(longest);
        let behaviour = match self.server(to).1 {
            Behaviour::Flaky => dice.one_of(&[
                Behaviour::Sound,
                Behaviour::Refusing,
                Behaviour::Silent,
                Behaviour::Unreachable,
                Behaviour::Flaky,
            ]),
            behaviour => behaviour,
        };
        let (after, error) = match behaviour {
            Behaviour::Sound => (after, None),
            Behaviour::Refusing => (after, Some(libc::ECONNREFUSED)),
            Behaviour::Silent => (Duration::from_secs(127), Some(libc::ETIMEDOUT)),
            Behaviour::Unreachable => (after, Some(dice.one_of(&[libc::EHOSTUNREACH, libc::ENETUNREACH]))),
            Behaviour::Flaky => {
                (after, Some(dice.one_of(&[libc::EADDRNOTAVAIL, libc::ECONNRESET, libc::EACCES])))
            }
        };
        self.notes.borrow_mut().errors.extend(error);
        Answer { after, error }
    }

    fn accept(&mut self, to: &SockAddr, dice: &mut Dice) -> Accepted {
        let mut server_notes = self.notes.borrow_mut();
        let number = SERVER_NUMBER_MIN + server_notes.ends.len() as u32;
        let notes = Notes { number, upstream: Some(self.server(to).0), ..Notes::default() };
        let notes = Rc::new(RefCell::new(notes));
        server_notes.ends.push(Rc::clone(&notes));
        let script = script(dice, self.scale, self.longest);
        let mut peer = Scripted::new(notes, script, &self.registry);
        peer.expects_header = self.expects_header;
        Accepted { peer: Box::new(peer), socket_bytes: socket_bytes(dice, self.scale) }
    }
}
