//! The `ClientHello` that a TLS connection starts with (RFC 8446 section 4.1.2; TLS 1.0 to 1.2 have the same form),
//! read without consuming it: which site the client asks for, so that a connection can be routed before any server
//! answers.
//!
//! ```text
//! bytes so far --parse--> Incomplete: read on
//!                    |--> Hello { server_name, alpn }: all bytes, including these, are for the server
//!                    `--> HelloError: not a ClientHello, reported as early as it shows
//! ```
//!
//! A router must carry whatever the client and the server understand, so this reads less than a server would. rustls'
//! `server::Acceptor` reads the same from bytes, but refuses what rustls itself would not serve: a hello without
//! `signature_algorithms` (every one of TLS 1.0 and 1.1), an unusual host name, an oddity in any extension it knows.
//! The crate `tls-parser` leaves joining records to its user, which is half of the work. Only nine lengths must be
//! read: versions, cipher suites, key shares and GREASE (RFC 8701) are skipped.
//!
//! Lengths are strict, because two readers who disagree on where a field ends disagree on the name. A field that claims
//! more than is left of the field around it is an error immediately; one that has not arrived yet is `Incomplete`: see
//! `part.rs`.
//!
//! With Encrypted Client Hello the name is the outer one, which is the provider's: only the server can read the inner
//! one.

mod part;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;

use part::{Part, Stop};

/// Most bytes on the wire that a hello may take, including the headers of its records.
///
/// Browsers send 500 to 2,000 bytes, the large ones with post-quantum key shares and a session ticket. The form allows
/// 128 KiB; servers stop between 16 KiB and 128 KiB, rustls at 64 KiB.
pub const BYTES_MAX: usize = 64 * 1024;

/// Content type of a record (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// The major version of every record since SSL 3.0; the minor one is ignored.
const MAJOR_VERSION: u8 = 3;
const FRAGMENT_BYTES_MAX: usize = 1 << 14;
const RECORD_HEADER_BYTES: usize = 5;

/// Type of a handshake message (RFC 8446 section 4).
const CLIENT_HELLO: u8 = 1;
const HANDSHAKE_HEADER_BYTES: usize = 4;
const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES_MAX: usize = 32;

/// Longest name of a host (RFC 1035 section 2.3.4); OpenSSL and rustls also end a handshake with a longer one.
pub const NAME_BYTES_MAX: usize = 255;

/// Types of extensions.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// The only defined type of name (RFC 6066 section 3).
const HOST_NAME: u8 = 0;

/// What some bytes have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The bytes can still become a hello; more are needed.
    Incomplete,
    /// A whole hello.
    Hello(Hello),
}

/// What a client says about its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The host name it asks for (SNI), in lower case and without a trailing dot. `None` if it names none, or a name
    /// that cannot be a host: an IP address (RFC 6066 section 3 forbids it) or other characters than `a-z 0-9 - _ .`.
    pub server_name: Option<String>,
    /// The list of RFC 7301 as received: each protocol after its length, none empty.
    alpn: Vec<u8>,
}

impl Hello {
    /// The protocols that it offers (ALPN), its favourite first: `h2`, `http/1.1`.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.alpn;
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let (protocol, after) = after.split_at_checked(length.into())?;
            rest = after;
            Some(protocol)
        })
    }
}

/// Why bytes are not a hello. All are the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Another protocol, including SSL 2.0 and the form in which it introduced later versions (RFC 6176).
    #[error("not TLS")]
    NotTls,
    /// TLS, but its lengths contradict each other, or it repeats what may occur only once.
    #[error("the TLS ClientHello is malformed")]
    Malformed,
    /// Longer than [`BYTES_MAX`].
    #[error("the TLS ClientHello is longer than {BYTES_MAX} bytes")]
    TooLong,
    /// A host name longer than [`NAME_BYTES_MAX`]: TLS, but no server accepts it.
    #[error("the TLS server name is longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
}

/// Reads the hello at the start of a connection from all bytes that have arrived so far.
///
/// The caller needs to keep at most [`BYTES_MAX`] bytes: with that many the answer is never `Incomplete`.
///
/// # Errors
/// [`HelloError`], as soon as the bytes can no longer become a hello.
pub fn parse(bytes: &[u8]) -> Result<Progress, HelloError> {
    let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
    let (message, end) = handshake(bytes);
    // A result from the message takes precedence over an error after it, so that more bytes never change a result.
    match hello(&message) {
        Ok(hello) => Ok(Progress::Hello(hello)),
        Err(Stop::Wrong(error)) => Err(error),
        Err(Stop::Incomplete) => match end {
            Stop::Wrong(error) => Err(error),
            Stop::Incomplete if bytes.len() == BYTES_MAX => Err(HelloError::TooLong),
            Stop::Incomplete => Ok(Progress::Incomplete),
        },
    }
}

/// The first handshake message, as far as it has arrived, and why no more of it is available. It is copied only if it
/// spans records (RFC 8446 section 5.1).
fn handshake(bytes: &[u8]) -> (Cow<'_, [u8]>, Stop) {
    let mut records = Part::unbounded(bytes);
    let mut message = Cow::Borrowed(&[][..]);
    while !is_whole(&message) {
        let error = if message.is_empty() { HelloError::NotTls } else { HelloError::Malformed };
        match record(&mut records, error) {
            Ok(fragment) if message.is_empty() => message = Cow::Borrowed(fragment),
            Ok(fragment) => message.to_mut().extend_from_slice(fragment),
            Err(stop) => return (message, stop),
        }
    }
    (message, Stop::Incomplete)
}

fn is_whole(message: &[u8]) -> bool {
    match message.first_chunk::<HANDSHAKE_HEADER_BYTES>() {
        Some(&[_, high, mid, low]) => {
            let body_bytes = u32::from_be_bytes([0, high, mid, low]) as usize;
            message.len() >= HANDSHAKE_HEADER_BYTES + body_bytes
        }
        None => false,
    }
}

/// The arrived part of the next record's fragment; never empty. Nothing may come between the records of a message, and
/// no fragment of it is empty (RFC 8446 section 5.1).
fn record<'a>(records: &mut Part<'a>, error: HelloError) -> Result<&'a [u8], Stop> {
    let demand = |holds: bool| if holds { Ok(()) } else { Err(Stop::Wrong(error)) };
    demand(records.u8()? == HANDSHAKE)?;
    demand(records.u8()? == MAJOR_VERSION)?;
    records.u8()?;
    let fragment_bytes = records.u16()?.into();
    demand((1..=FRAGMENT_BYTES_MAX).contains(&fragment_bytes))?;
    match records.part(fragment_bytes)?.arrived() {
        [] => Err(Stop::Incomplete),
        fragment => Ok(fragment),
    }
}

fn hello(message: &[u8]) -> Result<Hello, Stop> {
    let mut message = Part::unbounded(message);
    if message.u8()? != CLIENT_HELLO {
        return Err(Stop::Wrong(HelloError::NotTls));
    }
    let body_bytes = message.u24()?;
    if body_bytes > BYTES_MAX - RECORD_HEADER_BYTES - HANDSHAKE_HEADER_BYTES {
        return Err(Stop::Wrong(HelloError::TooLong));
    }
    let mut body = message.part(body_bytes)?;
    let _version = body.u16()?;
    body.part(RANDOM_BYTES)?.whole()?;
    let session_id = body.vector8()?;
    demand(session_id.len() <= SESSION_ID_BYTES_MAX)?;
    session_id.whole()?;
    let cipher_suites = body.vector16()?;
    demand(!cipher_suites.is_empty() && cipher_suites.len().is_multiple_of(2))?;
    cipher_suites.whole()?;
    let compression_methods = body.vector8()?;
    demand(!compression_methods.is_empty())?;
    compression_methods.whole()?;
    if body.is_empty() {
        // RFC 5246 section 7.4.1.2: extensions may be absent.
        return Ok(Hello { server_name: None, alpn: Vec::new() });
    }
    let extensions = body.vector16()?;
    demand(body.is_empty())?;
    read_extensions(extensions)
}

fn read_extensions(mut extensions: Part<'_>) -> Result<Hello, Stop> {
    let (mut server_name, mut alpn) = (None, None);
    while !extensions.is_empty() {
        let extension_type = extensions.u16()?;
        let data = extensions.vector16()?;
        match extension_type {
            SERVER_NAME => {
                demand(server_name.is_none())?;
                server_name = Some(read_server_name(data)?);
            }
            ALPN => {
                demand(alpn.is_none())?;
                alpn = Some(read_alpn(data)?);
            }
            _ => {
                data.whole()?;
            }
        }
    }
    Ok(Hello { server_name: server_name.flatten(), alpn: alpn.unwrap_or_default() })
}

/// RFC 6066 section 3: a list with at most one name of each type. Names of future types also start with their length.
fn read_server_name(mut data: Part<'_>) -> Result<Option<String>, Stop> {
    let mut list = data.vector16()?;
    demand(!list.is_empty() && data.is_empty())?;
    let mut host_name = None;
    while !list.is_empty() {
        let name_type = list.u8()?;
        let name = list.vector16()?;
        demand(!name.is_empty() && (name_type != HOST_NAME || host_name.is_none()))?;
        if name_type == HOST_NAME && name.len() > NAME_BYTES_MAX {
            return Err(Stop::Wrong(HelloError::NameTooLong));
        }
        let name = name.whole()?;
        if name_type == HOST_NAME {
            host_name = Some(name);
        }
    }
    Ok(host_name.and_then(as_host_name))
}

/// RFC 7301 section 3.1.
fn read_alpn(mut data: Part<'_>) -> Result<Vec<u8>, Stop> {
    let list = data.vector16()?;
    demand(!list.is_empty() && data.is_empty())?;
    let mut rest = list;
    while !rest.is_empty() {
        let protocol = rest.vector8()?;
        demand(!protocol.is_empty())?;
        protocol.whole()?;
    }
    list.whole().map(<[u8]>::to_vec)
}

fn as_host_name(name: &[u8]) -> Option<String> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_host_name = !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let name = std::str::from_utf8(name).ok().filter(|_| is_host_name)?;
    if name.parse::<IpAddr>().is_ok() { None } else { Some(name.to_ascii_lowercase()) }
}

fn demand(holds: bool) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(Stop::Wrong(HelloError::Malformed)) }
}
