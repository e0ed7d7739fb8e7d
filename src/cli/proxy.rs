//! `iisplice proxy`: the flags of a process, of one service and of its groups.

mod bounds;
mod group;
mod http;
mod process;
mod routes;
mod service;
mod timeouts;
mod tls;

use clap::Args;

use self::group::GroupArgs;
use self::process::ProcessArgs;
use self::routes::routes;
use self::service::ServiceArgs;
use super::Error;
use crate::control::Plan;
use crate::control::limits::Host;

/// The name of the service that flags describe, and of its group without a route.
const DEFAULT: &str = "default";

/// The flags of `iisplice proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    group: GroupArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

impl ProxyArgs {
    /// Builds settings and workers for this host. Resolves names, which can take seconds.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn plan(self, host: &Host) -> Result<Plan, Error> {
        let Self { service, group, process } = self;
        service.check(group.speaks_tls())?;
        let settings = group.settings()?;
        let mut written = Vec::new();
        for (route, targets) in service.routes().by_route() {
            let servers = targets.iter().map(|target| target.server());
            let name = route.name().unwrap_or(DEFAULT);
            written.push((route, group.with_servers(&settings, name, route.flag(), servers)?));
        }
        let routes = routes(written);
        process.plan(vec![service.service(DEFAULT, routes, &[])?], host)
    }
}

#[cfg(test)]
mod tests;
