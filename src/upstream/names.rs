//! Names that stand for servers: what is looked up, and what each group makes of the answer.
//!
//! Nothing is looked up here: the resolver's side hands in an [`Answer`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::server::{Server, ServerOptions};

/// How a name begins that stands for SRV records.
pub const SERVICE_PREFIX: &str = "srv://";

/// What stands for servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// A host: each of its addresses is a server at this port.
    Host {
        /// Its name.
        host: Arc<str>,
        /// The port of all.
        port: u16,
    },
    /// A service, whose SRV records name hosts and ports.
    Service(Arc<str>),
}

impl fmt::Display for Name {
    /// As settings have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Service(service) => write!(f, "{SERVICE_PREFIX}{service}"),
        }
    }
}

/// The domain whose service `_http._tcp.corp.example` is: what its servers prove to be, since the hosts that DNS names
/// prove nothing (RFC 6125 section 6.2.1).
pub fn domain_of_service(service: &str) -> Option<&str> {
    let mut parts = service.splitn(3, '.');
    let labels = [parts.next()?, parts.next()?];
    let domain = parts.next()?.trim_end_matches('.');
    let is_label = |label: &str| label.len() > 1 && label.starts_with('_');
    (labels.into_iter().all(is_label) && !domain.is_empty()).then_some(domain)
}

/// How often a name is looked up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum ResolveInterval {
    /// When the answer is not valid any more, within bounds.
    #[default]
    Auto,
    /// At this interval, whatever an answer says.
    Every(Duration),
    /// Never.
    Off,
}

/// One of the servers that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Where it is.
    pub address: SocketAddr,
    /// Its weight by the answer, where that has weights.
    pub weight: Option<NonZeroU16>,
    /// Whether the answer prefers others.
    pub backup: bool,
}

impl Found {
    /// A server of which no more is said.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, weight: None, backup: false }
    }
}

/// What a name stands for now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// In an order that does not depend on the answer's; each address once; never empty.
    pub servers: Vec<Found>,
    /// How long that is valid, where the answer says so.
    pub valid_for: Option<Duration>,
    /// What of the answer cannot be used, one line each.
    pub warnings: Vec<String>,
    /// The addresses by what was looked up, for when a part of it cannot be.
    pub parts: Parts,
}

/// Addresses by what was looked up.
pub type Parts = BTreeMap<(String, Family), Vec<SocketAddr>>;

/// Which addresses of a host were looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// All of them.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A server as the settings have it, and the servers that it stands for.
#[derive(Debug, Clone)]
pub struct Written {
    like: Server,
    name: Option<(Name, Answer)>,
}

impl Written {
    /// The server itself.
    pub fn at(server: Server) -> Self {
        Self { like: server, name: None }
    }

    /// Servers like this one, wherever the name says that they are.
    pub fn named(like: Server, name: Name, answer: Answer) -> Self {
        Self { like, name: Some((name, answer)) }
    }

    /// Its options.
    pub fn options(&self) -> ServerOptions {
        self.like.options()
    }

    /// Its name, if it has one, and what that stands for.
    pub fn name(&self) -> Option<&(Name, Answer)> {
        self.name.as_ref()
    }

    /// The same with what its name stands for now.
    pub(super) fn with_answer(&self, name: &Name, answer: &Answer) -> Self {
        match &self.name {
            Some((own, _)) if own == name => Self::named(self.like.clone(), name.clone(), answer.clone()),
            _ => self.clone(),
        }
    }

    /// The servers that it stands for, of which nothing is known yet.
    pub(super) fn servers(&self) -> Vec<Server> {
        let Some((_, answer)) = &self.name else { return vec![self.like.clone()] };
        let server = |found: &Found| {
            let options = self.like.options();
            let weight = found.weight.unwrap_or(options.weight);
            let options = ServerOptions { weight, backup: options.backup || found.backup, ..options };
            self.like.elsewhere(found.address).with_options(options)
        };
        answer.servers.iter().map(server).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_they_are_read() {
        let host = |host: &str| Name::Host { host: host.into(), port: 80 };
        assert_eq!(host("iis.corp.example").to_string(), "iis.corp.example:80");
        assert_eq!(host("fe80::1%eth0").to_string(), "[fe80::1%eth0]:80");
        assert_eq!(Name::Service("_http._tcp.example".into()).to_string(), "srv://_http._tcp.example");
    }

    #[test]
    fn a_service_is_that_of_a_domain() {
        for (service, domain) in [
            ("_http._tcp.corp.example", Some("corp.example")),
            ("_http._tcp.example.", Some("example")),
            ("_http._tcp", None),
            ("_http._tcp.", None),
            ("http.tcp.example", None),
            ("_._tcp.example", None),
            ("", None),
        ] {
            assert_eq!(domain_of_service(service), domain, "{service}");
        }
    }
}
