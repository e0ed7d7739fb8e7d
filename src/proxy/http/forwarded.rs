//! What servers are told about a client: its address, whether its own forwarding headers are trusted, and its
//! certificate.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::http1::forward::{Believed, Edits, Forwarded};
use crate::proxy::connection::Connection;
use crate::proxy::networks;
use crate::proxy::settings::{ForwardedFor, Http};
use crate::proxy::tls::Tls;
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

    /// Whether the client's own forwarding headers are trusted.
    pub(super) fn are_trusted(&self) -> bool {
        self.believed == Believed::Everything
    }

    pub(super) fn forwarded(&self) -> Forwarded<'_> {
        Forwarded { client: &self.address, scheme: self.scheme, believed: self.believed }
    }
}

/// The changes to the heads of a client's requests: those of the settings, and its certificate, as base64 of DER.
pub(super) fn request_edits<'a>(http: &'a Http, client: &Connection) -> Cow<'a, Edits> {
    let certificate = || client.tls().and_then(Tls::peer_certificate);
    match http.client_cert_header.as_ref().and_then(|name| Some((name, certificate()?))) {
        None => Cow::Borrowed(&http.request_edits),
        Some((name, certificate)) => {
            let mut edits = http.request_edits.clone();
            edits.set.push((name.clone(), STANDARD.encode(certificate)));
            Cow::Owned(edits)
        }
    }
}
