//! The request line and the end of the head, found while the head is still arriving: each byte is examined once.
//!
//! Input that cannot become a request is refused as soon as that shows, not when the head should be complete: a TLS
//! hello on a plain port is an error at its first byte.

use memchr::memchr;

use super::RequestError;
use crate::protocol::http1::syntax::{is_all_text, is_token};

/// Empty lines allowed before a request (RFC 9112 section 2.2): some clients send one after a body.
pub const EMPTY_LINES_MAX: usize = 32;

/// The most bytes of a line break: CR and LF.
const LINE_END_BYTES: usize = 2;

/// ` HTTP/1.1` and the end of its line, without the space.
const VERSION_BYTES: usize = b"HTTP/1.1\r\n".len();

/// How far the head at the start of some input was examined. It belongs to that input, which may only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scan {
    /// Bytes examined.
    at: usize,
    stage: Stage,
    /// Where the request line begins.
    begin: usize,
    method_end: usize,
    target_end: usize,
    is_http11: bool,
    /// Where the first field begins, and where the one being examined begins.
    fields_begin: usize,
    line_begin: usize,
    /// Fields up to here were judged.
    judged: usize,
    fields: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Method,
    Target,
    Version,
    Fields,
    Whole,
}

/// The parts of a complete head, as ranges of the input.
pub(super) struct Found {
    pub(super) method: std::ops::Range<usize>,
    pub(super) target: std::ops::Range<usize>,
    pub(super) is_http11: bool,
    /// With the empty line.
    pub(super) fields: std::ops::Range<usize>,
    pub(super) field_count: usize,
}

impl Scan {
    /// Examines what has arrived since the last call; returns nothing while the head is incomplete.
    pub(super) fn advance(&mut self, input: &[u8]) -> Result<Option<Found>, RequestError> {
        while self.at < input.len() && self.stage != Stage::Whole {
            let goes_on = match self.stage {
                Stage::Before => self.before(input)?,
                Stage::Method => self.method(input)?,
                Stage::Target => self.target(input)?,
                Stage::Version => self.version(input)?,
                Stage::Fields | Stage::Whole => self.fields(input)?,
            };
            if !goes_on {
                return Ok(None);
            }
        }
        Ok((self.stage == Stage::Whole).then(|| Found {
            method: self.begin..self.method_end,
            target: self.method_end + 1..self.target_end,
            is_http11: self.is_http11,
            fields: self.fields_begin..self.at,
            field_count: self.fields,
        }))
    }

    fn before(&mut self, input: &[u8]) -> Result<bool, RequestError> {
        match &input[self.at..] {
            [b'\r'] => return Ok(false),
            [b'\r', b'\n', ..] if self.at == EMPTY_LINES_MAX * LINE_END_BYTES => {
                return Err(RequestError::EmptyLines);
            }
            [b'\r', b'\n', ..] => self.at += LINE_END_BYTES,
            [b'\n', ..] => return Err(RequestError::BareLf),
            _ => {
                self.begin = self.at;
                self.stage = Stage::Method;
            }
        }
        Ok(true)
    }

    fn method(&mut self, input: &[u8]) -> Result<bool, RequestError> {
        match input[self.at..].iter().position(|&byte| !is_token(byte)) {
            None => {
                self.at = input.len();
                Ok(false)
            }
            Some(length) => {
                self.method_end = self.at + length;
                if input[self.method_end] != b' ' || self.method_end == self.begin {
                    return Err(RequestError::RequestLine);
                }
                self.at = self.method_end + 1;
                self.stage = Stage::Target;
                Ok(true)
            }
        }
    }

    fn target(&mut self, input: &[u8]) -> Result<bool, RequestError> {
        match input[self.at..].iter().position(|&byte| !is_target_byte(byte)) {
            None => {
                self.at = input.len();
                Ok(false)
            }
            Some(length) => {
                self.target_end = self.at + length;
                match input[self.target_end] {
                    b' ' if self.target_end > self.method_end + 1 => {}
                    b' ' | b'\r' | b'\n' => return Err(RequestError::RequestLine),
                    byte => return Err(RequestError::TargetByte(byte)),
                }
                self.at = self.target_end + 1;
                self.stage = Stage::Version;
                Ok(true)
            }
        }
    }

    fn version(&mut self, input: &[u8]) -> Result<bool, RequestError> {
        let begin = self.target_end + 1;
        let version = &input[begin..input.len().min(begin + VERSION_BYTES)];
        for (&byte, at) in version.iter().zip(0..) {
            let fits = match at {
                5 | 7 => byte.is_ascii_digit(),
                8 if byte == b'\n' => return Err(RequestError::BareLf),
                _ => byte == b"HTTP/-.-\r\n"[at],
            };
            if !fits {
                return Err(RequestError::RequestLine);
            }
        }
        self.at = begin + version.len();
        if version.len() < VERSION_BYTES {
            return Ok(false);
        }
        if version[5] != b'1' {
            return Err(RequestError::Version);
        }
        // A later minor version is treated as the latest known one (RFC 9110 section 2.5).
        self.is_http11 = version[7] != b'0';
        (self.fields_begin, self.line_begin, self.judged) = (self.at, self.at, self.at);
        self.stage = Stage::Fields;
        Ok(true)
    }

    fn fields(&mut self, input: &[u8]) -> Result<bool, RequestError> {
        while let Some(length) = memchr(b'\n', &input[self.at..]) {
            let end = self.at + length;
            if end == self.line_begin || input[end - 1] != b'\r' {
                return Err(RequestError::BareLf);
            }
            self.at = end + 1;
            if end == self.line_begin + 1 {
                self.stage = Stage::Whole;
                return Ok(true);
            }
            self.line_begin = self.at;
            self.fields += 1;
        }
        self.at = input.len();
        // When a head arrives complete, the parser judges the fields.
        for line in input[self.judged..self.line_begin].split_inclusive(|&byte| byte == b'\n') {
            judge_field(line)?;
        }
        self.judged = self.line_begin;
        Ok(false)
    }
}

/// Refuses only lines that the parser refuses.
fn judge_field(line: &[u8]) -> Result<(), RequestError> {
    let name_end = line.iter().position(|&byte| !is_token(byte)).unwrap_or(line.len());
    if name_end == 0 || line.get(name_end) != Some(&b':') {
        return Err(RequestError::Head(httparse::Error::HeaderName));
    }
    let value = line[name_end + 1..].strip_suffix(b"\r\n").unwrap_or_default();
    if !is_all_text(value) {
        return Err(RequestError::Head(httparse::Error::HeaderValue));
    }
    Ok(())
}

/// Whether a target may contain this byte: printable ASCII of URIs, the backtick that browsers send in queries, and
/// bytes over 0x7F, which HTTP.sys reads as the ANSI code page or UTF-8. A fragment is not allowed.
const fn is_target_byte(byte: u8) -> bool {
    TARGET_BYTES[byte as usize]
}

/// [`is_target_byte`] of each byte.
const TARGET_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[byte] = matches!(byte as u8, b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_'..=b'z' | b'~' | 0x80..);
        byte += 1;
    }
    bytes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_target() {
        let refused: Vec<u8> = (0..=255).filter(|&byte| !is_target_byte(byte)).collect();
        let expected: Vec<u8> = (0..=b' ').chain(*b"\"#<>\\^{|}\x7f").collect();
        assert_eq!(refused, expected);
    }

    /// The examined bytes are overwritten, except the field that is still arriving: a second look would fail.
    #[test]
    fn a_head_that_comes_byte_by_byte_is_looked_at_once() {
        let fields = "X-Field: value\r\n".repeat(50) + &"Y: 1\r\n".repeat(200);
        let head = format!("\r\nPOST /path?query HTTP/1.1\r\n{fields}\r\n").into_bytes();
        let mut scan = Scan::default();
        let mut input = head.clone();
        for end in 1..head.len() {
            let found = scan.advance(&input[..end]).unwrap_or_else(|error| panic!("at {end}: {error}"));
            assert!(found.is_none() && scan.at <= end, "at {end}");
            let seen = match scan.stage {
                Stage::Fields => scan.judged,
                // The version has ten bytes, and the CR LF of an empty line comes together.
                Stage::Version => scan.target_end,
                _ => scan.at,
            };
            input[..seen].fill(b'\n');
        }
        let found = scan.advance(&input).expect("sound").expect("whole");
        assert_eq!(&head[found.method], b"POST");
        assert_eq!(&head[found.target], b"/path?query");
        assert_eq!((found.field_count, found.fields.end), (250, head.len()));
    }

    #[test]
    fn what_cannot_become_a_request_is_refused_at_once() {
        for (begin, error) in [
            (&b"\x16"[..], RequestError::RequestLine),
            (b" ", RequestError::RequestLine),
            (b"\n", RequestError::BareLf),
            (b"\rG", RequestError::RequestLine),
            (b"GET\t", RequestError::RequestLine),
            (b"GET\r", RequestError::RequestLine),
            (b"GET  ", RequestError::RequestLine),
            (b"GET /\r", RequestError::RequestLine),
            (b"GET /a\\", RequestError::TargetByte(b'\\')),
            (b"GET http://h#", RequestError::TargetByte(b'#')),
            (b"GET / h", RequestError::RequestLine),
            (b"GET / HTTP/1.1 ", RequestError::RequestLine),
            (b"GET / HTTP/11", RequestError::RequestLine),
            (b"GET / HTTP/1.1\n", RequestError::BareLf),
            (b"PRI * HTTP/2.0\r\n", RequestError::Version),
            (b"GET / HTTP/0.9\r\n", RequestError::Version),
            (b"GET / HTTP/1.1\r\n\n", RequestError::BareLf),
            (b"GET / HTTP/1.1\r\nA: b\n", RequestError::BareLf),
            (b"GET / HTTP/1.1\r\nA : b\r\n", RequestError::Head(httparse::Error::HeaderName)),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n", RequestError::Head(httparse::Error::HeaderName)),
            (b"GET / HTTP/1.1\r\nA: \0\r\n", RequestError::Head(httparse::Error::HeaderValue)),
            (b"GET / HTTP/1.1\r\nA: b\rc\r\n", RequestError::Head(httparse::Error::HeaderValue)),
        ] {
            let found = Scan::default().advance(begin).map(|found| found.is_some());
            assert_eq!(found, Err(error), "{}", begin.escape_ascii());
            let before = Scan::default().advance(&begin[..begin.len() - 1]).map(|found| found.is_some());
            assert_eq!(before, Ok(false), "{}", begin.escape_ascii());
        }
    }

    #[test]
    fn empty_lines_before_a_request_are_few() {
        let request = b"GET / HTTP/1.1\r\n\r\n";
        let some = [&b"\r\n".repeat(EMPTY_LINES_MAX)[..], request].concat();
        assert!(Scan::default().advance(&some).is_ok_and(|found| found.is_some()));
        let many = b"\r\n".repeat(EMPTY_LINES_MAX + 1);
        assert!(matches!(Scan::default().advance(&many), Err(RequestError::EmptyLines)));
    }
}
