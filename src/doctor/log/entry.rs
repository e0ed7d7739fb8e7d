//! What a line of an access log says of a request, whatever its format.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use crate::protocol::login::Step;

/// A request and how it was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The client's address, without its port.
    pub client: Cow<'a, str>,
    /// Seconds since 1970.
    pub at: Option<u64>,
    pub status: u16,
    /// The path, without its query.
    pub path: Cow<'a, str>,
    /// IIS: the number behind the dot of 401.1.
    pub substatus: Option<u16>,
    /// IIS: why, as Windows says it.
    pub win32: Option<u32>,
    /// iisplice: the request's part in the login.
    pub step: Option<Step>,
    /// The connection that the request came on, as a hash of what names it.
    pub connection: Option<u64>,
    /// A hash of the server's name.
    pub server: Option<u64>,
    /// Bytes of the reply.
    pub reply_bytes: Option<u64>,
    /// Whether the line names a user.
    pub has_user: bool,
}

/// A line as its format reads it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    Request(Entry<'a>),
    /// A line of iisplice's for a connection, which has no status.
    Connection,
    /// A header, or nothing.
    NoRequest,
    Unread(Unread),
}

/// Why a line cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// In no format that is known.
    Unknown,
    TooLong,
    /// A row of a W3C log that is longer or shorter than its `#Fields:` line.
    Columns,
    /// A row of a W3C log whose `#Fields:` lacks `c-ip` or `sc-status`.
    Fields,
}

impl Unread {
    pub(super) const ALL: [Self; 4] = [Self::Unknown, Self::TooLong, Self::Columns, Self::Fields];

    /// Said of the lines.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "in no known format",
            Self::TooLong => "longer than 128 KiB",
            Self::Columns => "not as long as the #Fields: line above",
            Self::Fields => "without c-ip or sc-status in the #Fields: line above",
        }
    }
}

pub(super) fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The path of a request's target: without query, and of `http://host/path` the path.
pub(super) fn path(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    }
}

/// An IP address as logs write it: bare, in brackets, with a port, a zone, or as IPv4 in IPv6; with its port.
pub(super) fn address(text: &str) -> Option<(IpAddr, Option<&str>)> {
    let bare = |text: &str| {
        let text = text.split('%').next().unwrap_or_default();
        text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, rest) = rest.split_once(']')?;
        return Some((bare(ip)?, rest.strip_prefix(':')));
    }
    if let Some(ip) = bare(text) {
        return Some((ip, None));
    }
    let (ip, port) = text.rsplit_once(':')?;
    Some((bare(ip).filter(IpAddr::is_ipv4)?, Some(port)))
}

/// The client that an `X-Forwarded-For` names: the first of its addresses. Logs of IIS have `+` for blanks.
pub(super) fn forwarded_for(field: &str) -> Option<IpAddr> {
    let first = field.split(',').next()?.trim_matches(|c: char| c == '+' || c == '"' || c.is_whitespace());
    address(first).map(|(ip, _)| ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_logs_write_them() {
        for (text, expected) in [
            ("192.0.2.7", Some(("192.0.2.7", None))),
            ("192.0.2.7:51234", Some(("192.0.2.7", Some("51234")))),
            ("2001:db8::7", Some(("2001:db8::7", None))),
            ("[2001:db8::7]:443", Some(("2001:db8::7", Some("443")))),
            ("[2001:db8::7]", Some(("2001:db8::7", None))),
            ("fe80::1%12", Some(("fe80::1", None))),
            ("::ffff:192.0.2.7", Some(("192.0.2.7", None))),
            ("-", None),
            ("unix:", None),
            ("client.corp.example", None),
            ("[2001:db8::7", None),
        ] {
            let expected = expected.map(|(ip, port)| (ip.parse().expect(ip), port));
            assert_eq!(address(text), expected, "{text}");
        }
    }

    #[test]
    fn the_first_address_of_a_chain_is_the_client() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().expect(text));
        assert_eq!(forwarded_for("203.0.113.9, 10.0.0.1"), ip("203.0.113.9"));
        assert_eq!(forwarded_for("203.0.113.9,+10.0.0.1"), ip("203.0.113.9"));
        assert_eq!(forwarded_for("+[2001:db8::9]:4711"), ip("2001:db8::9"));
        for none in ["-", "", "unknown, 10.0.0.1", "_hidden"] {
            assert_eq!(forwarded_for(none), None, "{none}");
        }
    }

    #[test]
    fn a_path_is_the_same_in_every_form_of_a_target() {
        for target in ["/a/b", "/a/b?c=d", "http://host:80/a/b?c", "/a/b#d"] {
            assert_eq!(path(target), "/a/b", "{target}");
        }
        assert_eq!(path("http://host"), "/");
        assert_eq!(path("/a?u=http://b/c"), "/a");
        assert_eq!(path("*"), "*");
    }
}
