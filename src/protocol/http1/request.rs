//! A request's head as a server reads it (RFC 9112 sections 2 to 6), over `httparse`.

use std::mem::MaybeUninit;

use super::body::BodyLength;

/// Header lines a request may have.
pub const HEADERS_MAX: usize = 100;

/// Room for the header lines of one head.
pub type HeaderSlots<'b> = [MaybeUninit<httparse::Header<'b>>; HEADERS_MAX];

/// Empty [`HeaderSlots`].
pub const fn header_slots<'b>() -> HeaderSlots<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// Why bytes are not a request. The peer's fault, all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// Not a request line and header lines, or more than [`HEADERS_MAX`] of them.
    #[error("not an HTTP/1 request ({0})")]
    Head(httparse::Error),
    /// A line that ends with LF alone, which others may read as no end.
    #[error("a line of the request's head ends without CR")]
    BareLf,
    /// The head is longer than allowed.
    #[error("the request's head is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// HTTP/1.1 without exactly one `Host`.
    #[error("the request has not exactly one Host header")]
    Host,
    /// `Content-Length` is no number, or is there twice.
    #[error("the request's Content-Length is not one number")]
    ContentLength,
    /// `Transfer-Encoding` is anything but one `chunked`, or comes with HTTP/1.0.
    #[error("the request's Transfer-Encoding is not chunked")]
    TransferEncoding,
    /// Two lengths: what request smuggling is made of.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// `Expect` asks for something else than `100-continue`.
    #[error("the request expects something else than 100-continue")]
    Expectation,
}

/// A request's head; borrowed from the input.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    /// The method, in its own case.
    pub method: &'b str,
    /// The request target as it was sent.
    pub target: &'b str,
    /// Bytes of the input up to the body.
    pub length_bytes: usize,
    /// The header lines in their order.
    pub headers: &'h [httparse::Header<'b>],
    /// What follows the head.
    pub body: BodyLength,
    /// HTTP/1.1, or else HTTP/1.0.
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

    /// Whether a list header (`Connection`, `Upgrade`) has this item, in any case.
    pub fn has_item(&self, name: &str, item: &str) -> bool {
        has_item(self.headers, name, item)
    }
}

/// Reads the head of a request from the start of `input`; `None`: more bytes are needed.
///
/// # Errors
/// See [`RequestError`]; [`RequestError::TooLong`] also for an unfinished head that is over the limit already.
pub fn read_head<'h, 'b>(
    input: &'b [u8],
    limit_bytes: usize,
    slots: &'h mut HeaderSlots<'b>,
) -> Result<Option<RequestHead<'h, 'b>>, RequestError> {
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(input, slots).map_err(RequestError::Head)?;
    let httparse::Status::Complete(length_bytes) = parsed else {
        return if input.len() > limit_bytes { Err(RequestError::TooLong { limit_bytes }) } else { Ok(None) };
    };
    if length_bytes > limit_bytes {
        return Err(RequestError::TooLong { limit_bytes });
    }
    // httparse takes LF alone for the end of a line (RFC 9112 section 2.2 allows a server to).
    let head = &input[..length_bytes];
    if memchr_lf(head).any(|at| at == 0 || head[at - 1] != b'\r') {
        return Err(RequestError::BareLf);
    }
    let is_http11 = request.version == Some(1);
    let headers: &'h [httparse::Header<'b>] = request.headers;
    if is_http11 && values(headers, "host").count() != 1 {
        return Err(RequestError::Host);
    }
    Ok(Some(RequestHead {
        method: request.method.unwrap_or_default(),
        target: request.path.unwrap_or_default(),
        length_bytes,
        headers,
        body: body_length(headers, is_http11)?,
        is_http11,
        keep_alive: if is_http11 {
            !has_item(headers, "connection", "close")
        } else {
            has_item(headers, "connection", "keep-alive")
        },
        expects_continue: expects_continue(headers)? && is_http11,
    }))
}

/// RFC 9112 section 6.3, with errors where it leaves a choice.
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

fn expects_continue(headers: &[httparse::Header<'_>]) -> Result<bool, RequestError> {
    match values(headers, "expect").next() {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(RequestError::Expectation),
    }
}

fn values<'s, 'b>(
    headers: &'s [httparse::Header<'b>],
    name: &'s str,
) -> impl Iterator<Item = &'b [u8]> + use<'s, 'b> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn has_item(headers: &[httparse::Header<'_>], name: &str, item: &str) -> bool {
    values(headers, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|found| found.trim_ascii().eq_ignore_ascii_case(item.as_bytes()))
}

fn decimal(value: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

fn memchr_lf(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT_BYTES: usize = 1024;

    /// What a test looks at.
    #[derive(Debug, PartialEq)]
    struct Seen {
        method: String,
        target: String,
        length_bytes: usize,
        body: BodyLength,
        keep_alive: bool,
        expects_continue: bool,
    }

    fn read(input: &[u8]) -> Result<Option<Seen>, RequestError> {
        let mut slots = header_slots();
        Ok(read_head(input, LIMIT_BYTES, &mut slots)?.map(|head| Seen {
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            length_bytes: head.length_bytes,
            body: head.body,
            keep_alive: head.keep_alive,
            expects_continue: head.expects_continue,
        }))
    }

    fn with(lines: &str) -> Result<Option<Seen>, RequestError> {
        read(format!("POST /echo HTTP/1.1\r\nHost: web\r\n{lines}\r\n").as_bytes())
    }

    fn body_of(lines: &str) -> Result<BodyLength, RequestError> {
        with(lines).map(|seen| seen.expect("a whole head").body)
    }

    #[test]
    fn a_head_and_what_follows_it() {
        let head =
            b"POST /echo?a=b HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n";
        let seen = read(&[&head[..], b"hello"].concat()).unwrap().unwrap();
        let expected = Seen {
            method: "POST".into(),
            target: "/echo?a=b".into(),
            length_bytes: head.len(),
            body: BodyLength::Sized(5),
            keep_alive: true,
            expects_continue: true,
        };
        assert_eq!(seen, expected);
        for cut in 0..head.len() {
            assert_eq!(read(&head[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn one_length_or_none() {
        assert_eq!(body_of(""), Ok(BodyLength::None));
        assert_eq!(body_of("Content-Length: 0\r\n"), Ok(BodyLength::Sized(0)));
        assert_eq!(body_of("Transfer-Encoding: Chunked\r\n"), Ok(BodyLength::Chunked));
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(body_of(both), Err(RequestError::TwoLengths));
        for value in ["", "-1", "+5", "0x5", "5, 5", "5 5", "99999999999999999999", "5\r\nContent-Length: 5"]
        {
            let lines = format!("Content-Length: {value}\r\n");
            assert_eq!(body_of(&lines), Err(RequestError::ContentLength), "{value:?}");
        }
        for value in ["gzip", "gzip, chunked", "chunked, chunked", "xchunked", "identity", ""] {
            let lines = format!("Transfer-Encoding: {value}\r\n");
            assert_eq!(body_of(&lines), Err(RequestError::TransferEncoding), "{value:?}");
        }
        let old = read(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(old, Err(RequestError::TransferEncoding));
    }

    #[test]
    fn lines_that_others_read_differently() {
        for lines in ["A: 1\nB: 2\r\n", "A: 1\n"] {
            assert_eq!(with(lines), Err(RequestError::BareLf), "{lines:?}");
        }
        assert_eq!(read(b"GET / HTTP/1.1\nHost: web\n\n"), Err(RequestError::BareLf));
        for lines in
            ["A: 1\r\n folded\r\n", "A : 1\r\n", " A: 1\r\n", "A: 1\rB: 2\r\n", "A: \x001\r\n", ": 1\r\n"]
        {
            assert!(matches!(with(lines), Err(RequestError::Head(_))), "{lines:?}");
        }
    }

    #[test]
    fn versions_and_persistence() {
        let keeps = |head: &str| read(head.as_bytes()).map(|seen| seen.unwrap().keep_alive);
        assert_eq!(keeps("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(true));
        assert_eq!(keeps("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n"), Ok(false));
        assert_eq!(keeps("GET / HTTP/1.0\r\n\r\n"), Ok(false));
        assert_eq!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), Ok(true));
        for head in ["GET / HTTP/2.0\r\nHost: a\r\n\r\n", "GET /\r\n\r\n", "\x16\x03\x01\x02\x00\x01\r\n"] {
            assert!(matches!(read(head.as_bytes()), Err(RequestError::Head(_))), "{head:?}");
        }
    }

    #[test]
    fn one_host_and_known_expectations() {
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n"), Err(RequestError::Host));
        assert_eq!(with("Host: other\r\n"), Err(RequestError::Host));
        assert_eq!(with("Expect: tea\r\n"), Err(RequestError::Expectation));
    }

    #[test]
    fn a_head_over_the_limit_whole_or_not() {
        let too_long = Err(RequestError::TooLong { limit_bytes: LIMIT_BYTES });
        let line = format!("A: {}\r\n", "x".repeat(LIMIT_BYTES));
        assert_eq!(with(&line), too_long);
        let unfinished = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(LIMIT_BYTES));
        assert_eq!(read(unfinished.as_bytes()), too_long);
    }

    #[test]
    fn more_headers_than_slots() {
        let lines = "A: 1\r\n".repeat(HEADERS_MAX);
        assert_eq!(with(&lines), Err(RequestError::Head(httparse::Error::TooManyHeaders)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn changed_heads_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut head =
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
            let at = at.index(head.len());
            head[at] = byte;
            let _ = read(&head);
        }
    }
}
