//! Where connections to servers come from: whether this host allows it.
//!
//! It tries the calls that a session makes, on sockets that connect to nothing.

use std::io;
use std::net::IpAddr;

use socket2::{Domain, Socket, Type};

use super::Error;
use crate::proxy::settings::Service;
use crate::upstream::Sources;
use crate::uring::{LocalEnd, bind_local_end};

/// Checks that sessions of these services can connect from where their groups have them connect from.
///
/// # Errors
/// The first address that cannot be used, with the cause.
pub(super) fn check<'a>(services: impl IntoIterator<Item = &'a Service>) -> Result<(), Error> {
    for group in services.into_iter().flat_map(Service::groups) {
        match &group.sources {
            Sources::Own(addresses) => addresses.iter().try_for_each(|address| check_own(*address))?,
            Sources::Kernel | Sources::Client => {}
        }
    }
    Ok(())
}

fn check_own(address: IpAddr) -> Result<(), Error> {
    let from = LocalEnd { address, is_foreign: false };
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM.cloexec(), None).map_err(Error::Resource)?;
    bind_local_end(&socket, from).map_err(|source| Error::SourceAddress { address, source })
}

/// What helps against that error.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address (see `ip address`)",
        _ => "",
    }
}
