//! The group that each request of a client goes to, where hosts and paths decide.
//!
//! The first request chooses the site of the whole connection. A later request of another site gets 421, and its client
//! opens another connection for it: a browser never mixes hosts, and a proxy in front of this one that does may mix users.

use std::cell::OnceCell;
use std::rc::Rc;

use super::refusal::Refusal;
use crate::protocol::http1::forward::Target;
use crate::protocol::http1::path::Path;
use crate::protocol::http1::request::split_port;
use crate::proxy::connection::Connection;
use crate::proxy::routes::NoRoute;
use crate::proxy::service::Service;
use crate::proxy::session::facts::Session;
use crate::proxy::tls::Tls;
use crate::upstream::Group;

/// See the module docs.
pub(super) struct Way<'a> {
    service: &'a Service,
    /// The name in the client's TLS hello, in lower case.
    server_name: Option<String>,
    /// The host of the first request, in lower case; empty if it named none.
    first_host: OnceCell<Box<str>>,
}

impl<'a> Way<'a> {
    /// The way of a client whose requests choose it; nothing where they do not.
    pub(super) fn new(session: &'a Session, client: &Connection) -> Option<Box<Self>> {
        let service = session.service();
        let server_name = client.tls().and_then(Tls::server_name);
        let first_host = OnceCell::new();
        let way = || Box::new(Self { service, server_name, first_host });
        service.routes.depend_on_requests().then(way)
    }

    /// The group of a request for `host`. The TLS server name and the host of the first request have to lead a request
    /// for the same path to the same group.
    pub(super) fn lead(&self, host: &[u8], target: &Target<'_>) -> Result<Rc<Group>, Refusal> {
        let named = name_of(host);
        let host: Box<str> = named.unwrap_or_default().into();
        let path = if self.service.routes_by_path {
            let [_slash, path] = target.parts();
            Path::of_target(path)
        } else {
            Path::root()
        };
        let group = match self.of(&host, &path) {
            Ok(group) => group,
            Err(NoRoute::Host) => return Err(Refusal::NoRoute(host)),
            Err(NoRoute::Path) => return Err(Refusal::NoPath(host)),
        };
        let leads_there = |other: &str| {
            *host == *other || self.of(other, &path).is_ok_and(|other| Rc::ptr_eq(group, other))
        };
        if let Some(name) = self.server_name.as_deref().filter(|name| !leads_there(name)) {
            return Err(Refusal::ServerName { server_name: name.into(), host });
        }
        if !leads_there(self.first_host.get_or_init(|| host.clone())) {
            return Err(Refusal::OtherSite(host));
        }
        Ok(Rc::clone(group))
    }

    fn of(&self, host: &str, path: &Path) -> Result<&Rc<Group>, NoRoute> {
        self.service.routes.of_request(Some(host).filter(|host| !host.is_empty()), path)
    }
}

/// The name of a host, in lower case, without its port and without the dot of a complete name.
fn name_of(host: &[u8]) -> Option<String> {
    let (name, _port) = split_port(host);
    let name = std::str::from_utf8(name.strip_suffix(b".").unwrap_or(name)).ok()?;
    Some(name.to_ascii_lowercase())
}
