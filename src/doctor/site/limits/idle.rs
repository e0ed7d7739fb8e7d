//! How long a connection may be idle, and whether its login is still there.

use std::time::Duration;

use crate::doctor::site::persistence::logged_in;
use crate::doctor::site::visit::Visit;
use crate::doctor::site::wire::Wire;
use crate::doctor::site::{Id, seconds};

/// Half of what IIS grants (connectionTimeout).
const SHORT: Duration = Duration::from_secs(60);

pub(in crate::doctor::site) fn probe(visit: &mut Visit<'_>) {
    let most = visit.settings.idle_probe;
    if most.is_zero() {
        return;
    }
    let held = logged_in(visit);
    let has_login = held.is_some();
    let Some(mut wire) = held.or_else(|| anonymous(visit)) else { return };
    if let Some(after) = wire.closed_within(most) {
        let saw = format!("an idle connection is closed after {}", seconds(after));
        if after >= SHORT {
            visit.fine(Id::Idle, saw);
        } else {
            visit.warn(
                Id::Idle,
                saw,
                "IIS grants 120 s: users log in more often than they have to, and long pauses end sessions",
                "raise the idle time-outs on the way (nginx: keepalive_timeout; HAProxy: timeout client, timeout server, \
                 timeout http-keep-alive)",
            );
        }
        return;
    }
    let idle = seconds(most);
    match visit.request(&mut wire, &visit.get(&[])) {
        Ok(reply) if has_login && reply.status == 401 => visit.broken(
            Id::Idle,
            format!("after {idle} without a request the login is gone, and the connection is not"),
            "the connection to the server was closed or given to another client behind the proxy",
            "give each client a connection of its own to the server, and close both together",
        ),
        Ok(_) => visit.fine(Id::Idle, format!("a connection works after {idle} without a request")),
        Err(broke) => visit.broken(
            Id::Idle,
            format!("after {idle} without a request a connection looks open, and gets no reply: {broke}"),
            "a firewall on the way forgets idle connections without closing them: users wait for a time-out",
            "raise the firewall's time-out above those of the proxy and the server, or turn TCP keep-alive on",
        ),
    }
}

/// A connection that has served a request.
fn anonymous(visit: &Visit<'_>) -> Option<Wire> {
    let mut wire = visit.open().ok()?;
    visit.request(&mut wire, &visit.get(&[])).ok()?;
    Some(wire).filter(|wire| wire.is_open)
}
