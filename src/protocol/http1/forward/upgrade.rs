//! Other protocols that a client asks to change to (RFC 9110 section 7.8).
//!
//! After a change nothing is parsed here any more. So only what the operator allows is offered to the server; `h2c`
//! would be a tunnel around every rule.

use crate::protocol::http1::connection::list_items;
use crate::protocol::http1::request::RequestHead;

/// The protocol that is always allowed: it belongs to one request and cannot carry others.
const ALWAYS: &str = "websocket";

/// The allowed protocols that a request offers to the server. A server's 101 must name one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer(Vec<u8>);

impl Offer {
    /// The part of a request's own offer that is forwarded: `websocket`, and the protocols in `allowed`, each as a name
    /// for all its versions or as `name/version`. `None` if that leaves none.
    pub fn of(request: &RequestHead<'_, '_>, allowed: &[String]) -> Option<Self> {
        if !request.is_http11 || !request.connection.upgrade {
            return None;
        }
        let mut offered = Vec::new();
        for protocol in list_items(request.values("upgrade")) {
            let is_allowed = |allowed: &str| is_of(protocol, allowed.as_bytes());
            if is_allowed(ALWAYS) || allowed.iter().any(|allowed| is_allowed(allowed)) {
                if !offered.is_empty() {
                    offered.extend_from_slice(b", ");
                }
                offered.extend_from_slice(protocol);
            }
        }
        (!offered.is_empty()).then_some(Self(offered))
    }

    /// The value of the `Upgrade` field that the server receives.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this protocol was offered. One offered by its name alone stands for all its versions.
    pub fn has(&self, protocol: &[u8]) -> bool {
        list_items([&self.0[..]]).any(|offered| is_of(protocol, offered))
    }

    /// Whether a 101 reply with these `Upgrade` values changes only to what was offered.
    pub fn is_taken_by<'v>(&self, upgrade: impl IntoIterator<Item = &'v [u8]>) -> bool {
        let mut protocols = list_items(upgrade).peekable();
        protocols.peek().is_some() && protocols.all(|protocol| self.has(protocol))
    }
}

/// Whether this is the known protocol, or a version of it.
fn is_of(protocol: &[u8], known: &[u8]) -> bool {
    let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
    protocol.eq_ignore_ascii_case(known) || name.eq_ignore_ascii_case(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::request::{header_slots, read_head};

    fn offer(lines: &str, allowed: &[&str]) -> Option<String> {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut slots = header_slots();
        let request = read_head(head.as_bytes(), 65536, &mut slots).expect("sound").expect("whole");
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        Offer::of(&request, &allowed).map(|offer| String::from_utf8(offer.0).expect("text"))
    }

    #[test]
    fn only_what_is_allowed_is_offered() {
        for (upgrade, allowed, expected) in [
            ("websocket", &[][..], Some("websocket")),
            ("WebSocket", &[], Some("WebSocket")),
            ("h2c", &[], None),
            ("h2c, websocket", &[], Some("websocket")),
            ("TLS/1.0\r\nUpgrade: ,websocket,", &[], Some("websocket")),
            ("TLS/1.0, HTTP/2.0", &["tls"], Some("TLS/1.0")),
            ("TLS/1.0", &["TLS/1.2"], None),
            ("h2c, websocket", &["h2c"], Some("h2c, websocket")),
            ("websocketx, xwebsocket", &[], None),
            ("", &["h2c"], None),
        ] {
            let lines = format!("Connection: Upgrade\r\nUpgrade: {upgrade}\r\n");
            assert_eq!(offer(&lines, allowed).as_deref(), expected, "{upgrade}");
        }
        assert_eq!(offer("Upgrade: websocket\r\n", &[]), None);
        assert_eq!(offer("Connection: Upgrade\r\n", &[]), None);
    }

    #[test]
    fn a_101_changes_to_what_was_offered() {
        let offer = Offer(b"websocket, TLS".to_vec());
        for taken in [&[&b"websocket"[..]][..], &[b"WebSocket"], &[b"TLS/1.0"], &[b"websocket", b"tls"]] {
            assert!(offer.is_taken_by(taken.iter().copied()), "{taken:?}");
        }
        for other in [&[][..], &[&b""[..]], &[b"h2c"], &[b"websocket, h2c"], &[b"websocket", b"h2c"]] {
            assert!(!offer.is_taken_by(other.iter().copied()), "{other:?}");
        }
    }
}
