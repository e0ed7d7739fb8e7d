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
