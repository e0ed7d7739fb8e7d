//! The PROXY protocol, versions 1 and 2 (haproxy's `proxy-protocol.txt`, quoted below by section).
//!
//! A proxy that connects on behalf of a client says so in one header before the first byte of the connection. [`parse`]
//! reads it from whatever has arrived so far and tells the versions apart by their first byte; [`write()`] builds one.
//!
//! ```text
//! bytes so far --parse--> Incomplete: read on
//!                    |--> Complete { header, consumed }: what follows `consumed` is the client's
//!                    `--> HeaderError: section 2: "discard ... and abort the connection", as early as it shows
//! ```
//!
//! Start at [`parse`]; `v1.rs` and `v2.rs` hold a form each, both ways; `tlv.rs` what version 2 says
//! besides addresses.

mod tlv;
mod v1;
mod v2;

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;

pub use tlv::ClientTls;

/// Longest header of version 1, with its CRLF (section 2.1, "worst case").
pub const V1_BYTES_MAX: usize = 107;

/// Longest header of version 2 that is accepted, with its fixed 16 bytes.
///
/// The form allows 65,551. An address takes at most 216, and what senders add (names, TLS parameters, a cloud's
/// endpoint) a few hundred; a client certificate, which some add, about 2,000.
pub const V2_BYTES_MAX: usize = 4096;

/// Which form of the header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What some bytes have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The bytes can still become a header; more are needed.
    Incomplete,
    /// A whole header.
    Complete {
        /// Its meaning.
        header: Header,
        /// Its length; the bytes after it belong to the connection.
        consumed: usize,
    },
}

/// On whose behalf the connection was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// On behalf of a TCP client.
    Tcp {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
    /// On behalf of a client on a Unix stream socket (version 2 only). Empty paths are unnamed sockets.
    Unix {
        /// The client's path.
        source: PathBuf,
        /// Where the client connected to.
        destination: PathBuf,
    },
    /// The sender's own connection, such as a health check (version 2, `LOCAL`): the real addresses count.
    Local,
    /// On behalf of a client that the sender cannot name (version 1 `UNKNOWN`, version 2 `UNSPEC`), or that is not a
    /// stream: the real addresses count.
    Unknown,
}

/// Why bytes are not a header. All are the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither version's signature.
    #[error("no PROXY header")]
    NoSignature,
    /// Version 1: no CRLF in the first [`V1_BYTES_MAX`] bytes.
    #[error("PROXY v1 line longer than {V1_BYTES_MAX} bytes")]
    LongLine,
    /// Version 1: a CR or an LF on its own.
    #[error("PROXY v1 line does not end with CR LF")]
    LineEnd,
    /// Version 1: a protocol that is not `TCP4`, `TCP6` or `UNKNOWN`.
    #[error("PROXY v1 protocol is not TCP4, TCP6 or UNKNOWN")]
    Protocol,
    /// Version 1: not two addresses and two ports with one space between each.
    #[error("PROXY v1 line does not have two addresses and two ports")]
    Fields,
    /// Version 1: an address that is not of the line's family.
    #[error("PROXY v1 address is not of the line's address family")]
    Address,
    /// Version 1: a port that is not a number up to 65535 without leading zeros.
    #[error("PROXY v1 port is not a number up to 65535")]
    Port,
    /// Version 2: a version nibble other than 2.
    #[error("PROXY v2 signature has version {0}, not 2")]
    Version(u8),
    /// Version 2: a command other than `LOCAL` and `PROXY`.
    #[error("PROXY v2 command {0} is unassigned")]
    Command(u8),
    /// Version 2: an address family that is not assigned.
    #[error("PROXY v2 address family {0} is unassigned")]
    Family(u8),
    /// Version 2: a transport that is not assigned.
    #[error("PROXY v2 transport {0} is unassigned")]
    Transport(u8),
    /// Version 2: fewer bytes announced than the family's addresses take.
    #[error("PROXY v2 header announces {announced} bytes, but its addresses take {needed}")]
    ShortAddresses {
        /// What the length field says.
        announced: usize,
        /// What the family's addresses take.
        needed: usize,
    },
    /// Version 2: longer than [`V2_BYTES_MAX`].
    #[error("PROXY v2 header of {0} bytes is longer than {V2_BYTES_MAX}")]
    LongHeader(usize),
}

/// Reads the header at the start of a connection from all bytes that have arrived so far.
///
/// The caller needs to keep at most [`V2_BYTES_MAX`] bytes: with that many the answer is never `Incomplete`.
///
/// # Errors
/// [`HeaderError`], as soon as the bytes can no longer become a header.
pub fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    match bytes.first() {
        None => Ok(Progress::Incomplete),
        Some(first) if *first == v1::SIGNATURE[0] => v1::parse(bytes),
        Some(_) => v2::parse(bytes),
    }
}

/// Builds the header that tells a server about a client: its address and where it connected to.
///
/// Without `addresses` (the client came over a Unix socket) it is `UNKNOWN` in version 1 and `LOCAL` in version 2.
/// IPv4-mapped IPv6 addresses, as a listener on `[::]` sees them, are written as IPv4; if only one of the two is IPv4,
/// both are written as IPv6.
pub fn write(version: Version, addresses: Option<(SocketAddr, SocketAddr)>) -> HeaderBytes {
    let addresses = addresses.map(|(source, destination)| Pair::of(source, destination));
    match version {
        Version::V1 => v1::write(addresses),
        Version::V2 => v2::write(addresses),
    }
}

/// Builds a header of version 2 that tells a server more about a client than [`write()`]: the elements of the client's own
/// header ([`tlvs`]), and its TLS where that ended here. Without `addresses` there is none of it.
pub fn write_with(
    addresses: Option<(SocketAddr, SocketAddr)>,
    received: &[u8],
    tls: Option<&ClientTls>,
) -> Vec<u8> {
    let mut header = write(Version::V2, addresses).to_vec();
    if addresses.is_some() {
        tlv::write(received, tls, &mut header);
        v2::set_length(&mut header);
    }
    header
}

/// The elements of type, length and value in a whole header: none in version 1, nor where it names no client.
pub fn tlvs(header: &[u8]) -> &[u8] {
    v2::tlvs(header)
}

/// A written header.
#[derive(Debug, Clone, Copy)]
pub struct HeaderBytes {
    bytes: [u8; V1_BYTES_MAX],
    length: usize,
}

impl HeaderBytes {
    const EMPTY: Self = Self { bytes: [0; V1_BYTES_MAX], length: 0 };

    /// Appends bytes; every written form fits: a line of version 1 has at most 104 bytes, version 2 has 52.
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

impl std::ops::Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Two addresses of one family, as both forms need them.
#[derive(Debug, Clone, Copy)]
enum Pair {
    V4(SocketAddrV4, SocketAddrV4),
    V6(SocketAddrV6, SocketAddrV6),
}

impl Pair {
    fn of(source: SocketAddr, destination: SocketAddr) -> Self {
        match (canonical(source), canonical(destination)) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => Self::V4(source, destination),
            (source, destination) => Self::V6(as_v6(source), as_v6(destination)),
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn as_v6(address: SocketAddr) -> SocketAddrV6 {
    let ip: Ipv6Addr = match address {
        SocketAddr::V4(address) => address.ip().to_ipv6_mapped(),
        SocketAddr::V6(address) => *address.ip(),
    };
    SocketAddrV6::new(ip, address.port(), 0, 0)
}

#[cfg(test)]
mod tests;
