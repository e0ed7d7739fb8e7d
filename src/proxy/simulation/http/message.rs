//! Messages as the peers write and read them: made and parsed here anew, so that no mistake of the proxy's is made twice.

use std::collections::VecDeque;

use crate::proxy::simulation::peer::content;
use crate::uring::sim::Dice;

/// How a message says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// It has none.
    None,
    Sized,
    Chunked,
    /// With the stream.
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

    fn byte(&self, at: u64) -> u8 {
        content(self.number, ((self.exchange + 1) << 32) + at)
    }

    /// So many bytes of it, framed.
    pub(super) fn write(&self, framing: Framing, bytes: u64, dice: &mut Dice, out: &mut VecDeque<u8>) {
        if framing != Framing::Chunked {
            out.extend((0..bytes).map(|at| self.byte(at)));
            return;
        }
        let mut at = 0;
        while at < bytes {
            let chunk = dice.number(1, (bytes - at) as usize) as u64;
            out.extend(format!("{chunk:x}\r\n").bytes());
            out.extend((at..at + chunk).map(|at| self.byte(at)));
            out.extend(b"\r\n");
            at += chunk;
        }
        out.extend(b"0\r\n\r\n");
    }

    fn check(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let (at, number) = (self.read_bytes, self.number);
            assert_eq!(*byte, self.byte(at), "a wrong byte at {at} of body {} of {number}", self.exchange);
            self.read_bytes += 1;
        }
    }
}

/// The end of a body that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    After(u64),
    /// Behind a chunk with so many bytes left, or at the beginning of one.
    Chunk(Option<u64>),
    Close,
}

impl End {
    /// As a head says.
    pub(super) fn of(head: &Head) -> Self {
        match (head.value("content-length"), head.value("transfer-encoding")) {
            (Some(bytes), None) => Self::After(bytes.parse().expect("a length is a number")),
            (None, Some("chunked")) => Self::Chunk(None),
            (None, None) => Self::Close,
            framing => panic!("two ways to end, or an unknown one: {framing:?}"),
        }
    }

    /// Takes what there is of the body out of `unread` and has it checked. True at its end.
    pub(super) fn read(&mut self, unread: &mut Vec<u8>, mut check: impl FnMut(&[u8])) -> bool {
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
                    let size = String::from_utf8(line).expect("the size of a chunk");
                    let size = u64::from_str_radix(&size, 16).expect("a size in hexadecimal digits");
                    if size == 0 {
                        // No trailers: an empty line is next.
                        unread.splice(..0, *b"0\r\n");
                        return take_through(unread, b"0\r\n\r\n").is_some();
                    }
                    *self = Self::Chunk(Some(size));
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

    /// Reads on and checks that it is `body`.
    pub(super) fn read_body(&mut self, unread: &mut Vec<u8>, body: &mut Body) -> bool {
        self.read(unread, |bytes| body.check(bytes))
    }
}

/// Takes the bytes before the first `mark`, and drops that.
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
    /// Takes a whole head out of `unread`, if there is one.
    pub(super) fn take(unread: &mut Vec<u8>) -> Option<Self> {
        let head = String::from_utf8(take_through(unread, b"\r\n\r\n")?).expect("heads are text");
        let mut lines = head.split("\r\n");
        let start_line = lines.next().expect("split gives at least one").to_owned();
        let fields = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no field of a head")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Self { start_line, fields })
    }

    /// The value of the field with this name, in lower case.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(has, _)| has == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} comes twice");
        value.map(|(_, value)| value.as_str())
    }

    /// The sender closes behind this message.
    pub(super) fn says_close(&self) -> bool {
        self.value("connection") == Some("close")
    }
}
