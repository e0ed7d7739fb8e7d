//! Servers that can replace each other, and which of them to try.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;

use super::balance::{Algorithm, Balance, Beginning};
use super::pick::Pick;
use super::server::Server;
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
    /// How one of them is chosen.
    pub balance: Balance,
    /// TLS with these servers: each has a name to prove then.
    pub tls: Option<Tls>,
    /// The PROXY header that servers are sent, if any.
    pub send_proxy: Option<proxy_protocol::Version>,
    /// How long one server may take to accept a connection, and then to complete its TLS handshake.
    pub connect_timeout: Duration,
    /// How long all servers together may take until one is ready for a client.
    pub connect_budget: Duration,
}

impl GroupSettings {
    /// A group with the default settings.
    pub fn new(name: impl Into<Arc<str>>, servers: Vec<Arc<Server>>) -> Self {
        Self {
            name: name.into(),
            servers,
            balance: Balance::default(),
            tls: None,
            send_proxy: None,
            connect_timeout: Duration::from_secs(3),
            connect_budget: Duration::from_secs(6),
        }
    }

    /// Whether it has servers, but connections can only go to backup servers.
    pub fn has_only_backup_servers(&self) -> bool {
        let mut options = self.servers.iter().map(|server| server.options());
        !self.servers.is_empty() && options.all(|options| options.backup || options.disabled)
    }

    /// The same group whose servers go on with the states that servers of the same name have in `known`, the group of
    /// earlier settings.
    #[must_use]
    pub fn inherit(&self, known: &Self) -> Self {
        let mut left: Vec<_> = known.servers.iter().collect();
        let inherit = |server: &Arc<Server>| match left.iter().position(|other| other.name() == server.name())
        {
            // Each state once, if a name stands for several servers.
            Some(nth) => Arc::new(server.inherit(left.remove(nth))),
            None => Arc::clone(server),
        };
        Self { servers: self.servers.iter().map(inherit).collect(), ..self.clone() }
    }
}

/// TLS with servers.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Remembers no sessions to resume; every worker remembers its own.
    pub config: Arc<ClientConfig>,
    /// What the configuration verifies certificates by.
    pub verifier: Arc<dyn ServerCertVerifier>,
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
}

impl Group {
    /// The view of the worker with this number, from 0.
    pub fn new(settings: Arc<GroupSettings>, worker: usize) -> Self {
        let tls = settings.tls.as_ref().map(|tls| with_own_sessions(&tls.config));
        let algorithm = settings.balance.begin(&Beginning { servers: &settings.servers, worker });
        Self { settings, tls, algorithm }
    }

    /// The settings that it was made from.
    pub fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// TLS with its servers.
    pub fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// Leases in the order to try them for a client at `source`: every address of the server that the algorithm chooses,
    /// then those of the next one, and so on; backup servers last.
    pub fn pick(&self, source: Option<IpAddr>) -> Pick<'_> {
        Pick::new(&self.settings.servers, &*self.algorithm, source)
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
    use crate::uring::Address;

    fn group(addresses: &[usize]) -> Group {
        let server = |(number, count): (usize, &usize)| {
            let address = |nth| Address::Ip(([192, 0, 2, number as u8], 80 + nth as u16).into());
            let server = Server::new(format!("iis{number}"), (0..*count).map(address).collect(), None);
            Arc::new(server.expect("IP addresses"))
        };
        let servers = addresses.iter().enumerate().map(server).collect();
        Group::new(Arc::new(GroupSettings::new("iis", servers)), 0)
    }

    #[test]
    fn servers_take_turns_and_every_address_is_tried_once() {
        let group = group(&[1, 2, 1]);
        let order = || group.pick(None).map(|lease| lease.address().to_string()).collect::<Vec<_>>();
        let (first, second, third) = ("192.0.2.0:80", ["192.0.2.1:80", "192.0.2.1:81"], "192.0.2.2:80");
        assert_eq!(order(), [first, second[0], second[1], third]);
        assert_eq!(order(), [second[0], second[1], third, first]);
        assert_eq!(order(), [third, first, second[0], second[1]]);
        assert_eq!(order(), [first, second[0], second[1], third]);
    }

    #[test]
    fn servers_of_the_same_name_keep_their_states_each_one_its_own() {
        let server = |name: &str| Arc::new(Server::new(name, vec![], None).expect("no address is bad"));
        let group =
            |names: &[&str]| GroupSettings::new("iis", names.iter().map(|name| server(name)).collect());
        let old = group(&["a", "a", "b"]);
        for (server, leases) in std::iter::zip(&old.servers, [1, 2, 4]) {
            (0..leases).for_each(|_| server.lend());
        }
        let new = group(&["b", "c", "a", "a", "a"]).inherit(&old);
        let leases: Vec<_> = new.servers.iter().map(|server| server.leases()).collect();
        assert_eq!(leases, [4, 0, 1, 2, 0]);
    }

    #[test]
    fn a_lease_counts_its_server_until_it_is_dropped() {
        let group = group(&[1, 1]);
        let in_use = || group.settings.servers.iter().map(|server| server.leases()).collect::<Vec<_>>();
        let lease = group.pick(None).next();
        assert_eq!(in_use(), [1, 0], "servers that are not tried are not in use");
        let others: Vec<_> = group.pick(None).collect();
        assert_eq!(in_use(), [2, 1]);
        drop((lease, others));
        assert_eq!(in_use(), [0, 0]);
    }
}
