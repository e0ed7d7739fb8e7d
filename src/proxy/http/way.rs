//! The group that a client's requests go to, where their hosts decide.
//!
//! The first request chooses it, for the whole connection: a login on a connection to one group must never speak for
//! another. A request that leads elsewhere gets 421, and its client opens another connection for it.

use std::cell::OnceCell;
use std::rc::Rc;

use super::refusal::Refusal;
use crate::protocol::http1::request::split_port;
use crate::proxy::connection::Connection;
use crate::proxy::routes::Routes;
use crate::proxy::session::facts::Session;
use crate::proxy::tls::Tls;
use crate::upstream::Group;

/// See the module docs.
pub(super) struct Way<'a> {
    routes: &'a Routes<Rc<Group>>,
    /// The name in the client's TLS hello, in lower case.
    server_name: Option<String>,
    group: OnceCell<Rc<Group>>,
}

impl<'a> Way<'a> {
    /// The way of a client whose requests choose it; nothing where they do not.
    pub(super) fn new(session: &'a Session, client: &Connection) -> Option<Self> {
        let routes = &session.service().routes;
        let server_name = client.tls().and_then(Tls::server_name);
        routes.depend_on_host().then(|| Self { routes, server_name, group: OnceCell::new() })
    }

    /// Chooses the group of a request for `host`, which has to be that of the requests before it.
    pub(super) fn lead(&self, host: &[u8]) -> Result<(), Refusal> {
        let host = name_of(host);
        let named = host.as_deref().filter(|name| !name.is_empty());
        let Some(group) = self.routes.of_host(named) else {
            return Err(Refusal::NoRoute(host.unwrap_or_default().into()));
        };
        let is_group = |other: &Rc<Group>| Rc::ptr_eq(group, other);
        let by_tls = self.server_name.as_deref().map(|name| (name, self.routes.of_host(Some(name))));
        if let Some((name, by_tls)) = by_tls
            && !by_tls.is_some_and(is_group)
        {
            let host = host.unwrap_or_default();
            return Err(Refusal::ServerName { host: host.into(), server_name: name.into() });
        }
        if !is_group(self.group.get_or_init(|| Rc::clone(group))) {
            return Err(Refusal::OtherGroup(host.unwrap_or_default().into()));
        }
        Ok(())
    }

    /// The group that the first request chose.
    pub(super) fn group(&self) -> Option<&Rc<Group>> {
        self.group.get()
    }
}

/// The name of a host, in lower case, without its port and without the dot of a complete name.
fn name_of(host: &[u8]) -> Option<String> {
    let (name, _port) = split_port(host);
    let name = std::str::from_utf8(name.strip_suffix(b".").unwrap_or(name)).ok()?;
    Some(name.to_ascii_lowercase())
}
