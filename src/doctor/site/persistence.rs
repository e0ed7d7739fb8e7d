//! Whether a login lasts, and whether it stays on its connection.

use super::Id;
use super::identity::{self, named_other};
use super::login::{Outcome, begin, log_in, prove};
use super::reply::Reply;
use super::visit::Visit;
use super::wire::Wire;
use crate::words::counted;

/// Requests after the login.
const REQUESTS: usize = 5;

/// Requests on the connection that has logged in.
pub(super) fn probe(visit: &mut Visit<'_>) {
    if visit.seen.works.is_none() {
        return;
    }
    if visit.seen.held.is_none() {
        visit.broken(
            Id::Persistence,
            "the reply to a login ends its connection",
            "every request needs a login of its own",
            "turn keep-alive on in the site and in every proxy before it",
        );
        return;
    }
    let mut statuses = Vec::new();
    let mut connections = Vec::new();
    let header = |reply: &Reply| reply.header("persistent-auth").map(str::to_owned);
    // The reply to a login has it, and those after it may.
    let mut says = visit.seen.logged_in.as_ref().and_then(header);
    let mut ended = None;
    let mut other = None;
    if let Some(mut wire) = visit.seen.held.take() {
        for _ in 0..REQUESTS {
            match visit.request(&mut wire, &visit.get(&[])) {
                Ok(reply) => {
                    statuses.push(reply.status);
                    connections.extend(reply.json("connection").map(|id| id.to_string()));
                    other = other.or_else(|| named_other(visit, &reply));
                    says = says.or_else(|| header(&reply));
                }
                Err(broke) => ended = Some(broke.to_string()),
            }
            if !wire.is_open {
                break;
            }
        }
        visit.seen.held = Some(wire).filter(|wire| wire.is_open && statuses.last() != Some(&401));
    }
    connections.dedup();
    if let Some(other) = other {
        identity::another_user(visit, &other);
    }
    let lost = statuses.iter().filter(|&&status| status == 401).count();
    let requests = counted(statuses.len() as u64, "request", "requests");
    if lost == 0 && ended.is_none() && connections.len() < 2 {
        visit.fine(Id::Persistence, format!("after a login, {requests} on its connection need no other one"));
    } else if connections.len() > 1 {
        visit.broken(
            Id::Persistence,
            format!("requests of one connection reach connections {} of the server", connections.join(", ")),
            "a login belongs to a connection of the server: users are asked again and again, or get the reply of another user",
            "give each client a connection of its own to the server",
        );
    } else if lost > 0 && says.as_deref() == Some("false") {
        visit.broken(
            Id::Persistence,
            format!("{lost} of {requests} after a login need another one"),
            "authPersistSingleRequest is on: every request is a login of three messages, and the domain controllers feel it",
            "set authPersistSingleRequest to false",
        );
    } else if lost > 0 {
        visit.broken(
            Id::Persistence,
            format!("{lost} of {requests} after a login need another one"),
            "authPersistSingleRequest is on, or a proxy sends the requests of one client over several connections",
            "set authPersistSingleRequest to false; give each client a connection of its own to the server",
        );
    } else {
        visit.broken(
            Id::Persistence,
            format!("the connection ended after {requests}: {}", ended.unwrap_or_default()),
            "users have to log in again for each connection",
            "read the log of the proxy and of HTTP.sys (httperr)",
        );
    }
    persistent_auth(visit, says.as_deref());
}

fn persistent_auth(visit: &mut Visit<'_>, says: Option<&str>) {
    match says {
        Some("false") => visit.warn(
            Id::PersistentAuth,
            "the site says Persistent-Auth: false",
            "clients log in again for every request",
            "set authPersistSingleRequest to false (Kerberos: authPersistNonNTLM to true)",
        ),
        Some(other) => visit.fine(Id::PersistentAuth, format!("the site says Persistent-Auth: {other}")),
        None => visit.fine(Id::PersistentAuth, "the site does not send Persistent-Auth"),
    }
}

/// Two logins at once, whose messages take turns: a proxy that shares connections mixes them up.
pub(super) fn two_at_once(visit: &mut Visit<'_>) {
    let Some((scheme, binding)) =
        visit.seen.works.filter(|_| visit.budget.is_left() && !visit.seen.has_leaked)
    else {
        return;
    };
    let (Ok(mut first), Ok(mut second)) = (visit.open(), visit.open()) else { return };
    let mixed = |visit: &mut Visit<'_>, saw: String| {
        visit.broken(
            Id::ServerConnection,
            saw,
            "the messages of two logins meet on one connection to the server: logins fail when users come at the same time",
            "give each client a connection of its own to the server (nginx: no keepalive pool without ntlm; iisplice proxy \
             does by itself)",
        );
    };
    let (Ok(one), Ok(other)) = (begin(visit, &mut first, scheme), begin(visit, &mut second, scheme)) else {
        return mixed(visit, "of two logins at once, one gets no challenge".to_owned());
    };
    let mut ids = Vec::new();
    for (wire, challenged) in [(&mut first, &one), (&mut second, &other)] {
        match prove(visit, wire, challenged, binding, &[], &[]) {
            Outcome::Accepted(reply) => ids.extend(reply.json("connection").map(|id| id.to_string())),
            _ => {
                return mixed(
                    visit,
                    "of two logins at once, one is refused; one alone is accepted".to_owned(),
                );
            }
        }
    }
    if let [one, other] = &ids[..]
        && one == other
    {
        return mixed(visit, format!("two logins at once reach the same connection of the server ({one})"));
    }
    visit.fine(Id::ServerConnection, "two logins at once do not meet");
}

/// A connection that is logged in, for other probes.
pub(super) fn logged_in(visit: &Visit<'_>) -> Option<Wire> {
    let (scheme, binding) = visit.seen.works?;
    let mut wire = visit.open().ok()?;
    match log_in(visit, &mut wire, scheme, binding) {
        Outcome::Accepted(_) if wire.is_open => Some(wire),
        _ => None,
    }
}
