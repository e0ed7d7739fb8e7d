//! Messages as the peers write and read them: implemented here independently, so that no mistake of the proxy is
//! repeated.

use std::collections::VecDeque;

use crate::proxy::simulation::peer::content;
use crate::uring::sim::Dice;

/// The trailer that some chunked bodies end with.
const TRAILER: &str = "X-Trailer";
/// Every position of a tunnel is behind those of all bodies.
const TUNNEL: u64 = 1 << 30;

/// How a message frames its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Without a body.
    None,
    Sized,
    Chunked,
    /// Until the stream ends.
    UntilClose,
}

/// The body of the exchange with this index, as the peer with this number sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Body {
    number: u32,
    exchange: u64,
    read_bytes: u64,
}

impl Body {
    pub(super) fn new(number: u32, exchange: u64) -> Self {
        Self { number, exchange, read_bytes: 0 }
    }

    /// The bytes of a whole tunnel.
    pub(super) fn tunnel(number: u32) -> Self {
        Self::new(number, TUNNEL)
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    fn byte(&self, at: u64) -> u8 {
        content(self.number, ((self.exchange + 1) << 32) + at)
    }

    /// The value of its trailer, if it has one when chunked.
    fn trailer(&self) -> Option<String> {
        self.byte(0).is_multiple_of(3).then(|| format!("{}/{}", self.number, self.exchange))
    }

    /// Writes this many bytes of it, framed.
    pub(super) fn write(&self, framing: Framing, bytes: u64, dice: &mut Dice, out: &mut VecDeque<u8>) {
        if framing != Framing::Chunked {
            out.extend((0..bytes).map(|at| self.byte(at)));
            return;
        }
        let chunk_bytes_max = if bytes < 20_000 { dice.one_of(&[bytes, bytes, 20]) } else { bytes };
        let is_padded = dice.chance(300);
        let mut at = 0;
        while at < bytes {
            let chunk = dice.number(1, (bytes - at).min(chunk_bytes_max) as usize) as u64;
            let size = if is_padded { format!("{chunk:08X}") } else { format!("{chunk:x}") };
            let extension = if is_padded { dice.one_of(&["", ";a", ";a=b;c=\"d, e\""]) } else { "" };
            out.extend(format!("{size}{extension}\r\n").bytes());
            out.extend((at..at + chunk).map(|at| self.byte(at)));
            out.extend(b"\r\n");
            at += chunk;
        }
        out.extend(if is_padded { &b"000\r\n"[..] } else { b"0\r\n" });
        if let Some(trailer) = self.trailer() {
            out.extend(format!("{TRAILER}: {trailer}\r\n").bytes());
        }
        out.extend(b"\r\n");
    }

    /// Checks the next bytes of it.
    pub(super) fn check(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let (at, number) = (self.read_bytes, self.number);
            assert_eq!(*byte, self.byte(at), "a wrong byte at {at} of body {} of {number}", self.exchange);
            self.read_bytes += 1;
        }
    }

    fn check_trailers(&self, lines: &str) {
        let expected = self.trailer().map(|value| format!("{TRAILER}: {value}\r\n")).unwrap_or_default();
        assert_eq!(lines, expected, "trailers of body {} of {}", self.exchange, self.number);
    }
}

/// The end of a body that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    After(u64),
    /// In a chunk with this many bytes left, or at the beginning of one.
    Chunk(Option<u64>),
    /// After the lines that follow the last chunk.
    Trailers,
    Close,
}

impl End {
    /// The end that a head announces.
    pub(super) fn of(head: &Head) -> Self {
        match (head.value("content-length"), head.value("transfer-encoding")) {
            (Some(bytes), None) => Self::After(bytes.parse().expect("a length is a number")),
            (None, Some("chunked")) => Self::Chunk(None),
            (None, None) => Self::Close,
            framing => panic!("two ways to end, or an unknown one: {framing:?}"),
        }
    }

    /// Takes the available part of the body out of `unread`, and checks it against `body`, where that is known. True at
    /// its end.
    pub(super) fn read(&mut self, unread: &mut Vec<u8>, mut body: Option<&mut Body>) -> bool {
        let mut check = |bytes: &[u8]| {
            if let Some(body) = body.as_deref_mut() {
                body.check(bytes);
            }
        };
        loop {
            match self {
                Self::After(left) => {
                    let taken: Vec<u8> = unread.drain(..unread.len().min(*left as usize)).collect();
                    check(&taken);
                    *left -= taken.len() as u64;
                    return *left == 0;
                }
                Self::Close => {
                    check(unread);
                    unread.clear();
                    return false;
                }
                Self::Chunk(None) => {
                    let Some(line) = take_through(unread, b"\r\n") else { return false };
                    *self = match size_of_chunk(line) {
                        0 => {
                            // Makes an empty trailer section end like any other.
                            unread.splice(..0, *b"\r\n");
                            Self::Trailers
                        }
                        size => Self::Chunk(Some(size)),
                    };
                }
                Self::Trailers => {
                    let Some(lines) = take_through(unread, b"\r\n\r\n") else { return false };
                    let lines = String::from_utf8(lines).expect("trailers are text");
                    let lines = lines.strip_prefix("\r\n").map(|lines| format!("{lines}\r\n"));
                    if let Some(body) = body {
                        body.check_trailers(lines.as_deref().unwrap_or_default());
                    }
                    return true;
                }
                Self::Chunk(Some(0)) => {
                    let Some(line) = take_through(unread, b"\r\n") else { return false };
                    assert!(line.is_empty(), "something between two chunks");
                    *self = Self::Chunk(None);
                }
                Self::Chunk(Some(left)) => {
                    let taken: Vec<u8> = unread.drain(..unread.len().min(*left as usize)).collect();
                    if taken.is_empty() {
                        return false;
                    }
                    check(&taken);
                    *left -= taken.len() as u64;
                }
            }
        }
    }
}

/// Parses the size of a chunk; extensions are ignored.
fn size_of_chunk(line: Vec<u8>) -> u64 {
    let line = String::from_utf8(line).expect("the size of a chunk");
    let size = line.split(';').next().expect("split gives at least one");
    u64::from_str_radix(size.trim_end(), 16).expect("a size in hexadecimal digits")
}

/// Takes the bytes before the first `mark`, and drops the mark.
fn take_through(unread: &mut Vec<u8>, mark: &[u8]) -> Option<Vec<u8>> {
    let at = unread.windows(mark.len()).position(|window| window == mark)?;
    let before = unread.drain(..at).collect();
    unread.drain(..mark.len());
    Some(before)
}

/// The head of a message.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) start_line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Takes a complete head out of `unread`, if there is one.
    pub(super) fn take(unread: &mut Vec<u8>) -> Option<Self> {
        let head = String::from_utf8(take_through(unread, b"\r\n\r\n")?).expect("heads are text");
        let mut lines = head.split("\r\n");
        let start_line = lines.next().expect("split gives at least one").to_owned();
        let fields = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is not a header field")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Self { start_line, fields })
    }

    /// The value of the field with this name, in lower case.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(has, _)| has == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} occurs twice");
        value.map(|(_, value)| value.as_str())
    }

    /// Whether the sender closes after this message.
    pub(super) fn says_close(&self) -> bool {
        self.value("connection") == Some("close")
    }

    /// Whether the sender switches to another protocol after this message, or offers to.
    pub(super) fn says_upgrade(&self) -> bool {
        self.value("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade"))
            && self.value("upgrade") == Some("websocket")
    }
}
