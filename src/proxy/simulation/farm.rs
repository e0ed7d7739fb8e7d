//! The servers of stream clients: how each responds to attempts to connect, and its ends of connections.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockAddr;

use super::choices::{ip, script, socket_bytes};
use super::peer::{Notes, Registry, SERVER_NUMBER_MIN, Scripted};
use crate::upstream::{GroupSettings, Server};
use crate::uring::sim::{Accepted, Answer, Dice, Servers};

/// What happened at the servers.
#[derive(Default)]
pub(super) struct ServerNotes {
    /// Their ends of connections.
    pub(super) ends: Vec<Rc<RefCell<Notes>>>,
    /// Errors that ended attempts to connect, by the server's address.
    errors: BTreeMap<SocketAddr, BTreeSet<i32>>,
}

impl ServerNotes {
    /// The errors that ended attempts to connect to servers of a group.
    pub(super) fn errors(&self, group: &GroupSettings) -> BTreeSet<i32> {
        let of_server = |server: &Arc<Server>| self.errors.get(&ip(server.address()));
        group.servers.iter().filter_map(of_server).flatten().copied().collect()
    }
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

/// A server.
struct Place {
    address: SocketAddr,
    behaviour: Behaviour,
    /// The longest time that it takes to respond.
    longest: Duration,
    expects_header: bool,
    /// Whether it says nothing before its client does.
    listens_first: bool,
}

/// See the module docs.
pub(super) struct Farm {
    places: Vec<Place>,
    notes: Rc<RefCell<ServerNotes>>,
    registry: Rc<Registry>,
    scale: usize,
}

impl Farm {
    /// Without servers.
    pub(super) fn new(notes: &Rc<RefCell<ServerNotes>>, registry: &Rc<Registry>, scale: usize) -> Self {
        Self { places: Vec::new(), notes: Rc::clone(notes), registry: Rc::clone(registry), scale }
    }

    /// Adds those servers of a group that are new.
    pub(super) fn add(&mut self, group: &GroupSettings, dice: &mut Dice) {
        let all_sound = dice.chance(600);
        for server in &group.servers {
            let address = ip(server.address());
            if self.places.iter().all(|place| place.address != address) {
                self.places.push(Place {
                    address,
                    behaviour: if all_sound { Behaviour::Sound } else { Behaviour::of(dice) },
                    longest: group.connect_timeout * 5 / 4,
                    expects_header: group.send_proxy.is_some(),
                    // What speaks first is not lent when it was connected to ahead.
                    listens_first: group.warm_max > 0 && dice.chance(800),
                });
            }
        }
    }

    /// Whether one of its servers has this address.
    pub(super) fn has(&self, address: &SockAddr) -> bool {
        self.places.iter().any(|place| Some(place.address) == address.as_socket())
    }

    fn place(&self, to: &SockAddr) -> &Place {
        let address = to.as_socket().expect("upstreams have IP addresses");
        let found = self.places.iter().find(|place| place.address == address);
        found.expect("the proxy connects only to upstreams")
    }
}

impl Behaviour {
    fn of(dice: &mut Dice) -> Self {
        dice.one_of(&[Self::Sound, Self::Sound, Self::Refusing, Self::Silent, Self::Unreachable, Self::Flaky])
    }
}

impl Servers for Farm {
    fn answer(&mut self, to: &SockAddr, dice: &mut Dice) -> Answer {
        let Place { address, behaviour, longest, .. } = *self.place(to);
        let longest = if dice.chance(100) { longest } else { Duration::from_millis(1) };
        let after = dice.time(longest);
        let behaviour = match behaviour {
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
        self.notes.borrow_mut().errors.entry(address).or_default().extend(error);
        Answer { after, error }
    }

    fn accept(&mut self, to: &SockAddr, dice: &mut Dice) -> Accepted {
        let Place { address, longest, expects_header, listens_first, .. } = *self.place(to);
        let mut server_notes = self.notes.borrow_mut();
        let number = SERVER_NUMBER_MIN + server_notes.ends.len() as u32;
        let notes = Notes { number, server: Some(address), ..Notes::default() };
        let notes = Rc::new(RefCell::new(notes));
        server_notes.ends.push(Rc::clone(&notes));
        let script = script(dice, self.scale, longest);
        let mut peer = Scripted::new(notes, script, &self.registry);
        peer.expects_header = expects_header;
        peer.listens_first = listens_first;
        Accepted { peer: Box::new(peer), socket_bytes: socket_bytes(dice, self.scale) }
    }
}
