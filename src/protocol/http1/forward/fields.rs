//! Fields of a head: which of them are forwarded, and how a line is written.

use std::ops::Range;

use httparse::Header;

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

/// Writes the fields that came. Those that go on as they came and follow each other are copied at once.
pub(super) struct Copier<'c, 'o> {
    /// The lines that came.
    came: &'c [u8],
    /// Those of them that are not copied yet.
    due: Range<usize>,
    out: &'o mut Vec<u8>,
}

impl<'c, 'o> Copier<'c, 'o> {
    /// Copies from these lines.
    pub(super) fn new(came: &'c [u8], out: &'o mut Vec<u8>) -> Self {
        Self { came, due: 0..0, out }
    }

    /// Writes a field of these lines as it came.
    pub(super) fn copy(&mut self, header: &Header<'_>) {
        match self.place(header) {
            Some(place) if place.start == self.due.end => self.due.end = place.end,
            Some(place) => {
                self.flush();
                self.due = place;
            }
            None => self.line(header.name, header.value),
        }
    }

    /// Writes another field, or another value.
    pub(super) fn line(&mut self, name: &str, value: &[u8]) {
        self.flush();
        line(self.out, name, value);
    }

    /// Writes what is due; nothing is written here later.
    pub(super) fn end(mut self) {
        self.flush();
    }

    fn flush(&mut self) {
        self.out.extend_from_slice(&self.came[self.due.clone()]);
        self.due = self.due.end..self.due.end;
    }

    /// The line of a field, if [`line`] would write it just like that.
    fn place(&self, header: &Header<'_>) -> Option<Range<usize>> {
        let at = |part: &[u8]| part.as_ptr().addr().checked_sub(self.came.as_ptr().addr());
        let (begin, value) = (at(header.name.as_bytes())?, at(header.value)?);
        let (name_end, end) = (begin + header.name.len(), value + header.value.len());
        let is_same = value == name_end + 2
            && self.came.get(name_end..value) == Some(b": ")
            && self.came.get(end..end + 2) == Some(b"\r\n");
        is_same.then_some(begin..end + 2)
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
    let has_known_length = name.len() < 32 && KNOWN_LENGTHS >> name.len() & 1 == 1;
    (has_known_length
        && (HOP_BY_HOP.iter().any(|known| is_same_name(known, name))
            || FRAMING.iter().any(|known| is_twin(known, name))))
        || (connection.names(name) && !is_end_to_end(name))
}

/// A bit for each length of a name in [`HOP_BY_HOP`] and [`FRAMING`]: no field of another length is one of them.
const KNOWN_LENGTHS: u32 = lengths(&HOP_BY_HOP) | lengths(&FRAMING);

const fn lengths(mut names: &[&str]) -> u32 {
    let mut lengths = 0;
    while let [name, rest @ ..] = names {
        lengths |= 1 << name.len();
        names = rest;
    }
    lengths
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
    !known.eq_ignore_ascii_case(name) && is_same_name(known, name)
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
    fn what_is_copied_is_what_would_be_written() {
        let lines = b"A: b\r\nB: c d\r\nC:d\r\nD: \r\nE:\r\nF:  g\r\nG: h \r\nI: j\nJ: k\r\nK: l\r\n\r\n";
        let mut slots = [httparse::EMPTY_HEADER; 16];
        let headers = match httparse::parse_headers(lines, &mut slots) {
            Ok(httparse::Status::Complete((_, headers))) => headers,
            other => panic!("{other:?}"),
        };
        // Each choice of them, and another field between two.
        for left_out in 0..1 << headers.len() {
            let (mut got, mut expected) = (b"first\r\n".to_vec(), b"first\r\n".to_vec());
            let mut copier = Copier::new(lines, &mut got);
            for (nth, header) in headers.iter().enumerate() {
                if nth == 8 {
                    copier.line("X", b"y");
                    line(&mut expected, "X", b"y");
                }
                if left_out >> nth & 1 == 0 {
                    copier.copy(header);
                    line(&mut expected, header.name, header.value);
                }
            }
            // A field that is not one of these lines.
            copier.copy(&Header { name: "Other", value: b"z" });
            copier.end();
            line(&mut expected, "Other", b"z");
            assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{left_out:b}");
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
