//! What servers are told about a client: its address, and whether its own forwarding headers are trusted.

use crate::protocol::http1::forward::{Believed, Forwarded};
use crate::proxy::networks;
use crate::proxy::settings::{ForwardedFor, Http};
use crate::uring::Address;

/// The forwarding facts of one client, for all its requests.
pub(super) struct ClientFacts {
    /// The client's address as written in X-Forwarded-For.
    address: String,
    scheme: &'static str,
    believed: Believed,
}

impl ClientFacts {
    /// The facts of a client at `address`: the source in its PROXY header, otherwise the address that connected. None
    /// when servers are told nothing.
    pub(super) fn new(http: &Http, address: &Address, has_tls: bool) -> Option<Self> {
        let believed = match http.forwarded {
            ForwardedFor::Off => return None,
            // Same as nginx's $proxy_add_x_forwarded_for.
            ForwardedFor::Append if http.trust.is_empty() => Believed::Chain,
            ForwardedFor::Append if networks::cover(&http.trust, address) => Believed::Everything,
            ForwardedFor::Append | ForwardedFor::Replace => Believed::Nothing,
        };
        let address = match address {
            // An IPv4 address mapped into IPv6 (a listener on `[::]`) counts as the IPv4 address.
            Address::Ip(address) => address.ip().to_canonical().to_string(),
            // What nginx writes for a client on a Unix socket.
            Address::Unix(_) => "unix:".to_owned(),
        };
        Some(Self { address, scheme: if has_tls { "https" } else { "http" }, believed })
    }

    pub(super) fn forwarded(&self) -> Forwarded<'_> {
        Forwarded { client: &self.address, scheme: self.scheme, believed: self.believed }
    }
}
