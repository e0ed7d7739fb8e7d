//! Addresses as an operator writes them: `HOST:PORT`, `[v6]:PORT`, `unix:PATH`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use crate::cli::Error;
use crate::control::names::{Resolver, system};
use crate::proxy::settings::Network;
use crate::upstream::names::Name;
use crate::uring::Address;

/// Most bytes of a path in `sun_path`, which also holds a NUL (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// A well-formed address; a name in it is not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    written: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Known(Address),
    /// A name, or an IPv6 address with a zone that is a name; the resolver accepts both.
    Named {
        host: String,
        port: u16,
    },
}

/// Why a text is not an address; says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum AddressError {
    #[error("the path is missing; write unix:/run/app.sock")]
    NoPath,
    #[error("the path has {0} bytes, a Unix socket's path at most {UNIX_PATH_BYTES_MAX}; use a shorter one")]
    LongPath(usize),
    #[error("this is a URL; write {0}")]
    Url(String),
    #[error("the port is missing; write {0}:PORT")]
    NoPort(String),
    #[error("the host is missing; write {0}")]
    NoHost(String),
    #[error("an IPv6 address needs brackets; write [ADDRESS]:PORT, like [2001:db8::1]:80")]
    NoBrackets,
    #[error("the brackets do not contain an IPv6 address; write [ADDRESS]:PORT, like [2001:db8::1]:80")]
    NoIpv6,
    #[error("the port is not a number from 0 to 65535; write {0}:PORT")]
    Port(String),
    #[error("this is not a host name; write HOST:PORT, [IPv6]:PORT or unix:PATH")]
    Host,
}

impl FromStr for Unresolved {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Ok(Self { written: text.to_owned(), place: place(text)? })
    }
}

impl fmt::Display for Unresolved {
    /// As written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Unresolved {
    /// Whether it is the path of a Unix socket.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self.place, Place::Known(Address::Unix(_)))
    }

    /// Whether the port is 0: valid for a listener (the kernel picks one), but not to connect to.
    pub(super) fn has_port_zero(&self) -> bool {
        match &self.place {
            Place::Known(Address::Ip(address)) => address.port() == 0,
            Place::Known(Address::Unix(_)) => false,
            Place::Named { port, .. } => *port == 0,
        }
    }

    /// The host as written, without brackets; `None` for a Unix socket.
    pub(super) fn host(&self) -> Option<Cow<'_, str>> {
        match &self.place {
            Place::Known(Address::Ip(address)) => Some(address.ip().to_string().into()),
            Place::Known(Address::Unix(_)) => None,
            Place::Named { host, .. } => Some(host.into()),
        }
    }

    /// The address, if it is no name.
    pub(super) fn known(&self) -> Option<&Address> {
        match &self.place {
            Place::Known(address) => Some(address),
            Place::Named { .. } => None,
        }
    }

    /// The name, if it is one.
    pub(super) fn name(&self) -> Option<Name> {
        match &self.place {
            Place::Known(_) => None,
            Place::Named { host, port } => Some(Name::Host { host: host.as_str().into(), port: *port }),
        }
    }

    /// Every address of the name, in the resolver's order, without duplicates; never empty. Asks the resolver of this
    /// host, so it can take seconds.
    ///
    /// # Errors
    /// [`Error::Resolve`], which names `flag`.
    pub fn resolve(&self, flag: &'static str) -> Result<Vec<Address>, Error> {
        let (host, port) = match &self.place {
            Place::Known(address) => return Ok(vec![address.clone()]),
            Place::Named { host, port } => (host.as_str(), *port),
        };
        let fail = |reason: String| Error::Resolve { flag, name: self.written.clone(), reason };
        let mut addresses = Vec::new();
        let timeout = Resolver::default().timeout;
        for address in system::addresses(host, port, timeout).map_err(fail)? {
            let address = Address::Ip(address);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err(fail("the name has no address".to_owned())) } else { Ok(addresses) }
    }
}

/// Parses a network, a single address as one, or `unix:`.
pub(super) fn network(text: &str) -> Result<Network, String> {
    if text == "unix:" {
        return Ok(Network::Unix);
    }
    let network = text.parse().or_else(|_not_a_network| text.parse::<IpAddr>().map(IpNet::from));
    network.map(|network| Network::Ip(canonical(network))).map_err(|_neither| {
        "give an address or a network, such as 10.0.0.0/8 or 2001:db8::/32, or unix:".to_owned()
    })
}

/// A network of IPv4 addresses mapped into IPv6 as the one of IPv4 that it is: clients are compared by these.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network.addr() {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let bits = network.prefix_len().checked_sub(96);
    let v4 = mapped.zip(bits).and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    v4.map_or(network, IpNet::V4)
}

fn place(text: &str) -> Result<Place, AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.len() {
            0 => Err(AddressError::NoPath),
            1..=UNIX_PATH_BYTES_MAX => Ok(Place::Known(Address::Unix(PathBuf::from(path)))),
            long => Err(AddressError::LongPath(long)),
        };
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let has_port = authority.rsplit(']').next().is_some_and(|behind| behind.contains(':'));
        return Err(AddressError::Url(match scheme {
            _ if authority.is_empty() => "HOST:PORT".to_owned(),
            "http" if !has_port => format!("{authority}:80"),
            "https" if !has_port => format!("{authority}:443"),
            _ => authority.to_owned(),
        }));
    }
    if let Some(rest) = text.strip_prefix('[') {
        return bracketed(rest);
    }
    if text.parse::<Ipv6Addr>().is_ok() || text.matches(':').count() > 1 {
        return Err(AddressError::NoBrackets);
    }
    let Some((host, port)) = text.split_once(':') else {
        return Err(match text.parse::<u16>() {
            Ok(port) => AddressError::NoHost(format!("0.0.0.0:{port} or [::]:{port}")),
            Err(_) if text.is_empty() => AddressError::NoHost("HOST:PORT".to_owned()),
            Err(_) => AddressError::NoPort(text.to_owned()),
        });
    };
    if host.is_empty() || host == "*" {
        return Err(AddressError::NoHost(format!("0.0.0.0:{port} or [::]:{port}")));
    }
    let port = port.parse().map_err(|_| AddressError::Port(host.to_owned()))?;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Place::Known(Address::Ip(SocketAddr::new(ip, port))));
    }
    // A name of digits and dots only is a mistyped IPv4 address: the resolver would read `10.1` as 10.0.0.1.
    let only_digits = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if only_digits || !is_name || host.len() > 253 {
        return Err(AddressError::Host);
    }
    Ok(Place::Named { host: host.to_owned(), port })
}

/// Parses what follows the opening bracket.
fn bracketed(rest: &str) -> Result<Place, AddressError> {
    let (inside, after) = rest.split_once(']').ok_or(AddressError::NoBrackets)?;
    let (ip, zone) = inside.split_once('%').map_or((inside, None), |(ip, zone)| (ip, Some(zone)));
    let ip: Ipv6Addr = ip.parse().map_err(|_| AddressError::NoIpv6)?;
    let written = format!("[{inside}]");
    let port = match after.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| AddressError::Port(written))?,
        None => return Err(AddressError::NoPort(written)),
    };
    Ok(match zone {
        None => Place::Known(Address::Ip(SocketAddr::new(ip.into(), port))),
        Some(_) => Place::Named { host: inside.to_owned(), port },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Vec<String> {
        let address: Unresolved = text.parse().expect(text);
        address.resolve("listen").expect(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in
            ["192.0.2.1:80", "0.0.0.0:0", "[::]:443", "[2001:db8::1]:80", "unix:/run/app.sock", "unix:a b"]
        {
            assert_eq!(resolved(text), [text], "{text}");
        }
    }

    #[test]
    fn a_network_of_mapped_addresses_is_the_one_that_clients_are_compared_by() {
        for (written, meant) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(network(written), Ok(Network::Ip(meant.parse().expect("a network"))), "{written}");
        }
        assert_eq!(network("unix:"), Ok(Network::Unix));
        for wrong in ["", "all", "10.0.0.0/33", "10.0.0", "unix:/run/a", "host"] {
            network(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_name_stands_for_its_addresses() {
        let addresses = resolved("localhost:8080");
        assert!(
            addresses.contains(&"127.0.0.1:8080".to_owned()) || addresses.contains(&"[::1]:8080".to_owned()),
            "{addresses:?}"
        );
        assert_eq!(resolved("[fe80::1%1]:80"), ["[fe80::1%1]:80"]);
    }

    #[test]
    fn a_name_that_does_not_resolve_names_the_flag_and_the_remedy() {
        let address: Unresolved = "no-such-host.invalid:80".parse().expect("well formed");
        let line = address.resolve("upstream").expect_err("RFC 6761: .invalid has no addresses").to_string();
        assert!(line.starts_with("--upstream no-such-host.invalid:80: cannot resolve the name: "), "{line}");
        assert!(line.ends_with("give an IP address, or fix the name service"), "{line}");
    }

    #[test]
    fn every_mistake_says_what_would_be_right() {
        let long = format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX));
        for (text, expected) in [
            ("", "the host is missing; write HOST:PORT"),
            ("8080", "the host is missing; write 0.0.0.0:8080 or [::]:8080"),
            (":80", "the host is missing; write 0.0.0.0:80 or [::]:80"),
            ("*:80", "the host is missing; write 0.0.0.0:80 or [::]:80"),
            ("iis1.corp", "the port is missing; write iis1.corp:PORT"),
            ("iis1.corp:", "the port is not a number from 0 to 65535; write iis1.corp:PORT"),
            ("iis1.corp:http", "the port is not a number from 0 to 65535; write iis1.corp:PORT"),
            ("10.0.0.1:65536", "the port is not a number from 0 to 65535; write 10.0.0.1:PORT"),
            ("http://iis1.corp:80/x", "this is a URL; write iis1.corp:80"),
            ("https://", "this is a URL; write HOST:PORT"),
            ("http://iis1.corp/", "this is a URL; write iis1.corp:80"),
            ("https://[2001:db8::1]", "this is a URL; write [2001:db8::1]:443"),
            ("::1:80", "an IPv6 address needs brackets; write [ADDRESS]:PORT, like [2001:db8::1]:80"),
            ("::1", "an IPv6 address needs brackets; write [ADDRESS]:PORT, like [2001:db8::1]:80"),
            ("[::1:80", "an IPv6 address needs brackets; write [ADDRESS]:PORT, like [2001:db8::1]:80"),
            ("[::1]", "the port is missing; write [::1]:PORT"),
            ("[::1]80", "the port is missing; write [::1]:PORT"),
            ("[::1]:x", "the port is not a number from 0 to 65535; write [::1]:PORT"),
            (
                "[10.0.0.1]:80",
                "the brackets do not contain an IPv6 address; write [ADDRESS]:PORT, like [2001:db8::1]:80",
            ),
            ("10.0.0:80", "this is not a host name; write HOST:PORT, [IPv6]:PORT or unix:PATH"),
            ("a host:80", "this is not a host name; write HOST:PORT, [IPv6]:PORT or unix:PATH"),
            ("unix:", "the path is missing; write unix:/run/app.sock"),
            (long.as_str(), "the path has 108 bytes, a Unix socket's path at most 107; use a shorter one"),
        ] {
            assert_eq!(text.parse::<Unresolved>().expect_err(text).to_string(), expected, "{text:?}");
        }
    }
}
