//! Checks that the records of sessions fit what happened.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::admissions::{Stay, is_let_in};
use super::choices::ip;
use super::groups::server_at;
use super::lending::{judge_queue, judge_refusal};
use super::peer::{Hears, Notes};
use super::scenario::{Client, Scenario};
use super::stage::{DESCRIPTORS_PLENTY, Played, Stage};
use crate::proxy::access_log::Entry;
use crate::proxy::record::{Connect, End, Record};
use crate::proxy::settings::{ClientLimits, Rate, Service, Splice};
use crate::upstream::{GroupSettings, Server, Sources};
use crate::uring::Address;
use crate::uring::sim::{Connection, SETTING_UP_TURN_MAX, SUSPECT_DELAY, World};

/// Bytes that could move and have not for this long are stalled: far above any delay of the simulated kernel.
const STALL: Duration = Duration::from_millis(20);
/// Descriptors are closed when their last operation has completed, which may be this long after the end.
const LATE_CLOSE: Duration = Duration::from_millis(10);

/// What the clients of a run are judged by.
pub(super) struct Judge<'a> {
    pub(super) stage: &'a Stage,
    pub(super) scenario: &'a Scenario,
    pub(super) played: &'a Played,
}

impl Judge<'_> {
    /// Judges every client.
    pub(super) fn judge(&self) {
        for client in &self.scenario.clients {
            self.judge_client(client);
        }
        judge_queue(self.scenario.clients.iter().filter_map(|client| self.only_place(client)).collect());
    }

    /// For a client whose group has one server with one place: the server, how many clients were accepted before, and
    /// when it was connected.
    fn only_place(&self, client: &Client) -> Option<(SocketAddr, usize, Instant)> {
        let notes = client.notes.borrow();
        let service = self.played.service_of(notes.connection)?;
        let [server] = &service.routes.default.as_ref()?.servers[..] else { return None };
        let is_only = server.options().connections_max == NonZeroU32::new(1);
        let number = self.scenario.registry.pairs.borrow().servers_of(notes.number).next()?;
        let servers = self.scenario.servers.borrow();
        let end = servers.ends.iter().find(|end| end.borrow().number == number)?.borrow().connection?;
        let world = self.played.world.borrow();
        let connection = world.served.iter().find(|served| served.id == end)?;
        let order = world.visits.get(&notes.connection?)?.order;
        // A header comes when it likes.
        (is_only && !service.accept_proxy).then(|| (ip(server.address()), order, connection.began))
    }

    /// What the log has of a client.
    fn record_of(&self, client: &Client) -> Option<&Record> {
        let address = Address::Ip(client.address);
        let mut of_client = self.played.entries.iter().filter_map(|entry| match entry {
            Entry::Record(record) if record.client == address => Some(record),
            Entry::Request(record) if record.client == address => {
                panic!("a request of {address}, which is served in stream mode: {record:?}")
            }
            Entry::Record(_) | Entry::Request(_) | Entry::Wake => None,
        });
        let record = of_client.next();
        assert!(of_client.next().is_none(), "two records of {address}");
        record
    }

    /// The stays of all other clients with the same address where the same limits count them.
    fn stays_beside(&self, client: &Client, limits: &ClientLimits) -> Vec<Stay> {
        let others = self.scenario.clients.iter().filter(|other| other.address != client.address);
        let same = others.filter(|other| other.ip() == client.ip());
        let stay = |other: &Client| {
            let connection = other.notes.borrow().connection;
            let theirs = self.played.service_of(connection)?.admission.as_ref()?.limits.as_ref()?;
            let record = self.record_of(other).filter(|_| theirs.is_shared_with(limits))?;
            let world = self.played.world.borrow();
            let closed = world.connections[connection?].near_close.expect("all descriptors are closed").at;
            Some(Stay::new(closed, record.duration, record.connect_time, record.end))
        };
        same.filter_map(stay).collect()
    }

    fn judge_client(&self, client: &Client) {
        let Self { stage, scenario, played } = *self;
        let address = Address::Ip(client.address);
        let record = self.record_of(client);
        let notes = &*client.notes.borrow();
        let world = &*played.world.borrow();
        played.check_door(client.arrives_after, notes.connection);
        let drain_at = played.begin + stage.drain_after;
        match (record, played.service_of(notes.connection)) {
            (Some(record), Some(service)) => {
                let id = notes.connection.expect("it was accepted");
                let group = service.routes.default.as_ref().expect("everything goes to one group");
                let limits = service.admission.as_ref().and_then(|admission| admission.limits.as_ref());
                let beside = limits.map(|limits| self.stays_beside(client, limits)).unwrap_or_default();
                let case = Case {
                    beside,
                    stage,
                    scenario,
                    played,
                    world,
                    client,
                    service,
                    group,
                    record,
                    id,
                    notes,
                    drain_at,
                };
                case.judge();
            }
            (None, None) => {
                // A client that arrived before the drain is accepted, unless the time for that was too short.
                let waits = played.must_accept(client.to, client.arrives_after, notes.connection);
                let failed = notes.connection.is_some_and(|id| world.connections[id].faulted);
                let short = world.now >= drain_at + stage.drain_timeout;
                assert!(!waits || failed || short, "{address} was never accepted");
            }
            (record, accepted) => {
                panic!(
                    "{address}: a record without an accepted client, or an accepted client without one: {record:?}, {accepted:?}"
                )
            }
        }
    }
}

/// One accepted client.
struct Case<'a> {
    /// The stays that count for its address as well.
    beside: Vec<Stay>,
    stage: &'a Stage,
    scenario: &'a Scenario,
    played: &'a Played,
    world: &'a World,
    client: &'a Client,
    /// The service that its session began with, and the group of that.
    service: &'a Service,
    group: &'a GroupSettings,
    record: &'a Record,
    /// Index of the client's connection.
    id: usize,
    notes: &'a Notes,
    drain_at: Instant,
}

impl Case<'_> {
    fn judge(&self) {
        let server = self.server();
        let server = server.as_ref().map(|notes| notes.borrow());
        let server = server.as_deref();
        self.times_fit(server);
        self.addresses_fit(server);
        self.counts_fit(server);
        self.end_is_plausible(server);
        self.admission_fits();
        self.is_closed_in_time();
        match (self.record.end, server) {
            (End::ClientClose | End::UpstreamClose, _) => self.all_was_delivered(server),
            (End::ClientReset, Some(server)) => self.breaks(self.notes, server),
            (End::UpstreamReset, Some(server)) => self.breaks(server, self.notes),
            (End::Idle | End::Drain | End::AdminClose, Some(server)) => {
                self.no_partial_stream_looks_complete(server);
            }
            _ => {}
        }
    }

    fn connection(&self) -> &Connection {
        &self.world.connections[self.id]
    }

    /// The server end of the session, where the bytes have identified it.
    fn server(&self) -> Option<Rc<std::cell::RefCell<Notes>>> {
        let number = self.scenario.registry.pairs.borrow().servers_of(self.notes.number).next()?;
        let servers = self.scenario.servers.borrow();
        let found = servers.ends.iter().find(|notes| notes.borrow().number == number);
        found.map(Rc::clone)
    }

    fn times_fit(&self, server: Option<&Notes>) {
        let Record { connect_time, first_byte_time, duration, .. } = self.record;
        for time in [connect_time, first_byte_time].into_iter().flatten() {
            assert!(time <= duration, "a session is over before an event in it: {:?}", self.record);
        }
        if let Some(quiet) = self.quiet_time(server) {
            let longest = self.service.timeouts.idle + LATE_CLOSE;
            assert!(quiet <= longest, "a session was idle for {quiet:?}: {:?}", self.record);
        }
    }

    /// The time from the last byte that moved, or from when both connections existed, to the end.
    fn quiet_time(&self, server: Option<&Notes>) -> Option<Duration> {
        let server = &self.world.connections[server?.connection?];
        Some(self.closed_at().duration_since(self.connection().last_moved.max(server.last_moved)))
    }

    /// Same, as far as the session could notice: bytes that a receive delivers while the other side has no room wait
    /// until it has.
    fn noticed_quiet_time(&self, server: Option<&Notes>) -> Option<Duration> {
        let (client, server) = (self.connection(), &self.world.connections[server?.connection?]);
        let is_full = |to: &Connection| to.near_close.is_some_and(|close| close.room_since.is_none());
        let noticed = |from: &Connection, to| (!is_full(to)).then_some(from.last_awaited);
        let last = noticed(client, server).max(noticed(server, client))?;
        Some(self.closed_at().duration_since(last))
    }

    fn addresses_fit(&self, server: Option<&Notes>) {
        assert_eq!(*self.record.listener, *self.client.to.to_string(), "the listener in the record");
        if self.record.upstream.is_some() {
            let proxied = self.client.proxied.map(Address::Ip);
            assert_eq!(self.record.proxied, proxied, "the source of the client's PROXY header");
        }
        assert_eq!(self.record.connect.is_some(), self.record.upstream.is_some(), "{:?}", self.record);
        let opens_ahead = self.group.warm_max > 0;
        assert!(opens_ahead || self.record.connect != Some(Connect::Warm), "{:?}", self.record);
        if let Some(server) = server {
            let address = server.server.expect("it is a server's end");
            let led_to = server_at(self.group, address);
            let led_to = led_to.unwrap_or_else(|| panic!("{address} is not of the group: {:?}", self.group));
            assert!(!led_to.options().disabled, "{address} is disabled");
            let name = self.record.upstream.as_deref();
            assert_eq!(name, Some(&**led_to.name()), "the server in the record");
            self.source_fits(server);
        }
    }

    /// Checks that the connection to the server came from where the group wants it.
    fn source_fits(&self, server: &Notes) {
        let connection = self.world.served.iter().find(|one| Some(one.id) == server.connection);
        let from = connection.expect("the server is connected").from;
        let fits = match &self.group.sources {
            Sources::Kernel => from.is_none(),
            Sources::Own(addresses) => from.is_some_and(|from| addresses.contains(&from)),
            Sources::Client => from == Some(self.client_ip()),
        };
        assert!(fits, "a connection from {from:?}, of a group with {:?}", self.group.sources);
    }

    /// The address that servers may see.
    fn client_ip(&self) -> IpAddr {
        self.client.ip()
    }

    fn stay(&self) -> Stay {
        let Record { duration, connect_time, end, .. } = *self.record;
        Stay::new(self.closed_at(), duration, connect_time, end)
    }

    /// What each client of the service may have.
    fn most(&self) -> (Option<u32>, Option<Rate>) {
        let limits = self.service.admission.as_ref().and_then(|admission| admission.limits.as_ref());
        limits.map_or((None, None), ClientLimits::most)
    }

    /// Checks that a client that may not connect got nothing, and that one that got a server had not too much.
    fn admission_fits(&self) {
        let end = self.record.end;
        let is_before_admission = matches!(end, End::Denied | End::ProxyHeader | End::Drain)
            || end == End::AdminClose && self.record.upstream.is_none();
        assert!(
            is_let_in(self.service, self.client_ip()) || is_before_admission,
            "{end:?} of one who is denied"
        );
        let stay = self.stay();
        if let (Some(max), _) = self.most() {
            let count = self.beside.iter().filter(|other| other.counts_for(&stay)).count();
            assert!(count < max as usize, "{count} others of a client that may have {max} connections");
        }
    }

    /// Whether others of the same address may be the reason that it was refused.
    fn is_too_much(&self, end: End) -> bool {
        let stay = self.stay();
        let count =
            |may: fn(&Stay, &Stay) -> bool| self.beside.iter().filter(|other| may(other, &stay)).count();
        match (end, self.most()) {
            (End::ClientConnections, (Some(max), _)) => count(Stay::may_count_for) >= max as usize,
            // Earlier settings may have been slower.
            (End::ClientRate, (_, Some(rate))) => {
                let is_only = self.scenario.services.len() == 1;
                count(Stay::may_have_come_before) >= if is_only { rate.burst as usize } else { 1 }
            }
            _ => false,
        }
    }

    /// Checks that counts match what the kernel took. When a session ends early, an operation in flight may add to
    /// that.
    fn counts_fit(&self, server: Option<&Notes>) {
        let Record { upstream_bytes, client_bytes, spliced_bytes, end, .. } = *self.record;
        let closed = matches!(end, End::ClientClose | End::UpstreamClose);
        let fits = |counted: u64, taken: u64| if closed { counted == taken } else { counted <= taken };
        let to_client = self.connection().outward.sent_bytes;
        assert!(
            fits(client_bytes, to_client),
            "{client_bytes} bytes to the client, really {to_client}: {end:?}"
        );
        let spliced_max =
            if self.service.splice == Splice::Never { 0 } else { upstream_bytes + client_bytes };
        assert!(spliced_bytes <= spliced_max, "more was spliced than went through, or any with splicing off");
        let Some(server) = server else { return };
        let connection = server.connection.map(|id| &self.world.connections[id]).expect("it has spoken");
        let has_read_header = server.header_bytes > 0 || self.group.send_proxy.is_none();
        let fits = |counted, taken| if has_read_header { fits(counted, taken) } else { counted <= taken };
        let to_server = connection.outward.sent_bytes.saturating_sub(server.header_bytes);
        assert!(
            fits(upstream_bytes, to_server),
            "{upstream_bytes} bytes to the upstream, really {to_server}: {end:?}"
        );
    }

    /// Checks that both ends got everything and the end of the stream, unless they stopped reading.
    fn all_was_delivered(&self, server: Option<&Notes>) {
        let Some(server) = server else { return };
        for (from, to) in [(self.notes, server), (server, self.notes)] {
            if to.has_left || from.has_left || self.is_faulted(to) || self.is_faulted(from) {
                continue;
            }
            assert_eq!(to.received_bytes, from.sent_bytes, "bytes from {} to {}", from.number, to.number);
            assert!(to.hears == Hears::End, "{} did not see that {} ended", to.number, from.number);
        }
    }

    /// Checks that a side that broke the session without an end of its stream does not appear to have ended it.
    fn breaks(&self, from: &Notes, to: &Notes) {
        let looks_ended = to.hears == Hears::End && !self.has_ended(from);
        assert!(!looks_ended, "{} saw an end from {}, which was reset", to.number, from.number);
    }

    /// Checks that a peer that saw an end got everything that was sent, although the proxy ended the session itself.
    fn no_partial_stream_looks_complete(&self, server: &Notes) {
        for (from, to) in [(self.notes, server), (server, self.notes)] {
            if to.hears != Hears::End || self.is_faulted(to) || self.is_faulted(from) {
                continue;
            }
            let connection = from.connection.map(|id| &self.world.connections[id]).expect("it was served");
            let closed_at = connection.near_close.expect("all descriptors are closed").at;
            // Bytes that arrive between the last check and the close are lost, and a reset tells their sender.
            if connection.inward.last_put.is_some_and(|at| at + LATE_CLOSE >= closed_at) {
                continue;
            }
            assert_eq!(
                to.received_bytes,
                from.sent_bytes,
                "{} saw an end after (left) bytes of those that {} had sent (right): {:?}\n{connection:?}\n{:?}",
                to.number,
                from.number,
                self.record.end,
                to.connection.map(|id| &self.world.connections[id]),
            );
        }
    }

    fn has_ended(&self, notes: &Notes) -> bool {
        let connection = notes.connection.map(|id| &self.world.connections[id]);
        connection.is_some_and(|connection| connection.inward.has_ended() || connection.faulted)
    }

    fn is_faulted(&self, notes: &Notes) -> bool {
        notes.connection.is_some_and(|id| self.world.connections[id].faulted)
    }

    fn end_is_plausible(&self, server: Option<&Notes>) {
        let Record { end, duration, ref upstream, .. } = *self.record;
        let Self { service: settings, group, .. } = self;
        let errors = self.scenario.servers.borrow().errors(group);
        let client = self.notes;
        let client_broke = client.has_left || self.is_faulted(client);
        let plausible = match end {
            // Both ended their streams: a reset alone is no orderly end.
            End::ClientClose | End::UpstreamClose => {
                self.has_ended(client) && server.is_none_or(|server| self.has_ended(server))
            }
            End::ClientReset => client_broke,
            End::UpstreamReset => match server {
                Some(server) => server.has_left || self.is_faulted(server),
                None => self.some_server_broke(),
            },
            End::ClientLeft => client_broke || client.has_ended && client.sent_bytes == 0,
            End::Idle => {
                // Bytes count from the beginning of the turn in which the kernel takes them.
                self.noticed_quiet_time(server)
                    .is_none_or(|quiet| quiet + SETTING_UP_TURN_MAX >= settings.timeouts.idle)
                    && duration >= settings.timeouts.idle
                    && !self.stalled(server)
            }
            End::Refused => !errors.is_empty() || self.some_server_broke(),
            End::ConnectTimeout => {
                duration >= group.connect_timeout.min(group.connect_budget)
                    || errors.contains(&libc::ETIMEDOUT)
            }
            End::ProxyHeader => {
                !self.client.has_sound_header
                    || client_broke
                    || client.preamble_left_bytes > 0
                    || settings.accept_proxy && duration >= settings.timeouts.accept_proxy
            }
            End::LocalLimit => {
                errors.contains(&libc::EADDRNOTAVAIL)
                    || self.stage.faults.descriptor > 0
                    || self.stage.descriptors_max < 100
            }
            End::NoServer => group.servers.iter().all(|server| {
                let address = ip(server.address());
                server.options().disabled || self.was_down(address) || self.played.done.was_kept_out(address)
            }),
            // All servers have IPv4 addresses.
            End::NoSource => group.sources == Sources::Client && self.client_ip().is_ipv6(),
            End::Full => {
                group.servers.iter().filter(|server| self.must_be_full(server)).for_each(|server| {
                    judge_refusal(self.world, server, self.closed_at(), group.connect_timeout);
                });
                duration >= group.queue_timeout
                    && group.servers.iter().any(|server| server.options().connections_max.is_some())
            }
            End::Denied => !is_let_in(settings, self.client_ip()),
            End::ClientConnections | End::ClientRate => self.is_too_much(end),
            // No peer here uses TLS or HTTP.
            End::TlsClient
            | End::TlsUpstream
            | End::HelloTimeout
            | End::PeekMemory
            | End::NoRoute
            | End::BadRequest
            | End::BadReply
            | End::IdentityChange
            | End::UpstreamCut
            | End::HeadTimeout
            | End::KeepaliveTimeout
            | End::BodyTimeout
            | End::ReplyTimeout
            | End::SendTimeout
            | End::Ok
            | End::Drained => false,
            End::AdminClose => self.played.done.closed(self.client.address).is_some(),
            End::Drain => self.closed_at() >= self.drain_at + self.stage.drain_timeout,
        };
        assert!(
            plausible,
            "{end:?} does not fit what client and server did; buffers were short at {:?}:\n{client:?}, {:?}\n\
             {server:?}, {:?}",
            self.world.buffers_short_at,
            self.connection(),
            server.and_then(|server| server.connection).map(|id| &self.world.connections[id]),
        );
        let connects = matches!(
            end,
            End::ClientLeft
                | End::Denied
                | End::ClientConnections
                | End::ClientRate
                | End::Refused
                | End::Full
                | End::NoSource
                | End::ConnectTimeout
                | End::ProxyHeader
                | End::LocalLimit
        );
        assert!(!connects || upstream.is_none(), "{end:?} with an upstream");
    }

    fn closed_at(&self) -> Instant {
        self.connection().near_close.expect("all descriptors are closed").at
    }

    /// Whether a client that is refused because all servers are full waited for this one: nothing else kept it out.
    fn must_be_full(&self, server: &Server) -> bool {
        let address = ip(server.address());
        let has_failed =
            !self.scenario.servers.borrow().errors(self.group).is_empty() || self.some_server_broke();
        let has_descriptors =
            self.stage.faults.descriptor == 0 && self.stage.descriptors_max >= DESCRIPTORS_PLENTY;
        let is_kept_out = server.options().disabled || self.played.done.was_kept_out(address);
        has_descriptors && !is_kept_out && !self.was_down(address) && !has_failed
    }

    /// Whether checks ever found the server down.
    fn was_down(&self, server: SocketAddr) -> bool {
        self.played.found.ever(server, |is_up| !is_up)
    }

    /// Checks that a client that the operator closed is gone.
    fn is_closed_in_time(&self) {
        if let Some(at) = self.played.done.closed(self.client.address) {
            assert!(
                self.closed_at() <= at + LATE_CLOSE,
                "{:?} went on: {:?}",
                self.client.address,
                self.record
            );
        }
    }

    fn some_server_broke(&self) -> bool {
        let servers = self.scenario.servers.borrow();
        servers.ends.iter().map(|notes| notes.borrow()).any(|notes| {
            let is_of_group = notes.server.is_some_and(|address| server_at(self.group, address).is_some());
            is_of_group && (notes.has_left || self.is_faulted(&notes))
        })
    }

    /// Whether something could have moved for a long time.
    fn stalled(&self, server: Option<&Notes>) -> bool {
        let Some(server) = server.and_then(|server| server.connection) else { return false };
        let (client, server) = (self.connection(), &self.world.connections[server]);
        let without_buffers = self.world.buffers_short_at.is_some_and(|at| self.closed_at() < at + STALL * 2);
        !without_buffers && (stalls(client, server) || stalls(server, client))
    }
}

/// One direction of [`Case::stalled`].
fn stalls(from: &Connection, to: &Connection) -> bool {
    let (Some(from_close), Some(to_close)) = (from.near_close, to.near_close) else { return false };
    let at = from_close.at.min(to_close.at);
    let long = |since: Option<Instant>| since.is_some_and(|since| since + STALL < at);
    let is_to_be_told = long(from_close.dead_since.map(|since| since + SUSPECT_DELAY));
    (long(from_close.readable_since) || is_to_be_told) && long(to_close.room_since) && !to_close.had_ended
}
