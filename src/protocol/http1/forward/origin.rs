//! References to the server in replies, as the client has to see them.

use std::net::Ipv6Addr;

use crate::protocol::http1::request::{is_host, split_port};

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Over plain TCP.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The scheme of a connection with or without TLS.
    pub fn of_tls(has_tls: bool) -> Self {
        if has_tls { Self::Https } else { Self::Http }
    }

    /// As it is in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The scheme of this name, in any case.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| scheme.as_str().as_bytes().eq_ignore_ascii_case(name))
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where one request went, as each side names it.
#[derive(Debug, Clone, Copy)]
pub struct Origins<'a> {
    /// How the server was asked.
    pub server_scheme: Scheme,
    /// Host and port that the proxy connected to, if it has such.
    pub server: Option<&'a [u8]>,
    /// The `Host` that the server got; empty if none.
    pub sent_host: &'a [u8],
    /// How the client asked.
    pub client_scheme: Scheme,
    /// The host that the client asked for, with its port unless it is the default; empty if it named none.
    pub client_host: &'a [u8],
}

impl Origins<'_> {
    /// A reference to the server as a reference to what the client asked. Nothing for all others.
    ///
    /// A reference is to the server if its scheme is one of the two that the request came over, and its authority is the
    /// server's address, or the `Host` that the server got, also with the port of either side: servers put the port that
    /// they listen on behind the name that they were asked for.
    pub(super) fn rewritten(&self, reference: &[u8]) -> Option<Vec<u8>> {
        if self.client_host.is_empty() {
            return None;
        }
        let colon = reference.iter().position(|&byte| byte == b':')?;
        let (scheme, rest) =
            (Scheme::of_name(&reference[..colon])?, reference[colon..].strip_prefix(b"://")?);
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let is_of_request = scheme == self.server_scheme || scheme == self.client_scheme;
        if !is_of_request || !is_host(authority) || !self.is_server(Place::of(authority, scheme)) {
            return None;
        }
        Some([self.client_scheme.as_str().as_bytes(), b"://", self.client_host, rest].concat())
    }

    fn is_server(&self, place: Place<'_>) -> bool {
        let server = self.server.filter(|server| is_host(server));
        let server = server.map(|server| Place::of(server, self.server_scheme));
        if server.is_some_and(|server| place.has_host_of(server) && place.port == server.port) {
            return true;
        }
        let sent = Place::of(self.sent_host, self.server_scheme);
        let ports = [
            Some(sent.port),
            server.map(|server| server.port),
            Some(Place::of(self.client_host, self.client_scheme).port),
        ];
        !self.sent_host.is_empty() && place.has_host_of(sent) && ports.contains(&Some(place.port))
    }

    /// The value of a `Refresh` field whose reference is to the server: `5; url=http://...`.
    pub(super) fn refresh_rewritten(&self, value: &[u8]) -> Option<Vec<u8>> {
        let delimiter = value.iter().position(|byte| matches!(byte, b';' | b','))?;
        let begin_of = |text: &[u8]| value.len() - text.len();
        let (name, rest) = value[delimiter + 1..].trim_ascii_start().split_at_checked(3)?;
        let rest = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
        if !name.eq_ignore_ascii_case(b"url") {
            return None;
        }
        let (rest, quote) = match rest {
            [quote @ (b'"' | b'\''), rest @ ..] => (rest, Some(*quote)),
            _ => (rest, None),
        };
        let begin = begin_of(rest);
        let end = rest.iter().position(|byte| Some(*byte) == quote).map_or(value.len(), |end| begin + end);
        let rewritten = self.rewritten(&value[begin..end])?;
        Some([&value[..begin], &rewritten, &value[end..]].concat())
    }
}

/// An authority with its port.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    host: &'a [u8],
    port: u16,
}

impl<'a> Place<'a> {
    fn of(authority: &'a [u8], scheme: Scheme) -> Self {
        let (host, port) = split_port(authority);
        Self { host, port: port.unwrap_or(scheme.default_port()) }
    }

    fn has_host_of(self, other: Self) -> bool {
        let address = |host: &[u8]| {
            let inner = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
            std::str::from_utf8(inner).ok()?.parse::<Ipv6Addr>().ok()
        };
        let is_same_address = || address(self.host).is_some_and(|own| address(other.host) == Some(own));
        self.host.eq_ignore_ascii_case(other.host) || is_same_address()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TLS ends at the proxy; the server is asked by its clients' name.
    const TERMINATED: Origins<'static> = Origins {
        server_scheme: Scheme::Http,
        server: Some(b"iis1.corp.example:8080"),
        sent_host: b"web.example",
        client_scheme: Scheme::Https,
        client_host: b"web.example",
    };

    fn rewritten(origins: &Origins<'_>, reference: &str) -> Option<String> {
        origins.rewritten(reference.as_bytes()).map(|text| String::from_utf8(text).expect("text"))
    }

    #[test]
    fn references_to_the_server_are_for_the_client() {
        for (reference, expected) in [
            ("http://web.example/a?b#c", "https://web.example/a?b#c"),
            ("HTTP://Web.Example/", "https://web.example/"),
            ("http://web.example", "https://web.example"),
            ("http://web.example?a", "https://web.example?a"),
            ("http://web.example#a", "https://web.example#a"),
            ("http://web.example:80/", "https://web.example/"),
            ("http://web.example:/", "https://web.example/"),
            ("http://web.example:8080/", "https://web.example/"),
            ("http://web.example:443/", "https://web.example/"),
            ("https://web.example:8080/", "https://web.example/"),
            ("https://web.example/", "https://web.example/"),
            ("http://iis1.corp.example:8080//x", "https://web.example//x"),
            ("https://IIS1.corp.example:8080/", "https://web.example/"),
            (
                "http://web.example/b?to=http://iis1.corp.example:8080/",
                "https://web.example/b?to=http://iis1.corp.example:8080/",
            ),
        ] {
            assert_eq!(rewritten(&TERMINATED, reference).as_deref(), Some(expected), "{reference}");
        }
    }

    #[test]
    fn other_references_are_left_alone() {
        for reference in [
            "",
            "/",
            "//web.example/",
            "a",
            "a:b",
            "http:/web.example/",
            "http:web.example/",
            "ftp://web.example/",
            "httpx://web.example/",
            "http://",
            "http:///a",
            "http://example/",
            "http://www.web.example/",
            "http://web.example.org/",
            "http://web.example:81/",
            "http://web.example:99999/",
            "http://iis1.corp.example/",
            "http://iis1.corp.example:443/",
            "http://user@web.example/",
            "http://web.example\\@evil.example/",
            "http://web.example:80@evil.example/",
            "/to?http://web.example/",
        ] {
            assert_eq!(rewritten(&TERMINATED, reference), None, "{reference}");
        }
    }

    #[test]
    fn a_plain_client_may_be_sent_to_https() {
        let plain = Origins { client_scheme: Scheme::Http, ..TERMINATED };
        assert_eq!(rewritten(&plain, "https://web.example/"), None);
        assert_eq!(rewritten(&plain, "https://iis1.corp.example:8080/"), None);
        assert_eq!(
            rewritten(&plain, "http://iis1.corp.example:8080/").as_deref(),
            Some("http://web.example/")
        );
        let inside = Origins { server_scheme: Scheme::Https, server: Some(b"10.0.0.1:443"), ..plain };
        assert_eq!(rewritten(&inside, "https://10.0.0.1/a").as_deref(), Some("http://web.example/a"));
        assert_eq!(rewritten(&inside, "https://web.example/a").as_deref(), Some("http://web.example/a"));
    }

    #[test]
    fn the_clients_port_is_kept_and_addresses_have_several_forms() {
        let origins = Origins {
            server: Some(b"[2001:db8::1]:80"),
            sent_host: b"internal",
            client_host: b"web.example:8443",
            ..TERMINATED
        };
        for (reference, expected) in [
            ("http://internal/a", Some("https://web.example:8443/a")),
            ("http://internal:8443/a", Some("https://web.example:8443/a")),
            ("http://[2001:DB8:0:0::1]/a", Some("https://web.example:8443/a")),
            ("http://[2001:db8::2]/a", None),
            ("http://web.example:8443/a", None),
        ] {
            assert_eq!(rewritten(&origins, reference).as_deref(), expected, "{reference}");
        }
        let unknown = Origins { client_host: b"", sent_host: b"", ..TERMINATED };
        assert_eq!(rewritten(&unknown, "http://iis1.corp.example:8080/"), None);
        let unnamed = Origins { server: None, sent_host: b"", ..TERMINATED };
        assert_eq!(rewritten(&unnamed, "http://web.example/"), None);
    }

    #[test]
    fn a_refresh_has_a_reference_behind_its_time() {
        let rewritten = |value: &str| {
            TERMINATED.refresh_rewritten(value.as_bytes()).map(|text| String::from_utf8(text).expect("text"))
        };
        for (value, expected) in [
            ("0;url=http://web.example/a", Some("0;url=https://web.example/a")),
            ("5 ; URL = http://web.example/", Some("5 ; URL = https://web.example/")),
            ("5, url='http://web.example/' x", Some("5, url='https://web.example/' x")),
            ("5; url=\"http://web.example/;a\"", Some("5; url=\"https://web.example/;a\"")),
            ("5; url=http://example/", None),
            ("5; to=http://web.example/", None),
            ("5; ur", None),
            ("5; url", None),
            ("5", None),
            ("", None),
        ] {
            assert_eq!(rewritten(value).as_deref(), expected, "{value}");
        }
    }
}
