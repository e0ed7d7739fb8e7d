//! Fields of a head: which of them are forwarded, and how a line is written.

use crate::protocol::http1::connection::ConnectionOptions;

/// Fields that concern one connection (RFC 9110 section 7.6.1), except `Transfer-Encoding` and `Trailer`: a body is
/// forwarded as it is framed.
const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"];
/// Fields that say how the next recipient reads the message.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];
/// Fields that `Connection` cannot remove, although a client may name them: they are for the final recipient, and
/// without them the message would change its meaning, its user or its client.
const END_TO_END: [&str; 18] = [
    "host",
    "transfer-encoding",
    "trailer",
    "expect",
    "authorization",
    "proxy-authorization",
    "www-authenticate",
    "proxy-authenticate",
    "proxy-support",
    "persistent-auth",
    "authentication-info",
    "proxy-authentication-info",
    "cookie",
    "set-cookie",
    "cache-control",
    "location",
    "forwarded",
    "x-real-ip",
];
/// Beginnings of such names.
const END_TO_END_FAMILIES: [&str; 4] = ["content-", "sec-", "if-", "x-forwarded-"];

/// Lines to remove and to add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Names of fields to remove, with their twins.
    pub remove: Vec<String>,
    /// Fields to add, replacing any of the same name and their twins.
    pub set: Vec<(String, String)>,
}

impl Edits {
    pub(super) fn drops(&self, name: &str) -> bool {
        self.remove.iter().any(|removed| is_same_name(removed, name))
            || self.set.iter().any(|(set, _)| is_same_name(set, name))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.set {
            line(out, name, value.as_bytes());
        }
    }
}

/// Writes `Connection` for the connection that this head goes to.
pub(super) fn write_connection(out: &mut Vec<u8>, http11: bool, keep_alive: bool, upgrade: Option<&[u8]>) {
    match (upgrade, http11, keep_alive) {
        (Some(protocols), _, _) => {
            line(out, "Connection", b"Upgrade");
            line(out, "Upgrade", protocols);
        }
        (None, true, false) => line(out, "Connection", b"close"),
        (None, false, true) => line(out, "Connection", b"keep-alive"),
        (None, true, true) | (None, false, false) => {}
    }
}

/// Whether this field concerns only the connection it came on. `connection` is what the message itself says about that.
/// The twin of a framing field is never forwarded: what it says is either wrong or redundant.
pub(super) fn is_hop_by_hop(name: &str, connection: &ConnectionOptions) -> bool {
    HOP_BY_HOP.iter().any(|known| is_same_name(known, name))
        || FRAMING.iter().any(|known| is_twin(known, name))
        || (connection.names(name) && !is_end_to_end(name))
}

fn is_end_to_end(name: &str) -> bool {
    END_TO_END.iter().any(|known| known.eq_ignore_ascii_case(name))
        || END_TO_END_FAMILIES.iter().any(|family| begins_with(name, family))
}

/// Whether programs that receive the names as variables take them for the same. CGI, ASP.NET server variables and WSGI
/// turn every `-` into `_`, and some turn everything that is neither letter nor digit: there, `X_Forwarded_For` becomes
/// `X-Forwarded-For`, and replaces it or is added to it.
pub(super) fn is_same_name(a: &str, b: &str) -> bool {
    a.len() == b.len() && begins_with(a, b)
}

/// Whether this is the same name in another spelling, other than by letter case.
fn is_twin(known: &str, name: &str) -> bool {
    is_same_name(known, name) && !known.eq_ignore_ascii_case(name)
}

/// Whether the name begins with these characters, compared as [`is_same_name`] does.
pub(super) fn begins_with(name: &str, begin: &str) -> bool {
    let is_same = |(a, b): (u8, u8)| {
        a.eq_ignore_ascii_case(&b) || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric())
    };
    name.len() >= begin.len() && name.bytes().zip(begin.bytes()).all(is_same)
}

pub(super) fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_are_the_same_name() {
        for twin in ["X-Remote-User", "x_remote_user", "X_Remote-USER", "X.Remote+User"] {
            assert!(is_same_name("x-remote-user", twin), "{twin}");
        }
        for other in ["X-Remote-Users", "XRemoteUser", "X-RemoteaUser", "X-Remote-Use", "X--emote-User"] {
            assert!(!is_same_name("X-Remote-User", other), "{other}");
        }
    }

    #[test]
    fn connection_removes_only_what_is_for_the_connection() {
        let names = "Host, Content-Length, Content-Type, Transfer-Encoding, Authorization, Cookie, X-Forwarded-For, X-Real-IP, \
                     Forwarded, WWW-Authenticate, Proxy-Support, Sec-WebSocket-Key, X-Mine";
        let connection = ConnectionOptions::read([names.as_bytes()]);
        let removed: Vec<_> = names.split(", ").filter(|name| is_hop_by_hop(name, &connection)).collect();
        assert_eq!(removed, ["X-Mine"]);
    }

    #[test]
    fn twins_of_framing_and_of_the_connections_own_go_nowhere() {
        let connection = ConnectionOptions::default();
        for name in
            ["Content_Length", "TRANSFER_ENCODING", "Keep_Alive", "Proxy_Connection", "HTTP2_Settings", "TE"]
        {
            assert!(is_hop_by_hop(name, &connection), "{name}");
        }
        for name in ["Content-Length", "Transfer-Encoding", "Content_Type", "Trailer"] {
            assert!(!is_hop_by_hop(name, &connection), "{name}");
        }
    }
}
