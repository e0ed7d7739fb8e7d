//! What is known of a session, and the record that it leaves.

use std::cell::Cell;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::protocol::login::{Mechanism, Symptom};
use crate::proxy::clients::Taken;
use crate::proxy::connection::Connection;
use crate::proxy::context::{Context, Seat};
use crate::proxy::counters::Cells;
use crate::proxy::record::{Connect, End, Record};
use crate::proxy::relay::Meter;
use crate::proxy::relay::{Relay, Reset};
use crate::proxy::service::{Listening, Service};
use crate::proxy::settings::{self, Mode, Timeouts};
use crate::proxy::survey::{LoginState, Seen, Sight, Wanted};
use crate::upstream::{Group, Lease, Named, Pick};
use crate::uring::{Address, TaskId};

/// A server that breaks a connection within this time did not wait for its client.
const PROMPT: Duration = Duration::from_secs(3);

/// The state behind a session's record, which is written on drop, however the session ended.
pub(in crate::proxy) struct Session {
    id: u64,
    /// Free again when the session is dropped, and its connections are closed.
    seat: Seat,
    /// The listener that accepted the client, with the service that the session keeps for its whole life.
    listening: Rc<Listening>,
    client_address: Address,
    meter: Meter,
    /// Boxed: most sessions have none.
    rare: Cell<Option<Box<Rare>>>,
    /// The server that accepted the connection.
    lease: Cell<Option<Lease>>,
    /// From accepting the client to the server's accept, in microseconds and one more, 71 minutes at most: to keep idle
    /// sessions small.
    connect_time: Cell<Option<NonZeroU32>>,
    /// Initially `Drain`: a session dropped before its end means that the worker was stopping.
    end: Cell<End>,
    /// Its place among the sessions of the worker.
    place: u32,
    /// The task that serves it.
    task: Cell<Option<TaskId>>,
    /// In HTTP mode: how far the login is, and how it was made.
    login: Cell<(LoginState, Option<Mechanism>)>,
}

// A byte more, and an allocator rounds it up by sixteen.
const _: () = assert!(size_of::<Session>() <= 168);

/// What few sessions have.
#[derive(Default)]
struct Rare {
    /// The source that the client's PROXY header names.
    proxied: Option<Address>,
    /// The client that a trusted proxy named in its first request.
    forwarded: Option<IpAddr>,
    /// What the client has of its service's limits.
    taken: Option<Taken>,
    /// The servers that the client wants, for the next connection.
    named: Option<Named>,
    /// The user logged in, if the log names users.
    user: Option<Box<str>>,
}

/// A lease that was taken out of a session, with the cells of its server.
pub(in crate::proxy) struct Held {
    lease: Option<Lease>,
    cells: Option<Arc<Cells>>,
}

impl Held {
    /// Whether connections to its server are to end as soon as nothing depends on them.
    pub(in crate::proxy) fn server_drains(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.server().is_draining())
    }
}

impl Session {
    /// A session that begins now. The session is dropped by the task that serves it; others can look at it meanwhile.
    pub(super) fn begin(seat: Seat, listening: Rc<Listening>, client_address: Address) -> Rc<Self> {
        let context = Rc::clone(seat.context());
        let accepted = context.ring.now();
        let cells = Arc::clone(&listening.service.cells);
        context.counters.accepted().increase();
        context.counters.active().increase();
        cells.accepted.increase();
        cells.active.increase();
        Rc::new_cyclic(|own: &Weak<Self>| Self {
            place: context.living.enter(Weak::clone(own) as Weak<dyn Seen>) as u32,
            id: context.next_id(),
            seat,
            listening,
            client_address,
            meter: Meter::new(accepted, cells),
            rare: Cell::new(None),
            lease: Cell::new(None),
            connect_time: Cell::new(None),
            end: Cell::new(End::Drain),
            task: Cell::new(None),
            login: Cell::new((LoginState::Anonymous, None)),
        })
    }

    /// The session is served by the task that runs now.
    pub(super) fn set_task(&self) {
        self.task.set(Some(self.context().ring.current_task()));
    }

    /// Sets how far the login of the client's connection is, how it was made, and by whom, if the log names users.
    pub(in crate::proxy) fn set_login(
        &self,
        state: LoginState,
        mechanism: Option<Mechanism>,
        user: Option<&str>,
    ) {
        self.login.set((state, mechanism));
        if self.with_rare(|rare| rare.user.as_deref() == user) != Some(true) {
            self.set_rare(|rare| &mut rare.user, user.map(Box::from));
        }
    }

    /// How the session ends, as far as is known.
    pub(in crate::proxy) fn end(&self) -> End {
        self.end.get()
    }

    pub(in crate::proxy) fn context(&self) -> &Context {
        self.seat.context()
    }

    /// The service that the session began with.
    pub(in crate::proxy) fn service(&self) -> &Service {
        &self.listening.service
    }

    /// The time-outs of its service.
    pub(in crate::proxy) fn timeouts(&self) -> &Timeouts {
        &self.service().settings.timeouts
    }

    /// The address of the listener that accepted the client.
    pub(in crate::proxy) fn listener_name(&self) -> &Arc<str> {
        &self.listening.name
    }

    /// A relay between the two connections.
    pub(in crate::proxy) fn relay<'a>(
        &'a self,
        client: &'a Connection,
        upstream: &'a Connection,
    ) -> Relay<'a> {
        let settings::Service { timeouts, splice, accepts_missing_close_notify, .. } =
            &*self.service().settings;
        let reset = Cell::new(Reset::Nothing);
        Relay {
            ring: &self.context().ring,
            client,
            upstream,
            meter: &self.meter,
            lease: &self.lease,
            splice: *splice,
            timeouts,
            accepts_missing_close_notify: *accepts_missing_close_notify,
            reset,
            first_end: Cell::new(None),
        }
    }

    pub(in crate::proxy) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Calls `with` with the cells in which the session counts now.
    pub(in crate::proxy) fn count(&self, with: impl FnOnce(&Arc<Cells>)) {
        self.meter.with_cells(with);
    }

    /// Counts in `cells` from now on.
    fn count_in(&self, cells: &Arc<Cells>) {
        cells.active.increase();
        if let Some(before) = self.meter.set_cells(Arc::clone(cells)) {
            before.active.decrease();
        }
    }

    /// Counts for this group from now on, and for none of its servers.
    pub(super) fn count_for(&self, group: &str) {
        self.count_in(self.service().cells_of(Some(group), None));
    }

    /// Where sessions count that go to this server of the session's group.
    pub(super) fn cells_of(&self, server: &str) -> &Arc<Cells> {
        let group = self.meter.with_cells(|cells| cells.key().group.clone()).flatten();
        self.service().cells_of(group.as_deref(), Some(server))
    }

    /// The name of the server that accepted the connection.
    pub(in crate::proxy) fn server_name(&self) -> Option<Arc<str>> {
        self.with_lease(|lease| Arc::clone(lease.server().name()))
    }

    /// Whether connections to its server are to end as soon as nothing depends on them.
    pub(in crate::proxy) fn server_drains(&self) -> bool {
        self.with_lease(|lease| lease.server().is_draining()).unwrap_or(false)
    }

    /// How the connection to the server was opened.
    pub(in crate::proxy) fn connect(&self) -> Option<Connect> {
        self.with_lease(|lease| if lease.is_warm() { Connect::Warm } else { Connect::Cold })
    }

    /// Counts a symptom of a failing login at this session's server.
    pub(in crate::proxy) fn count_symptom(&self, symptom: Symptom) {
        self.with_lease(|lease| lease.server().count_symptom(symptom));
    }

    /// The id of the session in logs.
    pub(in crate::proxy) fn id(&self) -> u64 {
        self.id
    }

    /// The address that connected.
    pub(in crate::proxy) fn client_address(&self) -> &Address {
        &self.client_address
    }

    /// The client that the session is for: the source in the PROXY header, otherwise the address that connected.
    pub(in crate::proxy) fn origin_address(&self) -> Address {
        self.with_rare(|rare| rare.proxied.clone()).flatten().unwrap_or_else(|| self.client_address.clone())
    }

    /// The IP address of the client that the session is for, if it has one: what a trusted proxy named, otherwise the
    /// source in the PROXY header, otherwise the address that connected. An IPv4 address mapped into IPv6 (a listener
    /// on `[::]`) counts as the IPv4 address.
    pub(super) fn source(&self) -> Option<IpAddr> {
        if let Some(address) = self.with_rare(|rare| rare.forwarded).flatten() {
            return Some(address);
        }
        match self.origin_address() {
            Address::Ip(address) => Some(address.ip().to_canonical()),
            Address::Unix(_) => None,
        }
    }

    /// Sets the client that a trusted proxy named.
    pub(in crate::proxy) fn set_forwarded(&self, client: Option<IpAddr>) {
        self.set_rare(|rare| &mut rare.forwarded, client);
    }

    /// Sets the servers that the client wants.
    pub(in crate::proxy) fn set_named(&self, named: Option<Named>) {
        self.set_rare(|rare| &mut rare.named, named);
    }

    /// Servers of the group for this client, in the order to try them.
    pub(super) fn pick<'g>(&self, group: &'g Group) -> Pick<'g> {
        let (source, now) = (self.source(), self.context().ring.now());
        let wanted = |rare: &Rare| rare.named.as_ref().map(|named| group.pick_named(named, source, now));
        self.with_rare(wanted).flatten().unwrap_or_else(|| group.pick(source, now))
    }

    /// Sets the source that the client's PROXY header names.
    pub(super) fn set_proxied(&self, source: Option<Address>) {
        self.set_rare(|rare| &mut rare.proxied, source);
    }

    /// Sets what the client takes of its service's limits, from now on until [`give_back`](Self::give_back).
    pub(super) fn set_taken(&self, taken: Option<Taken>) {
        self.set_rare(|rare| &mut rare.taken, taken);
    }

    /// Gives back what the client has taken of its service's limits. Before its connection is closed: who sees that may
    /// connect again at once.
    pub(super) fn give_back(&self) {
        self.set_taken(None);
    }

    fn with_rare<T>(&self, with: impl FnOnce(&Rare) -> T) -> Option<T> {
        let rare = self.rare.take();
        let result = rare.as_deref().map(with);
        self.rare.set(rare);
        result
    }

    fn set_rare<T>(&self, of: impl FnOnce(&mut Rare) -> &mut Option<T>, value: Option<T>) {
        let mut rare = self.rare.take();
        if rare.is_some() || value.is_some() {
            *of(rare.get_or_insert_default()) = value;
        }
        self.rare.set(rare);
    }

    /// Sets the server that accepts the connection, from now on.
    pub(super) fn set_lease(&self, lease: Option<Lease>) {
        let time = lease.as_ref().map(|_taken| {
            let took = self.context().ring.now().duration_since(self.meter.accepted);
            NonZeroU32::MIN.saturating_add(u32::try_from(took.as_micros()).unwrap_or(u32::MAX))
        });
        self.connect_time.set(time);
        if let Some(lease) = &lease {
            self.count_in(self.cells_of(lease.server().name()));
        }
        self.lease.set(lease);
    }

    fn connect_time(&self) -> Option<Duration> {
        self.connect_time.get().map(|time| Duration::from_micros(u64::from(time.get()) - 1))
    }

    /// Takes the lease out, as long as the session uses another server.
    pub(in crate::proxy) fn take_lease(&self) -> Held {
        let cells = self.meter.with_cells(Arc::clone);
        Held { lease: self.lease.take(), cells }
    }

    /// Sets the lease that [`take_lease`](Self::take_lease) took out.
    pub(in crate::proxy) fn resume_lease(&self, held: Held) {
        let Held { lease, cells } = held;
        if let Some(cells) = cells {
            self.count_in(&cells);
        }
        self.lease.set(lease);
    }

    /// Ends the lease, because the connection to the server is closed; the record still names the server.
    pub(in crate::proxy) fn end_lease(&self) {
        self.with_lease(Lease::end);
    }

    /// Calls `with` with the lease of the server that accepted the connection, if there is one.
    pub(in crate::proxy) fn with_lease<T>(&self, with: impl FnOnce(&Lease) -> T) -> Option<T> {
        // A RefCell would add a word to every idle session.
        let lease = self.lease.take();
        let result = lease.as_ref().map(with);
        self.lease.set(lease);
        result
    }

    /// Tells of a server that broke a connection before its first byte, or did not answer a request. Where it is not known
    /// what the client sent this has to happen promptly: servers also break connections on which nothing comes.
    pub(super) fn judge_server(&self, end: End) {
        if self.meter.first_byte_time().is_some() {
            return;
        }
        let is_http = matches!(self.service().settings.mode, Mode::Http(_));
        let now = self.context().ring.now();
        let connected = self.connect_time().map(|time| self.meter.accepted + time);
        let is_prompt = connected.is_some_and(|at| now.saturating_duration_since(at) < PROMPT);
        let is_unanswered = match end {
            End::UpstreamReset => is_http || is_prompt,
            End::BadReply | End::ReplyTimeout => true,
            _ => false,
        };
        if is_unanswered {
            self.with_lease(|lease| lease.note_unanswered(now));
        }
    }

    /// Sets how the session ends.
    pub(super) fn set_end(&self, end: End) {
        self.end.set(end);
    }
}

impl Seen for Session {
    fn id(&self) -> u64 {
        self.id
    }

    fn sight(&self, wanted: &Wanted) -> Option<Sight> {
        let source = self.source();
        if !wanted.has_client(source) {
            return None;
        }
        let group = self.meter.with_cells(|cells| cells.key().group.clone()).flatten();
        let server = self.with_lease(|lease| (Arc::clone(lease.server().name()), lease.address().clone()));
        if !wanted.has_server(group.as_deref(), server.as_ref().map(|(name, address)| (&**name, address))) {
            return None;
        }
        let now = self.context().ring.now();
        let settings = &self.service().settings;
        let own = match &self.client_address {
            Address::Ip(address) => Some(address.ip().to_canonical()),
            Address::Unix(_) => None,
        };
        Some(Sight {
            id: self.id,
            address: self.client_address.clone(),
            client: source.filter(|_| source != own),
            service: Arc::clone(&settings.name),
            group,
            server,
            accepted: self.meter.accepted,
            idle: now.saturating_duration_since(self.meter.last_activity()),
            upstream_bytes: self.meter.upstream_bytes.get(),
            client_bytes: self.meter.client_bytes.get(),
            login: matches!(settings.mode, Mode::Http(_)).then(|| self.login.get()),
            user: self.with_rare(|rare| rare.user.clone()).flatten(),
        })
    }

    fn end(&self) {
        if let Some(task) = self.task.get() {
            self.end.set(End::AdminClose);
            self.context().ring.end_task(task);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let context = Rc::clone(self.seat.context());
        context.living.leave(self.place as usize);
        let counters = &context.counters;
        counters.sessions(self.end.get()).increase();
        counters.upstream_bytes().add(self.meter.upstream_bytes.get());
        counters.client_bytes().add(self.meter.client_bytes.get());
        counters.active().decrease();
        self.count(|cells| {
            cells.ended(self.end.get()).increase();
            cells.active.decrease();
        });
        if matches!(self.service().settings.mode, Mode::Http(_)) {
            // The access log has a line for each request already.
            tracing::debug!(
                client = %self.client_address,
                connection = format_args!("{:016x}", self.id),
                spliced_bytes = self.meter.spliced_bytes.get(),
                end = self.end.get().as_str(),
                "session ended"
            );
            return;
        }
        let Some(log) = context.log() else { return };
        let duration = context.ring.now().duration_since(self.meter.accepted);
        log.send(Record {
            started: SystemTime::now() - duration,
            listener: Arc::clone(&self.listening.name),
            client: std::mem::replace(&mut self.client_address, Address::Unix(std::path::PathBuf::new())),
            proxied: self.rare.take().and_then(|rare| rare.proxied),
            upstream: self.server_name(),
            connect: self.connect(),
            connect_time: self.connect_time(),
            first_byte_time: self.meter.first_byte_time(),
            duration,
            upstream_bytes: self.meter.upstream_bytes.get(),
            client_bytes: self.meter.client_bytes.get(),
            spliced_bytes: self.meter.spliced_bytes.get(),
            end: self.end.get(),
        });
    }
}
