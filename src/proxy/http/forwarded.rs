//! What upstreams are told about a client: its address, and whether it may speak for others before it.

use crate::protocol::http1::forward::{Believed, Forwarded};
use crate::proxy::networks;
use crate::proxy::settings::{ForwardedFor, Http};
use crate::uring::Address;

/// The facts about one client, for all its requests.
pub(super) struct ClientFacts {
    /// Its address as X-Forwarded-For has it.
    address: String,
    scheme: &'static str,
    believed: Believed,
}

impl ClientFacts {
    /// Of a client at `address`: the source that a PROXY header names, else the peer. Nothing when no upstream is to be
    /// told.
    pub(super) fn new(http: &Http, address: &Address, has_tls: bool) -> Option<Self> {
        let believed = match http.forwarded {
            ForwardedFor::Off => return None,
            // As nginx's $proxy_add_x_forwarded_for.
            ForwardedFor::Append if http.trust.is_empty() => Believed::Chain,
            ForwardedFor::Append if networks::cover(&http.trust, address) => Believed::Everything,
            ForwardedFor::Append | ForwardedFor::Replace => Believed::Nothing,
        };
        let address = match address {
            // An IPv4 address in an IPv6 one (a listener on `[::]`) is the IPv4 address.
            Address::Ip(address) => address.ip().to_canonical().to_string(),
            // What nginx says of a Unix socket's client.
            Address::Unix(_) => "unix:".to_owned(),
        };
        Some(Self { address, scheme: if has_tls { "https" } else { "http" }, believed })
    }

    pub(super) fn forwarded(&self) -> Forwarded<'_> {
        Forwarded { client: &self.address, scheme: self.scheme, believed: self.believed }
    }
}
