//! Checks that what clients saw is allowed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cast::{ExpectedClient, Left};
use super::line::{LineNotes, Parting};
use super::manners::Manners;
use super::message::Framing;
use super::notes::{Answer, Asked, ClientNotes, Origin, Over, UntilClose};
use super::server::{Answered, ServerNotes};
use super::site::{IDLE_TIMEOUT_LONG, Lead, Site, Sites};
use crate::proxy::access_log::Entry;
use crate::proxy::settings::Http;
use crate::proxy::settings::timeouts::REQUEST_GRACE;
use crate::proxy::simulation::groups::server_at;
use crate::proxy::simulation::pace::Leaving;
use crate::proxy::simulation::peer::{Hears, Registry};
use crate::proxy::simulation::stage::{Played, Stage};
use crate::upstream::{GroupSettings, Server};
use crate::uring::Address;
use crate::uring::sim::World;

/// The status of a request that leads nowhere, or elsewhere than the first one.
const MISDIRECTED: u16 = 421;
/// The status of a request for a path that no route of its host has.
const NOT_FOUND: u16 = 404;
/// Descriptors are closed when their last operation has completed, which may be this long after the end.
const LATE_CLOSE: Duration = Duration::from_millis(10);
/// A peer that is in the middle of something goes on within this time.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How long a client's connection that carries nothing now may go unwatched, where it has several.
const UNWATCHED: Duration = Duration::from_secs(1);
/// How long a server end may last after its client has left.
const LEAVING_MAX: Duration = Duration::from_secs(3);

/// What the clients are judged by.
pub(super) struct Trial<'a> {
    pub(super) manners: Manners,
    pub(super) stage: &'a Stage,
    pub(super) played: &'a Played,
    pub(super) sites: &'a Sites,
    pub(super) registry: &'a Registry,
    pub(super) ends: &'a [Left<ServerNotes>],
}

/// A client with its server ends.
struct Case<'a> {
    expected: &'a ExpectedClient,
    /// The service that its session began with.
    site: &'a Site,
    world: &'a World,
    client: &'a ClientNotes,
    line: &'a LineNotes,
    servers: &'a [(&'a ServerNotes, &'a LineNotes)],
    /// Whether no session was ended by a time-out.
    is_orderly: bool,
}

impl<'a> Case<'a> {
    fn lines(&self) -> impl Iterator<Item = &LineNotes> {
        self.servers.iter().map(|(_, line)| *line).chain([self.line])
    }

    /// The server end with this number.
    fn server(&self, number: u32) -> Option<(&'a ServerNotes, &'a LineNotes)> {
        self.servers.iter().copied().find(|(server, _)| server.number == number)
    }

    /// The settings of HTTP mode; none in stream mode.
    fn http(&self) -> Option<&Http> {
        self.site.http()
    }

    /// Whether it stayed until everything was sent, and what it sent arrived.
    fn is_sound(&self, line: &LineNotes) -> bool {
        let arrived = match line.parted {
            None | Some(Parting::Orderly) => true,
            // In stream mode the proxy does not know that everything arrived before the reset.
            Some(Parting::Close) => self.http().is_some(),
            Some(Parting::Bare | Parting::Reset) => false,
        };
        line.left.is_none() && arrived && !self.is_faulted(line)
    }

    fn closes_on_identity_change(&self) -> bool {
        self.http().is_some_and(|http| http.close_on_identity_change)
    }

    fn is_faulted(&self, line: &LineNotes) -> bool {
        line.connection.is_some_and(|id| self.world.connections[id].faulted)
    }

    /// Whether this end has ended its stream, and not only its connection.
    fn has_ended(&self, line: &LineNotes, has_tls: bool) -> bool {
        if has_tls {
            return line.says_end;
        }
        let connection = line.connection.map(|id| &self.world.connections[id]);
        connection.is_some_and(|connection| connection.inward.has_ended() || connection.faulted)
    }
}

impl Trial<'_> {
    pub(super) fn judge(&self, expected: &ExpectedClient) {
        let client = expected.left.notes.borrow();
        let line = expected.left.line.borrow();
        self.played.check_door(expected.arrives_after, line.connection);
        let Some(service) = self.played.service_of(line.connection) else {
            let waits = self.played.must_accept(expected.to, expected.arrives_after, line.connection);
            let world = self.played.world.borrow();
            let failed = line.connection.is_some_and(|id| world.connections[id].faulted);
            let short = world.now >= self.played.begin + self.stage.drain_after + self.stage.drain_timeout;
            assert!(!waits || failed || short, "{} was never accepted", expected.address);
            return;
        };
        let site = self.sites.with(service);
        let world = &*self.played.world.borrow();
        let pairs = self.registry.pairs.borrow();
        let number_of = |end: &Left<ServerNotes>| end.notes.borrow().number;
        let end = |number| self.ends.iter().find(|end| number_of(end) == number).expect("an end of a server");
        let servers = pairs.servers_of(expected.number).map(end);
        let servers: Vec<_> = servers.map(|end| (end.notes.borrow(), end.line.borrow())).collect();
        let servers: Vec<_> = servers.iter().map(|(notes, line)| (&**notes, &**line)).collect();
        let servers = &servers[..];
        let closed = self.played.done.closed(expected.address);
        let is_orderly =
            !self.stage.drains() && closed.is_none() && site.settings.timeouts.idle >= IDLE_TIMEOUT_LONG;
        let case = Case { expected, site, world, client: &client, line: &line, servers, is_orderly };
        judge_servers(&case);
        judge_ways(&case);
        judge_cookies(&case);
        self.judge_log(&case);
        self.judge_end(&case);
        if case.is_orderly {
            Self::judge_orderly(&case);
        }
        if case.http().is_none() && case.is_orderly {
            judge_truncation(&case);
        }
        if let Some(at) = closed {
            judge_closed(&case, at);
        } else {
            self.judge_login(&case);
        }
        self.judge_drained(&case);
        self.judge_rests(&case);
        Self::judge_leaving(&case);
        if self.manners.is_calm {
            judge_affinity(&case);
            self.judge_calm(&case);
        }
    }

    /// Checks that the log has what the mode of the service logs.
    fn judge_log(&self, case: &Case<'_>) {
        let address = Address::Ip(case.expected.address);
        for entry in &self.played.entries {
            let (client, listener, is_request) = match entry {
                Entry::Record(record) => (&record.client, &record.listener, false),
                Entry::Request(record) => (&record.client, &record.listener, true),
                Entry::Wake => continue,
            };
            if *client == address {
                assert_eq!(is_request, case.http().is_some(), "of another mode: {entry:?}");
                assert_eq!(**listener, *case.expected.to.to_string(), "the listener in the log");
            }
        }
    }

    /// Checks that a body that ended with the stream is complete.
    fn judge_end(&self, case: &Case<'_>) {
        let Some(UntilClose { server, exchange, bytes }) = case.client.until_close() else { return };
        let (server, line) = case.server(server).expect("a reply of one of the client's server ends");
        let sent = server.replies[&(exchange as u64)];
        // The server's chunks told the proxy where it ended.
        let is_chunked = sent.framing == Framing::Chunked;
        if case.http().is_none() && !case.is_orderly {
            // In stream mode the proxy cannot see that something is missing once all that arrived has been forwarded.
            return;
        }
        assert!(
            is_chunked || case.has_ended(line, self.manners.tls.server),
            "a reply looks complete although its server was reset: {:?}, {server:?}, {line:?}",
            case.client
        );
        // A stream that ends early looks no different.
        if is_chunked || line.left != Some(Leaving::Close) {
            let is_whole = bytes == sent.bytes;
            assert!(is_whole, "a body that ended with the stream: {:?}, {server:?}", case.client);
        }
    }

    fn judge_orderly(case: &Case<'_>) {
        let Case { client, line, servers, .. } = *case;
        // In stream mode the proxy cannot distinguish an early end from a late one.
        let is_sound = match case.http() {
            Some(_) => case.is_sound(line),
            None => case.lines().all(|line| case.is_sound(line)),
        };
        if is_sound {
            assert!(
                client.over != Some(Over::Within),
                "an end within a reply looks orderly: {client:?}, {line:?}, {servers:?}"
            );
            let was_cut_short = servers.iter().any(|(server, _)| server.was_cut_short);
            assert!(!was_cut_short, "an end within a request looks orderly: {servers:?}");
        }
        let Some(at_client) = client.tunnel else { return };
        let tunnel = servers.iter().find_map(|(server, _)| server.tunnel.map(|tunnel| (server, tunnel)));
        let (server, at_server) = tunnel.expect("a tunnel has two ends");
        if case.lines().all(|line| case.is_sound(line)) {
            assert_eq!(
                at_client.received, at_server.sent,
                "bytes through a tunnel to the client: {client:?}"
            );
            assert_eq!(
                at_server.received, at_client.sent,
                "bytes through a tunnel to the server: {server:?}"
            );
        }
    }

    /// Checks that no login is interrupted, and that no other user follows where that is not allowed.
    fn judge_login(&self, case: &Case<'_>) {
        let Case { client, line, servers, .. } = *case;
        let hangs = servers.iter().any(|(server, _)| server.hangs);
        if !hangs
            && case.lines().all(|line| case.is_sound(line))
            && client.is_within_login
            && let Some(at) = line.heard_at
        {
            assert!(
                at >= self.ends_from(case),
                "the end of a connection within a login: {client:?}, {servers:?}"
            );
        }
        if case.closes_on_identity_change() {
            let identities: BTreeSet<_> = servers.iter().flat_map(|(server, _)| &server.identities).collect();
            assert!(identities.len() <= 1, "two users logged in on one connection: {servers:?}");
        }
    }

    /// Checks that the server of a client that has left is not kept waiting.
    fn judge_leaving(case: &Case<'_>) {
        // Requests that wait behind the current one count as a sign of life.
        let is_noticed = case.http().is_some_and(|http| !http.ignore_client_close)
            && !case.expected.pipelines
            || case.line.left == Some(Leaving::Reset);
        let (Some(left_at), true) = (case.line.left_at, is_noticed) else { return };
        for (server, line) in case.servers {
            let Some(id) = line.connection else { continue };
            let connection = &case.world.connections[id];
            let closed_at = connection.near_close.expect("all descriptors are closed").at;
            let waited = closed_at.saturating_duration_since(left_at.max(connection.last_moved));
            assert!(waited <= LEAVING_MAX, "{waited:?} for a client that had left: {server:?}");
        }
    }

    /// Checks that the client leaves a server that drains: between two requests, unless they belong to one login.
    fn judge_drained(&self, case: &Case<'_>) {
        let Case { world, servers, line: client, .. } = *case;
        let (Some(_http), Some(client)) = (case.http(), client.connection) else { return };
        let is_alone = servers.len() == 1;
        for (server, line) in servers {
            let Some(since) = self.played.done.drains_since(server.address()) else { continue };
            let goes_on = |reply: &&Answered| reply.at >= since && !reply.is_within_login;
            // Another connection may be within a login.
            let followed = server.followed.iter().find(goes_on).filter(|_| is_alone);
            assert!(
                followed.is_none(),
                "another request although the server drains since {since:?}: {server:?}"
            );
            let is_idle = server.answered.is_some_and(|reply| !reply.is_within_login)
                && server.tunnel.is_none()
                && !case.client.is_within_login
                && (is_alone || servers.iter().all(|(server, _)| server.identities.is_empty()));
            let own = &world.connections[line.connection.expect("it has spoken")];
            let closed_at = own.near_close.expect("all descriptors are closed").at;
            let last = own.last_moved.max(world.connections[client].last_moved).max(since);
            let is_short = world.buffers_short_at.is_some_and(|at| at + LONGEST_PAUSE >= last);
            let longest = REQUEST_GRACE + if is_alone { LONGEST_PAUSE } else { LONGEST_PAUSE + UNWATCHED };
            let quiet = closed_at.saturating_duration_since(last);
            assert!(
                !is_idle || is_short || quiet <= longest,
                "idle for {quiet:?} although the server drains: {server:?}, {line:?}, {:?}, {:?}",
                case.client,
                case.line
            );
        }
    }

    /// Checks that the connection to a server that drains ends while its client rests.
    fn judge_rests(&self, case: &Case<'_>) {
        let Case { expected, world, servers, line: client, .. } = *case;
        let (Some(_http), [(server, line)]) = (case.http(), servers) else { return };
        let Some(since) = self.played.done.drains_since(server.address()) else { return };
        if expected.pipelines || expected.may_log_in || server.tunnel.is_some() || server.hangs {
            return;
        }
        let own = &world.connections[line.connection.expect("it has spoken")];
        let closed_at = own.near_close.expect("all descriptors are closed").at;
        for (from, until) in &client.rests {
            // Before its first request the client has no server.
            let has_server = server.replied_at().any(|at| at <= *from);
            let ends_by = since.max(*from) + REQUEST_GRACE + LONGEST_PAUSE;
            let is_short = world.buffers_short_at.is_some_and(|at| at + LONGEST_PAUSE >= *from);
            assert!(
                !has_server || is_short || ends_by > *until || closed_at <= ends_by,
                "a client rests for {:?}, and its server drains: {server:?}, {line:?}, {client:?}",
                *until - *from
            );
        }
    }

    fn judge_calm(&self, case: &Case<'_>) {
        let Case { expected, client, line, .. } = *case;
        let was_last = client.was_told_last || client.until_close().is_some();
        assert!(
            client.is_content || was_last,
            "replies are missing: {client:?}, {line:?}, {:?}",
            case.servers
        );
        let may_be_refused = expected.changes_user && case.closes_on_identity_change();
        let (last, others) = client.answers.split_last().expect("there is at least one");
        let is_due = |answer: &Answer| match answer.origin {
            Origin::Server(_) => matches!(answer.status, 101 | 200 | 204 | 401),
            Origin::Redirect(_) => true,
            // `judge_ways` knows what is there.
            Origin::Refusal => answer.status == NOT_FOUND,
        };
        assert!(others.iter().all(is_due), "refused: {client:?}");
        assert!(is_due(last) || may_be_refused || last.status == MISDIRECTED, "refused: {client:?}");
        // The proxy may omit `close_notify` for a client that ended its stream first.
        let came_first = line.parted_unasked || line.parted.is_none() && line.says_end;
        let may_be_short = self.manners.tls.client && client.tunnel.is_none() && came_first;
        assert!(line.hears == Hears::End || may_be_short, "{client:?}, {line:?}");
        let address = Address::Ip(expected.address);
        let logged = self.played.entries.iter().filter_map(|entry| match entry {
            Entry::Request(record) if record.client == address => Some(record),
            _ => None,
        });
        let statuses: Vec<_> = logged.clone().map(|record| record.status).collect();
        let seen: Vec<_> = client.answers.iter().map(|answer| answer.status).collect();
        assert!(statuses.starts_with(&seen), "in the log: {statuses:?}; {client:?}");
        if self.manners.tls.client {
            return;
        }
        let tunnel_bytes = client.tunnel.map_or(0, |tunnel| tunnel.received);
        let sent =
            case.world.connections[line.connection.expect("it came")].outward.sent_bytes - tunnel_bytes;
        let logged: u64 = logged.map(|record| record.reply_bytes).sum();
        assert_eq!(logged, sent, "bytes to the client by the log (left) and in fact (right)");
    }

    /// The time from which a time-out may have ended the session.
    fn ends_from(&self, case: &Case<'_>) -> Instant {
        let is_short = case.site.has_short_timeouts();
        let from = if is_short { Duration::ZERO } else { self.stage.drain_after + self.stage.drain_timeout };
        self.played.begin + from
    }
}

/// Checks that nothing is left of a client that the operator closed.
fn judge_closed(case: &Case<'_>, at: Instant) {
    for line in case.lines() {
        let connection = line.connection.map(|id| &case.world.connections[id]);
        let closed = connection.and_then(|connection| connection.near_close.as_ref());
        assert!(closed.is_none_or(|closed| closed.at <= at + LATE_CLOSE), "{line:?} went on");
    }
}

/// Checks that the client has one server end at a time for each group, and more than one only where its requests may
/// lead to several groups.
fn judge_servers(case: &Case<'_>) {
    let Case { site, servers, world, .. } = *case;
    assert!(servers.len() <= 1 || site.has_paths(), "several servers, but one group: {servers:?}");
    let groups = || site.settings.groups();
    for group in groups() {
        let is_of_group = |server: &ServerNotes| server_at(group, server.address()).is_some();
        let mut closed_at = None;
        for (server, line) in servers.iter().filter(|(server, _)| is_of_group(server)) {
            let options = server_at(group, server.address()).map(Server::options);
            assert!(options.is_some_and(|options| !options.disabled), "{server:?} is disabled");
            // One that was opened ahead may be older than its session's need of it.
            let began = if group.warm_max > 0 { line.spoken_to } else { line.began };
            let is_alone = closed_at.is_none_or(|at| Some(at) <= began.map(|began| began + LATE_CLOSE));
            assert!(is_alone, "two connections to one group at once: {server:?}");
            let id = line.connection.expect("it has spoken");
            closed_at = Some(world.connections[id].near_close.expect("all descriptors are closed").at);
        }
    }
}

/// Checks that requests went where they lead by the service that the session began with.
fn judge_ways(case: &Case<'_>) {
    let Case { site, client, servers, .. } = *case;
    // The first request that leads anywhere decides on the host of all.
    let leads_somewhere =
        |asked: &&Asked| matches!(site.lead(asked.place.host, asked.place.area, None), Lead::Group(_));
    let first = client.asked.iter().find(leads_somewhere).map(|asked| asked.place.host);
    for (server, _) in servers {
        for (host, area) in &server.asked {
            let is_right = site.lead(host, area, first).is_to(server.address());
            assert!(is_right, "a request for {area:?} of {host:?} at {server:?}: {site:?}");
        }
    }
    for (asked, Answer { status, origin }) in std::iter::zip(&client.asked, &client.answers) {
        let lead = site.lead(asked.place.host, asked.place.area, first);
        let is_right = match origin {
            Origin::Server(number) => {
                case.server(*number).is_some_and(|(server, _)| lead.is_to(server.address()))
            }
            Origin::Redirect(location) => {
                lead.location(asked.place.host, &asked.target).as_ref() == Some(location)
            }
            // Others are possible before the head is complete.
            Origin::Refusal => match *status {
                MISDIRECTED => matches!(lead, Lead::Nowhere),
                NOT_FOUND => matches!(lead, Lead::NoPath),
                _ => true,
            },
        };
        assert!(is_right, "{asked:?}, which leads to {lead:?}, got {status} from {origin:?}: {site:?}");
    }
}

/// Checks that servers saw no cookie of the proxy.
fn judge_cookies(case: &Case<'_>) {
    if case.http().is_none() {
        return;
    }
    let own: Vec<_> = case.site.settings.groups().filter_map(|group| group.affinity.as_ref()).collect();
    let is_own = |name: &str| own.iter().any(|affinity| **affinity.cookie() == *name.trim());
    for cookies in case.servers.iter().flat_map(|(server, _)| &server.cookies) {
        let mut names = cookies.split(';').filter_map(|cookie| cookie.split_once('='));
        assert!(!names.any(|(name, _)| is_own(name)), "a server saw {cookies:?}");
    }
}

/// Checks that a client got the server that its cookie names, where nothing keeps that one from it.
fn judge_affinity(case: &Case<'_>) {
    let (Some(named), Some(_http)) = (&case.expected.named, case.http()) else { return };
    let mut groups = case.site.settings.groups();
    let has_cookie = |group: &&Arc<GroupSettings>| {
        group.affinity.as_ref().is_some_and(|affinity| *affinity.cookie() == named.cookie)
    };
    let Some(group) = groups.find(has_cookie).filter(|group| server_at(group, named.server).is_some()) else {
        return;
    };
    let of_group = case.servers.iter().map(|(server, _)| server.address());
    let first = of_group.into_iter().find(|address| server_at(group, *address).is_some());
    assert!(first.is_none_or(|first| first == named.server), "{first:?}, though {} is named", named.server);
}

/// Checks that a stream that TLS did not end is not forwarded as one that ended in order.
fn judge_truncation(case: &Case<'_>) {
    let Some(&(_, server)) = case.servers.first() else { return };
    for (from, to) in [(server, case.line), (case.line, server)] {
        let is_cut = from.parted == Some(Parting::Bare) && from.parted_unasked;
        let looks_whole = is_cut && to.hears == Hears::End;
        assert!(!looks_whole, "an orderly end of a stream that TLS had not ended: {from:?}, {to:?}");
    }
}
