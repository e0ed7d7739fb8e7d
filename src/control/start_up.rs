//! The lines that say what was started, with which resources of this host, and what is to be known of it.

use std::fmt::{self, Display};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::certificates;
use super::listeners::Listeners;
use super::running::{is_http, servers};
use super::setting::setting;
use crate::doctor::host::{self, Files, Granted, Readings, Wanted};
use crate::doctor::{Finding, Severity};
use crate::proxy::settings::{Service, WorkerSettings};
use crate::upstream::{GroupSettings, Server};
use crate::uring::{Address, Feature, FeatureSet, Features};

/// The contents of the start-up line.
#[derive(Debug)]
pub(super) struct StartUp<'a> {
    /// As bound.
    pub listeners: Vec<&'a Address>,
    /// As resolved.
    pub servers: Vec<&'a Arc<Server>>,
    /// Where TLS ends or begins, or that hellos are examined; `None` if not relevant.
    pub tls: Option<&'a str>,
    /// One for each worker.
    pub workers: &'a [WorkerSettings],
    /// Most connections that they serve at once.
    pub sessions_max: usize,
    /// The kernel's features.
    pub features: &'a Features,
    /// The descriptor limit in force.
    pub descriptors_max: u64,
    /// Pipes granted, over all workers.
    pub pipes: usize,
    /// Capacity of the smallest pipe.
    pub pipe_bytes: usize,
    /// What the sandbox consists of.
    pub sandbox: String,
}

impl Display for StartUp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pipes_wanted: usize = self.workers.iter().map(|worker| usize::from(worker.pipes)).sum();
        write!(f, "serving listeners={}", List(&self.listeners))?;
        if self.servers.is_empty() {
            f.write_str(" upstreams=none")?;
        } else {
            write!(f, " upstreams={}", servers_named(&self.servers))?;
        }
        if let Some(tls) = self.tls {
            write!(f, " tls={tls}")?;
        }
        write!(f, " workers={}", self.workers.len())?;
        match self.workers.iter().map(|worker| worker.cpu).collect::<Option<Vec<_>>>() {
            Some(cpus) => write!(f, " cpus={}", List(&cpus))?,
            None => f.write_str(" cpus=any")?,
        }
        write!(f, " connections_max={} descriptors_max={}", self.sessions_max, self.descriptors_max)?;
        write!(f, " kernel={} features={}", self.features.release, self.features.optional)?;
        let without = self.workers.first().map_or(FeatureSet::NONE, |worker| worker.without);
        if without != FeatureSet::NONE {
            write!(f, " io-uring-without={without}")?;
        }
        write!(f, " pipes={}/{pipes_wanted}", self.pipes)?;
        if self.pipes > 0 {
            write!(f, " pipe_bytes={}", self.pipe_bytes)?;
        }
        write!(f, " sandbox={}", self.sandbox)
    }
}

/// What each listener on all IPv6 addresses includes: a line for an operator who expects IPv4 there, as where
/// `net.ipv6.bindv6only` is 0 and a program does not set `IPV6_V6ONLY`.
pub(super) fn on_ipv6(listeners: &[Address]) -> Vec<String> {
    let ip = |address: &Address| match address {
        Address::Ip(address) => Some(*address),
        Address::Unix(_) => None,
    };
    let listeners: Vec<SocketAddr> = listeners.iter().filter_map(ip).collect();
    let for_ipv4 = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let wildcards = listeners.iter().filter(|listener| listener.is_ipv6() && listener.ip().is_unspecified());
    wildcards
        .map(|listener| {
            let ipv4 = for_ipv4(listener.port());
            if listeners.contains(&ipv4) {
                format!("listener {listener} accepts IPv6 only; IPv4 has its own listener {ipv4}")
            } else {
                let ipv4 = ipv4.to_string();
                format!("listener {listener} accepts IPv6 only; for IPv4 add {}", setting("listen").of(&ipv4))
            }
        })
        .collect()
}

/// The items separated by commas, `-` for none.
pub(super) struct List<'a, T>(pub(super) &'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else { return f.write_str("-") };
        first.fmt(f)?;
        rest.iter().try_for_each(|item| write!(f, ",{item}"))
    }
}

/// The servers by name, each with its addresses if they differ from it.
pub(super) fn servers_named(servers: &[&Arc<Server>]) -> String {
    let by_name = servers.chunk_by(|one, other| one.name() == other.name());
    List(&by_name.map(Named).collect::<Vec<_>>()).to_string()
}

/// The name of these servers, and their addresses if they differ from it.
struct Named<'a>(&'a [&'a Arc<Server>]);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(servers) = self;
        let name = &**servers[0].name();
        f.write_str(name)?;
        match &servers.iter().map(|server| server.address()).collect::<Vec<_>>()[..] {
            [address] if address.to_string() == name => Ok(()),
            addresses => write!(f, "({})", List(addresses)),
        }
    }
}

/// With one service the line at the start says all.
pub(super) fn log_each_service(services: &[Arc<Service>]) {
    if services.len() < 2 {
        return;
    }
    for service in services.chunks(1) {
        let mode = if is_http(&service[0]) { "http" } else { "stream" };
        let tls = certificates::place(service);
        tracing::info!(
            service = &*service[0].name,
            listeners = %List(&addresses(service).collect::<Vec<_>>()),
            mode,
            upstreams = %servers_named(&servers(service)),
            tls = tls.as_deref().unwrap_or("off"),
            "service ready"
        );
    }
}

/// Workers' rings that are not restricted, unless that was asked for.
pub(super) fn warn_of_open_rings(features: &Features) {
    if !features.optional.has(Feature::Restrictions) && !features.without.has(Feature::Restrictions) {
        tracing::warn!(
            "the kernel cannot restrict a ring (Linux 5.10); workers' rings can do all that io_uring can"
        );
    }
}

/// Logs what listeners on all addresses include. Those of the service manager are as their units say.
pub(super) fn log_what_listeners_include(services: &[Arc<Service>], listeners: &Listeners) {
    let of_units: Vec<_> = listeners.of_units().collect();
    if !of_units.is_empty() {
        let listeners = List(&of_units);
        tracing::info!(%listeners, "listening on sockets that the service manager passed on; all workers share them");
    }
    let own = addresses(services).filter(|address| !of_units.contains(address));
    for note in on_ipv6(&own.cloned().collect::<Vec<_>>()) {
        tracing::info!("{note}");
    }
}

pub(super) fn warn_of_risky_settings(services: &[Arc<Service>]) {
    let any = |is_risky: &dyn Fn(&GroupSettings) -> bool| {
        services.iter().any(|service| service.groups().any(|group| is_risky(group)))
    };
    if any(&|group| group.send_proxy.is_some()) {
        tracing::warn!("{} is set: IIS (HTTP.sys) answers a PROXY header with 400", setting("send-proxy"));
    }
    if any(&|group| group.tls.as_ref().is_some_and(|tls| tls.trusts_any_certificate)) {
        tracing::warn!(
            "{} is set: server certificates are not verified, so anything between this host and the \
             servers can read logins",
            setting("upstream-insecure")
        );
    }
    for service in services.iter().filter(|service| service.admits_by_untrusted_headers()) {
        let service = &*service.name;
        tracing::warn!(
            service,
            "clients are admitted by PROXY headers that any client may send; name the balancers with {}",
            setting("accept-proxy-from")
        );
    }
    let groups = || services.iter().flat_map(|service| service.groups());
    for group in groups().filter(|group| group.has_only_backup_servers()) {
        let group = &*group.name;
        tracing::warn!(
            group,
            "every server of the group is a backup server or disabled; backup servers take all connections"
        );
    }
    let mut names: Vec<_> = groups().flat_map(|group| group.names()).collect();
    names.sort_by_key(|(name, _)| name);
    names.dedup_by_key(|(name, _)| name);
    for (name, answer) in names {
        answer.warnings.iter().for_each(|warning| tracing::warn!(%name, "{warning}"));
    }
    for warning in groups().filter_map(|group| group.tls.as_ref()).flat_map(|tls| &tls.warnings) {
        tracing::warn!("{warning}");
    }
}

/// The addresses of all listeners.
pub(super) fn addresses(services: &[Arc<Service>]) -> impl Iterator<Item = &Address> {
    services.iter().flat_map(|service| &service.listeners).map(|listener| &listener.address)
}

/// Logs what the settings ask for and do not get on this host: findings of the doctor, which warn only.
pub(super) fn warn_of_this_host(wanted: &Wanted, granted: Granted) {
    let readings = Readings::read(&Files::of_this_host()).granted(granted);
    host::at_start(&readings, wanted).iter().for_each(warn);
}

/// Warns only, because accepting pauses when descriptors run out; but this is hardly intended.
pub(super) fn warn_if_descriptors_run_out(wanted: &Wanted) {
    let finding = host::descriptors(wanted);
    if finding.severity > Severity::Fine {
        warn(&finding);
    }
}

fn warn(finding: &Finding) {
    let Finding { id, saw, why, fix, .. } = finding;
    tracing::warn!(finding = id, "{saw}; {why}; {fix}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(address: &str) -> Address {
        Address::Ip(address.parse().expect(address))
    }

    fn worker(cpu: Option<usize>) -> WorkerSettings {
        WorkerSettings { cpu, ..WorkerSettings::default() }
    }

    fn server(name: &str, address: &str) -> Arc<Server> {
        Arc::new(Server::new(name, ip(address), None).expect("an IP address"))
    }

    #[test]
    fn the_line_says_what_serves_and_what_was_granted() {
        let listeners = [ip("0.0.0.0:80"), Address::Unix("/run/app.sock".into())];
        let servers = [
            server("iis1:80", "192.0.2.1:80"),
            server("iis1:80", "[2001:db8::1]:80"),
            server("192.0.2.2:80", "192.0.2.2:80"),
        ];
        let start_up = StartUp {
            listeners: listeners.iter().collect(),
            servers: servers.iter().collect(),
            tls: Some("clients,upstreams"),
            workers: &[worker(Some(0)), worker(Some(3))],
            sessions_max: 9800,
            features: &Features {
                release: "6.18.0".to_owned(),
                optional: [Feature::NoIowait, Feature::Restrictions].into_iter().collect(),
                without: FeatureSet::NONE,
            },
            descriptors_max: 20_000,
            pipes: 100,
            pipe_bytes: 1024 * 1024,
            sandbox: "seccomp,rings".to_owned(),
        };
        assert_eq!(
            start_up.to_string(),
            "serving listeners=0.0.0.0:80,unix:/run/app.sock \
             upstreams=iis1:80(192.0.2.1:80,[2001:db8::1]:80),192.0.2.2:80 tls=clients,upstreams workers=2 cpus=0,3 connections_max=9800 \
             descriptors_max=20000 kernel=6.18.0 features=no-iowait,restrictions pipes=100/128 pipe_bytes=1048576 sandbox=seccomp,rings"
        );
    }

    #[test]
    fn what_there_is_not_is_said_too() {
        let (listener, server) = (ip("0.0.0.0:80"), server("192.0.2.2:80", "192.0.2.2:80"));
        let start_up = StartUp {
            listeners: vec![&listener],
            servers: vec![&server],
            tls: None,
            workers: &[WorkerSettings {
                pipes: 0,
                without: FeatureSet::NONE.with(Feature::DeferTaskrun),
                ..worker(None)
            }],
            sessions_max: 4900,
            features: &Features {
                release: "6.1.0".to_owned(),
                optional: FeatureSet::NONE,
                without: FeatureSet::NONE.with(Feature::DeferTaskrun).with(Feature::Restrictions),
            },
            descriptors_max: 1024,
            pipes: 0,
            pipe_bytes: 0,
            sandbox: "off".to_owned(),
        };
        assert_eq!(
            start_up.to_string(),
            "serving listeners=0.0.0.0:80 upstreams=192.0.2.2:80 workers=1 cpus=any connections_max=4900 \
             descriptors_max=1024 kernel=6.1.0 features=- io-uring-without=defer-taskrun pipes=0/0 sandbox=off"
        );
    }
}
