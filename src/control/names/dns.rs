//! Lookups that ask DNS servers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{ResolverBuilder, TokioResolver};

/// Longest wait for one server.
const TRY: Duration = Duration::from_secs(3);

/// Most aliases that are followed to SRV records.
const ALIASES_MAX: usize = 8;

/// DNS servers, each asked when those before it fail or are silent: the first one may know names that the others do not.
pub(super) struct Dns(Vec<TokioResolver>);

/// Records of one type, and how long they are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Records<T> {
    pub(super) all: Vec<T>,
    pub(super) valid_for: Duration,
}

/// A record that names a server of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServiceRecord {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) target: String,
    pub(super) port: u16,
}

/// Why there are no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// The name has none of this type.
    OfType,
    /// There is no such name.
    OfName,
    /// There may be some, but no server said.
    Unknown(String),
}

impl Dns {
    /// The servers at these addresses; no search domain is tried.
    ///
    /// # Errors
    /// None without TLS, according to the resolver.
    pub(super) fn at(servers: &[SocketAddr], timeout: Duration) -> Result<Self, String> {
        let server = |address: &SocketAddr| {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = address.port();
            }
            NameServerConfig::new(address.ip(), true, connections.into())
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        Self::build(config, &ResolverOpts::default(), timeout)
    }

    /// Those of `/etc/resolv.conf`, with its search domains.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(super) fn of_host(timeout: Duration) -> Result<Self, String> {
        let (config, options) = read_system_conf().map_err(|error| match error {
            NetError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                "there is no /etc/resolv.conf that names DNS servers".to_owned()
            }
            error => format!("/etc/resolv.conf: {error}"),
        })?;
        Self::build(config, &options, timeout)
    }

    fn build(config: ResolverConfig, options: &ResolverOpts, timeout: Duration) -> Result<Self, String> {
        let (domain, search, servers) = config.into_parts();
        // What the last one takes is within the time of the lookup as well.
        let a_try = TRY.min(timeout / (servers.len() as u32 + 1));
        let one = |server: NameServerConfig| {
            let config = ResolverConfig::from_parts(domain.clone(), search.clone(), vec![server]);
            let mut builder: ResolverBuilder<_> =
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            let own = builder.options_mut();
            *own = options.clone();
            own.timeout = a_try;
            own.attempts = 0;
            // Each question wants to know what is true now.
            own.cache_size = 0;
            own.use_hosts_file = ResolveHosts::Never;
            // So that the shortest time of a chain of aliases counts.
            own.preserve_intermediates = true;
            builder.build().map_err(|error| error.to_string())
        };
        servers.into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// The IPv4 addresses of a host, or the IPv6 ones.
    pub(super) async fn addresses(&self, host: &str, is_v6: bool) -> Result<Records<IpAddr>, Missing> {
        let found = self.look_up(name(host)?, if is_v6 { RecordType::AAAA } else { RecordType::A }).await?;
        let address = |data: &RData| match data {
            RData::A(address) if !is_v6 => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) if is_v6 => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        records(&found, address)
    }

    /// The SRV records of a service.
    pub(super) async fn services(&self, service: &str) -> Result<Records<ServiceRecord>, Missing> {
        let mut asked = name(service)?;
        let mut valid_for = Duration::MAX;
        for _ in 0..ALIASES_MAX {
            let missing = match self.look_up(asked.clone(), RecordType::SRV).await {
                Ok(found) => match records(&found, service_record) {
                    Ok(Records { all, valid_for: own }) => {
                        return Ok(Records { all, valid_for: valid_for.min(own) });
                    }
                    Err(missing) => missing,
                },
                Err(missing) => missing,
            };
            // The resolver takes the targets of SRV records behind an alias for another one.
            let alias = match missing {
                Missing::Unknown(_) => return Err(missing),
                _ => self.look_up(asked, RecordType::CNAME).await.map_err(|_| missing.clone())?,
            };
            let target = |data: &RData| match data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            };
            let mut alias = records(&alias, target).map_err(|_| missing)?;
            valid_for = valid_for.min(alias.valid_for);
            asked = alias.all.remove(0);
        }
        Err(Missing::Unknown("it has too many aliases".to_owned()))
    }

    async fn look_up(&self, name: Name, record_type: RecordType) -> Result<Lookup, Missing> {
        let mut last = Missing::Unknown("there is no DNS server".to_owned());
        for server in &self.0 {
            match server.lookup(name.clone(), record_type).await.map_err(|error| missing(&error)) {
                Err(Missing::Unknown(reason)) => last = Missing::Unknown(reason),
                known => return known,
            }
        }
        Err(last)
    }
}

impl Missing {
    /// In words.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::OfType => "the name has no address".to_owned(),
            Self::OfName => "there is no such name".to_owned(),
            Self::Unknown(reason) => reason.clone(),
        }
    }
}

fn name(text: &str) -> Result<Name, Missing> {
    // Underscores and upper case are as valid as anything else in DNS.
    Name::from_str_relaxed(text)
        .map_err(|_| Missing::Unknown("this is not a name that DNS can have".to_owned()))
}

/// The records that are of the type asked for.
fn records<T>(lookup: &Lookup, of_type: impl Fn(&RData) -> Option<T>) -> Result<Records<T>, Missing> {
    let all: Vec<_> = lookup.answers().iter().filter_map(|record| of_type(&record.data)).collect();
    let seconds = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    if all.is_empty() {
        Err(Missing::OfType)
    } else {
        Ok(Records { all, valid_for: Duration::from_secs(seconds.into()) })
    }
}

fn service_record(data: &RData) -> Option<ServiceRecord> {
    let RData::SRV(record) = data else { return None };
    Some(ServiceRecord {
        priority: record.priority,
        weight: record.weight,
        target: record.target.to_ascii(),
        port: record.port,
    })
}

fn missing(error: &NetError) -> Missing {
    let unknown = |reason: &str| Missing::Unknown(reason.to_owned());
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Missing::OfName,
            ResponseCode::NoError => Missing::OfType,
            code => Missing::Unknown(code_words(code)),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => Missing::Unknown(code_words(*code)),
        NetError::Timeout => unknown("no DNS server answers"),
        NetError::NoConnections => unknown("no DNS server can be reached"),
        NetError::Io(error) => Missing::Unknown(format!("no DNS server can be reached: {error}")),
        error => Missing::Unknown(error.to_string()),
    }
}

fn code_words(code: ResponseCode) -> String {
    let word = match code {
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::NotImp => "NOTIMP",
        code => return format!("the DNS server answers with code {}", u16::from(code)),
    };
    format!("the DNS server answers {word}")
}
