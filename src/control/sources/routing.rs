//! What routes servers' replies to the proxy, where servers see the clients' addresses: commands for an operator to run.
//!
//! A reply goes to the client's address. What leads it to this host is the servers' routing; what has this host take it
//! for its own is a route that makes every address local, for packets from the servers' ports only.

use std::net::SocketAddr;

use crate::proxy::settings::Service;
use crate::upstream::{GroupSettings, Sources};
use crate::uring::Address;

/// The number of the routing table; the operator can choose another.
const TABLE: u32 = 100;

/// The commands for the servers of these services, first those for IPv4; none if no server sees the clients' addresses.
pub(super) fn commands<'a>(services: impl IntoIterator<Item = &'a Service>) -> Vec<String> {
    let groups = services.into_iter().flat_map(Service::groups);
    let mut servers: Vec<SocketAddr> =
        groups.filter(|group| group.sources == Sources::Client).flat_map(|group| addresses(group)).collect();
    servers.sort_unstable();
    servers.dedup();
    let (v4, v6): (Vec<_>, Vec<_>) = servers.into_iter().partition(SocketAddr::is_ipv4);
    [of_family("ip", "0.0.0.0/0", &v4), of_family("ip -6", "::/0", &v6)].concat()
}

/// The addresses of a group's servers.
pub(super) fn addresses(group: &GroupSettings) -> impl Iterator<Item = SocketAddr> {
    group.servers.iter().filter_map(|server| match server.address() {
        Address::Ip(address) => Some(*address),
        Address::Unix(_) => None,
    })
}

fn of_family(ip: &str, everything: &str, servers: &[SocketAddr]) -> Vec<String> {
    if servers.is_empty() {
        return Vec::new();
    }
    let route = format!("{ip} route add local {everything} dev lo table {TABLE}");
    let rule = |server: &SocketAddr| {
        let (address, port) = (server.ip(), server.port());
        format!("{ip} rule add from {address} ipproto tcp sport {port} lookup {TABLE}")
    };
    std::iter::once(route).chain(servers.iter().map(rule)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proxy::routes::Routes;
    use crate::upstream::Server;

    #[test]
    fn each_server_that_sees_clients_has_its_rule_once() {
        let service = |sources: Sources, servers: &[&str]| {
            let server = |text: &&str| {
                let address = match text.strip_prefix("unix:") {
                    Some(path) => Address::Unix(path.into()),
                    None => Address::Ip(text.parse().expect("an address")),
                };
                Arc::new(Server::new(*text, address, None).expect("an address"))
            };
            let group = GroupSettings::new("iis", servers.iter().map(server).collect());
            Service::new("web", Vec::new(), Routes::all(Arc::new(GroupSettings { sources, ..group })))
        };
        let services = [
            service(Sources::Client, &["10.1.0.3:80", "[2001:db8::2]:443", "10.1.0.2:80", "unix:/run/s"]),
            service(Sources::Kernel, &["10.1.0.4:80"]),
            service(Sources::Client, &["10.1.0.2:80"]),
        ];
        assert_eq!(
            commands(&services),
            [
                "ip route add local 0.0.0.0/0 dev lo table 100",
                "ip rule add from 10.1.0.2 ipproto tcp sport 80 lookup 100",
                "ip rule add from 10.1.0.3 ipproto tcp sport 80 lookup 100",
                "ip -6 route add local ::/0 dev lo table 100",
                "ip -6 rule add from 2001:db8::2 ipproto tcp sport 443 lookup 100",
            ]
        );
        assert_eq!(commands(&services[1..2]), [""; 0]);
    }
}
