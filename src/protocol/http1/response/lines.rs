//! The lines of a reply's head, as servers send them: those of RFC 9112, and what IIS and its applications add.
//!
//! Input with only one possible meaning is read and normalised: line ends without CR, folded values, blanks before a
//! colon, empty lines before the status line, `403.1` for a status. A line that is not a field is left out. Input that
//! the next reader could read differently (a lone CR, NUL and other controls) is an error.

use std::borrow::Cow;

use httparse::Header;
use memchr::{memchr, memchr_iter};

use super::HeadError;
use crate::protocol::http1::syntax::{is_all_text, is_blank, is_token, trim};

/// A complete head.
#[derive(Debug)]
pub(super) struct Head<'h, 'b> {
    pub(super) status: u16,
    pub(super) reason: &'b [u8],
    pub(super) is_http11: bool,
    /// The lines behind the first, with the empty one.
    pub(super) lines: &'b [u8],
    pub(super) headers: &'h [Header<'b>],
    /// The first line that was left out.
    pub(super) dropped: Option<&'b [u8]>,
}

/// More fields than most replies have; IIS sends ten.
const USUAL_FIELDS_MAX: usize = 24;
/// Room for the fields of a reply without oddities.
pub(super) type UsualSlots<'b> = [Header<'b>; USUAL_FIELDS_MAX];
/// Empty [`UsualSlots`].
pub(super) const USUAL_SLOTS: UsualSlots<'static> = [httparse::EMPTY_HEADER; USUAL_FIELDS_MAX];

/// How far the head at the start of some input was examined: each byte once, in whatever pieces it arrives. It belongs
/// to that input, which may only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scan {
    /// Bytes examined.
    at: usize,
    line_start: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    EmptyLines,
    StatusLine,
    Fields,
}

impl Scan {
    /// Whether nothing was examined yet.
    pub(super) fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// Returns how many bytes of `input` the head takes; nothing while its end has not arrived.
    ///
    /// # Errors
    /// As soon as the beginning cannot belong to a head.
    pub(super) fn advance(&mut self, input: &[u8]) -> Result<Option<usize>, HeadError> {
        if self.stage == Stage::EmptyLines {
            self.at += status_line_start(&input[self.at..]);
            self.line_start = self.at;
            if self.at == input.len() {
                return Ok(None);
            }
            self.stage = Stage::StatusLine;
        }
        if self.stage == Stage::StatusLine {
            let begin = &input[self.line_start..];
            let version = &begin[..begin.len().min(VERSION.len())];
            if version != &VERSION[..version.len()] {
                return Err(HeadError::StatusLine);
            }
        }
        while let Some(end) = memchr(b'\n', &input[self.at..]) {
            self.at += end + 1;
            let line = without_end(&input[self.line_start..self.at]);
            if line.is_empty() {
                return Ok(Some(self.at));
            }
            if self.stage == Stage::StatusLine {
                status_line(line)?;
                self.stage = Stage::Fields;
            }
            self.line_start = self.at;
        }
        self.at = input.len();
        Ok(None)
    }
}

/// Joins folded lines: the fold becomes a blank (RFC 9112 section 5.2).
pub(super) fn unfold(head: &[u8]) -> Result<Cow<'_, [u8]>, HeadError> {
    let is_folded = |end: usize| head.get(end + 1).is_some_and(|&byte| is_blank(byte));
    if !memchr_iter(b'\n', head).any(is_folded) {
        return Ok(Cow::Borrowed(head));
    }
    let start = status_line_start(head);
    let mut unfolded = Vec::with_capacity(head.len());
    let mut line_start = start;
    while let Some(line) = line_at(head, line_start) {
        if is_blank(line[0]) {
            // The status line cannot be continued.
            let before = line_at(head, start).map_or(0, <[u8]>::len);
            if line_start <= start + before {
                return Err(HeadError::Fold);
            }
            let kept = without_end(&unfolded).len();
            unfolded.truncate(kept);
            unfolded.push(b' ');
            unfolded.extend_from_slice(trim_start(line));
        } else {
            unfolded.extend_from_slice(line);
        }
        line_start += line.len();
    }
    Ok(Cow::Owned(unfolded))
}

/// Reads a head whose fields are as RFC 9112 has them and which has arrived completely, as nearly all have, and returns how
/// many bytes of `input` it takes. Nothing for all others, whatever is odd or missing: [`Scan`] and [`read`] are for them.
pub(super) fn read_usual<'h, 'b>(
    input: &'b [u8],
    slots: &'h mut UsualSlots<'b>,
) -> Option<(Head<'h, 'b>, usize)> {
    let line_start = status_line_start(input);
    let first = line_at(input, line_start)?;
    let (is_http11, status, reason) = status_line(without_end(first)).ok()?;
    let fields_at = line_start + first.len();
    match httparse::parse_headers(&input[fields_at..], slots) {
        Ok(httparse::Status::Complete((length, headers))) => {
            let end = fields_at + length;
            let lines = &input[fields_at..end];
            Some((Head { status, reason, is_http11, lines, headers, dropped: None }, end))
        }
        _ => None,
    }
}

/// Reads a complete head without folded lines.
pub(super) fn read<'h, 'b>(
    head: &'b [u8],
    headers: &'h mut Vec<Header<'b>>,
) -> Result<Head<'h, 'b>, HeadError> {
    let mut line_start = status_line_start(head);
    let first = line_at(head, line_start).ok_or(HeadError::StatusLine)?;
    let (is_http11, status, reason) = status_line(without_end(first))?;
    let mut dropped = None;
    line_start += first.len();
    let lines = &head[line_start..];
    while let Some(line) = line_at(head, line_start) {
        line_start += line.len();
        let line = without_end(line);
        if !is_all_text(line) {
            return Err(HeadError::Control);
        }
        match field(line) {
            Some(header) => headers.push(header),
            None if line.is_empty() => {}
            None => dropped = dropped.or(Some(line)),
        }
    }
    Ok(Head { status, reason, is_http11, lines, headers, dropped })
}

const VERSION: &[u8] = b"HTTP/1.";

/// Skips the empty lines that some servers send after the previous body.
fn status_line_start(input: &[u8]) -> usize {
    input.iter().position(|&byte| byte != b'\r' && byte != b'\n').unwrap_or(input.len())
}

/// The line that starts there, including its end.
fn line_at(input: &[u8], start: usize) -> Option<&[u8]> {
    let rest = &input[start..];
    memchr(b'\n', rest).map(|end| &rest[..=end])
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn trim_start(line: &[u8]) -> &[u8] {
    &line[line.iter().position(|&byte| !is_blank(byte)).unwrap_or(line.len())..]
}

/// Returns whether it is HTTP/1.1, the status, and the reason.
fn status_line(line: &[u8]) -> Result<(bool, u16, &[u8]), HeadError> {
    let rest = line.strip_prefix(VERSION).ok_or(HeadError::StatusLine)?;
    let [minor @ b'0'..=b'9', b' ', rest @ ..] = rest else { return Err(HeadError::StatusLine) };
    let rest = &rest[rest.iter().position(|&byte| byte != b' ').unwrap_or(rest.len())..];
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = rest else {
        return Err(HeadError::Status);
    };
    let status = [a, b, c].iter().fold(0, |sum, &&digit| sum * 10 + u16::from(digit - b'0'));
    // IIS has substatuses, and some of its applications send them.
    let is_substatus = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let rest = rest
        .strip_prefix(b".")
        .map_or(rest, |sub| &sub[sub.iter().position(|&byte| !is_substatus(byte)).unwrap_or(sub.len())..]);
    let reason = match rest {
        [] => rest,
        [b' ', reason @ ..] => trim(reason),
        _ => return Err(HeadError::Status),
    };
    if !is_all_text(reason) {
        return Err(HeadError::Control);
    }
    Ok((*minor != b'0', status, reason))
}

/// Returns nothing if the line is not a field.
fn field(line: &[u8]) -> Option<Header<'_>> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (trim_end(&line[..colon]), trim(&line[colon + 1..]));
    let is_name = !name.is_empty() && name.iter().all(|&byte| is_token(byte));
    let name = is_name.then(|| std::str::from_utf8(name).ok()).flatten()?;
    Some(Header { name, value })
}

fn trim_end(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::response::{AnswerTo, ResponseError, read_next_head};
    use proptest::prelude::*;

    /// The status, the reason, the fields, and what was left out.
    fn read(input: &[u8]) -> Result<Option<String>, ResponseError> {
        read_next_head(input, AnswerTo::Usual, |head| {
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            let fields = head.headers.iter().map(|h| format!("{}={}", h.name, text(h.value)));
            let dropped = head.dropped.map(|line| format!("-{}", text(line)));
            let words = [head.status.to_string(), text(head.reason)].into_iter().chain(fields).chain(dropped);
            words.collect::<Vec<_>>().join("|")
        })
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_looked_at_once() {
        let head = b"\r\n\nHTTP/1.1 200 OK\r\nA: b\n c\r\nContent-Length: 0\r\n\r\n";
        let mut scan = Scan::default();
        for end in 0..head.len() {
            assert_eq!(scan.advance(&head[..end]), Ok(None), "{end}");
            assert_eq!(scan.at, end, "all of it was looked at");
        }
        assert_eq!(scan.advance(&[&head[..], b"HTTP/1.1 "].concat()), Ok(Some(head.len())));
        let mut scan = Scan::default();
        assert_eq!(scan.advance(b"HTTP/"), Ok(None));
        assert_eq!(scan.advance(b"HTTP/2"), Err(HeadError::StatusLine));
    }

    #[test]
    fn what_servers_send_beside_the_grammar_is_read() {
        let status = |line: &[u8]| [line, b"\r\nA: b\r\n\r\n"].concat();
        for (input, expected) in [
            (status(b"HTTP/1.1 403.1 Forbidden"), "403|Forbidden|A=b"),
            (status(b"HTTP/1.1 403.18"), "403||A=b"),
            (status(b"HTTP/1.1 500.19.2 Odd"), "500|Odd|A=b"),
            (status(b"HTTP/1.1  200  OK "), "200|OK|A=b"),
            (status(b"HTTP/1.1 200"), "200||A=b"),
            (status(b"HTTP/1.1 200 "), "200||A=b"),
            (status(b"HTTP/1.0 999 x"), "999|x|A=b"),
            (status(b"HTTP/1.2 200 OK"), "200|OK|A=b"),
            (status(b"HTTP/1.1 404 Nicht gefunden f\xfcr"), "404|Nicht gefunden f\\xfcr|A=b"),
            (status(b"\r\n\nHTTP/1.1 200 OK"), "200|OK|A=b"),
            (status(b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK"), "200|OK|A=b|-HTTP/1.1 200 OK"),
            (status(b"HTTP/1.1 200 OK\r\nX-Odd \t: v \r\nY:\r\nZ:\tz"), "200|OK|X-Odd=v|Y=|Z=z|A=b"),
            (status(b"HTTP/1.1 200 OK\r\nno colon\r\nnor here"), "200|OK|A=b|-no colon"),
            (status(b"HTTP/1.1 200 OK\r\n: none\r\n(x): y"), "200|OK|A=b|-: none"),
            (status(b"HTTP/1.1 200 OK\r\nX: a\r\n  b\r\n\tc"), "200|OK|X=a b c|A=b"),
            (status(b"HTTP/1.1 200 OK\r\nX:\r\n b\r\n \r\n"), "200|OK|X=b"),
            (status(b"HTTP/1.1 200 OK\r\nno colon\r\n X: y"), "200|OK|A=b|-no colon X: y"),
            (b"HTTP/1.1 200 OK\nA: b\n c\nB: c\n\n".to_vec(), "200|OK|A=b c|B=c"),
            (b"HTTP/1.1 200 OK\nA: b\r\n\n".to_vec(), "200|OK|A=b"),
            (b"HTTP/1.1 200 OK\r\nA: b\n\r\n".to_vec(), "200|OK|A=b"),
        ] {
            let shown = input.escape_ascii().to_string();
            assert_eq!(read(&input), Ok(Some(expected.to_owned())), "{shown}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1000));
        let count = read_next_head(many.as_bytes(), AnswerTo::Usual, |head| head.headers.len());
        assert_eq!(count, Ok(Some(1000)));
    }

    proptest! {
        /// What is read at once is read as by the careful way.
        #[test]
        fn both_ways_read_the_same(
            lines in prop::collection::vec("[Aa!_-]{0,2}[ \t]{0,1}[:a]{0,1}[ \t]{0,2}[ \t:a\r\u{0}\u{7f}\u{e9}]{0,3}[ \t]{0,1}\r{0,1}", 0..4)
        ) {
            let head = format!("HTTP/1.1 200 OK\r\n{}\n\r\nbody\r\n\r\n", lines.join("\n"));
            let mut slots = USUAL_SLOTS;
            if let Some((usual, length)) = read_usual(head.as_bytes(), &mut slots) {
                prop_assert_eq!(Scan::default().advance(head.as_bytes()), Ok(Some(length)));
                let head = &head.as_bytes()[..length];
                let unfolded = unfold(head).expect("nothing is folded");
                prop_assert_eq!(&*unfolded, head);
                let mut all = Vec::new();
                let careful = super::read(&unfolded, &mut all).expect("nothing is odd");
                prop_assert_eq!(careful.dropped, None);
                prop_assert_eq!(usual.lines, careful.lines);
                prop_assert_eq!(usual.headers, careful.headers);
            }
        }
    }

    #[test]
    fn what_is_no_head_is_refused_when_that_is_certain() {
        for (input, expected) in [
            (&b"SSH-2.0-x"[..], HeadError::StatusLine),
            (b"HTTP/2", HeadError::StatusLine),
            (b"http/1.1", HeadError::StatusLine),
            (b"HTTP/1.1200\r\n", HeadError::StatusLine),
            (b"HTTP/1.10 200 OK\r\n", HeadError::StatusLine),
            (b"HTTP/1.1\t200 OK\r\n", HeadError::StatusLine),
            (b"HTTP/1.1\r\n", HeadError::StatusLine),
            (b"HTTP/1.1 \r\n", HeadError::Status),
            (b"HTTP/1.1 099 x\r\n", HeadError::Status),
            (b"HTTP/1.1 20 OK\r\n", HeadError::Status),
            (b"HTTP/1.1 2000 OK\r\n", HeadError::Status),
            (b"HTTP/1.1 +20 OK\r\n", HeadError::Status),
            (b"HTTP/1.1 20x OK\r\n", HeadError::Status),
            (b"HTTP/1.1 403.x\r\n", HeadError::Status),
            (b"HTTP/1.1 200\tOK\r\n", HeadError::Status),
            (b"HTTP/1.1 200 O\0K\r\n", HeadError::Control),
            (b"HTTP/1.1 200 O\rK\r\n", HeadError::Control),
            (b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", HeadError::Control),
            (b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", HeadError::Control),
            (b"HTTP/1.1 200 OK\r\nno\0colon\r\n\r\n", HeadError::Control),
            (b"HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n", HeadError::Control),
            (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", HeadError::Fold),
        ] {
            let shown = input.escape_ascii().to_string();
            assert_eq!(read(input), Err(ResponseError::Head(expected)), "{shown}");
        }
    }
}
