//! What is said of the certificates of all services, at start and when settings are read again.

use std::sync::Arc;

use super::setting::setting;
use super::tls::{Comparison, Terminated};
use crate::proxy::settings::Service;

/// A service that is served, with its certificates.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) service: Arc<Service>,
    /// If TLS ends here.
    pub(super) terminated: Option<Terminated>,
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
