//! The certificates of all services while the process runs: what is said of them, and their reload.

use std::sync::Arc;

use super::setting::setting;
use super::tls::{Comparison, Terminated, Termination};
use crate::proxy::settings::Service;

/// A service that is served, with the files of its certificates.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) service: Arc<Service>,
    /// If TLS ends here.
    pub(super) certificates: Option<(Termination, Terminated)>,
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
        if let Some((_, terminated)) = &one.certificates {
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
        if let Some((_, terminated)) = &one.certificates {
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
        tracing::warn!(%error, "cannot start a thread to check the servers' certificates; skipping the check");
    }
}

/// Reloads certificates and keys of every service for new connections. If any of them cannot be used, nothing changes.
pub(super) fn reload(all: &[Served]) {
    let with_files = all.iter().filter_map(|one| {
        one.certificates
            .as_ref()
            .zip(one.service.client_tls.as_ref())
            .map(|((files, _), tls)| (one, files, tls))
    });
    let read: Result<Vec<_>, _> =
        with_files.map(|(one, files, tls)| Ok::<_, super::tls::Error>((one, tls, files.read()?))).collect();
    match read {
        Ok(read) if read.is_empty() => {
            tracing::warn!("nothing to reload; settings are read at start only, restart to change them");
        }
        Ok(read) => {
            for (_, tls, terminated) in &read {
                tls.config.store(Arc::clone(&terminated.config));
            }
            tracing::info!("certificates reloaded; used for new connections");
            for (one, _, terminated) in &read {
                log_checks_of(one, terminated, all.len());
                compare_of(&one.service, terminated);
            }
        }
        Err(error) => tracing::error!(%error, "cannot reload certificates; keeping the old ones"),
    }
}
