//! What a worker tells of its sessions, when another thread asks.
//!
//! A session enters when it begins and leaves when it ends: a push and a removal. Looking takes turns of those for new
//! connections, a bounded number of sessions each, so that messages do not wait for it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use slab::Slab;

use crate::protocol::login::Mechanism;
use crate::uring::{Address, Ring};
use crate::words::words;

/// Sessions that are looked at in one turn.
const STEP: usize = 128;

words! {
    /// How far the login of a client's connection is. The meanings are a table in docs/admin.md.
    pub enum LoginState {
        /// No login was accepted on it.
        Anonymous = "anonymous",
        /// The client has yet to answer a message of the login.
        LoggingIn = "logging-in",
        /// The server accepted a login on it.
        LoggedIn = "logged-in",
    }
}

/// What is told of a session.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The id of the session in logs.
    pub id: u64,
    /// The address that connected.
    pub address: Address,
    /// The client that it is for, where a balancer connected for it.
    pub client: Option<IpAddr>,
    /// The service.
    pub service: Arc<str>,
    /// The group, once it is chosen.
    pub group: Option<Arc<str>>,
    /// The server's name and address, once it has accepted.
    pub server: Option<(Arc<str>, Address)>,
    /// When the client was accepted.
    pub accepted: Instant,
    /// How long ago a byte last moved.
    pub idle: Duration,
    /// Bytes from client to upstream.
    pub upstream_bytes: u64,
    /// Bytes from upstream to client.
    pub client_bytes: u64,
    /// In HTTP mode: how far the login is, and how it was made.
    pub login: Option<(LoginState, Option<Mechanism>)>,
    /// The user logged in, if the log names users.
    pub user: Option<Box<str>>,
}

/// Which sessions are asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Most of them.
    pub limit: usize,
    /// Those of the server of this name, of this group and name as `GROUP/NAME`, or at this address.
    pub server: Option<String>,
    /// Those of clients in this network.
    pub client: Option<IpNet>,
}

impl Wanted {
    /// Whether it is a session of the server that is asked for.
    pub(super) fn has_server(&self, group: Option<&str>, server: Option<(&str, &Address)>) -> bool {
        let Some(wanted) = &self.server else { return true };
        let Some((name, address)) = server else { return false };
        let with_group = || {
            let rest = group.and_then(|group| wanted.strip_prefix(group));
            rest.and_then(|rest| rest.strip_prefix('/')) == Some(name)
        };
        wanted == name || with_group() || *wanted == address.to_string()
    }

    /// Whether it is a session of a client that is asked for.
    pub(super) fn has_client(&self, client: Option<IpAddr>) -> bool {
        self.client.is_none_or(|network| client.is_some_and(|client| network.contains(&client)))
    }
}

/// A session that can be looked at.
pub(super) trait Seen {
    /// Its id.
    fn id(&self) -> u64;

    /// What is told of it, if it is wanted.
    fn sight(&self, wanted: &Wanted) -> Option<Sight>;

    /// Ends it: it closes as at the end of a drain.
    fn end(&self);
}

/// The sessions of a worker.
#[derive(Default)]
pub(super) struct Living(RefCell<Slab<Weak<dyn Seen>>>);

impl Living {
    /// A session begins. It leaves its place before it ends.
    pub(super) fn enter(&self, session: Weak<dyn Seen>) -> usize {
        self.0.borrow_mut().insert(session)
    }

    /// The session at this place ends.
    pub(super) fn leave(&self, place: usize) {
        self.0.borrow_mut().remove(place);
    }

    /// The sessions that are wanted.
    pub(super) async fn sights(&self, ring: &Ring, wanted: &Wanted) -> Vec<Sight> {
        let mut sights = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next
            && sights.len() < wanted.limit
        {
            ring.set_up_turn().await;
            let (sessions, after) = self.step(from);
            let left = wanted.limit - sights.len();
            sights.extend(sessions.iter().filter_map(|session| session.sight(wanted)).take(left));
            next = after;
        }
        sights
    }

    /// Ends the session with this id. False if there is none.
    pub(super) async fn end(&self, ring: &Ring, id: u64) -> bool {
        let mut next = Some(0);
        while let Some(from) = next {
            ring.set_up_turn().await;
            let (sessions, after) = self.step(from);
            if let Some(session) = sessions.iter().find(|session| session.id() == id) {
                session.end();
                return true;
            }
            next = after;
        }
        false
    }

    /// The sessions at a few places from this one on, and the place after them.
    fn step(&self, from: usize) -> (Vec<Rc<dyn Seen>>, Option<usize>) {
        let all = self.0.borrow();
        let to = (from + STEP).min(all.capacity());
        let sessions = (from..to).filter_map(|place| all.get(place)).filter_map(Weak::upgrade).collect();
        (sessions, (to < all.capacity()).then_some(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_wanted_by_name_group_or_address_and_a_client_by_network() {
        let address = Address::Ip(([192, 0, 2, 1], 80).into());
        let wanted = |server: &str| Wanted { server: Some(server.to_owned()), ..Wanted::default() };
        for (server, expected) in [
            ("iis1:80", true),
            ("iis/iis1:80", true),
            ("192.0.2.1:80", true),
            ("web/iis1:80", false),
            ("iis1", false),
            ("", false),
        ] {
            let has = wanted(server).has_server(Some("iis"), Some(("iis1:80", &address)));
            assert_eq!(has, expected, "{server}");
        }
        assert!(!wanted("iis1:80").has_server(None, None) && Wanted::default().has_server(None, None));
        let of =
            |network: &str| Wanted { client: Some(network.parse().expect("a network")), ..Wanted::default() };
        let client = Some(IpAddr::from([10, 0, 0, 7]));
        assert!(of("10.0.0.0/8").has_client(client) && !of("11.0.0.0/8").has_client(client));
        assert!(!of("0.0.0.0/0").has_client(None) && Wanted::default().has_client(None));
    }
}
