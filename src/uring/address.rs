//! The address of a socket: an IP address with a port, or a path in the file system.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use socket2::SockAddr;

/// The address of a listener, an upstream or a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4 or IPv6 with a port.
    Ip(SocketAddr),
    /// A Unix stream socket; an empty path stands for an unbound peer (unix(7): "unnamed").
    Unix(PathBuf),
}

impl Address {
    /// The kernel's form.
    ///
    /// # Errors
    /// A Unix path longer than `sun_path` (107 bytes) or with a NUL in it.
    pub fn to_sock_addr(&self) -> std::io::Result<SockAddr> {
        match self {
            Self::Ip(address) => Ok((*address).into()),
            Self::Unix(path) => SockAddr::unix(path),
        }
    }

    /// Converts from the kernel's form; none for a family that is neither IP nor Unix.
    pub(crate) fn from_sock_addr(address: &SockAddr) -> Option<Self> {
        match address.as_socket() {
            Some(address) => Some(Self::Ip(address)),
            None if address.is_unix() => {
                Some(Self::Unix(address.as_pathname().map(PathBuf::from).unwrap_or_default()))
            }
            None => None,
        }
    }

    /// Whether a client of one address may reach a listener at the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(one), Self::Ip(other)) => {
                one.port() == other.port()
                    && one.is_ipv4() == other.is_ipv4()
                    && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
            }
            // Each has a file of its own.
            _ => false,
        }
    }
}

impl fmt::Display for Address {
    /// Same as on the command line: `192.0.2.1:80`, `[2001:db8::1]:80`, `unix:/run/app.sock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_overlap_with_addresses_of_their_family() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("[::]:80", "127.0.0.1:80", false),
            ("[::]:80", "[::1]:80", true),
        ] {
            let [first, second] = [one, other].map(|text| Address::Ip(text.parse().expect("an address")));
            assert_eq!(first.overlaps(&second), expected, "{one} and {other}");
        }
    }
}
