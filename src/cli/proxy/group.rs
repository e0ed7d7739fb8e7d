//! The flags of a group: how its servers are reached.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::affinity::AffinityArgs;
use super::bounds::{DAY, HOUR, MILLISECOND};
use super::health::HealthArgs;
use super::servers::WrittenServer;
use super::sources::SourceArgs;
use super::tls::UpstreamTlsArgs;
use crate::cli::Error;
use crate::cli::quantity::{duration, number};
use crate::control::names::Resolver;
use crate::protocol::proxy_protocol::Version;
use crate::upstream::names::{Answer, Name, ResolveInterval, Written};
use crate::upstream::{Balance, GroupSettings, Server};
use crate::uring::Address;

/// Most connections that a group opens ahead.
const WARM_MAX: u32 = 10_000;

/// What belongs to one group; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
pub(super) struct GroupArgs {
    /// Send servers a PROXY header with the client's address; IIS answers it with 400 [nginx: proxy_protocol]
    #[arg(
        long,
        value_name = "VERSION",
        default_value = "off",
        help_heading = "Addresses",
        display_order = 4
    )]
    send_proxy: SendProxy,
    /// How connections are assigned to servers, each by weight: in turn, to the one with the fewest connections of all
    /// workers, to the better one of two drawn at random, or by the client's address [nginx: least_conn, random, ip_hash]
    #[arg(
        long, value_name = "ALGORITHM", default_value = Balance::default().name(), help_heading = "Servers",
        value_parser = balance()
    )]
    balance: Balance,
    /// With --balance source-hash: bits of an IPv6 address that tell clients apart; 64 for a customer's network as one
    /// client [default: 128] [nginx: -]
    #[arg(
        long, value_name = "BITS", help_heading = "Servers", value_parser = number(0..=128)
    )]
    hash_prefix_v6: Option<u32>,
    /// Open up to so many connections ahead, over all workers, each for one client; as many as clients take at once [nginx:
    /// -]
    #[arg(
        long, value_name = "N", default_value = "0", help_heading = "Servers", value_parser = number(0..=WARM_MAX)
    )]
    warm: u32,
    /// Longest time for a server to accept a connection before the next one is tried [nginx: proxy_connect_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "3s", help_heading = "Time-outs", display_order = 4,
        value_parser = duration(MILLISECOND..=HOUR)
    )]
    connect_timeout: Duration,
    /// Longest time for all servers together until one is ready for a client [default: 2 x --connect-timeout] [nginx:
    /// proxy_next_upstream_timeout]
    #[arg(
        long, value_name = "DURATION", help_heading = "Time-outs", display_order = 5,
        value_parser = duration(MILLISECOND..=HOUR)
    )]
    connect_budget: Option<Duration>,
    /// Longest time that a client waits for a place when every server has its max-connections; 0 to refuse it at once
    /// [nginx: queue]
    #[arg(
        long, value_name = "DURATION", default_value = "0", help_heading = "Time-outs", display_order = 6,
        value_parser = duration(Duration::ZERO..=HOUR)
    )]
    queue_timeout: Duration,
    /// How often names of servers are looked up again: auto as long as an answer is valid (its TTL, from 5s to 5m), or every
    /// 30s where that is not known; off only at start and on SIGHUP [nginx: resolver valid=]
    #[arg(
        long, value_name = "DURATION", default_value = "auto", help_heading = "Servers", value_parser = resolve_interval
    )]
    resolve_interval: ResolveInterval,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    affinity: AffinityArgs,
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    tls: UpstreamTlsArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SendProxy {
    Off,
    V1,
    V2,
}

/// Parses the name of an algorithm.
fn balance() -> impl TypedValueParser<Value = Balance> {
    let named = |name: String| Balance::named(&name).ok_or("this is not the name of an algorithm");
    PossibleValuesParser::new(Balance::ALL.map(Balance::name)).try_map(named)
}

/// Lookups begin too often for any DNS server if they begin more often than this.
const RESOLVE_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Parses an interval, `auto` or `off`.
fn resolve_interval(text: &str) -> Result<ResolveInterval, String> {
    match text {
        "auto" => Ok(ResolveInterval::Auto),
        "off" | "0" => Ok(ResolveInterval::Off),
        _ => match duration(RESOLVE_INTERVAL_MIN..=DAY)(text) {
            Ok(interval) => Ok(ResolveInterval::Every(interval)),
            Err(message) => Err(format!("{message}, or auto or off")),
        },
    }
}

impl GroupArgs {
    /// Whether its servers are spoken to with TLS.
    pub(super) fn speaks_tls(&self) -> bool {
        self.tls.is_on()
    }

    /// Whether a cookie brings clients back to their servers.
    pub(super) fn has_affinity(&self) -> bool {
        self.affinity.is_on()
    }

    /// The keys of flags that were not given, and whose defaults depend on others, with the values in force.
    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        let mut keys = self.health.in_force();
        if self.connect_budget.is_none() {
            let budget = humantime::format_duration(2 * self.connect_timeout);
            keys.push(("connect-budget", budget.to_string()));
        }
        if self.hash_prefix_v6.is_none() && self.balance.name() == "source-hash" {
            keys.push(("hash-prefix-v6", "128".to_owned()));
        }
        keys
    }

    /// A group without servers, to be filled by [`with_servers`](Self::with_servers).
    ///
    /// # Errors
    /// A file for TLS that is not as required.
    pub(super) fn settings(&self) -> Result<GroupSettings, Error> {
        Ok(GroupSettings {
            balance: self.balance,
            hash_prefix_v6: self.hash_prefix_v6()?,
            affinity: self.affinity.affinity()?,
            queue_timeout: self.queue_timeout,
            warm_max: self.warm,
            tls: self.tls.tls()?,
            send_proxy: match self.send_proxy {
                SendProxy::Off => None,
                SendProxy::V1 => Some(Version::V1),
                SendProxy::V2 => Some(Version::V2),
            },
            sources: self.sources.sources(self.warm > 0)?,
            connect_timeout: self.connect_timeout,
            connect_budget: self.connect_budget.unwrap_or(2 * self.connect_timeout),
            checks: self.health.checks()?,
            resolve_interval: self.resolve_interval,
            ejection: self.health.ejection(),
            ..GroupSettings::new("", Vec::new())
        })
    }

    fn hash_prefix_v6(&self) -> Result<u8, Error> {
        match self.hash_prefix_v6 {
            Some(_) if self.balance.name() != "source-hash" => Err(Error::Usage(
                "--hash-prefix-v6 applies to clients assigned by address; add --balance source-hash, or remove it".to_owned(),
            )),
            bits => Ok(bits.map_or(128, |bits| bits as u8)),
        }
    }

    /// The group like `settings` with this name and these servers; `flag` is the one that gave them, `answers` say what
    /// their names stand for.
    ///
    /// # Errors
    /// Servers that are all disabled, or a name that TLS needs and an address does not have.
    pub(super) fn with_servers<'a>(
        &self,
        settings: &GroupSettings,
        name: &str,
        flag: &'static str,
        servers: impl Iterator<Item = &'a WrittenServer>,
        answers: &BTreeMap<Name, Answer>,
    ) -> Result<Arc<GroupSettings>, Error> {
        let written =
            servers.map(|server| self.written(flag, server, answers)).collect::<Result<Vec<_>, _>>()?;
        let group = settings.with_servers(name, written);
        if !group.servers.is_empty() && group.servers.iter().all(|server| server.options().disabled) {
            let first = group.servers[0].name();
            return Err(Error::Usage(format!(
                "--{flag} {first}: every server of its group is disabled; enable one, or remove the group and its routes"
            )));
        }
        self.sources.check(&group.servers)?;
        Ok(Arc::new(group))
    }

    /// A server, or those of a name.
    fn written(
        &self,
        flag: &'static str,
        server: &WrittenServer,
        answers: &BTreeMap<Name, Answer>,
    ) -> Result<Written, Error> {
        let WrittenServer { address, options } = server;
        let tls_name = self.tls.tls_name(address)?;
        let name = address.to_string();
        // Those of a name are elsewhere.
        let at = address.known().cloned().unwrap_or(Address::Ip((Ipv4Addr::UNSPECIFIED, 0).into()));
        let server = Server::new(name.as_str(), at, tls_name)
            .map_err(|error| Error::Usage(format!("--{flag} {name}: {error}; give another address")))?;
        let server = server.with_options(*options).with_slow_start(self.health.slow_start());
        let Some(found) = address.name() else { return Ok(Written::at(server)) };
        let answer = answers.get(&found).cloned().unwrap_or_default();
        Ok(Written::named(server, found, answer))
    }
}

/// What the names of these servers stand for, each server with the flag that gave it. Asks the resolver, so it can take
/// seconds.
///
/// # Errors
/// The first server whose name does not resolve.
pub(super) fn look_up<'a>(
    resolver: &Resolver,
    servers: impl Iterator<Item = (&'static str, &'a WrittenServer)>,
) -> Result<BTreeMap<Name, Answer>, (&'a WrittenServer, Error)> {
    let mut given: Vec<(Name, &'static str, &WrittenServer)> = Vec::new();
    for (flag, server) in servers {
        if let Some(name) = server.address.name()
            && !given.iter().any(|(known, ..)| *known == name)
        {
            given.push((name, flag, server));
        }
    }
    let names: Vec<_> = given.iter().map(|(name, ..)| name.clone()).collect();
    resolver.look_up_all(&names).map_err(|(nth, reason)| {
        let (_, flag, server) = given[nth];
        (server, Error::Resolve { flag, name: server.address.to_string(), reason })
    })
}
