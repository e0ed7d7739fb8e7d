//! A request's head as a server reads it (RFC 9112 sections 2 to 6).
//!
//! `scan.rs` reads the request line and finds the end of the head while it is still arriving; `host.rs` is the grammar
//! of hosts. `httparse` reads the fields when all of them have arrived.

mod host;
mod scan;

use memchr::memchr;

use super::body::BodyLength;
use super::connection::{ConnectionOptions, list_items};

pub use host::{is_host, split_port};
pub use scan::{EMPTY_LINES_MAX, Scan};

/// More header lines than most heads have; browsers send fifteen.
const USUAL_FIELDS_MAX: usize = 24;

/// Room for the header lines of one head: at hand for a usual number of them, otherwise as much as needed.
#[derive(Debug)]
pub struct HeaderSlots<'b> {
    usual: [httparse::Header<'b>; USUAL_FIELDS_MAX],
    many: Vec<httparse::Header<'b>>,
}

/// Empty [`HeaderSlots`].
pub const fn header_slots<'b>() -> HeaderSlots<'b> {
    HeaderSlots { usual: [httparse::EMPTY_HEADER; USUAL_FIELDS_MAX], many: Vec::new() }
}

impl<'b> HeaderSlots<'b> {
    fn of(&mut self, count: usize) -> &mut [httparse::Header<'b>] {
        if count > USUAL_FIELDS_MAX {
            self.many.clear();
            self.many.resize(count, httparse::EMPTY_HEADER);
            return &mut self.many;
        }
        &mut self.usual[..count]
    }
}

/// Why bytes are not a request. All are the sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// Not a request line.
    #[error("not an HTTP/1 request (the first line is not a method, a target and a version)")]
    RequestLine,
    /// A byte that a target may not contain unencoded.
    #[error("the request's target contains the byte 0x{0:02x}, which must be percent-encoded")]
    TargetByte(u8),
    /// Another major version.
    #[error("the request's version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    /// Not header lines.
    #[error("not an HTTP/1 request ({0})")]
    Head(httparse::Error),
    /// A line that ends with LF alone, which other readers may not accept as a line end.
    #[error("a line of the request's head ends with LF only, not CR LF")]
    BareLf,
    /// More empty lines before the request than any client sends.
    #[error("there are too many empty lines before the request")]
    EmptyLines,
    /// The head is longer than allowed.
    #[error("the request's head is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// More than one `Host`, or none in HTTP/1.1.
    #[error("the request does not have exactly one Host header")]
    Host,
    /// A `Host` that is not a valid host.
    #[error("the request's Host is not a host with an optional port")]
    HostSyntax,
    /// Two `Authorization` fields: two servers could each read a different user.
    #[error("the request has more than one Authorization header")]
    Authorization,
    /// `Content-Length` is not a number, or occurs twice.
    #[error("the request's Content-Length is not a single number")]
    ContentLength,
    /// `Transfer-Encoding` is anything but a single `chunked`, or comes with HTTP/1.0.
    #[error("the request's Transfer-Encoding is not chunked")]
    TransferEncoding,
    /// Both lengths at once: the basis of request smuggling.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// `Expect` asks for something other than `100-continue`.
    #[error("the request expects something other than 100-continue")]
    Expectation,
}

/// A request's head; borrowed from the input.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    /// The method, in its original case.
    pub method: &'b str,
    /// The request target as sent, which may not be UTF-8.
    pub target: &'b [u8],
    /// Bytes of the input before the body.
    pub length_bytes: usize,
    /// The lines behind the request line with the empty one, which `headers` is borrowed from.
    pub lines: &'b [u8],
    /// The header lines in their order.
    pub headers: &'h [httparse::Header<'b>],
    /// What `Connection` says.
    pub connection: ConnectionOptions,
    /// What follows the head.
    pub body: BodyLength,
    /// Whether the version is HTTP/1.1; if not, it is HTTP/1.0. A later HTTP/1 counts as HTTP/1.1.
    pub is_http11: bool,
    /// Whether the client wants to use the connection again.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl<'b> RequestHead<'_, 'b> {
    /// The values of the header lines called `name`, in any case, in their order.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'b [u8]> + 's {
        values(self.headers, name)
    }

    /// The first header line with an underscore in its name.
    pub fn underscored(&self) -> Option<&httparse::Header<'b>> {
        // Most heads have none anywhere.
        memchr(b'_', self.lines)?;
        self.headers.iter().find(|header| header.name.contains('_'))
    }

    /// Whether a list header (`Upgrade`) has this item, in any case.
    pub fn has_item(&self, name: &str, item: &str) -> bool {
        list_items(values(self.headers, name)).any(|found| found.eq_ignore_ascii_case(item.as_bytes()))
    }
}

/// Reads the head of a request from the start of `input`; returns `None` if more bytes are needed.
///
/// # Errors
/// See [`RequestError`]; [`RequestError::TooLong`] also for an incomplete head that already exceeds the limit.
pub fn read_head<'h, 'b>(
    input: &'b [u8],
    limit_bytes: usize,
    slots: &'h mut HeaderSlots<'b>,
) -> Result<Option<RequestHead<'h, 'b>>, RequestError> {
    resume_head(input, limit_bytes, &mut Scan::default(), slots)
}

/// Reads a head that arrives in pieces, as [`read_head`] does. `input` is all that has arrived so far; `scan` says how
/// far it was already examined.
///
/// # Errors
/// As [`read_head`].
pub fn resume_head<'h, 'b>(
    input: &'b [u8],
    limit_bytes: usize,
    scan: &mut Scan,
    slots: &'h mut HeaderSlots<'b>,
) -> Result<Option<RequestHead<'h, 'b>>, RequestError> {
    let Some(found) = scan.advance(input)? else {
        return if input.len() > limit_bytes { Err(RequestError::TooLong { limit_bytes }) } else { Ok(None) };
    };
    let length_bytes = found.fields.end;
    if length_bytes > limit_bytes {
        return Err(RequestError::TooLong { limit_bytes });
    }
    let lines = &input[found.fields];
    let parsed = httparse::parse_headers(lines, slots.of(found.field_count)).map_err(RequestError::Head)?;
    // Both look for the same empty line.
    let httparse::Status::Complete((_, headers)) = parsed else {
        return Err(RequestError::Head(httparse::Error::NewLine));
    };
    let is_http11 = found.is_http11;
    one_host(headers, is_http11)?;
    if values(headers, "authorization").nth(1).is_some() {
        return Err(RequestError::Authorization);
    }
    let connection = ConnectionOptions::read(values(headers, "connection"));
    Ok(Some(RequestHead {
        // The scan has checked that it is a token.
        method: std::str::from_utf8(&input[found.method]).unwrap_or_default(),
        target: &input[found.target],
        length_bytes,
        lines,
        headers,
        body: body_length(headers, is_http11)?,
        is_http11,
        keep_alive: (is_http11 || connection.keep_alive) && !connection.close,
        expects_continue: expects_continue(headers)? && is_http11,
        connection,
    }))
}

/// Checks for one host, or an empty one: a client may have none to name (RFC 9112 section 3.2), and health checks send
/// that.
fn one_host(headers: &[httparse::Header<'_>], is_http11: bool) -> Result<(), RequestError> {
    let mut hosts = values(headers, "host");
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.is_empty() || is_host(host) => Ok(()),
        (Some(_), None) => Err(RequestError::HostSyntax),
        (None, _) if !is_http11 => Ok(()),
        _ => Err(RequestError::Host),
    }
}

/// Follows RFC 9112 section 6.3, with errors where it leaves a choice.
fn body_length(headers: &[httparse::Header<'_>], is_http11: bool) -> Result<BodyLength, RequestError> {
    let mut lengths = values(headers, "content-length");
    let mut encodings = values(headers, "transfer-encoding");
    match (lengths.next(), encodings.next()) {
        (None, None) => Ok(BodyLength::None),
        (Some(_), Some(_)) => Err(RequestError::TwoLengths),
        (Some(length), None) => {
            let only = lengths.next().is_none();
            decimal(length).filter(|_| only).map(BodyLength::Sized).ok_or(RequestError::ContentLength)
        }
        (None, Some(encoding)) => {
            let only = encodings.next().is_none() && is_http11;
            if only && encoding.eq_ignore_ascii_case(b"chunked") {
                Ok(BodyLength::Chunked)
            } else {
                Err(RequestError::TransferEncoding)
            }
        }
    }
}

/// Considers all `Expect` lines; one without an item counts as absent.
fn expects_continue(headers: &[httparse::Header<'_>]) -> Result<bool, RequestError> {
    let mut expects = false;
    for item in list_items(values(headers, "expect")) {
        if !item.eq_ignore_ascii_case(b"100-continue") {
            return Err(RequestError::Expectation);
        }
        expects = true;
    }
    Ok(expects)
}

fn values<'s, 'b>(
    headers: &'s [httparse::Header<'b>],
    name: &'s str,
) -> impl Iterator<Item = &'b [u8]> + use<'s, 'b> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn decimal(value: &[u8]) -> Option<u64> {
    // `parse` would accept a sign.
    value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
