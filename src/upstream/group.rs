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
use super::server::Server;
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
    /// to it, whatever its addresses are.
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
            let heir = match left.iter().position(|other| is_same(other, server)) {
                // Each state once, if a server is in the group twice.
                Some(nth) => server.inherit(left.remove(nth)),
                None => match departed.take(|other| is_same(other, server)) {
                    Some(known) => server.inherit(&known),
                    None => Server::clone(server),
                },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::login::Symptom;
    use crate::upstream::names::Found;
    use crate::upstream::testing::{group, servers};
    use crate::uring::Address;

    #[test]
    fn servers_go_on_with_their_states_each_one_with_its_own() {
        let server = |(name, number): &(&str, u8)| {
            let address = Address::Ip(([192, 0, 2, *number], 80).into());
            Arc::new(Server::new(*name, address, None).expect("an IP address"))
        };
        let group = |servers: &[(&str, u8)]| GroupSettings::new("iis", servers.iter().map(server).collect());
        let old = group(&[("a", 1), ("a", 1), ("a", 2), ("b", 3)]);
        for (server, leases) in std::iter::zip(&old.servers, [1, 2, 4, 8]) {
            assert!((0..leases).all(|_| server.lend()));
        }
        let new =
            group(&[("b", 3), ("c", 3), ("b", 1), ("a", 2), ("a", 1), ("a", 1), ("a", 1)]).inherit(&old);
        let leases: Vec<_> = new.servers.iter().map(|server| server.leases()).collect();
        assert_eq!(leases, [8, 0, 0, 4, 1, 2, 0]);
    }

    fn answer(numbers: &[u8]) -> Answer {
        let found = |number: &u8| Found::at(([192, 0, 2, *number], 80).into());
        Answer { servers: numbers.iter().map(found).collect(), ..Answer::default() }
    }

    /// A group of a name and of a server without one.
    fn named(numbers: &[u8]) -> (Name, GroupSettings) {
        let name = Name::Host { host: "iis".into(), port: 80 };
        let like = |name: &str, number: u8| {
            let address = Address::Ip(([192, 0, 2, number], 80).into());
            Server::new(name, address, None).expect("an IP address")
        };
        let ejection = Ejection::default();
        let written = vec![
            Written::named(like("iis:80", 0), name.clone(), answer(numbers)),
            Written::at(like("fixed", 99)),
        ];
        let settings = GroupSettings { ejection, ..GroupSettings::new("", Vec::new()) };
        (name, settings.with_servers("iis", written))
    }

    #[test]
    fn changes_that_come_often_do_not_give_the_first_server_more_than_its_share() {
        let servers = servers(&[1, 1, 1]);
        let mut view = group("round-robin", &servers, 0);
        let mut counts = [0; 3];
        for _ in 0..300 {
            let lease = view.pick(None, Instant::now()).next().expect("a server");
            counts[lease.server().name().parse::<usize>().expect("its place")] += 1;
            drop(lease);
            view = view.succeed(Arc::new(view.settings().clone()));
        }
        assert!(counts.iter().all(|count| (90..=110).contains(count)), "{counts:?}");
    }

    fn leases(group: &GroupSettings) -> Vec<(String, usize)> {
        let server = |server: &Arc<Server>| (server.address().to_string(), server.leases());
        group.servers.iter().map(server).collect()
    }

    #[test]
    fn the_servers_of_a_name_come_and_go_and_those_that_come_back_are_known() {
        let (name, group) = named(&[1, 2]);
        for (server, count) in std::iter::zip(&group.servers, [1, 2, 4]) {
            assert!((0..count).all(|_| server.lend()));
        }
        let less = group.with_answer(&name, &answer(&[2, 3]));
        let at = |number: u8| format!("192.0.2.{number}:80");
        assert_eq!(leases(&less), [(at(2), 2), (at(3), 0), (at(99), 4)]);
        group.servers[0].take_back();
        assert!(group.servers[0].lend());
        let again = less.with_answer(&name, &answer(&[1, 2]));
        assert_eq!(leases(&again), [(at(1), 1), (at(2), 2), (at(99), 4)]);
        let other = Name::Host { host: "other".into(), port: 80 };
        assert_eq!(leases(&again.with_answer(&other, &answer(&[7]))), leases(&again), "of another name");
    }

    #[test]
    fn what_is_counted_for_a_name_never_shrinks_whatever_its_addresses_are() {
        let (name, group) = named(&[1, 2]);
        let count = |group: &GroupSettings, name: &str| {
            let of_name = group.servers.iter().filter(|server| **server.name() == *name);
            let counts: Vec<_> =
                of_name.map(|server| server.incidents().symptoms(Symptom::Type3Refused)).collect();
            assert!(counts.iter().all(|count| *count == counts[0]), "its addresses share one: {counts:?}");
            counts[0]
        };
        for server in &group.servers {
            server.count_symptom(Symptom::Type3Refused);
        }
        assert_eq!((count(&group, "iis:80"), count(&group, "fixed")), (2, 1));
        let less = group.with_answer(&name, &answer(&[2]));
        // A session that goes on there.
        group.servers[0].count_symptom(Symptom::Type3Refused);
        assert_eq!((count(&less, "iis:80"), count(&less, "fixed")), (3, 1));
        let others = less.with_answer(&name, &answer(&[7, 8]));
        assert_eq!(count(&others, "iis:80"), 3);
        let reloaded = named(&[9]).1.inherit(&others);
        assert_eq!((count(&reloaded, "iis:80"), count(&reloaded, "fixed")), (3, 1));
        assert_eq!(count(&reloaded.with_answer(&name, &answer(&[1, 9])), "iis:80"), 3);
        // The name leaves the settings, and comes back with another address.
        let without = reloaded.with_servers("iis", vec![reloaded.written[1].clone()]).inherit(&reloaded);
        assert_eq!(count(&named(&[5]).1.inherit(&without), "iis:80"), 3);
        let twice = vec![group.written[0].clone(), group.written[0].clone()];
        let twice = named(&[1]).1.with_servers("iis", twice);
        twice.servers[0].count_symptom(Symptom::Type3Refused);
        count(&twice, "iis:80");
    }

    #[test]
    fn only_a_server_that_is_not_the_only_one_is_left_out_however_many_there_were_before() {
        let name = Name::Host { host: "iis".into(), port: 80 };
        let (_, group) = named(&[1]);
        let alone = group.with_servers("iis", vec![group.written[0].clone()]);
        assert_eq!(*alone.servers[0].ejection(), Ejection::NEVER);
        let two = alone.with_answer(&name, &answer(&[1, 2]));
        assert!(two.servers.iter().all(|server| *server.ejection() == Ejection::default()));
        assert_eq!(*two.with_answer(&name, &answer(&[2])).servers[0].ejection(), Ejection::NEVER);
    }

    #[test]
    fn weights_of_the_answer_count_and_the_options_of_the_name_are_for_each_server() {
        let (name, group) = named(&[1]);
        let mut found = answer(&[1, 2]);
        found.servers[0].weight = 7.try_into().ok();
        found.servers[1].backup = true;
        let options: Vec<_> =
            group.with_answer(&name, &found).servers.iter().map(|server| server.options()).collect();
        let [one, two, _] = options[..] else { panic!("three servers") };
        assert_eq!((one.weight.get(), one.backup, two.weight.get(), two.backup), (7, false, 1, true));
    }

    #[test]
    fn a_client_suits_servers_that_get_connections_only() {
        let server = |text: &str| {
            let address = Address::Ip(text.parse().expect("an address"));
            Arc::new(Server::new(text, address, None).expect("an IP address"))
        };
        let (v4, v6) = (server("10.1.0.2:80"), server("[2001:db8::2]:80"));
        let settings = GroupSettings::new("iis", vec![Arc::clone(&v4), Arc::clone(&v6)]);
        let view = Group::new(Arc::new(GroupSettings { sources: Sources::Client, ..settings }), 0);
        let suits = || view.suits(Some([192, 0, 2, 7].into()));
        assert!(suits());
        v4.set_order(Some(crate::upstream::ServerOrder::Drain));
        assert!(!suits(), "the server of its family is kept out");
        v6.set_order(Some(crate::upstream::ServerOrder::Disable));
        assert!(suits(), "no server is left, whatever its family");
    }

    #[test]
    fn a_lease_counts_its_server_until_it_is_dropped() {
        let group = group("round-robin", &servers(&[1, 1]), 0);
        let in_use = || group.settings.servers.iter().map(|server| server.leases()).collect::<Vec<_>>();
        let lease = group.pick(None, Instant::now()).next();
        assert_eq!(in_use(), [1, 0], "servers that are not tried are not in use");
        let others: Vec<_> = group.pick(None, Instant::now()).collect();
        assert_eq!(in_use(), [2, 1]);
        others[0].end();
        assert_eq!(in_use(), [2, 0], "it ends once");
        drop((lease, others));
        assert_eq!(in_use(), [0, 0]);
    }
}
