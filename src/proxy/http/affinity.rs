//! Affinity by a cookie: which servers a request names, and what its reply tells the client.
//!
//! The first request on an upstream connection has chosen the server, and no later one moves it: the login is there. A
//! client whose connections began at the same time may have been told of several servers, and sends what it was told last
//! on all of them. It is not told otherwise by every one of them, again and again, but only by a connection's first reply.

use std::sync::Arc;

use super::upstreams::Upstream;
use crate::protocol::http1::cookie;
use crate::protocol::http1::request::RequestHead;
use crate::proxy::session::facts::Session;
use crate::upstream::{Group, Token};

/// The most values of cookies that are looked at: a client has one for each group, and another one if a second site sets
/// a cookie of the same name for its domain.
const SENT_MAX: usize = 16;

/// The cookies of a request that are the proxy's own.
#[derive(Debug)]
pub(super) struct Cookies {
    /// What they say, each with its name.
    sent: Vec<(Arc<str>, Token)>,
    /// Whether the client uses TLS, with this proxy or with a trusted one in front of it.
    pub(super) is_secure: bool,
}

impl Cookies {
    /// Reads them; `own` are their names.
    pub(super) fn read(request: &RequestHead<'_, '_>, own: &[Arc<str>], is_secure: bool) -> Self {
        let own_one = |(name, value): (&[u8], &[u8])| {
            let own = own.iter().find(|own| own.as_bytes() == name)?;
            Some((Arc::clone(own), Token::of_cookie(value)?))
        };
        let all = request.values("cookie").flat_map(cookie::cookies);
        Self { sent: all.filter_map(own_one).take(SENT_MAX).collect(), is_secure }
    }

    /// What the cookie of this group says; several of the same name count in their order.
    pub(super) fn of<'s>(&'s self, group: &'s Group) -> impl Iterator<Item = Token> + 's {
        let affinity = group.settings().affinity.as_ref();
        let sent = self.sent.iter().filter(move |(name, _)| affinity.is_some_and(|own| own.cookie() == name));
        sent.map(|(_, token)| *token)
    }

    /// What the reply has to tell the client, unless the client knows it.
    pub(super) fn untold(&self, session: &Session, upstream: &Upstream<'_>) -> Option<Token> {
        let group = &*upstream.group;
        let affinity = group.settings().affinity.as_ref()?;
        let token = session.with_lease(|lease| affinity.token(lease.server()))?;
        let is_first = upstream.is_new.get();
        let is_told = |sent: Token| sent == token || !is_first && group.has_named(sent);
        (!self.of(group).any(is_told)).then_some(token)
    }
}
