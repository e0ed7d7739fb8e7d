//! Checks that what clients saw is allowed.

use std::time::{Duration, Instant};

use super::cast::{ExpectedClient, Left};
use super::line::{LineNotes, Parting};
use super::manners::Manners;
use super::message::Framing;
use super::notes::{Answer, ClientNotes, Origin, Over, UntilClose};
use super::server::ServerNotes;
use super::site::{IDLE_TIMEOUT_LONG, Lead, Site, Sites};
use crate::proxy::access_log::Entry;
use crate::proxy::settings::Http;
use crate::proxy::simulation::pace::Leaving;
use crate::proxy::simulation::peer::{Hears, Registry};
use crate::proxy::simulation::stage::{Played, Stage};
use crate::uring::Address;
use crate::uring::sim::World;

/// The status of a request that leads nowhere, or elsewhere than the first one.
const MISDIRECTED: u16 = 421;
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

/// A client with its server end, if it had one.
struct Case<'a> {
    expected: &'a ExpectedClient,
    /// The service that its session began with.
    site: &'a Site,
    world: &'a World,
    client: &'a ClientNotes,
    line: &'a LineNotes,
    server: Option<(&'a ServerNotes, &'a LineNotes)>,
    /// Whether no session was ended by a time-out.
    is_orderly: bool,
}

impl Case<'_> {
    fn lines(&self) -> impl Iterator<Item = &LineNotes> {
        [Some(self.line), self.server.map(|(_, line)| line)].into_iter().flatten()
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
        let server = self.server_of(expected);
        let server = server.map(|server| (server.notes.borrow(), server.line.borrow()));
        let server = server.as_ref().map(|(notes, line)| (&**notes, &**line));
        let is_orderly = !self.stage.drains() && site.settings.timeouts.idle >= IDLE_TIMEOUT_LONG;
        let case = Case { expected, site, world, client: &client, line: &line, server, is_orderly };
        judge_ways(&case);
        self.judge_log(&case);
        self.judge_end(&case);
        if case.is_orderly {
            Self::judge_orderly(&case);
        }
        if case.http().is_none() && case.is_orderly {
            judge_truncation(&case);
        }
        self.judge_login(&case);
        Self::judge_leaving(&case);
        if self.manners.is_calm {
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
        let (Some(until_close), Some((server, line))) = (case.client.until_close(), case.server) else {
            return;
        };
        let UntilClose { server: number, exchange, bytes } = until_close;
        assert_eq!(number, server.number, "another server's reply: {:?}, {server:?}", case.client);
        let sent = server.replies[exchange];
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
        let Case { client, line, server, .. } = *case;
        // In stream mode the proxy cannot distinguish an early end from a late one.
        let is_sound = match case.http() {
            Some(_) => case.is_sound(line),
            None => case.lines().all(|line| case.is_sound(line)),
        };
        if is_sound {
            assert!(
                client.over != Some(Over::Within),
                "an end within a reply looks orderly: {client:?}, {line:?}, {server:?}"
            );
            let was_cut_short = server.is_some_and(|(server, _)| server.was_cut_short);
            assert!(!was_cut_short, "an end within a request looks orderly: {server:?}");
        }
        let Some(at_client) = client.tunnel else { return };
        let (server, _) = server.expect("a tunnel has two ends");
        let at_server = server.tunnel.expect("a tunnel has two ends");
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
        let Case { client, line, server, .. } = *case;
        let hangs = server.is_some_and(|(server, _)| server.hangs);
        if !hangs
            && case.lines().all(|line| case.is_sound(line))
            && client.is_within_login
            && let Some(at) = line.heard_at
        {
            assert!(
                at >= self.ends_from(case),
                "the end of a connection within a login: {client:?}, {server:?}"
            );
        }
        if case.closes_on_identity_change()
            && let Some((server, _)) = server
        {
            assert!(server.identities.len() <= 1, "two users logged in on one connection: {server:?}");
        }
    }

    /// Checks that the server of a client that has left is not kept waiting.
    fn judge_leaving(case: &Case<'_>) {
        // Requests that wait behind the current one count as a sign of life.
        let is_noticed = case.http().is_some_and(|http| !http.ignore_client_close)
            && !case.expected.pipelines
            || case.line.left == Some(Leaving::Reset);
        let (Some(left_at), true) = (case.line.left_at, is_noticed) else { return };
        let Some(id) = case.server.and_then(|(_, line)| line.connection) else { return };
        let connection = &case.world.connections[id];
        let closed_at = connection.near_close.expect("all descriptors are closed").at;
        let waited = closed_at.saturating_duration_since(left_at.max(connection.last_moved));
        assert!(waited <= LEAVING_MAX, "{waited:?} for a client that had left: {:?}", case.server);
    }

    fn judge_calm(&self, case: &Case<'_>) {
        let Case { expected, client, line, .. } = *case;
        let was_last = client.was_told_last || client.until_close().is_some();
        assert!(
            client.is_content || was_last,
            "replies are missing: {client:?}, {line:?}, {:?}",
            case.server
        );
        let may_be_refused = expected.changes_user && case.closes_on_identity_change();
        let (last, others) = client.answers.split_last().expect("there is at least one");
        let is_due = |answer: &Answer| match answer.origin {
            Origin::Server(_) => matches!(answer.status, 101 | 200 | 204 | 401),
            Origin::Redirect(_) => true,
            Origin::Refusal => false,
        };
        assert!(others.iter().all(is_due), "refused: {client:?}");
        // `judge_ways` knows what is misdirected.
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

    fn server_of(&self, expected: &ExpectedClient) -> Option<&Left<ServerNotes>> {
        let server = self.registry.pairs.borrow().server_of(expected.number)?;
        self.ends.iter().find(|end| end.notes.borrow().number == server)
    }
}

/// Checks that requests went where their hosts lead by the service that the session began with.
fn judge_ways(case: &Case<'_>) {
    let Case { site, client, server, .. } = *case;
    if let Some((server, _)) = server {
        let address = server.address.expect("it is a server's end");
        for host in &server.hosts {
            assert!(site.lead(host).is_to(address), "a request for {host} at {server:?}: {site:?}");
        }
    }
    // The first request decides for all of them.
    let first = client.asked.first().map(|asked| site.lead(asked.host));
    for (asked, Answer { status, origin }) in std::iter::zip(&client.asked, &client.answers) {
        let lead = site.lead(asked.host);
        let is_first_group = first.is_some_and(|first| lead.is_same_group(first));
        let is_astray = !is_first_group && !matches!(lead, Lead::Https(_));
        let is_right = match origin {
            Origin::Server(number) => {
                is_first_group && server.is_some_and(|(server, _)| server.number == *number)
            }
            Origin::Redirect(location) => lead.location(asked.host, &asked.target).as_ref() == Some(location),
            // Others are possible before the head is complete.
            Origin::Refusal => is_astray || *status != MISDIRECTED,
        };
        assert!(is_right, "{asked:?}, which leads to {lead:?}, got {status} from {origin:?}: {site:?}");
    }
}

/// Checks that a stream that TLS did not end is not forwarded as one that ended in order.
fn judge_truncation(case: &Case<'_>) {
    let Some((_, server)) = case.server else { return };
    for (from, to) in [(server, case.line), (case.line, server)] {
        let is_cut = from.parted == Some(Parting::Bare) && from.parted_unasked;
        let looks_whole = is_cut && to.hears == Hears::End;
        assert!(!looks_whole, "an orderly end of a stream that TLS had not ended: {from:?}, {to:?}");
    }
}
