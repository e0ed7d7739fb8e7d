//! Version 1: a line of text (section 2.1).

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, HeaderBytes, HeaderError, Pair, Progress, V1_BYTES_MAX};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

pub(super) fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let shorter = bytes.len().min(SIGNATURE.len());
    if bytes[..shorter] != SIGNATURE[..shorter] {
        return Err(HeaderError::NoSignature);
    }
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if window.len() == V1_BYTES_MAX {
            Err(HeaderError::LongLine)
        } else {
            Ok(Progress::Incomplete)
        };
    };
    // "The receiver must not tolerate a single CR or LF character to end the line."
    match (window[end], window.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if window.len() == V1_BYTES_MAX => return Err(HeaderError::LongLine),
        (b'\r', None) => return Ok(Progress::Incomplete),
        _ => return Err(HeaderError::LineEnd),
    }
    // A line end within the signature is a mismatch above: here the signature is whole.
    let header = line(&window[SIGNATURE.len()..end])?;
    Ok(Progress::Complete { header, consumed: end + 2 })
}

/// What comes between the signature and the line's end.
fn line(line: &[u8]) -> Result<Header, HeaderError> {
    let mut fields = line.split(|byte| *byte == b' ');
    let address: fn(&str) -> Option<IpAddr> = match fields.next() {
        // "The receiver must ignore anything presented before the CRLF is found."
        Some(b"UNKNOWN") => return Ok(Header::Unknown),
        Some(b"TCP4") => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some(b"TCP6") => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(HeaderError::Protocol),
    };
    let mut next = || fields.next().ok_or(HeaderError::Fields);
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    if fields.next().is_some() {
        return Err(HeaderError::Fields);
    }
    let address = |field| std::str::from_utf8(field).ok().and_then(address).ok_or(HeaderError::Address);
    Ok(Header::Tcp {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })
}

/// "Heading zeroes are not permitted."
fn port(field: &[u8]) -> Result<u16, HeaderError> {
    match field {
        [b'0'] | [b'1'..=b'9', ..] => {}
        _ => return Err(HeaderError::Port),
    }
    std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).ok_or(HeaderError::Port)
}

pub(super) fn write(addresses: Option<Pair>) -> HeaderBytes {
    let mut line = HeaderBytes::EMPTY;
    // Writing into memory that is large enough does not fail (`HeaderBytes::push`).
    let _ = match addresses {
        None => line.write_str("PROXY UNKNOWN\r\n"),
        Some(Pair::V4(source, destination)) => write!(
            line,
            "PROXY TCP4 {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        ),
        Some(Pair::V6(source, destination)) => write!(
            line,
            "PROXY TCP6 {} {} {} {}\r\n",
            Groups(*source.ip()),
            Groups(*destination.ip()),
            source.port(),
            destination.port()
        ),
    };
    line
}

/// An IPv6 address as "sets of 4 hexadecimal digits": std writes `::ffff:192.0.2.1` for a mapped one.
struct Groups(Ipv6Addr);

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.segments() {
            [0, 0, 0, 0, 0, 0xffff, high, low] => write!(f, "::ffff:{high:x}:{low:x}"),
            _ => self.0.fmt(f),
        }
    }
}

impl fmt::Write for HeaderBytes {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
