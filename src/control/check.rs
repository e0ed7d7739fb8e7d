//! What a start needs of this host, without a start: nothing is served, and nothing is left behind.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::{AccessFlags, access};

use super::admin::{self, Admin};
use super::certificates::{self, Served};
use super::privileges::{self, User};
use super::{Error, LogTarget, Plan, own_listener, setting, sources, start_up};
use crate::proxy::bind;
use crate::uring;

/// Checks `io_uring`, the addresses of all listeners, the servers and the access log; logs what a start would warn of.
///
/// # Errors
/// What a start would fail with.
pub fn check(plan: Plan) -> Result<(), Error> {
    setting::name(plan.named);
    let user = plan.user.as_ref().map(User::of).transpose()?;
    let owner = user.as_ref().map(User::uid);
    let without = plan.without();
    uring::probe(without).map_err(crate::proxy::Error::from)?;
    let (services, certificates): (Vec<_>, Vec<_>) =
        plan.services.into_iter().map(|planned| (planned.service, planned.terminated)).unzip();
    for service in &services {
        for listener in &service.listeners {
            bind::check(listener, &service.tcp, owner)?;
        }
    }
    let listeners = services.iter().flat_map(|service| &service.listeners);
    let listeners: Vec<_> = listeners.map(|listener| (&listener.address, None)).collect();
    own_listener::refuse(&services, &listeners, admin::address(plan.admin.as_ref()))?;
    sources::check(&services)?;
    if let Some(admin) = &plan.admin {
        Admin::check(admin, owner)?;
    }
    if let Some(log) = &plan.access_log {
        check_log(&log.target).map_err(|source| Error::AccessLog { target: log.target.clone(), source })?;
    }
    if let Some(user) = &user {
        let kept = privileges::needed(&services, plan.named);
        let log = plan.access_log.as_ref().map(|log| &log.target);
        privileges::go_on_as(user, kept, &plan.files, log, &[], &[])?;
        uring::probe(without).map_err(crate::proxy::Error::from)?;
    }
    let services: Vec<_> = services.into_iter().map(Arc::new).collect();
    start_up::warn_of_risky_settings(&services);
    sources::log_what_clients_need(&services);
    let served: Vec<_> = std::iter::zip(services, certificates)
        .map(|(service, terminated)| Served { service, terminated })
        .collect();
    certificates::log_checks(&served);
    Ok(())
}

/// Whether the file can be appended to, or created. Other than a regular one it is not opened: a reader would notice.
fn check_log(target: &LogTarget) -> io::Result<()> {
    let LogTarget::File(path) = target else { return Ok(()) };
    match path.metadata() {
        Ok(found) if found.is_file() => OpenOptions::new().append(true).open(path).map(|_: File| ()),
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(access(path, AccessFlags::W_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            Ok(access(directory.unwrap_or(Path::new(".")), AccessFlags::W_OK | AccessFlags::X_OK)?)
        }
        Err(error) => Err(error),
    }
}
