//! Where connections to servers come from: whether this host allows it, and what else it takes.
//!
//! It tries the calls that a session makes, on sockets that connect to nothing. It changes nothing on this host.

mod routing;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};

use super::Error;
use super::setting::setting;
use crate::proxy::settings::Service;
use crate::upstream::{GroupSettings, Sources};
use crate::uring::{LocalEnd, bind_local_end};

/// Addresses that no host has (RFC 5737, RFC 3849): they stand for clients.
const CLIENTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Checks that sessions of these services can connect from where their groups have them connect from.
///
/// # Errors
/// The first address that cannot be used, with the cause; or that those of clients cannot.
pub(super) fn check<'a>(services: impl IntoIterator<Item = &'a Service>) -> Result<(), Error> {
    for group in services.into_iter().flat_map(Service::groups) {
        match &group.sources {
            Sources::Kernel => {}
            Sources::Own(addresses) => {
                for &address in addresses {
                    bind(LocalEnd { address, is_foreign: false })
                        .map_err(|source| Error::SourceAddress { address, source })?;
                }
            }
            Sources::Client => check_clients(group).map_err(Error::Transparent)?,
        }
    }
    Ok(())
}

fn check_clients(group: &GroupSettings) -> io::Result<()> {
    let is_needed =
        |client: &IpAddr| routing::addresses(group).any(|server| server.is_ipv4() == client.is_ipv4());
    CLIENTS.into_iter().filter(is_needed).try_for_each(|address| bind(LocalEnd { address, is_foreign: true }))
}

fn bind(from: LocalEnd) -> io::Result<()> {
    let domain = if from.address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    bind_local_end(&Socket::new(domain, Type::STREAM.cloexec(), None)?, from)
}

/// Says what routes the replies of servers that see the clients' addresses, and whom they should not believe.
pub(super) fn log_what_clients_need(services: &[Arc<Service>]) {
    let commands = routing::commands(services.iter().map(|service| &**service));
    if commands.is_empty() {
        return;
    }
    tracing::info!(
        "servers see the clients' addresses, so their replies to all clients have to be routed to this host, and here to the proxy: {}",
        commands.join("; ")
    );
    let has_clients = |service: &Service| service.groups().any(|group| group.sources == Sources::Client);
    for service in services.iter().filter(|service| has_clients(service) && service.believes_any_header()) {
        let service = &*service.name;
        tracing::warn!(
            service,
            "servers see addresses from PROXY headers that any client may send; name the balancers with {}",
            setting("accept-proxy-from")
        );
    }
}

/// Says what routes the replies of servers that see the clients' addresses and that there were not before.
pub(super) fn log_what_new_servers_need(before: &[Arc<Service>], now: &[Arc<Service>]) {
    let commands = |services: &[Arc<Service>]| routing::commands(services.iter().map(|service| &**service));
    let known = commands(before);
    let new: Vec<_> = commands(now).into_iter().filter(|command| !known.contains(command)).collect();
    if !new.is_empty() {
        tracing::info!(
            "replies of the new servers, which see the clients' addresses, have to be routed here to the proxy as well: {}",
            new.join("; ")
        );
    }
}

/// What helps against the error of an address.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address (see `ip address`)",
        _ => "",
    }
}

/// What helps against the error of clients' addresses.
pub(super) fn hint_for_clients(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; it takes CAP_NET_RAW (setcap cap_net_raw+ep, or systemd: AmbientCapabilities=CAP_NET_RAW)"
        }
        _ => "",
    }
}
