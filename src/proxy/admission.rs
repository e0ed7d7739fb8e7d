//! Which clients a service admits, by their addresses and by what they have already.
//!
//! This decides once for each connection, before anything is done for it: no TLS handshake, no server. It must never
//! look at what a client sends behind its PROXY header.

use super::clients::ClientLimits;
use super::networks::{Network, cover};
use crate::uring::Address;

/// Who may connect to a service.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Clients that may connect; empty: all.
    pub allow: Vec<Network>,
    /// Clients that may not, whatever `allow` says.
    pub deny: Vec<Network>,
    /// How much each client may have, if there is a limit. Clients on Unix sockets may have any.
    pub limits: Option<ClientLimits>,
}

impl Admission {
    /// Whether a client at this address may connect.
    pub(super) fn admits(&self, client: &Address) -> bool {
        let Self { allow, deny, limits: _ } = self;
        !cover(deny, client) && (allow.is_empty() || cover(allow, client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Vec<Network> {
        let network = |text: &str| match text {
            "unix:" => Network::Unix,
            _ => Network::Ip(text.parse().expect("a network")),
        };
        text.split_whitespace().map(network).collect()
    }

    fn admitted(allow: &str, deny: &str) -> Vec<&'static str> {
        let admission = Admission { allow: networks(allow), deny: networks(deny), limits: None };
        let address = |text: &str| match text.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Ip(text.parse().expect("an address")),
        };
        let clients = [
            "10.1.2.3:4",
            "10.9.0.1:4",
            "[::ffff:10.1.2.3]:4",
            "11.1.2.3:4",
            "[2001:db8::1]:4",
            "unix:/run/a",
        ];
        clients.into_iter().filter(|client| admission.admits(&address(client))).collect()
    }

    #[test]
    fn what_is_denied_is_refused_and_with_anything_allowed_so_is_everything_else() {
        assert_eq!(admitted("", "").len(), 6);
        assert_eq!(admitted("", "10.0.0.0/8"), ["11.1.2.3:4", "[2001:db8::1]:4", "unix:/run/a"]);
        let inside = ["10.1.2.3:4", "10.9.0.1:4", "[::ffff:10.1.2.3]:4"];
        assert_eq!(admitted("10.0.0.0/8", ""), inside);
        assert_eq!(admitted("10.0.0.0/8", "10.9.0.0/16"), [inside[0], inside[2]]);
        // However narrow the other one is.
        assert_eq!(admitted("10.9.0.1/32", "10.9.0.0/16"), [""; 0]);
        assert_eq!(admitted("0.0.0.0/0", ""), [inside[0], inside[1], inside[2], "11.1.2.3:4"]);
        assert_eq!(admitted("::/0 unix:", ""), ["[2001:db8::1]:4", "unix:/run/a"]);
        assert_eq!(admitted("0.0.0.0/0 ::/0", "unix:").len(), 5);
    }
}
