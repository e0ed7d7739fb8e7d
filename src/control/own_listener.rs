//! Servers that are the proxy itself: every connection would come back as a new one, until the limit is reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use super::Error;
use super::listeners::WithFile;
use crate::proxy::bind::SocketFile;
use crate::proxy::settings::Service;
use crate::uring::Address;

/// An arbitrary port: nothing is sent to it.
const ANY_PORT: u16 = 9;

/// Symbolic links that are followed, as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// Refuses servers whose address leads to a listener, or to the admin endpoint, which is not for clients; `listeners` are
/// those of the services, Unix sockets with their files. Where nothing is bound yet they have none, and paths are compared.
///
/// # Errors
/// The first such server.
pub(super) fn refuse(
    services: &[Service],
    listeners: &[WithFile<'_>],
    admin: Option<&Address>,
) -> Result<(), Error> {
    if let Some((server, listener)) = first_at(services, listeners) {
        return Err(Error::OwnListener { server, listener: listener.clone() });
    }
    let admin = admin.map(|address| (address, None));
    match first_at(services, admin.as_slice()) {
        Some((server, endpoint)) => Err(Error::OwnAdmin { server, endpoint: endpoint.clone() }),
        None => Ok(()),
    }
}

/// The first server whose address leads to one of these places, in words, and the place.
fn first_at<'a>(services: &[Service], places: &[WithFile<'a>]) -> Option<(String, &'a Address)> {
    let groups = services.iter().flat_map(Service::groups);
    groups.flat_map(|group| &group.servers).find_map(|server| {
        let address = server.address();
        let is_there = |own: &Address, file: Option<&SocketFile>| match (own, address) {
            (Address::Ip(own), Address::Ip(server)) => leads_to(*server, *own),
            (Address::Unix(own), Address::Unix(path)) => match file {
                Some(file) => file.is_at(path),
                None => place(own) == place(path),
            },
            _ => false,
        };
        let (own, _) = places.iter().find(|(own, file)| is_there(own, *file))?;
        let (name, resolved) = (server.name(), address.to_string());
        let server = if **name == *resolved { resolved } else { format!("{name} ({resolved})") };
        Some((server, *own))
    })
}

/// Whether a connection to this address arrives at one of the listeners.
pub(super) fn is_own(server: SocketAddr, listeners: &[&Address]) -> bool {
    listeners.iter().any(|listener| match listener {
        Address::Ip(listener) => leads_to(server, *listener),
        Address::Unix(_) => false,
    })
}

/// Where a path leads to, whether there is a file already or not.
fn place(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(target) = path.read_link() else {
            let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
            return directory.join(path.file_name().unwrap_or_default());
        };
        path = directory.join(target);
    }
    path
}

/// Whether a connection to `server` arrives at `listener`.
fn leads_to(server: SocketAddr, listener: SocketAddr) -> bool {
    let ip = match server.ip().to_canonical() {
        // connect(2) treats them as the host itself.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    server.port() == listener.port()
        && if listener.ip().is_unspecified() {
            ip.is_ipv4() == listener.is_ipv4() && is_of_this_host(ip, server)
        } else {
            ip == listener.ip()
        }
}

/// Whether the address belongs to this host: the kernel reaches its own addresses from the same address. The interface
/// of an IPv6 address is taken from `server`.
fn is_of_this_host(ip: IpAddr, mut server: SocketAddr) -> bool {
    if ip.is_loopback() {
        return true;
    }
    server.set_ip(ip);
    server.set_port(ANY_PORT);
    let anywhere: IpAddr =
        if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connecting a datagram socket sends nothing (connect(2)).
    let source = UdpSocket::bind((anywhere, 0)).and_then(|socket| {
        socket.connect(server)?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_every_address_of_this_host_and_family() {
        for (server, listener, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:81", "127.0.0.1:80", false),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("127.0.0.2:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("[::1]:80", "[::]:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::1]:80", "0.0.0.0:80", false),
            ("127.0.0.1:80", "[::]:80", false),
            ("[::ffff:127.0.0.1]:80", "0.0.0.0:80", true),
            ("192.0.2.1:80", "0.0.0.0:80", false),
            ("192.0.2.1:80", "192.0.2.1:80", true),
            ("[2001:db8::1]:80", "[::]:80", false),
        ] {
            let leads = leads_to(server.parse().expect("an address"), listener.parse().expect("an address"));
            assert_eq!(leads, expected, "{server} to {listener}");
        }
    }
}
