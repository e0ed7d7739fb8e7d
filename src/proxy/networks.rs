//! Client addresses by network, to decide which clients to trust.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::uring::Address;

/// A set of client addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Addresses in this network. An IPv4 address mapped into IPv6 (a listener on `[::]`) counts as the IPv4 address.
    Ip(IpNet),
    /// Clients on Unix sockets.
    Unix,
}

impl Network {
    fn has(&self, address: &Address) -> bool {
        match (self, address) {
            (Self::Ip(network), Address::Ip(address)) => network.contains(&address.ip().to_canonical()),
            (Self::Unix, Address::Unix(_)) => true,
            _ => false,
        }
    }
}

/// Whether one of the networks contains this IP address.
pub(super) fn have(networks: &[Network], address: IpAddr) -> bool {
    cover(networks, &Address::Ip((address, 0).into()))
}

/// Whether one of the networks contains this address.
pub(super) fn cover(networks: &[Network], address: &Address) -> bool {
    networks.iter().any(|network| network.has(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_networks() {
        let network = |text: &str| Network::Ip(text.parse().expect("a network"));
        let networks = [network("10.0.0.0/8"), network("2001:db8::/32")];
        let ip = |text: &str| Address::Ip(text.parse().expect("an address"));
        for inside in ["10.1.2.3:4", "[::ffff:10.1.2.3]:4", "[2001:db8::1]:4"] {
            assert!(cover(&networks, &ip(inside)), "{inside}");
        }
        for outside in ["11.1.2.3:4", "[2001:db9::1]:4"] {
            assert!(!cover(&networks, &ip(outside)), "{outside}");
        }
        let unix = Address::Unix("/run/a".into());
        assert!(!cover(&networks, &unix));
        assert!(cover(&[Network::Unix], &unix) && !cover(&[Network::Unix], &ip("10.1.2.3:4")));
    }
}
