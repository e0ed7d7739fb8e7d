//! What upstreams are told about a client: its address, and whether others before us may speak for it.

use std::net::IpAddr;

use crate::protocol::http1::forward::Forwarded;
use crate::proxy::settings::{ForwardedFor, Http};
use crate::uring::Address;

/// The facts about one client, for all its requests.
pub(super) struct ClientFacts {
    /// Its address as X-Forwarded-For has it.
    address: String,
    scheme: &'static str,
    /// Whether it may name others before it.
    append: bool,
}

impl ClientFacts {
    /// Of a client at `address`, which a PROXY header may have named; `peer` is who connected. Nothing when no
    /// upstream is to be told.
    pub(super) fn new(http: &Http, peer: &Address, address: &Address, has_tls: bool) -> Option<Self> {
        let append = match http.forwarded {
            ForwardedFor::Off => return None,
            ForwardedFor::Replace => false,
            ForwardedFor::Append => {
                http.trust.is_empty()
                    || ip(peer).is_some_and(|ip| http.trust.iter().any(|net| net.contains(&ip)))
            }
        };
        // What nginx says of a Unix socket's client.
        let address = ip(address).map_or_else(|| "unix:".to_owned(), |ip| ip.to_string());
        Some(Self { address, scheme: if has_tls { "https" } else { "http" }, append })
    }

    pub(super) fn forwarded(&self) -> Forwarded<'_> {
        Forwarded { client: &self.address, scheme: self.scheme, append: self.append }
    }
}

/// An IPv4 address in an IPv6 one (a listener on `[::]`) is the IPv4 address.
fn ip(address: &Address) -> Option<IpAddr> {
    match address {
        Address::Ip(address) => Some(address.ip().to_canonical()),
        Address::Unix(_) => None,
    }
}
