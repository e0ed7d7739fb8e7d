//! Places at servers for connections that are opened ahead, before any client needs them.
//!
//! Such a place counts like a lease: the server holds the connection. It becomes the lease of one session, or ends; there
//! is no way from a lease to a place. The connections themselves are kept outside: see [`Supply`].

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use super::group::GroupSettings;
use super::lease::{self, Lease};
use super::server::Server;

/// Connections of one worker that wait for clients.
pub trait Supply: Debug {
    /// Whether one to the server at this place in the group may be left.
    fn has(&self, nth: usize) -> bool;

    /// Takes one out, if one is left that its server has not closed, and lends its place. One that is out does not come
    /// back.
    fn take(&self, nth: usize) -> Option<Lease>;
}

/// A place at a server, for a connection that no client has.
#[derive(Debug)]
pub struct WarmPlace {
    /// None once it is lent.
    server: Option<Arc<Server>>,
}

impl WarmPlace {
    /// A place at the server at this place in the group; none unless the server is in use, has a place left, and no client
    /// waits for one.
    pub fn take(group: &GroupSettings, nth: usize, now: Instant) -> Option<Self> {
        let server = &group.servers[nth];
        if !server.is_in_use(now) || is_wanted(group, server) || !server.lend_ahead() {
            return None;
        }
        let place = Self { server: Some(Arc::clone(server)) };
        // A client may have begun to wait meanwhile, and have seen that no place is warm.
        (!is_wanted(group, server)).then_some(place)
    }

    /// Whether to give it up: its server is not in use any more, or clients wait for places there.
    pub fn is_over(&self, group: &GroupSettings, now: Instant) -> bool {
        self.server.as_ref().is_none_or(|server| !server.is_in_use(now) || is_wanted(group, server))
    }

    /// It becomes the lease of a session.
    pub fn lend(mut self) -> Option<Lease> {
        let server = self.server.take()?;
        server.warm_is_lent();
        Some(Lease::warm(server))
    }

    /// The server, as long as the place is not lent.
    pub fn server(&self) -> Option<&Server> {
        self.server.as_deref()
    }

    /// Notes that a connection to the server could not be opened, as for a session.
    pub fn note_failure(&self, now: Instant) {
        if let Some(server) = self.server() {
            lease::note_failure(server, false, now);
        }
    }

    /// Notes that a connection was opened.
    pub fn note_success(&self, now: Instant) {
        if let Some(server) = self.server() {
            lease::note_success(server, now);
        }
    }
}

impl Drop for WarmPlace {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.take_back_ahead();
        }
    }
}

/// Whether clients wait for places at this server: then every place is theirs.
fn is_wanted(group: &GroupSettings, server: &Server) -> bool {
    server.options().connections_max.is_some() && group.queue.is_in_use()
}
