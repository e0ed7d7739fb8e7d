//! A reply as a client sees it: the head, and where the body ends (RFC 9112 section 6.3).
//!
//! [`read_head`] returns "incomplete" for every prefix of a head; [`Body`] is then given the bytes that follow and says
//! how many of them belong to the reply.

mod lines;

pub use lines::Scan;

use super::body::{self, BodyError, BodyLength};
use super::syntax::trim;

/// Why bytes are not a reply. All are the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not a status line and header lines.
    #[error("not an HTTP/1 reply ({0})")]
    Head(HeadError),
    /// `Content-Length` is not a number, or occurs twice with different values.
    #[error("the reply's Content-Length is not a single number")]
    ContentLength,
    /// `Transfer-Encoding` is anything but a single `chunked`, or comes with HTTP/1.0.
    #[error("the reply's Transfer-Encoding is not chunked")]
    TransferEncoding,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("the reply has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// A chunk's size line is not hexadecimal digits, or a chunk does not end where it says.
    #[error("the reply's chunked body is malformed ({0})")]
    Chunk(#[from] BodyError),
    /// The connection ended before the reply did.
    #[error("the connection ended in the middle of a reply")]
    CutShort,
}

/// Why bytes are not the head of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It does not begin with `HTTP/1.` and a digit.
    #[error("no HTTP/1 status line")]
    StatusLine,
    /// The status is not three digits from 100 to 999.
    #[error("the status is not three digits")]
    Status,
    /// NUL, a CR within a line, or another control character.
    #[error("a control character in the head")]
    Control,
    /// The line after the status line begins with a blank.
    #[error("a folded line after the status line")]
    Fold,
}

/// What the reply answers: a reply to `HEAD` has no body, whatever its headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerTo {
    /// A request whose reply has a body.
    Usual,
    /// `HEAD`.
    Head,
}

/// The head of a reply; borrowed from the input.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'h, 'b> {
    /// 100 to 999.
    pub status: u16,
    /// What follows the status in its line: text in any encoding, without control characters.
    pub reason: &'b [u8],
    /// Bytes of the input before the body; from [`read_head`], including skipped interim replies.
    pub length_bytes: usize,
    /// The lines behind the status line with the empty one, unfolded, which `headers` is borrowed from.
    pub lines: &'b [u8],
    /// The header lines in their order, unfolded.
    pub headers: &'h [httparse::Header<'b>],
    /// The first line that is left out of `headers` because it is not a header line.
    pub dropped: Option<&'b [u8]>,
    /// Whether the version is HTTP/1.1; if not, it is HTTP/1.0.
    pub is_http11: bool,
    /// The single value of `Content-Length`, if there is one; `None` for replies that have no length at all.
    pub content_length: Option<u64>,
    /// Where the body ends.
    pub body: Body,
    /// Whether the connection can carry another request after this body.
    pub keep_alive: bool,
}

impl<'b> ResponseHead<'_, 'b> {
    /// The values of the header lines called `name`, in any case, in their order.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'b [u8]> + 's {
        self.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    }
}

impl ResponseHead<'_, '_> {
    /// Whether this is an interim reply, which another one follows (RFC 9110 section 15.2). 101 is final.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Whether the status rules out a body and fields about one (RFC 9110 section 8.6, RFC 9112 section 6.1).
    pub fn is_unframed(&self) -> bool {
        is_unframed(self.status)
    }

    /// Rejects framing that only some readers would accept; a client at the end of the chain need not check.
    ///
    /// # Errors
    /// [`ResponseError::TransferEncoding`] and [`ResponseError::TwoLengths`].
    pub fn check_framing(&self) -> Result<(), ResponseError> {
        let mut encodings = self.values("transfer-encoding").filter(|_| !self.is_unframed());
        let Some(encoding) = encodings.next() else { return Ok(()) };
        if self.values("content-length").next().is_some() {
            return Err(ResponseError::TwoLengths);
        }
        let is_one = self.is_http11 && encodings.next().is_none();
        if is_one && encoding.eq_ignore_ascii_case(b"chunked") {
            Ok(())
        } else {
            Err(ResponseError::TransferEncoding)
        }
    }
}

/// Reads the head of a final reply from the start of `input`, skipping interim ones, and shows it to `see`; returns
/// `None` if more bytes are needed.
///
/// # Errors
/// [`ResponseError::Head`] and [`ResponseError::ContentLength`].
pub fn read_head<T>(
    input: &[u8],
    answer_to: AnswerTo,
    see: impl FnOnce(&ResponseHead<'_, '_>) -> T,
) -> Result<Option<T>, ResponseError> {
    let mut skipped_bytes = 0;
    let mut see = Some(see);
    loop {
        let read = read_next_head(&input[skipped_bytes..], answer_to, |head| {
            if head.is_interim() {
                return Err(head.length_bytes);
            }
            let head = ResponseHead { length_bytes: skipped_bytes + head.length_bytes, ..*head };
            Ok(see.take().map(|see| see(&head)))
        })?;
        match read {
            None => return Ok(None),
            Some(Ok(seen)) => return Ok(seen),
            Some(Err(interim_bytes)) => skipped_bytes += interim_bytes,
        }
    }
}

/// Reads the next head, interim or final, and shows it to `see`; returns `None` if more bytes are needed.
///
/// # Errors
/// As [`read_head`].
pub fn read_next_head<T>(
    input: &[u8],
    answer_to: AnswerTo,
    see: impl FnOnce(&ResponseHead<'_, '_>) -> T,
) -> Result<Option<T>, ResponseError> {
    resume_next_head(input, &mut Scan::default(), answer_to, see)
}

/// Like [`read_next_head`], for input that was examined as far as `scan` says.
///
/// # Errors
/// As [`read_head`].
pub fn resume_next_head<T>(
    input: &[u8],
    scan: &mut Scan,
    answer_to: AnswerTo,
    see: impl FnOnce(&ResponseHead<'_, '_>) -> T,
) -> Result<Option<T>, ResponseError> {
    let unfolded;
    let (mut slots, mut many) = (lines::USUAL_SLOTS, Vec::new());
    let usual = if scan.is_new() { lines::read_usual(input, &mut slots) } else { None };
    let (head, length_bytes) = if let Some(usual) = usual {
        usual
    } else {
        let Some(length_bytes) = scan.advance(input).map_err(ResponseError::Head)? else { return Ok(None) };
        unfolded = lines::unfold(&input[..length_bytes]).map_err(ResponseError::Head)?;
        (lines::read(&unfolded, &mut many).map_err(ResponseError::Head)?, length_bytes)
    };
    let lines::Head { status, reason, is_http11, lines, headers, dropped } = head;
    let Framing { content_length, body, keep_alive } = framing(status, is_http11, headers, answer_to)?;
    Ok(Some(see(&ResponseHead {
        status,
        reason,
        length_bytes,
        lines,
        headers,
        dropped,
        is_http11,
        content_length,
        body,
        keep_alive,
    })))
}

fn is_unframed(status: u16) -> bool {
    matches!(status, 100..200 | 204)
}

struct Framing {
    content_length: Option<u64>,
    body: Body,
    keep_alive: bool,
}

/// RFC 9112 section 6.3 (body length) and 9.3 (persistence).
fn framing(
    status: u16,
    is_http11: bool,
    headers: &[httparse::Header<'_>],
    answer_to: AnswerTo,
) -> Result<Framing, ResponseError> {
    let mut length: Option<u64> = None;
    let mut chunked = None;
    let mut keep_alive = is_http11;
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") && !is_unframed(status) {
            for value in list_items(header.value) {
                let value = decimal(value).ok_or(ResponseError::ContentLength)?;
                if length.is_some_and(|before| before != value) {
                    return Err(ResponseError::ContentLength);
                }
                length = Some(value);
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked =
                Some(list_items(header.value).last().is_some_and(|c| c.eq_ignore_ascii_case(b"chunked")));
        } else if header.name.eq_ignore_ascii_case("connection") {
            for item in list_items(header.value) {
                if item.eq_ignore_ascii_case(b"close") {
                    keep_alive = false;
                } else if item.eq_ignore_ascii_case(b"keep-alive") && !is_http11 {
                    keep_alive = true;
                }
            }
        }
    }
    let bodiless = answer_to == AnswerTo::Head || is_unframed(status) || status == 304;
    let (body, keep_alive) = match (bodiless, chunked, length) {
        // After 101 the connection speaks another protocol; after any other interim reply its final one follows.
        (true, ..) => (Body::Complete, (keep_alive || status < 200) && status != 101),
        // Both lengths at once suggest request smuggling: trust the chunks and do not use the connection again.
        (false, Some(true), length) => (Body::chunked(), keep_alive && length.is_none()),
        (false, None, Some(0)) => (Body::Complete, keep_alive),
        (false, None, Some(remaining_bytes)) => (Body::Sized { remaining_bytes }, keep_alive),
        (false, Some(false), _) | (false, None, None) => (Body::UntilClose, false),
    };
    Ok(Framing { content_length: length, body, keep_alive })
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// The part of a reply after its head: how much of it is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing more to come.
    Complete,
    /// This many bytes are still to come; never 0.
    Sized {
        /// Bytes.
        remaining_bytes: u64,
    },
    /// `Transfer-Encoding: chunked`.
    Chunked(body::Body),
    /// All that comes until the connection ends.
    UntilClose,
}

impl Body {
    fn chunked() -> Self {
        Self::Chunked(body::Body::new(BodyLength::Chunked))
    }

    /// Whether the reply ends here.
    pub fn is_complete(&self) -> bool {
        *self == Self::Complete
    }

    /// Takes from the start of `input` what belongs to the body, hands the content to `content`, and returns how
    /// many bytes it took: all of them unless the body is complete.
    ///
    /// # Errors
    /// [`ResponseError::Chunk`].
    pub fn advance(&mut self, input: &[u8], mut content: impl FnMut(&[u8])) -> Result<usize, ResponseError> {
        match self {
            Self::Complete => Ok(0),
            Self::Sized { remaining_bytes } => {
                let take = input.len().min(usize::try_from(*remaining_bytes).unwrap_or(usize::MAX));
                content(&input[..take]);
                *remaining_bytes -= take as u64;
                if *remaining_bytes == 0 {
                    *self = Self::Complete;
                }
                Ok(take)
            }
            Self::UntilClose => {
                content(input);
                Ok(input.len())
            }
            Self::Chunked(body) => {
                let taken = body.advance(input, content)?;
                if body.is_complete() {
                    *self = Self::Complete;
                }
                Ok(taken)
            }
        }
    }

    /// The connection ended.
    ///
    /// # Errors
    /// [`ResponseError::CutShort`] unless the body ends with the connection or was complete.
    pub fn end_of_connection(&mut self) -> Result<(), ResponseError> {
        match self {
            Self::Complete | Self::UntilClose => {
                *self = Self::Complete;
                Ok(())
            }
            Self::Sized { .. } | Self::Chunked(_) => Err(ResponseError::CutShort),
        }
    }
}

#[cfg(test)]
mod tests;
