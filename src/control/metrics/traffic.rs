//! What is counted for each service, group and server.

use std::fmt;

use super::page::{About, Labels, Page};
use super::sums::{Sum, Sums};
use crate::counter::Spread;
use crate::protocol::login::Leg;
use crate::proxy::counters::{Handshake, Key, Login, Outcome, Status, Unconnected};
use crate::proxy::record::End;

/// How sessions end that got no server, or never asked for one.
const REFUSALS: [End; 13] = [
    End::Denied,
    End::ClientConnections,
    End::ClientRate,
    End::ProxyHeader,
    End::TlsClient,
    End::HelloTimeout,
    End::NoRoute,
    End::Full,
    End::NoServer,
    End::Refused,
    End::ConnectTimeout,
    End::TlsUpstream,
    End::LocalLimit,
];

const ACCEPTED: About = About::new("connections_accepted", "Connections of clients that were accepted");
const ACTIVE: About = About::new("connections_active", "Connections of clients that are open");
const ENDED: About =
    About::new("connections_ended", "Connections of clients that have ended, by how they ended");
const REFUSED: About =
    About::new("connections_refused", "Connections of clients that got no server, by the cause");
const CONNECTED: About = About::new("upstream_connections", "Connections that servers accepted");
const WARM: About = About::new(
    "warm_hits",
    "Connections that were open already when their client came, of those that servers accepted",
);
const UNCONNECTED: About =
    About::new("upstream_connect_failures", "Attempts to connect to servers that failed, by the cause");
const CONNECT: About = About::new("connect", "From the attempt to connect to the server's accept");
const FIRST_BYTE: About =
    About::new("first_byte", "From accepting a client to the first byte from its server");
const QUEUE_WAIT: About = About::new("queue_wait", "How long clients waited for a place at a server");
const TO_UPSTREAM: About = About::new("to_upstream", "Bytes from clients to servers").bytes();
const TO_CLIENT: About = About::new("to_client", "Bytes from servers to clients").bytes();
const SPLICED: About = About::new("spliced", "Bytes, of those both ways, that went through a pipe").bytes();
const REQUESTS: About = About::new("requests", "Requests that were answered, or could not be");
const REPLIES: About = About::new("replies", "Requests by the status of their replies");
const REPLY_HEAD: About =
    About::new("reply_head", "From the head of a request to the head of its server's reply");
const LEG: About = About::new("login_leg", "Durations of the legs of logins");
const HANDSHAKES: About = About::new("tls_handshakes", "TLS handshakes that were completed");
const HANDSHAKE_FAILURES: About = About::new("tls_handshake_failures", "TLS handshakes that failed");
const LOGINS: [(Outcome, About); 4] = [
    (Outcome::Begun, About::new("logins_begun", "Logins that clients began")),
    (Outcome::Accepted, About::new("logins_accepted", "Logins that servers accepted")),
    (Outcome::Refused, About::new("logins_refused", "Logins that servers refused")),
    (Outcome::Abandoned, About::new("logins_abandoned", "Logins that ended without a verdict")),
];

/// Writes all of it.
pub(super) fn write(sums: &Sums, page: &mut Page<'_>) -> fmt::Result {
    connections(sums, page)?;
    upstream(sums, page)?;
    bytes(sums, page)?;
    requests(sums, page)?;
    logins(sums, page)?;
    handshakes(sums, page)
}

fn connections(sums: &Sums, page: &mut Page<'_>) -> fmt::Result {
    page.counters(ACCEPTED, of_services(sums).map(|(key, sum)| (labels(key), sum.accepted)))?;
    page.gauges(ACTIVE, sums.iter().map(|(key, sum)| (labels(key), sum.active as f64)))?;
    let ended = End::ALL.into_iter().flat_map(|end| {
        // A service shows every end from its start; its groups and servers those that have happened.
        let shown = sums.iter().filter(move |(key, sum)| key.group.is_none() || sum.ended(end) > 0);
        shown.map(move |(key, sum)| (with(key, "end", end.as_str()), sum.ended(end)))
    });
    page.counters(ENDED, ended)?;
    let refused = REFUSALS.into_iter().flat_map(|end| {
        let own = sums.iter().filter(|(key, _)| key.server.is_none());
        let counts = own.map(move |(key, sum)| {
            (key, sum.ended(end) + servers_of(sums, key).map(|sum| sum.ended(end)).sum::<u64>())
        });
        let shown = counts.filter(|(key, count)| key.group.is_none() || *count > 0);
        shown.map(move |(key, count)| (with(key, "cause", end.as_str()), count))
    });
    page.counters(REFUSED, refused)
}

fn upstream(sums: &Sums, page: &mut Page<'_>) -> fmt::Result {
    page.counters(CONNECTED, of_servers(sums).map(|(key, sum)| (labels(key), sum.connected)))?;
    page.counters(WARM, of_servers(sums).map(|(key, sum)| (labels(key), sum.warm)))?;
    let failures = Unconnected::ALL.into_iter().flat_map(|cause| {
        of_servers(sums).map(move |(key, sum)| (with(key, "cause", cause.as_str()), sum.unconnected(cause)))
    });
    page.counters(UNCONNECTED, failures)?;
    page.times(CONNECT, of_servers(sums).map(|(key, sum)| (labels(key), sum.connect_time)))?;
    page.times(FIRST_BYTE, of_servers(sums).map(|(key, sum)| (labels(key), sum.first_byte_time)))?;
    let groups = sums.iter().filter(|(key, _)| key.group.is_some() && key.server.is_none());
    page.times(QUEUE_WAIT, groups.map(|(key, sum)| (labels(key), sum.queue_time)))
}

fn bytes(sums: &Sums, page: &mut Page<'_>) -> fmt::Result {
    page.counters(TO_UPSTREAM, sums.iter().map(|(key, sum)| (labels(key), sum.upstream_bytes)))?;
    page.counters(TO_CLIENT, sums.iter().map(|(key, sum)| (labels(key), sum.client_bytes)))?;
    page.counters(SPLICED, of_servers(sums).map(|(key, sum)| (labels(key), sum.spliced_bytes)))
}

fn requests(sums: &Sums, page: &mut Page<'_>) -> fmt::Result {
    let all = || sums.iter().filter(|(_, sum)| sum.has_requests);
    page.counters(REQUESTS, all().map(|(key, sum)| (labels(key), sum.requests)))?;
    let replies = Status::ALL.into_iter().flat_map(|status| {
        all().map(move |(key, sum)| (with(key, "status", status.as_str()), sum.replies(status)))
    });
    page.counters(REPLIES, replies)?;
    let servers = of_servers(sums).filter(|(_, sum)| sum.has_requests);
    page.times(REPLY_HEAD, servers.map(|(key, sum)| (labels(key), sum.reply_head_time)))
}

fn logins(sums: &Sums, page: &mut Page<'_>) -> fmt::Result {
    let servers = || of_servers(sums).filter(|(_, sum)| sum.has_requests);
    for (outcome, about) in LOGINS {
        let logins = Login::ALL.into_iter().flat_map(|login| {
            servers()
                .map(move |(key, sum)| (with(key, "mechanism", login.as_str()), sum.logins(login, outcome)))
        });
        page.counters(about, logins)?;
    }
    let legs = Leg::ALL.into_iter().flat_map(|leg| {
        // Most sites know one or two of them.
        let shown = servers().filter(move |(_, sum)| Spread::count(sum.leg(leg)) > 0);
        shown.map(move |(key, sum)| (with(key, "leg", leg.as_str()), *sum.leg(leg)))
    });
    page.times(LEG, legs)
}

fn handshakes(sums: &Sums, page: &mut Page<'_>) -> fmt::Result {
    let shown = |handshake: Handshake, label: &'static str| {
        let seen = sums.iter().filter(|(_, sum)| Handshake::ALL.iter().any(|one| sum.handshakes(*one) > 0));
        seen.map(move |(key, sum)| {
            let mut labels = with(key, label, handshake.as_str());
            labels.push(("side", if key.server.is_some() { "upstream" } else { "client" }));
            (labels, sum.handshakes(handshake))
        })
    };
    let completed = Handshake::COMPLETED.into_iter().flat_map(|handshake| shown(handshake, "kind"));
    page.counters(HANDSHAKES, completed)?;
    let failed = Handshake::ALL.into_iter().filter(|handshake| !Handshake::COMPLETED.contains(handshake));
    page.counters(HANDSHAKE_FAILURES, failed.flat_map(|handshake| shown(handshake, "reason")))
}

fn of_services(sums: &Sums) -> impl Iterator<Item = (&Key, &Sum)> {
    sums.iter().filter(|(key, _)| key.group.is_none())
}

fn of_servers(sums: &Sums) -> impl Iterator<Item = (&Key, &Sum)> {
    sums.iter().filter(|(key, _)| key.server.is_some())
}

/// The servers of a group.
fn servers_of<'a>(sums: &'a Sums, group: &'a Key) -> impl Iterator<Item = &'a Sum> {
    let is_of = |key: &Key| key.service == group.service && key.group == group.group && key.group.is_some();
    of_servers(sums).filter(move |(key, _)| is_of(key)).map(|(_, sum)| sum)
}

fn labels(key: &Key) -> Labels<'_> {
    vec![
        ("service", &*key.service),
        ("group", key.group.as_deref().unwrap_or_default()),
        ("server", key.server.as_deref().unwrap_or_default()),
    ]
}

fn with<'a>(key: &'a Key, label: &'static str, value: &'static str) -> Labels<'a> {
    let mut labels = labels(key);
    labels.push((label, value));
    labels
}
