//! The peers of a run: clients before they arrive, and the servers that they may get to.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockAddr;

use super::client::{Client, Hearing};
use super::line::{Line, LineNotes};
use super::manners::Manners;
use super::notes::ClientNotes;
use super::server::{Server, ServerNotes};
use super::site::Site;
use super::wire::{TlsConfigs, Wire};
use crate::proxy::simulation::choices::{entrance, ip, socket_bytes, source};
use crate::proxy::simulation::peer::{Registry, SERVER_NUMBER_MIN};
use crate::uring::sim::{Accepted, Answer, Arrival, Dice, Servers};

/// The port of the first client.
const PORT_MIN: u32 = 30_000;

/// What a peer left behind.
pub(super) struct Left<N> {
    pub(super) line: Rc<RefCell<LineNotes>>,
    pub(super) notes: Rc<RefCell<N>>,
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
pub(super) struct ExpectedClient {
    pub(super) number: u32,
    pub(super) address: SocketAddr,
    /// The listener that it connects to.
    pub(super) to: SocketAddr,
    pub(super) arrives_after: Duration,
    pub(super) changes_user: bool,
    pub(super) pipelines: bool,
    pub(super) may_log_in: bool,
    /// The server that it names.
    pub(super) named: Option<Named>,
    pub(super) left: Left<ClientNotes>,
}

/// A server that a client's cookies name.
pub(super) struct Named {
    /// The name of the cookie that does.
    pub(super) cookie: Arc<str>,
    pub(super) server: SocketAddr,
    /// All that it sends.
    cookies: String,
}

impl Named {
    /// One of the servers of a group with affinity, if the service has any.
    fn of(site: &Site, dice: &mut Dice) -> Option<Self> {
        let servers =
            site.settings.groups().filter_map(|group| Some((group.affinity.as_ref()?, &group.servers)));
        let all: Vec<_> = servers
            .flat_map(|(affinity, servers)| servers.iter().map(move |server| (affinity, server)))
            .collect();
        if all.is_empty() {
            return None;
        }
        let (affinity, server) = all[dice.number(0, all.len() - 1)];
        let (cookie, token) = (Arc::clone(affinity.cookie()), affinity.token(server));
        let (before, after) = (dice.one_of(&["", "a=b; ", ";"]), dice.one_of(&["", "; c", "; d=\"e;"]));
        // Of two the first one that names a server counts.
        let junk = if dice.chance(200) { format!("{cookie}=junk; ") } else { String::new() };
        let cookies = format!("{before}{junk}{cookie}={}{after}", token.as_str());
        Some(Self { cookie, server: ip(server.address()), cookies })
    }
}

impl ExpectedClient {
    /// A client of the service, and how it arrives.
    pub(super) fn new(
        number: u32,
        manners: Manners,
        site: &Site,
        registry: &Rc<Registry>,
        arrives_after: Duration,
        dice: &mut Dice,
    ) -> (Self, (Duration, Arrival)) {
        let address = source(PORT_MIN + number, dice);
        let mut script = manners.client(dice);
        let named = Named::of(site, dice).filter(|_| manners.is_http);
        script.cookies = named.as_ref().map(|named| named.cookies.clone());
        let left = Left::default();
        let to = entrance(&site.settings, dice);
        let expected = Self {
            number,
            address,
            to,
            arrives_after,
            changes_user: script.changes_user,
            pipelines: script.hearing == Hearing::Ahead,
            may_log_in: script.scheme.is_some(),
            named,
            left: left.clone(),
        };
        let client = Client::new(number, script, left.notes, registry);
        let wire =
            if manners.tls.client { Wire::tls_client(TlsConfigs::get().client) } else { Wire::plain() };
        let arrival = Arrival {
            to: to.into(),
            address: address.into(),
            peer: Box::new(Line::new(client, manners.client_pace(dice), left.line, wire)),
            socket_bytes: socket_bytes(dice, manners.scale),
        };
        (expected, (arrives_after, arrival))
    }
}

/// The servers' ends of connections.
pub(super) type Ends = Rc<RefCell<Vec<Left<ServerNotes>>>>;

/// The servers.
pub(super) struct Farm {
    pub(super) manners: Manners,
    pub(super) ends: Ends,
    pub(super) registry: Rc<Registry>,
}

impl Servers for Farm {
    fn answer(&mut self, _to: &SockAddr, dice: &mut Dice) -> Answer {
        let refuses = !self.manners.is_calm && dice.chance(100);
        Answer { after: dice.time(Duration::from_millis(1)), error: refuses.then_some(libc::ECONNREFUSED) }
    }

    fn accept(&mut self, to: &SockAddr, dice: &mut Dice) -> Accepted {
        let left = Left::<ServerNotes>::default();
        let mut ends = self.ends.borrow_mut();
        left.notes.borrow_mut().number = SERVER_NUMBER_MIN + ends.len() as u32;
        left.notes.borrow_mut().address = to.as_socket();
        ends.push(left.clone());
        let script = self.manners.server(dice);
        let server = Server::new(script, left.notes, &self.registry);
        let wire =
            if self.manners.tls.server { Wire::tls_server(TlsConfigs::get().server) } else { Wire::plain() };
        let peer = Box::new(Line::new(server, self.manners.pace(dice), left.line, wire));
        Accepted { peer, socket_bytes: socket_bytes(dice, self.manners.scale) }
    }
}
