//! Whether the name has addresses, and each of them accepts connections.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::visit::Visit;
use super::wire::Broke;
use super::{Id, seconds};

/// Returns the addresses that accept connections.
pub(super) fn probe(visit: &mut Visit<'_>) -> Vec<SocketAddr> {
    let name = visit.address_name().to_owned();
    let addresses = match resolve(visit) {
        Ok(addresses) => addresses,
        Err(reason) => {
            visit.broken(
                Id::Name,
                format!("{name} cannot be resolved: {reason}"),
                "clients cannot find the site",
                format!("check the name and this host's name service: getent ahosts {name}"),
            );
            return Vec::new();
        }
    };
    let listed: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let addresses_are = if listed.len() == 1 { "address" } else { "addresses" };
    visit.fine(Id::Name, format!("{name} has {} {addresses_are}: {}", listed.len(), listed.join(", ")));
    addresses.into_iter().filter(|&address| accepts(visit, address)).collect()
}

/// The resolver has no time-out of its own that fits: it works on a thread that is left behind if it takes too long.
fn resolve(visit: &Visit<'_>) -> Result<Vec<SocketAddr>, String> {
    let (found, addresses) = mpsc::channel();
    let (host, port) = (visit.address_name().to_owned(), visit.port());
    let look_up = move || {
        let resolved = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // After the time-out nothing waits for it any more.
        let _ = found.send(resolved);
    };
    thread::Builder::new().spawn(look_up).map_err(|error| error.to_string())?;
    let mut addresses = match addresses.recv_timeout(visit.settings.timeout) {
        Ok(resolved) => resolved.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer within {}", seconds(visit.settings.timeout))),
    };
    addresses.dedup();
    if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
}

fn accepts(visit: &mut Visit<'_>, address: SocketAddr) -> bool {
    let began = Instant::now();
    let connected = visit.connect(address).map(drop);
    let after = seconds(began.elapsed());
    match &connected {
        Ok(()) => visit.fine(Id::Address, format!("{address} accepts connections, after {after}")),
        Err(broke) => {
            let reason = match broke {
                Broke::Connect(error) => error.to_string(),
                other => other.to_string(),
            };
            let fix = advice(broke, visit.address_name(), address);
            visit.broken(
                Id::Address,
                format!("{address} accepts no connection: {reason}"),
                "a client that gets this address cannot reach the site",
                fix,
            );
        }
    }
    connected.is_ok()
}

fn advice(broke: &Broke, name: &str, address: SocketAddr) -> String {
    let ip = address.ip();
    // The URL may have the address itself.
    let or = if name == ip.to_string() { String::new() } else { format!(", or take {ip} out of the name") };
    match broke {
        Broke::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            format!("start what should listen there{or}")
        }
        Broke::Connect(error) if error.kind() == io::ErrorKind::TimedOut => {
            format!("check the firewalls on the way{or}")
        }
        _ => format!("check the route: ip route get {ip}"),
    }
}
