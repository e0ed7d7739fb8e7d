//! The certificates of all services, and what is said of them at start and when settings are read again.

use std::sync::Arc;

use super::health::groups;
use super::setting::setting;
use super::tls::{Comparison, Terminated};
use crate::proxy::settings::Service;
use crate::upstream::OwnCertificate;

/// A service that is served, with its certificates.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) service: Arc<Service>,
    /// If TLS ends here.
    pub(super) terminated: Option<Terminated>,
}

impl Served {
    /// These services, each with its certificates.
    pub(super) fn all(services: &[Arc<Service>], terminated: Vec<Option<Terminated>>) -> Vec<Self> {
        let with_service = |(service, terminated)| Self { service: Arc::clone(service), terminated };
        std::iter::zip(services, terminated).map(with_service).collect()
    }
}

/// Whose a certificate of the proxy is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// Clients of the service see it.
    Service(Arc<str>),
    /// Servers of the group see it, if they ask for one.
    Group(Arc<str>),
}

impl Owner {
    /// The service, if clients see it.
    pub(super) fn service(&self) -> Option<&str> {
        match self {
            Self::Service(name) => Some(name),
            Self::Group(_) => None,
        }
    }

    /// The group, if servers see it.
    pub(super) fn group(&self) -> Option<&str> {
        match self {
            Self::Group(name) => Some(name),
            Self::Service(_) => None,
        }
    }

    /// Who sees it.
    pub(super) fn side(&self) -> &'static str {
        match self {
            Self::Service(_) => "client",
            Self::Group(_) => "upstream",
        }
    }
}

/// The proxy's own certificates: those that clients see, then those for servers.
pub(super) fn own(all: &[Served]) -> Vec<(Owner, OwnCertificate)> {
    let shown = all.iter().filter_map(|one| Some((&one.service.name, one.terminated.as_ref()?)));
    let shown = shown.flat_map(|(service, terminated)| {
        let all = std::iter::zip(&terminated.leaves, &terminated.files);
        let own = all.map(|(leaf, file)| OwnCertificate { leaf: leaf.clone(), file: file.clone() });
        own.map(|own| (Owner::Service(Arc::clone(service)), own)).collect::<Vec<_>>()
    });
    let services: Vec<_> = all.iter().map(|one| Arc::clone(&one.service)).collect();
    let groups = groups(&services);
    let for_servers = groups.iter().filter_map(|group| {
        let own = group.tls.as_ref()?.own.clone()?;
        Some((Owner::Group(Arc::clone(&group.name)), own))
    });
    shown.chain(for_servers).collect()
}

/// Where TLS ends or begins in these services, or that hellos are examined; `None` if not relevant.
pub(super) fn place(services: &[Arc<Service>]) -> Option<String> {
    let ends = |service: &Service| service.client_tls.is_some();
    let passes = |service: &Service| {
        service.routes.depend_on_hello() && service.client_tls.is_none() && !speaks_tls(service)
    };
    let has = |is: &dyn Fn(&Service) -> bool| services.iter().any(|service| is(service));
    let places = [("clients", has(&ends)), ("upstreams", has(&speaks_tls)), ("passed-through", has(&passes))];
    let found: Vec<_> =
        places.into_iter().filter(|(_, is_there)| *is_there).map(|(place, _)| place).collect();
    (!found.is_empty()).then(|| found.join(","))
}

/// Whether any group of the service speaks TLS with its servers.
fn speaks_tls(service: &Service) -> bool {
    service.groups().any(|group| group.tls.is_some())
}

/// Logs what an operator should know about certificates before clients notice.
pub(super) fn log_checks(all: &[Served]) {
    for one in all {
        if let Some(terminated) = &one.terminated {
            log_checks_of(one, terminated, all.len());
        }
    }
}

fn log_checks_of(Served { service, .. }: &Served, terminated: &Terminated, services: usize) {
    // The only one needs no name.
    let name = (services > 1).then_some(&*service.name);
    for warning in &terminated.warnings {
        tracing::warn!(service = name, "{warning}");
    }
    if !speaks_tls(service) {
        tracing::info!(
            service = name,
            "TLS is terminated here and servers get plain HTTP: where IIS requires Extended Protection, logins will \
             fail; pass TLS through with {}, or add {} and use the servers' certificate for clients",
            setting("sni-route"),
            setting("upstream-tls")
        );
    }
}

/// For each service whose both sides use TLS, checks whether they use the same certificate.
pub(super) fn compare(all: &[Served]) {
    for one in all {
        if let Some(terminated) = &one.terminated {
            compare_of(&one.service, terminated);
        }
    }
}

fn compare_of(service: &Service, terminated: &Terminated) {
    if !speaks_tls(service) {
        return;
    }
    let comparison =
        Comparison { shown: terminated.leaves.clone(), groups: service.groups().map(Arc::clone).collect() };
    if let Err(error) = comparison.start() {
        tracing::warn!(%error, "cannot check the servers' certificates; skipping the check");
    }
}
