//! A server: what the settings say of it, and what all workers know of it.

use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use socket2::SockAddr;

use super::health::{Ejection, FULL_SHARE, Health, Standing};
use super::incidents::Incidents;
use super::token::Token;
use crate::protocol::login::Symptom;
use crate::uring::Address;
use crate::words::words;

/// A server as the settings name it. All workers share it, and it never changes: what they learn of the server stands in
/// its state, which the server of later settings can take over.
#[derive(Debug, Clone)]
pub struct Server {
    name: Arc<str>,
    tls_name: Option<ServerName<'static>>,
    address: Address,
    sock_addr: SockAddr,
    options: ServerOptions,
    ejection: Ejection,
    slow_start: Duration,
    /// What stands for it in the cookies of its group.
    token: OnceLock<Token>,
    state: Arc<State>,
    incidents: Arc<Incidents>,
}

/// What part of a group's connections a server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerOptions {
    /// Its share is this in proportion to the weights of the others.
    pub weight: NonZeroU16,
    /// Most connections that it has at once, over all workers.
    pub connections_max: Option<NonZeroU32>,
    /// Whether it is for connections that no other server can take.
    pub backup: bool,
    /// Whether it gets no connections.
    pub disabled: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { weight: NonZeroU16::MIN, connections_max: None, backup: false, disabled: false }
    }
}

words! {
    /// Whether an address of a server gets connections. The meanings are a table in docs/admin.md.
    pub enum ServerState {
        /// It gets connections.
        Up = "up",
        /// It came back a short time ago, and gets a growing share.
        SlowStart = "slow-start",
        /// Its ejection is over: the next connection tries it.
        Trial = "trial",
        /// Connections to it failed in a row; it is used only where no other is left.
        Ejected = "ejected",
        /// Its checks fail.
        Down = "down",
        /// An operator lets it drain: no new connections, and idle ones in HTTP mode end between logins.
        Draining = "draining",
        /// The settings or an operator disable it: no new connections.
        Disabled = "disabled",
    }
}

words! {
    /// What an operator has ordered for a server, beside the settings.
    pub enum ServerOrder {
        /// No new connections; in HTTP mode those that exist end when they are idle and in no login.
        Drain = "drain",
        /// No new connections; those that exist go on.
        Disable = "disable",
    }
}

/// Those who wait for places at servers.
pub(super) trait Heirs: std::fmt::Debug + Send + Sync {
    /// This server may have a place that is free.
    fn place_is_free(&self, server: &Server);
}

/// What all workers know of a server.
#[derive(Debug, Default)]
struct State {
    /// Whether it has heirs; they stay.
    has_heirs: AtomicBool,
    heirs: OnceLock<Arc<dyn Heirs>>,
    /// Places that are taken: by sessions, and by connections that wait for one.
    leases: AtomicUsize,
    /// How many of these wait.
    warm: AtomicUsize,
    /// What is ordered, as its number plus one; 0 for nothing.
    order: AtomicU8,
    health: Health,
}

impl Server {
    /// `name` is how the operator wrote it, and its name in logs; each address that it has is a server. `tls_name` is what
    /// the server must prove to be, where its group speaks TLS.
    ///
    /// # Errors
    /// An address that no socket can have, such as a Unix path that is too long.
    pub fn new(
        name: impl Into<Arc<str>>,
        address: Address,
        tls_name: Option<ServerName<'static>>,
    ) -> io::Result<Self> {
        Ok(Self {
            name: name.into(),
            tls_name,
            sock_addr: address.to_sock_addr()?,
            address,
            options: ServerOptions::default(),
            ejection: Ejection::NEVER,
            slow_start: Duration::ZERO,
            token: OnceLock::new(),
            state: Arc::default(),
            incidents: Arc::default(),
        })
    }

    /// The same server with these options.
    #[must_use]
    pub fn with_options(self, options: ServerOptions) -> Self {
        Self { options, ..self }
    }

    /// The same server, which is left out when it fails.
    #[must_use]
    pub fn with_ejection(self, ejection: Ejection) -> Self {
        Self { ejection, ..self }
    }

    /// The same server, whose share grows for this time after it came back.
    #[must_use]
    pub fn with_slow_start(self, slow_start: Duration) -> Self {
        Self { slow_start, ..self }
    }

    /// The same server with the state of `known`, which is the same one in earlier settings.
    #[must_use]
    pub fn inherit(&self, known: &Self) -> Self {
        Self { state: Arc::clone(&known.state), ..self.clone() }
    }

    /// The same server, which counts what happens to it with others of its name.
    #[must_use]
    pub(super) fn counting_with(self, incidents: &Arc<Incidents>) -> Self {
        Self { incidents: Arc::clone(incidents), ..self }
    }

    /// A server of the same name at another address, of which nothing is known.
    pub(super) fn elsewhere(&self, address: SocketAddr) -> Self {
        let (sock_addr, address) = (address.into(), Address::Ip(address));
        Self { address, sock_addr, token: OnceLock::new(), state: Arc::default(), ..self.clone() }
    }

    /// As the operator wrote it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What part of its group's connections it gets.
    pub fn options(&self) -> ServerOptions {
        self.options
    }

    /// The name that it must prove by its certificate.
    pub fn tls_name(&self) -> Option<&ServerName<'static>> {
        self.tls_name.as_ref()
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many sessions hold a lease of it, over all workers.
    pub fn leases(&self) -> usize {
        self.state.leases.load(Ordering::Relaxed).saturating_sub(self.warm())
    }

    /// How many connections to it wait for clients, over all workers.
    pub fn warm(&self) -> usize {
        self.state.warm.load(Ordering::SeqCst)
    }

    /// Whether connections go to it now: it is neither disabled, nor ejected, nor down.
    pub fn is_in_use(&self, now: Instant) -> bool {
        self.takes_connections() && self.health().standing(now) == Standing::InUse
    }

    /// What has happened to it and to others of its name.
    pub fn incidents(&self) -> &Arc<Incidents> {
        &self.incidents
    }

    /// Counts a symptom that a session saw with this server.
    pub fn count_symptom(&self, symptom: Symptom) {
        self.incidents.count_symptom(symptom);
    }

    /// What stands for it in the cookies of its group, computed once.
    pub(super) fn token(&self, compute: impl FnOnce() -> Token) -> Token {
        *self.token.get_or_init(compute)
    }

    pub(super) fn sock_addr(&self) -> &SockAddr {
        &self.sock_addr
    }

    /// Counts one more lease, unless the server has as many connections as it may have.
    pub(super) fn lend(&self) -> bool {
        let leases = &self.state.leases;
        let Some(max) = self.leases_max() else {
            leases.fetch_add(1, Ordering::SeqCst);
            return true;
        };
        // In one step, so that no two workers take the last place.
        let more = |count| (count < max).then_some(count + 1);
        leases.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Whether it has as many connections as it may have.
    pub(super) fn is_full(&self) -> bool {
        self.leases_max().is_some_and(|max| self.state.leases.load(Ordering::SeqCst) >= max)
    }

    fn leases_max(&self) -> Option<usize> {
        self.options.connections_max.map(|max| max.get() as usize)
    }

    pub(super) fn take_back(&self) {
        self.state.leases.fetch_sub(1, Ordering::SeqCst);
        if self.state.has_heirs.load(Ordering::SeqCst)
            && let Some(heirs) = self.state.heirs.get()
        {
            heirs.place_is_free(self);
        }
    }

    /// Counts one more connection that waits for a client, unless the server has as many connections as it may have.
    pub(super) fn lend_ahead(&self) -> bool {
        let is_lent = self.lend();
        if is_lent {
            self.state.warm.fetch_add(1, Ordering::SeqCst);
        }
        is_lent
    }

    /// A session has got a connection that waited.
    pub(super) fn warm_is_lent(&self) {
        self.state.warm.fetch_sub(1, Ordering::SeqCst);
    }

    /// A connection that waited is closed.
    pub(super) fn take_back_ahead(&self) {
        self.state.warm.fetch_sub(1, Ordering::SeqCst);
        self.take_back();
    }

    /// Has the queue of its group told of every place that becomes free, from now on.
    pub(super) fn tell_of_places(&self, heirs: &Arc<dyn Heirs>) {
        self.state.heirs.get_or_init(|| Arc::clone(heirs));
        self.state.has_heirs.store(true, Ordering::SeqCst);
    }

    /// Whether both are the same server, in the same or in other settings.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Whether its checks fail.
    pub fn is_down(&self) -> bool {
        self.health().is_down()
    }

    /// Whether it gets connections now.
    pub fn state(&self, now: Instant) -> ServerState {
        match self.health().standing(now) {
            _ if self.options.disabled => ServerState::Disabled,
            _ if self.is_draining() => ServerState::Draining,
            _ if self.order().is_some() => ServerState::Disabled,
            Standing::Down => ServerState::Down,
            Standing::Ejected => ServerState::Ejected,
            Standing::Due => ServerState::Trial,
            Standing::InUse if self.starts_slowly(now) => ServerState::SlowStart,
            Standing::InUse => ServerState::Up,
        }
    }

    /// What an operator has ordered for it. Servers of later settings go on with it, as with all of its state.
    pub fn order(&self) -> Option<ServerOrder> {
        let order = self.state.order.load(Ordering::Relaxed);
        ServerOrder::ALL.get(usize::from(order).wrapping_sub(1)).copied()
    }

    /// The same server, of which nothing is known yet but this order.
    pub(super) fn ordered(self, order: Option<ServerOrder>) -> Self {
        self.set_order(order);
        self
    }

    /// Orders this from now on, or nothing.
    pub fn set_order(&self, order: Option<ServerOrder>) {
        self.state.order.store(order.map_or(0, |order| order as u8 + 1), Ordering::Relaxed);
    }

    /// Whether connections to it are to end as soon as nothing depends on them.
    pub fn is_draining(&self) -> bool {
        self.order() == Some(ServerOrder::Drain)
    }

    /// Whether neither the settings nor an operator keep new connections from it.
    pub fn takes_connections(&self) -> bool {
        !self.options.disabled && self.order().is_none()
    }

    fn starts_slowly(&self, now: Instant) -> bool {
        !self.slow_start.is_zero() && self.health().share(self.slow_start, now) < FULL_SHARE
    }

    /// Whether checks have found anything of it yet.
    pub fn is_checked(&self) -> bool {
        self.health().is_checked()
    }

    /// Notes what checks found, for their only caller. True if it is a change.
    pub fn note_check(&self, is_up: bool) -> bool {
        let is_change = self.health().note_check(is_up, Instant::now());
        if is_change {
            self.incidents.count_state_change();
        }
        is_change
    }

    /// Notes that it is not checked any more.
    pub fn forget_checks(&self) {
        self.health().forget_checks();
    }

    /// Its weight, in parts of [`FULL_SHARE`]; less while it starts slowly.
    pub(super) fn weight(&self, now: Option<Instant>) -> u64 {
        let share = match now {
            Some(now) if !self.slow_start.is_zero() => self.health().share(self.slow_start, now),
            _ => FULL_SHARE,
        };
        u64::from(self.options.weight.get()) * share
    }

    pub(super) fn ejection(&self) -> &Ejection {
        &self.ejection
    }

    pub(super) fn health(&self) -> &Health {
        &self.state.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        let address = Address::Ip(([192, 0, 2, 1], 80).into());
        Server::new("iis1:80", address, None).expect("an IP address")
    }

    #[test]
    fn later_settings_go_on_with_what_is_known_of_a_server() {
        let old = server();
        old.lend();
        old.count_symptom(Symptom::Type3Refused);
        old.health().note_failure(&Ejection::NEVER, false, Instant::now());
        let new = server().inherit(&old);
        assert_eq!((new.leases(), new.incidents().symptoms(Symptom::Type3Refused)), (1, 0));
        assert_eq!(new.health().note_success(Instant::now()), Some(1), "it was known to be down");
        old.take_back();
        assert_eq!(new.leases(), 0, "a lease of the old settings counts for the server");
    }

    #[test]
    fn an_order_keeps_new_connections_from_a_server_until_it_is_taken_back_over_reloads() {
        let (old, now) = (server(), Instant::now());
        assert!(old.takes_connections() && !old.is_draining());
        for (order, state) in
            [(ServerOrder::Drain, ServerState::Draining), (ServerOrder::Disable, ServerState::Disabled)]
        {
            old.set_order(Some(order));
            let new = server().inherit(&old);
            assert!(!new.takes_connections() && new.order() == Some(order) && new.state(now) == state);
            assert_eq!(new.is_draining(), order == ServerOrder::Drain);
        }
        old.set_order(None);
        assert!(old.takes_connections() && old.state(now) == ServerState::Up);
    }

    #[test]
    fn a_server_never_has_more_connections_than_it_may_whatever_workers_do() {
        const MAX: u32 = 3;
        let options = ServerOptions { connections_max: NonZeroU32::new(MAX), ..ServerOptions::default() };
        let server = Arc::new(server().with_options(options));
        let in_use = Arc::new(AtomicUsize::new(0));
        let work = || {
            let (server, in_use) = (Arc::clone(&server), Arc::clone(&in_use));
            std::thread::spawn(move || {
                let mut lent = 0;
                while lent < 20_000 {
                    if !server.lend() {
                        std::thread::yield_now();
                        continue;
                    }
                    lent += 1;
                    assert!(in_use.fetch_add(1, Ordering::SeqCst) < MAX as usize);
                    assert!(server.leases() <= MAX as usize);
                    in_use.fetch_sub(1, Ordering::SeqCst);
                    server.take_back();
                }
            })
        };
        let workers: Vec<_> = (0..4).map(|_| work()).collect();
        for worker in workers {
            worker.join().expect("never more than that");
        }
        assert!(server.leases() == 0 && !server.is_full());
    }

    #[test]
    fn fewer_places_than_connections_are_full_until_enough_have_ended() {
        let with = |max| {
            let options = ServerOptions { connections_max: NonZeroU32::new(max), ..ServerOptions::default() };
            server().with_options(options)
        };
        let old = with(3);
        assert!(old.lend() && old.lend() && old.lend() && !old.lend());
        let new = with(2).inherit(&old);
        new.take_back();
        assert!(new.is_full() && !new.lend());
        new.take_back();
        assert!(new.lend() && !new.lend());
        assert!(with(0).inherit(&old).lend(), "without a limit");
    }
}
