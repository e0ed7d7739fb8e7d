//! Version 2: binary (section 2.2).
//!
//! ```text
//! signature 12 | version, command 1 | family, transport 1 | length 2 | addresses | TLVs (`tlv.rs`)
//!                                                                     `---- length bytes ----'
//! ```

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{Header, HeaderBytes, HeaderError, Pair, Progress, V2_BYTES_MAX};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;

const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

const UNSPEC: u8 = 0;
const INET: u8 = 1;
const INET6: u8 = 2;
const UNIX: u8 = 3;

const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;

const UNIX_PATH_BYTES: usize = 108;

/// The fixed part, checked.
struct Fixed {
    command: u8,
    family: u8,
    transport: u8,
    length: usize,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let Some(fixed) = fixed(bytes)? else { return Ok(Progress::Incomplete) };
    let consumed = FIXED_BYTES + fixed.length;
    let Some(block) = bytes.get(FIXED_BYTES..consumed) else { return Ok(Progress::Incomplete) };
    let header = match (fixed.command, fixed.family, fixed.transport) {
        // "... and discard the protocol block including the family which is ignored"
        (LOCAL, ..) => Header::Local,
        (_, INET, STREAM) => inet(block),
        (_, INET6, STREAM) => inet6(block),
        (_, UNIX, STREAM) => Header::Unix {
            source: path(&block[..UNIX_PATH_BYTES]),
            destination: path(&block[UNIX_PATH_BYTES..2 * UNIX_PATH_BYTES]),
        },
        // "... falls back to the UNSPEC mode for the valid combinations above that it does not support"
        _ => Header::Unknown,
    };
    Ok(Progress::Complete { header, consumed })
}

/// Checks each byte as soon as it is there; nothing until all of them are.
fn fixed(bytes: &[u8]) -> Result<Option<Fixed>, HeaderError> {
    let shorter = bytes.len().min(SIGNATURE.len());
    if bytes[..shorter] != SIGNATURE[..shorter] {
        return Err(HeaderError::NoSignature);
    }
    let Some(version_command) = bytes.get(12) else { return Ok(None) };
    let (version, command) = (version_command >> 4, version_command & 0xf);
    match (version, command) {
        (VERSION, LOCAL | PROXY) => {}
        (VERSION, _) => return Err(HeaderError::Command(command)),
        _ => return Err(HeaderError::Version(version)),
    }
    let Some(family_transport) = bytes.get(13) else { return Ok(None) };
    let (family, transport) = (family_transport >> 4, family_transport & 0xf);
    if command == PROXY && family > UNIX {
        return Err(HeaderError::Family(family));
    }
    if command == PROXY && transport > DATAGRAM {
        return Err(HeaderError::Transport(transport));
    }
    let (Some(high), Some(low)) = (bytes.get(14), bytes.get(15)) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if FIXED_BYTES + length > V2_BYTES_MAX {
        return Err(HeaderError::LongHeader(FIXED_BYTES + length));
    }
    let needed = if command == PROXY { address_bytes(family, transport) } else { 0 };
    if length < needed {
        return Err(HeaderError::ShortAddresses { announced: length, needed });
    }
    Ok(Some(Fixed { command, family, transport, length }))
}

fn address_bytes(family: u8, transport: u8) -> usize {
    match (family, transport) {
        (_, UNSPEC) | (UNSPEC, _) => 0,
        (INET, _) => 12,
        (INET6, _) => 36,
        _ => 2 * UNIX_PATH_BYTES,
    }
}

/// `block` holds at least `address_bytes`.
fn inet(block: &[u8]) -> Header {
    let ip = |at: usize| Ipv4Addr::new(block[at], block[at + 1], block[at + 2], block[at + 3]);
    Header::Tcp {
        source: SocketAddr::new(ip(0).into(), port(block, 8)),
        destination: SocketAddr::new(ip(4).into(), port(block, 10)),
    }
}

/// `block` holds at least `address_bytes`.
fn inet6(block: &[u8]) -> Header {
    let ip = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&block[at..at + 16]);
        Ipv6Addr::from(octets)
    };
    Header::Tcp {
        source: SocketAddr::new(ip(0).into(), port(block, 32)),
        destination: SocketAddr::new(ip(16).into(), port(block, 34)),
    }
}

fn port(block: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([block[at], block[at + 1]])
}

/// Up to the first NUL; a path that fills its field has none.
fn path(field: &[u8]) -> PathBuf {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    PathBuf::from(OsStr::from_bytes(&field[..end]))
}

/// See [`super::tlvs`].
pub(super) fn tlvs(header: &[u8]) -> &[u8] {
    match fixed(header) {
        Ok(Some(fixed)) if fixed.command == PROXY => {
            let begin = FIXED_BYTES + address_bytes(fixed.family, fixed.transport);
            let is_named = begin > FIXED_BYTES;
            header.get(begin..FIXED_BYTES + fixed.length).filter(|_| is_named).unwrap_or_default()
        }
        _ => &[],
    }
}

/// Writes the length of a whole header into it. What is received is bounded by [`V2_BYTES_MAX`], so that it fits.
pub(super) fn set_length(header: &mut [u8]) {
    let length = ((header.len() - FIXED_BYTES) as u16).to_be_bytes();
    header[14..FIXED_BYTES].copy_from_slice(&length);
}

pub(super) fn write(addresses: Option<Pair>) -> HeaderBytes {
    let mut header = HeaderBytes::EMPTY;
    header.push(SIGNATURE);
    match addresses {
        None => header.push(&[VERSION << 4 | LOCAL, UNSPEC, 0, 0]),
        Some(Pair::V4(source, destination)) => {
            header.push(&[VERSION << 4 | PROXY, INET << 4 | STREAM, 0, 12]);
            header.push(&source.ip().octets());
            header.push(&destination.ip().octets());
            header.push(&source.port().to_be_bytes());
            header.push(&destination.port().to_be_bytes());
        }
        Some(Pair::V6(source, destination)) => {
            header.push(&[VERSION << 4 | PROXY, INET6 << 4 | STREAM, 0, 36]);
            header.push(&source.ip().octets());
            header.push(&destination.ip().octets());
            header.push(&source.port().to_be_bytes());
            header.push(&destination.port().to_be_bytes());
        }
    }
    header
}
