//! Stream services in a worker, their servers and their clients.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::choices::{entrance, script, socket_bytes, source};
use super::farm::{Farm, ServerNotes};
use super::peer::{Notes, Registry, Scripted};
use super::services::generations;
use crate::protocol::proxy_protocol::{self, Version};
use crate::proxy::settings::Service;
use crate::uring::sim::{Arrival, Dice};

/// See the module docs.
pub(super) struct Scenario {
    /// The services at first and after each change.
    pub(super) services: Vec<Vec<Arc<Service>>>,
    pub(super) clients: Vec<Client>,
    pub(super) servers: Rc<RefCell<ServerNotes>>,
    pub(super) registry: Rc<Registry>,
    /// The unit of all sizes.
    pub(super) scale: usize,
}

/// A client before it arrives.
pub(super) struct Client {
    pub(super) notes: Rc<RefCell<Notes>>,
    pub(super) address: SocketAddr,
    /// The listener that it connects to.
    pub(super) to: SocketAddr,
    /// The source in its PROXY header, if the header is valid.
    pub(super) proxied: Option<SocketAddr>,
    pub(super) has_sound_header: bool,
    pub(super) arrives_after: Duration,
}

impl Client {
    /// The address that it counts for: that in its PROXY header, if it has one.
    pub(super) fn ip(&self) -> IpAddr {
        self.proxied.unwrap_or(self.address).ip()
    }
}

impl Scenario {
    pub(super) fn of(changes: usize, dice: &mut Dice) -> (Self, Farm, Vec<(Duration, Arrival)>) {
        let scale = dice.one_of(&[1, 4, 16, 16, 64, 256, 4096]);
        let registry = Rc::new(Registry::default());
        let servers = Rc::new(RefCell::new(ServerNotes::default()));
        let mut farm = Farm::new(&servers, &registry, scale);
        let services = generations(changes, &mut farm, dice);
        let mut scenario = Self { services, clients: Vec::new(), servers, registry, scale };
        let clients = dice.one_of(&[1, 1, 2, 3, 4, 6]);
        let arrivals = (0..clients).map(|number| scenario.client(number, dice)).collect();
        (scenario, farm, arrivals)
    }

    fn client(&mut self, number: u32, dice: &mut Dice) -> (Duration, Arrival) {
        let services = &self.services[dice.number(0, self.services.len() - 1)];
        let service = &services[dice.number(0, services.len() - 1)];
        let address = source(10_000 + number, dice);
        let mut script = script(dice, self.scale, service.timeouts.idle);
        let mut proxied = None;
        let mut has_sound_header = true;
        if service.accept_proxy {
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
        let to = entrance(service, dice);
        let arrival = Arrival {
            to: to.into(),
            address: address.into(),
            peer,
            socket_bytes: socket_bytes(dice, self.scale),
        };
        self.clients.push(Client { notes, address, to, proxied, has_sound_header, arrives_after });
        (arrives_after, arrival)
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
