//! Servers that can replace each other, and which of them to try.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;

use super::affinity::{Affinity, Named};
use super::balance::{Algorithm, Balance, Beginning};
use super::check::Checks;
use super::departed::Departed;
use super::health::Ejection;
use super::incidents::Incidents;
use super::names::{Answer, Name, ResolveInterval, Written};
use super::outage::Outage;
use super::pick::Pick;
use super::queue::Queue;
use super::server::{Server, ServerOrder};
use super::sources::{Origin, Sources, Turns};
use super::token::Token;
use crate::protocol::proxy_protocol;

/// Number of servers whose TLS sessions a worker remembers.
const TLS_SESSIONS_MAX: usize = 256;

/// The settings of a group; all workers share them.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// Its name in the settings.
    pub name: Arc<str>,
    /// Its servers; never empty.
    pub servers: Vec<Arc<Server>>,
    /// What the settings have for them, where names stand for servers.
    pub written: Vec<Written>,
    /// How often those names are looked up again.
    pub resolve_interval: ResolveInterval,
    /// When a server is left out that fails, and is not the only one.
    pub ejection: Ejection,
    /// How one of them is chosen.
    pub balance: Balance,
    /// The bits of an IPv6 address that tell clients apart, where their addresses decide.
    pub hash_prefix_v6: u8,
    /// The cookie that brings a client back to its server, if there is one. For HTTP only.
    pub affinity: Option<Affinity>,
    /// TLS with these servers: each has a name to prove then.
    pub tls: Option<Tls>,
    /// The PROXY header that servers are sent, if any.
    pub send_proxy: Option<proxy_protocol::Version>,
    /// Where connections to its servers come from.
    pub sources: Sources,
    /// How long one server may take to accept a connection, and then to complete its TLS handshake.
    pub connect_timeout: Duration,
    /// How long all servers together may take until one is ready for a client.
    pub connect_budget: Duration,
    /// How its servers are checked.
    pub checks: Option<Arc<Checks>>,
    /// Whether it has a server left, as clients have seen it.
    pub outage: Arc<Outage>,
    /// How long a client may wait for a place at one of its servers when all are full.
    pub queue_timeout: Duration,
    /// Where it waits.
    pub queue: Arc<Queue>,
    /// Servers that it had before.
    pub departed: Departed,
    /// Most connections that are opened ahead, over all workers.
    pub warm_max: u32,
}

impl GroupSettings {
    /// A group with the default settings.
    pub fn new(name: impl Into<Arc<str>>, servers: Vec<Arc<Server>>) -> Self {
        Self {
            name: name.into(),
            servers,
            written: Vec::new(),
            resolve_interval: ResolveInterval::default(),
            ejection: Ejection::NEVER,
            balance: Balance::default(),
            hash_prefix_v6: 128,
            affinity: None,
            tls: None,
            send_proxy: None,
            sources: Sources::default(),
            connect_timeout: Duration::from_secs(3),
            connect_budget: Duration::from_secs(6),
            checks: None,
            outage: Arc::default(),
            queue_timeout: Duration::ZERO,
            queue: Arc::default(),
            departed: Departed::default(),
            warm_max: 0,
        }
    }

    /// Another group with the same settings, but nothing of this one's state: its servers are those that stand in its
    /// settings, and those that names there stand for.
    #[must_use]
    pub fn with_servers(&self, name: impl Into<Arc<str>>, written: Vec<Written>) -> Self {
        let mut servers: Vec<Server> = written.iter().flat_map(Written::servers).collect();
        if servers.len() > 1 {
            servers = servers.into_iter().map(|server| server.with_ejection(self.ejection)).collect();
        }
        // Servers that are written twice count as one name, as they are shown.
        let mut named: BTreeMap<Arc<str>, Arc<Incidents>> = BTreeMap::new();
        let counting = |server: Server| {
            let incidents = named.entry(Arc::clone(server.name()));
            let incidents = Arc::clone(incidents.or_insert_with(|| Arc::clone(server.incidents())));
            server.counting_with(&incidents)
        };
        servers = servers.into_iter().map(counting).collect();
        let name = name.into();
        Self {
            affinity: self.affinity.as_ref().map(|affinity| affinity.of_group(&name)),
            name,
            servers: servers.into_iter().map(Arc::new).collect(),
            written,
            outage: Arc::default(),
            queue: Arc::default(),
            departed: Departed::default(),
            ..self.clone()
        }
    }

    /// The names that stand for servers of it, and what for.
    pub fn names(&self) -> impl Iterator<Item = &(Name, Answer)> {
        self.written.iter().filter_map(Written::name)
    }

    /// The same group, where the name stands for other servers now: those that stay go on with their states, and clients that
    /// wait for places wait for those of the others as well. For the settings that are used next.
    #[must_use]
    pub fn with_answer(&self, name: &Name, answer: &Answer) -> Self {
        let written = self.written.iter().map(|written| written.with_answer(name, answer)).collect();
        let now = self.with_servers(Arc::clone(&self.name), written).inherit(self);
        // Where servers see the clients' addresses not every server is for every client.
        if now.sources != Sources::Client {
            now.queue.renew(&now.servers, Instant::now());
        }
        now
    }

    /// Whether connections are opened before their clients are known: not where servers see their addresses.
    pub fn opens_ahead(&self) -> bool {
        self.warm_max > 0 && self.sources != Sources::Client
    }

    /// Whether it has servers, but connections can only go to backup servers.
    pub fn has_only_backup_servers(&self) -> bool {
        let mut options = self.servers.iter().map(|server| server.options());
        !self.servers.is_empty() && options.all(|options| options.backup || options.disabled)
    }

    /// The same group, which goes on with the queue of `known`, the group of earlier settings, and its servers with the
    /// states that the same servers have there, or had until they left not long ago. A name goes on counting what happens
    /// to it, whatever its addresses are, and an order for all of its addresses holds for new ones.
    #[must_use]
    pub fn inherit(&self, known: &Self) -> Self {
        let now = Instant::now();
        let incidents: BTreeMap<_, _> =
            known.departed.servers().chain(&known.servers).map(|one| (one.name(), one.incidents())).collect();
        let mut left: Vec<_> = known.servers.iter().collect();
        let mut departed = known.departed.since(now);
        let is_same =
            |one: &Server, other: &Server| one.name() == other.name() && one.address() == other.address();
        let inherit = |server: &Arc<Server>| {
            // Each state once, if a server is in the group twice.
            let current = left.iter().position(|other| is_same(other, server)).map(|nth| left.remove(nth));
            let before = || departed.take(|other| is_same(other, server));
            let heir = match current.cloned().or_else(before) {
                Some(known) => server.inherit(&known),
                None => Server::clone(server).ordered(common_order(&known.servers, server.name())),
            };
            Arc::new(match incidents.get(server.name()) {
                Some(incidents) => heir.counting_with(incidents),
                None => heir,
            })
        };
        let servers = self.servers.iter().map(inherit).collect();
        departed.add(left.into_iter().cloned(), now);
        let (outage, queue) = (Arc::clone(&known.outage), Arc::clone(&known.queue));
        Self { servers, outage, queue, departed, ..self.clone() }
    }

    /// Servers that left not long ago, and go on with what is known of them if they come back.
    pub fn departed(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.departed.servers()
    }

    /// Notes whether any server is left; logs that none is, or that there is one again.
    pub fn note_servers(&self) {
        if self.servers.iter().any(|server| server.takes_connections() && !server.is_down()) {
            self.outage.end(&self.name);
        } else {
            self.outage.begin(&self.name);
        }
    }

    /// Notes that a client is refused because no server is left.
    pub fn note_refused(&self) {
        self.outage.refuse(&self.name);
    }
}

/// A certificate of the proxy's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The certificate itself, without its chain.
    pub leaf: CertificateDer<'static>,
    /// The file that it was read from.
    pub file: PathBuf,
}

/// TLS with servers.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Remembers no sessions to resume; every worker remembers its own.
    pub config: Arc<ClientConfig>,
    /// What the configuration verifies certificates by.
    pub verifier: Arc<dyn ServerCertVerifier>,
    /// The proxy's own certificate, for servers that ask for one.
    pub own: Option<OwnCertificate>,
    /// Whether certificates prove nothing.
    pub trusts_any_certificate: bool,
    /// What an operator should know of the proxy's own certificate before servers notice, one line each.
    pub warnings: Vec<String>,
}

/// A worker's view of a group: what its way to choose servers goes by, and which TLS sessions can be resumed.
#[derive(Debug)]
pub struct Group {
    settings: Arc<GroupSettings>,
    tls: Option<Arc<ClientConfig>>,
    algorithm: Box<dyn Algorithm>,
    source_turns: Turns,
    /// Where it begins: workers begin apart, and so does each view after a change.
    begins_at: usize,
}

impl Group {
    /// The view of the worker with this number, from 0.
    pub fn new(settings: Arc<GroupSettings>, worker: usize) -> Self {
        Self::beginning_at(settings, worker)
    }

    fn beginning_at(settings: Arc<GroupSettings>, begins_at: usize) -> Self {
        let tls = settings.tls.as_ref().map(|tls| with_own_sessions(&tls.config));
        let GroupSettings { servers, balance, hash_prefix_v6, .. } = &*settings;
        let algorithm =
            balance.begin(&Beginning { servers, worker: begins_at, hash_prefix_v6: *hash_prefix_v6 });
        let source_turns = Turns::new(&settings.sources, begins_at);
        Self { settings, tls, algorithm, source_turns, begins_at }
    }

    /// The view of the same worker after a change of the group. TLS sessions can still be resumed, unless TLS is another.
    /// Turns begin elsewhere: where changes come often, the first server would get too many.
    #[must_use]
    pub fn succeed(&self, settings: Arc<GroupSettings>) -> Self {
        let config = |settings: &GroupSettings| settings.tls.as_ref().map(|tls| Arc::as_ptr(&tls.config));
        let has_same_tls = config(&settings) == config(&self.settings);
        let next = Self::beginning_at(settings, self.begins_at.wrapping_add(1));
        if has_same_tls { Self { tls: self.tls.clone(), ..next } } else { next }
    }

    /// The settings that it was made from.
    pub fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// TLS with its servers.
    pub fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// Where connections for a client at `source` come from.
    pub fn origin(&self, source: Option<IpAddr>) -> Origin<'_> {
        Origin::new(&self.settings.sources, &self.source_turns, source)
    }

    /// Whether a client at `source` may go to any of the servers that get connections, if there is one.
    pub fn suits(&self, source: Option<IpAddr>) -> bool {
        let origin = self.origin(source);
        let mut taking = self.settings.servers.iter().filter(|server| server.takes_connections()).peekable();
        taking.peek().is_none() || taking.any(|server| origin.suits(server.address()))
    }

    /// Leases in the order to try them for a client at `source`: the server that the algorithm chooses, then the others;
    /// backup servers after them, and servers that are ejected last.
    pub fn pick(&self, source: Option<IpAddr>, now: Instant) -> Pick<'_> {
        let GroupSettings { servers, queue, queue_timeout, sources, .. } = &*self.settings;
        let pick = Pick::new((servers, &*self.algorithm), (queue, !queue_timeout.is_zero()), source, now);
        if *sources != Sources::Client {
            return pick;
        }
        let origin = self.origin(source);
        pick.without(|server| !origin.suits(server.address()))
    }

    /// The same leases, but first those of the servers that a client's cookies name, as far as these may be used.
    pub fn pick_named(&self, named: &Named, source: Option<IpAddr>, now: Instant) -> Pick<'_> {
        let named = named.tokens().flat_map(|token| self.named_by(token)).collect();
        self.pick(source, now).preferring(named)
    }

    /// The places of the servers that a cookie names: one, unless the same server is in the group twice.
    fn named_by(&self, token: Token) -> impl Iterator<Item = usize> {
        let affinity = self.settings.affinity.as_ref();
        let is_named =
            move |server: &Server| affinity.is_some_and(|affinity| affinity.token(server) == token);
        let servers = self.settings.servers.iter().enumerate();
        servers.filter(move |(_, server)| is_named(server)).map(|(nth, _)| nth)
    }

    /// Whether a cookie names one of the servers.
    pub fn has_named(&self, token: Token) -> bool {
        self.named_by(token).next().is_some()
    }
}

/// A worker resumes only TLS sessions of its own, because shared ones need a lock.
fn with_own_sessions(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS_MAX);
    Arc::new(config)
}

/// What is ordered for all servers of this name, if it is one order.
fn common_order(servers: &[Arc<Server>], name: &str) -> Option<ServerOrder> {
    let mut orders = servers.iter().filter(|server| **server.name() == *name).map(|server| server.order());
    let first = orders.next()??;
    orders.all(|order| order == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests;
