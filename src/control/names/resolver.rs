//! Lookups of names: what each stands for now.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::dns::{Dns, Missing, Records};
use super::services::{Named, named};
use super::system;
use crate::upstream::names::{Answer, Family, Found, Name, Parts};

/// Most servers that one name stands for.
const SERVERS_MAX: usize = 256;

/// Most names that are looked up at once; each has a few descriptors.
pub(super) const AT_ONCE_MAX: usize = 8;

/// Most hosts of one service that are looked up at once.
const HOSTS_AT_ONCE_MAX: usize = 2;

/// How names are looked up.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// The DNS servers to ask; none: this host's own ways.
    pub servers: Vec<SocketAddr>,
    /// Longest wait for a name.
    pub timeout: Duration,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout: Duration::from_secs(10) }
    }
}

/// What a name stands for, or why that is not known.
type Looked = Result<Answer, String>;

/// The addresses of a host with port 0, and what else an [`Answer`] has of them.
#[derive(Default)]
struct Addresses {
    all: Vec<SocketAddr>,
    valid_for: Option<Duration>,
    warnings: Vec<String>,
    parts: Parts,
}

impl Resolver {
    /// Looks up names; waits until all have an answer, or one has none.
    ///
    /// # Errors
    /// The place of the first name that has none, and why.
    pub fn look_up_all(&self, names: &[Name]) -> Result<BTreeMap<Name, Answer>, (usize, String)> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| (0, no_descriptor(&error)))?;
        runtime.block_on(async {
            let at_once = Arc::new(Semaphore::new(AT_ONCE_MAX));
            let mut tasks = JoinSet::new();
            for (nth, name) in names.iter().cloned().enumerate() {
                let (resolver, at_once) = (self.clone(), Arc::clone(&at_once));
                tasks.spawn(async move {
                    let _permit = at_once.acquire_owned().await.ok()?;
                    let looked = resolver.look_up(&name, &Parts::new()).await;
                    Some((nth, name, looked))
                });
            }
            let mut answers = BTreeMap::new();
            let mut missing: Option<(usize, String)> = None;
            while let Some(task) = tasks.join_next().await {
                match task.ok().flatten() {
                    Some((_, name, Ok(answer))) => drop(answers.insert(name, answer)),
                    Some((nth, _, Err(reason))) => {
                        if missing.as_ref().is_none_or(|(first, _)| nth < *first) {
                            missing = Some((nth, reason));
                        }
                        // Those that have not begun wait for nothing.
                        at_once.close();
                    }
                    None => {}
                }
            }
            missing.map_or(Ok(answers), Err)
        })
    }

    /// Looks up a name. What of it cannot be looked up stays as it is `known`.
    ///
    /// # Errors
    /// Why it is not known what it stands for.
    pub(super) async fn look_up(&self, name: &Name, known: &Parts) -> Looked {
        let deadline = Instant::now() + self.timeout;
        let answer = match name {
            Name::Host { host, port } => self.host(host, *port, known, deadline).await,
            Name::Service(service) => self.service(service, known, deadline).await,
        };
        answer.map(|answer| bounded(name, answer))
    }

    async fn host(&self, host: &str, port: u16, known: &Parts, deadline: Instant) -> Looked {
        let Addresses { all, valid_for, warnings, parts } = self.addresses(host, known, deadline).await?;
        let servers = all.into_iter().map(|address| Found::at(at_port(address, port))).collect();
        Ok(Answer { servers, valid_for, warnings, parts })
    }

    /// The addresses of a host, sorted, since the order of an answer says nothing.
    async fn addresses(&self, host: &str, known: &Parts, deadline: Instant) -> Result<Addresses, String> {
        // DNS knows no zones of IPv6 addresses.
        if self.servers.is_empty() || host.contains(':') {
            let looked = self.in_time(deadline, system::look_up(host, 0)).await.and_then(|looked| looked)?;
            let all: BTreeSet<_> = looked.into_iter().collect();
            if all.is_empty() {
                return Err(Missing::OfType.reason());
            }
            return Ok(Addresses { all: all.into_iter().collect(), ..Addresses::default() });
        }
        let dns = Dns::at(&self.servers, self.timeout)?;
        let (v4, v6) = tokio::join!(
            timeout_at(deadline, dns.addresses(host, false)),
            timeout_at(deadline, dns.addresses(host, true))
        );
        let late = |_| Err(Missing::Unknown(system::late(self.timeout)));
        joined(host, [(Family::V4, v4.unwrap_or_else(late)), (Family::V6, v6.unwrap_or_else(late))], known)
    }

    async fn service(&self, service: &str, known: &Parts, deadline: Instant) -> Looked {
        let dns = if self.servers.is_empty() {
            Dns::of_host(self.timeout)?
        } else {
            Dns::at(&self.servers, self.timeout)?
        };
        let found = self.in_time(deadline, dns.services(service)).await?;
        let Records { all, valid_for } = found.map_err(|missing| match missing {
            Missing::OfType => "the name has no SRV record".to_owned(),
            missing => missing.reason(),
        })?;
        let mut named = named(all);
        if named.is_empty() {
            return Err("its SRV record says that the service is not available".to_owned());
        }
        // More are never used.
        named.truncate(SERVERS_MAX);
        let hosts: BTreeSet<_> = named.iter().map(|named| named.host.clone()).collect();
        let mut answer = Answer { valid_for: Some(valid_for), ..Answer::default() };
        let hosts = self.hosts(hosts, known, deadline, &mut answer).await?;
        for Named { host, port, weight, backup } in named {
            for address in hosts.get(&host).into_iter().flatten() {
                let address = at_port(*address, port);
                answer.servers.push(Found { address, weight: Some(weight), backup });
            }
        }
        Ok(answer)
    }

    /// The addresses of these hosts, some of which may have none; what else is found out of them goes into `answer`.
    async fn hosts(
        &self,
        hosts: BTreeSet<String>,
        known: &Parts,
        deadline: Instant,
        answer: &mut Answer,
    ) -> Result<BTreeMap<String, Vec<SocketAddr>>, String> {
        let at_once = Arc::new(Semaphore::new(HOSTS_AT_ONCE_MAX));
        let mut tasks = JoinSet::new();
        for host in hosts {
            let (resolver, known, at_once) = (self.clone(), known.clone(), Arc::clone(&at_once));
            tasks.spawn(async move {
                let _permit = at_once.acquire_owned().await;
                let found = resolver.addresses(&host, &known, deadline).await;
                (host, found)
            });
        }
        let mut found = BTreeMap::new();
        let mut reasons = BTreeSet::new();
        while let Some(Ok((host, addresses))) = tasks.join_next().await {
            let key = (host.clone(), Family::Any);
            let all = match addresses {
                Ok(Addresses { all, valid_for, warnings, parts }) => {
                    answer.valid_for = shorter(answer.valid_for, valid_for);
                    answer.warnings.extend(warnings);
                    answer.parts.extend(parts);
                    all
                }
                Err(reason) => {
                    let reason = format!("cannot resolve {host}, which its SRV record names: {reason}");
                    let all = known.get(&key).cloned().unwrap_or_default();
                    let what = if all.is_empty() { "leaving it out" } else { "keeping its addresses" };
                    answer.warnings.push(format!("{reason}; {what}"));
                    reasons.insert(reason);
                    all
                }
            };
            if !all.is_empty() {
                answer.parts.insert(key, all.clone());
                found.insert(host, all);
            }
        }
        // Their order is that of the answers.
        answer.warnings.sort();
        if found.is_empty() { Err(reasons.pop_first().unwrap_or_default()) } else { Ok(found) }
    }

    async fn in_time<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Result<T, String> {
        timeout_at(deadline, work).await.map_err(|_| system::late(self.timeout))
    }
}

/// The addresses of both families: those that cannot be looked up stay as they are known.
fn joined(
    host: &str,
    families: [(Family, Result<Records<IpAddr>, Missing>); 2],
    known: &Parts,
) -> Result<Addresses, String> {
    let mut addresses = Addresses::default();
    let mut reasons = Vec::new();
    for (family, found) in families {
        let key = (host.to_owned(), family);
        match found {
            Ok(Records { all, valid_for }) => {
                let all: BTreeSet<_> = all.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
                addresses.valid_for = shorter(addresses.valid_for, Some(valid_for));
                addresses.all.extend(&all);
                addresses.parts.insert(key, all.into_iter().collect());
            }
            Err(Missing::Unknown(reason)) => {
                if let Some(all) = known.get(&key) {
                    addresses.all.extend(all);
                    addresses.parts.insert(key, all.clone());
                }
                let what = if family == Family::V6 { "IPv6" } else { "IPv4" };
                let warning =
                    format!("cannot look up the {what} addresses of {host}: {reason}; keeping those it had");
                addresses.warnings.push(warning);
                reasons.insert(0, reason);
            }
            Err(missing) => reasons.push(missing.reason()),
        }
    }
    let is_known = addresses.valid_for.is_some();
    if is_known { Ok(addresses) } else { Err(reasons.swap_remove(0)) }
}

/// The address with a port.
fn at_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The answer with each address once, and not more servers than there may be.
fn bounded(name: &Name, mut answer: Answer) -> Answer {
    for found in &mut answer.servers {
        // An IPv4 address in the form of IPv6 is the same.
        found.address.set_ip(found.address.ip().to_canonical());
    }
    let mut seen = BTreeSet::new();
    answer.servers.retain(|found| seen.insert(found.address));
    if answer.servers.len() > SERVERS_MAX {
        answer.servers.truncate(SERVERS_MAX);
        answer.warnings.push(format!(
            "{name} has more than {SERVERS_MAX} addresses; using the first {SERVERS_MAX} of them"
        ));
    }
    answer
}

fn no_descriptor(error: &io::Error) -> String {
    format!("the lookup has no descriptor: {error}")
}
