//! Where a message's body ends (RFC 9112 sections 6 and 7.1), strictly. Requests and replies are read alike.

use super::syntax::{is_blank, is_text, is_token};

/// Most bytes of a chunk's size line, including padding and extensions.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of the trailers of one body.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Bytes of size line that each chunk may have beyond as many as it has data; see [`EXCESS_BYTES_MAX`].
const FREE_LINE_BYTES: usize = 1024;
/// Most excess bytes of size lines that may accumulate, less what later chunks leave unused. A well-behaved sender
/// never accumulates any, however long the body is; a sender of nothing but padding does.
const EXCESS_BYTES_MAX: usize = 1024 * 1024;
/// Most digits of a chunk's size after leading zeros: no sender needs more than 2^60.
const SIZE_DIGITS_MAX: u8 = 15;

/// How the length of a body is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// `Content-Length`, in bytes.
    Sized(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Why bytes are not a body. All are the sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// A chunk's size is not hexadecimal digits, or has more than 15 of them after leading zeros.
    #[error("a chunk's size is not a hexadecimal number")]
    Size,
    /// Something after a chunk's size that is neither blanks nor valid extensions.
    #[error("a chunk's size is followed by something that is not an extension")]
    Extension,
    /// A line that does not end with CR LF.
    #[error("a line of the chunked body does not end with CR LF")]
    LineEnd,
    /// A chunk continues past its end.
    #[error("a chunk is longer than its size")]
    ChunkEnd,
    /// A trailer line that has no colon, is folded, or has a name or value that a head may not have.
    #[error("a trailer of the chunked body is not a header line")]
    Trailer,
    /// More padding, extensions or trailers than any sender needs.
    #[error("the chunked body has too many extensions or trailers")]
    Overhead,
}

/// How much of a body is still to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body {
    next: Next,
    /// Bytes so far of the current chunk's size line, or of the trailers.
    line_bytes: usize,
    /// See [`EXCESS_BYTES_MAX`].
    excess_bytes: usize,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// Nothing.
    Nothing,
    /// This many bytes, never 0, and then nothing.
    Rest(u64),
    /// The digits of a chunk's size; `digits` counts those after leading zeros.
    Size { size: u64, digits: u8, any: bool },
    /// What follows the digits in their line.
    Extension { size: u64, part: Part },
    /// The LF of a size line.
    SizeLf { size: u64 },
    /// This many bytes of a chunk, never 0.
    Data(u64),
    /// The CR after a chunk.
    DataCr,
    /// The LF after that.
    DataLf,
    /// The first byte after the last chunk.
    Trailers,
    /// The first byte of another trailer, or the CR of the empty line that ends the body.
    TrailerStart,
    /// A trailer's name.
    TrailerName,
    /// A trailer's value.
    TrailerValue,
    /// The LF of a trailer.
    TrailerLf,
    /// The last LF.
    LastLf,
}

/// A part of `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) BWS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Blanks after the size or a value.
    Blanks,
    /// After a semicolon.
    NameStart,
    Name,
    /// Blanks after a name.
    NameEnd,
    /// After an equals sign.
    ValueStart,
    Token,
    Quoted,
    /// After a backslash.
    Escaped,
}

impl Part {
    /// The part after one more byte, which is not the end of the line.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Blanks | Self::Name | Self::NameEnd | Self::Token, b';') => Self::NameStart,
            (Self::Blanks | Self::Token, _) if is_blank(byte) => Self::Blanks,
            (Self::NameStart | Self::ValueStart, _) if is_blank(byte) => self,
            (Self::Name | Self::NameEnd, _) if is_blank(byte) => Self::NameEnd,
            (Self::Name | Self::NameEnd, b'=') => Self::ValueStart,
            (Self::NameStart | Self::Name, _) if is_token(byte) => Self::Name,
            (Self::ValueStart, b'"') => Self::Quoted,
            (Self::ValueStart | Self::Token, _) if is_token(byte) => Self::Token,
            (Self::Quoted, b'"') => Self::Blanks,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, _) if is_text(byte) => Self::Quoted,
            _ => return None,
        })
    }

    /// Whether the line may end here.
    fn is_whole(self) -> bool {
        matches!(self, Self::Blanks | Self::Name | Self::NameEnd | Self::Token)
    }
}

impl Body {
    /// A body of which no bytes have arrived.
    pub fn new(length: BodyLength) -> Self {
        let next = match length {
            BodyLength::None | BodyLength::Sized(0) => Next::Nothing,
            BodyLength::Sized(length_bytes) => Next::Rest(length_bytes),
            BodyLength::Chunked => Next::SIZE,
        };
        Self { next, line_bytes: 0, excess_bytes: 0 }
    }

    /// Whether the body has ended.
    pub fn is_complete(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Whether all chunks have been taken, but not all of the trailers.
    pub fn is_at_trailers(&self) -> bool {
        matches!(
            self.next,
            Next::Trailers
                | Next::TrailerStart
                | Next::TrailerName
                | Next::TrailerValue
                | Next::TrailerLf
                | Next::LastLf
        )
    }

    /// Takes what belongs to the body from the start of `input`, hands the content to `content`, and returns how many
    /// bytes it took: all of them unless the body has ended.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn advance(&mut self, input: &[u8], content: impl FnMut(&[u8])) -> Result<usize, BodyError> {
        self.advance_until(Next::Nothing, input, content)
    }

    /// Like [`advance`](Self::advance), but stops before the trailers: see [`is_at_trailers`](Self::is_at_trailers).
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn advance_to_trailers(
        &mut self,
        input: &[u8],
        content: impl FnMut(&[u8]),
    ) -> Result<usize, BodyError> {
        self.advance_until(Next::Trailers, input, content)
    }

    fn advance_until(
        &mut self,
        stop: Next,
        input: &[u8],
        mut content: impl FnMut(&[u8]),
    ) -> Result<usize, BodyError> {
        let mut taken = 0;
        while taken < input.len() && self.next != stop && !self.is_complete() {
            if let Next::Rest(remaining) | Next::Data(remaining) = &mut self.next {
                let rest = &input[taken..];
                let take = rest.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                content(&rest[..take]);
                taken += take;
                *remaining -= take as u64;
                match self.next {
                    Next::Rest(0) => self.next = Next::Nothing,
                    Next::Data(0) => self.next = Next::DataCr,
                    _ => {}
                }
            } else {
                self.frame(input[taken])?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// Takes one byte that is not content.
    fn frame(&mut self, byte: u8) -> Result<(), BodyError> {
        self.line_bytes += 1;
        let is_too_long = if self.is_at_trailers() {
            self.line_bytes > TRAILER_BYTES_MAX
        } else {
            self.line_bytes > LINE_BYTES_MAX
        };
        if is_too_long {
            return Err(BodyError::Overhead);
        }
        self.next = self.next.after(byte)?;
        match self.next {
            Next::Data(size) => self.end_line(size),
            Next::Trailers | Next::Size { any: false, .. } => {
                self.line_bytes = 0;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Accounts for a complete size line before a chunk of this size.
    fn end_line(&mut self, size: u64) -> Result<(), BodyError> {
        let line_bytes = std::mem::take(&mut self.line_bytes);
        let free_bytes = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(FREE_LINE_BYTES);
        self.excess_bytes = (self.excess_bytes + line_bytes).saturating_sub(free_bytes);
        if self.excess_bytes > EXCESS_BYTES_MAX { Err(BodyError::Overhead) } else { Ok(()) }
    }
}

impl Next {
    /// Before the first digit of a size.
    const SIZE: Self = Self::Size { size: 0, digits: 0, any: false };

    /// The state after one byte that is not content.
    fn after(self, byte: u8) -> Result<Self, BodyError> {
        Ok(match (self, byte) {
            (Self::Size { size, any: true, .. }, b'\r') => Self::SizeLf { size },
            (Self::Size { size, any: true, .. }, b';' | b' ' | b'\t') => {
                let part = Part::Blanks.after(byte).ok_or(BodyError::Extension)?;
                Self::Extension { size, part }
            }
            (Self::Size { size, digits, .. }, digit) => {
                let value = char::from(digit).to_digit(16).ok_or(BodyError::Size)?;
                let digits = if digits == 0 && value == 0 { 0 } else { digits + 1 };
                if digits > SIZE_DIGITS_MAX {
                    return Err(BodyError::Size);
                }
                Self::Size { size: size << 4 | u64::from(value), digits, any: true }
            }
            (Self::Extension { size, part }, b'\r') if part.is_whole() => Self::SizeLf { size },
            (Self::Extension { .. } | Self::TrailerValue, b'\n') => return Err(BodyError::LineEnd),
            (Self::Extension { size, part }, _) => {
                Self::Extension { size, part: part.after(byte).ok_or(BodyError::Extension)? }
            }
            (Self::SizeLf { size: 0 }, b'\n') => Self::Trailers,
            (Self::SizeLf { size }, b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::SIZE,
            (Self::DataCr | Self::DataLf, _) => return Err(BodyError::ChunkEnd),
            (Self::Trailers | Self::TrailerStart, b'\r') => Self::LastLf,
            (Self::TrailerName, b':') => Self::TrailerValue,
            (Self::Trailers | Self::TrailerStart | Self::TrailerName, name) if is_token(name) => {
                Self::TrailerName
            }
            (Self::TrailerValue, b'\r') => Self::TrailerLf,
            (Self::TrailerValue, value) if is_text(value) => Self::TrailerValue,
            (Self::Trailers | Self::TrailerStart | Self::TrailerName | Self::TrailerValue, _) => {
                return Err(BodyError::Trailer);
            }
            (Self::TrailerLf, b'\n') => Self::TrailerStart,
            (Self::LastLf, b'\n') => Self::Nothing,
            (Self::SizeLf { .. } | Self::TrailerLf | Self::LastLf, _) => return Err(BodyError::LineEnd),
            // `advance` takes content itself, and stops at the end.
            (next @ (Self::Nothing | Self::Rest(_) | Self::Data(_)), _) => next,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The content, how many bytes were taken, and whether the body has ended.
    fn read(length: BodyLength, input: &[u8]) -> Result<(Vec<u8>, usize, bool), BodyError> {
        let mut body = Body::new(length);
        let mut content = Vec::new();
        let taken = body.advance(input, |bytes| content.extend_from_slice(bytes))?;
        Ok((content, taken, body.is_complete()))
    }

    const CHUNKED: &[u8] = b"3;x=1\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: 1\r\nU:\r\n\r\n";

    #[test]
    fn what_follows_the_body_is_left() {
        assert_eq!(read(BodyLength::None, b"next"), Ok((vec![], 0, true)));
        assert_eq!(read(BodyLength::Sized(0), b"next"), Ok((vec![], 0, true)));
        assert_eq!(read(BodyLength::Sized(5), b"hellonext"), Ok((b"hello".to_vec(), 5, true)));
        let input = [CHUNKED, b"next"].concat();
        assert_eq!(read(BodyLength::Chunked, &input), Ok((b"abc0123456789".to_vec(), CHUNKED.len(), true)));
    }

    #[test]
    fn every_prefix_is_unfinished_and_every_split_reads_the_same() {
        for cut in 0..CHUNKED.len() {
            let mut body = Body::new(BodyLength::Chunked);
            let mut content = Vec::new();
            let taken = body.advance(&CHUNKED[..cut], |bytes| content.extend_from_slice(bytes));
            assert_eq!((taken, body.is_complete()), (Ok(cut), false), "cut at {cut}");
            body.advance(&CHUNKED[cut..], |bytes| content.extend_from_slice(bytes)).unwrap();
            assert_eq!((&content[..], body.is_complete()), (&b"abc0123456789"[..], true), "cut at {cut}");
        }
    }

    #[test]
    fn damaged_chunks() {
        for (input, expected) in [
            (&b"\r\n"[..], BodyError::Size),
            (b"x\r\n", BodyError::Size),
            (b"-1\r\n", BodyError::Size),
            (b" 1\r\n", BodyError::Size),
            (b"0x1\r\n", BodyError::Size),
            (b"1\n", BodyError::Size),
            (b"1000000000000000\r\n", BodyError::Size),
            (b"1;a\nb", BodyError::LineEnd),
            (b"1 2\r\n", BodyError::Extension),
            (b"1 xyz\r\n", BodyError::Extension),
            (b"1;\r\n", BodyError::Extension),
            (b"1; \r\n", BodyError::Extension),
            (b"1;;a\r\n", BodyError::Extension),
            (b"1;=b\r\n", BodyError::Extension),
            (b"1;a=\r\n", BodyError::Extension),
            (b"1;a= \r\n", BodyError::Extension),
            (b"1;a=b=c\r\n", BodyError::Extension),
            (b"1;a b\r\n", BodyError::Extension),
            (b"1;a=b c\r\n", BodyError::Extension),
            (b"1;a=\"b\r\n", BodyError::Extension),
            (b"1;a=\"b\"c\r\n", BodyError::Extension),
            (b"1;a=\"\\\r\n", BodyError::Extension),
            (b"1;a\0\r\n", BodyError::Extension),
            (b"1;a=\"\0\"\r\n", BodyError::Extension),
            (b"1;a=\"b\nc\"\r\n", BodyError::LineEnd),
            (b"1;a=\"b\rc\"\r\n", BodyError::Extension),
            (b"1 \n", BodyError::LineEnd),
            (b"1\x0b\r\n", BodyError::Size),
            (b"1\rab", BodyError::LineEnd),
            (b"1\r\nab", BodyError::ChunkEnd),
            (b"1\r\na\n", BodyError::ChunkEnd),
            (b"1\r\na\rb", BodyError::ChunkEnd),
            (b"0\r\nno colon\r\n\r\n", BodyError::Trailer),
            (b"0\r\n folded: 1\r\n\r\n", BodyError::Trailer),
            (b"0\r\nT: 1\r\n folded\r\n\r\n", BodyError::Trailer),
            (b"0\r\nT : 1\r\n\r\n", BodyError::Trailer),
            (b"0\r\n: 1\r\n\r\n", BodyError::Trailer),
            (b"0\r\nT(: 1\r\n\r\n", BodyError::Trailer),
            (b"0\r\nT\xe9: 1\r\n\r\n", BodyError::Trailer),
            (b"0\r\nT: \0\r\n\r\n", BodyError::Trailer),
            (b"0\r\nT: \x7f\r\n\r\n", BodyError::Trailer),
            (b"0\r\nT: 1\rU: 2\r\n\r\n", BodyError::LineEnd),
            (b"0\r\n\n", BodyError::Trailer),
            (b"0\r\nT: 1\n\r\n", BodyError::LineEnd),
            (b"0\r\n\rx", BodyError::LineEnd),
        ] {
            assert_eq!(
                read(BodyLength::Chunked, input),
                Err(expected),
                "{:?}",
                input.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn sound_extensions_and_padding() {
        for line in [
            "1",
            "01",
            "00000000000000000000000000000001",
            "1  ",
            "1\t",
            "1;a",
            "1;a ",
            "1 ; a",
            "1;a;b",
            "1;a=b",
            "1;a = b ; c",
            "1;a=\"\"",
            "1;a=\"b;c=\\\"d\\\\\t\u{e9}\";e",
        ] {
            let input = format!("{line}\r\na\r\n0{}\r\n\r\n", &line[1..].trim_start_matches(['0', '1']));
            let expected = Ok((b"a".to_vec(), input.len(), true));
            assert_eq!(read(BodyLength::Chunked, input.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn each_line_is_bounded() {
        for endless in [
            format!("1;{}", "x".repeat(LINE_BYTES_MAX)),
            format!("1{}", " ".repeat(LINE_BYTES_MAX)),
            "0".repeat(LINE_BYTES_MAX + 1),
            format!("0\r\n{}", "T: 1\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1)),
            format!("0\r\nT: {}", "x".repeat(TRAILER_BYTES_MAX)),
        ] {
            assert_eq!(read(BodyLength::Chunked, endless.as_bytes()), Err(BodyError::Overhead));
        }
    }

    #[test]
    fn lines_do_not_add_up_beside_data() {
        let padded = |padding: usize, data: usize| {
            let line = format!("{data:x};{}", "x".repeat(padding));
            let chunk = format!("{line}\r\n{}\r\n", "a".repeat(data));
            let chunks = 3 * EXCESS_BYTES_MAX / line.len();
            let input = format!("{}0\r\n\r\n", chunk.repeat(chunks));
            read(BodyLength::Chunked, input.as_bytes())
                .map(|(content, _, is_whole)| (content.len() / chunks, is_whole))
        };
        assert_eq!(padded(1, 1), Ok((1, true)));
        assert_eq!(padded(1000, 1), Ok((1, true)));
        assert_eq!(padded(8000, 8000), Ok((8000, true)));
        // Nothing but padding.
        assert_eq!(padded(8000, 1), Err(BodyError::Overhead));
    }

    #[test]
    fn trailers_can_be_left_to_another_reader() {
        let mut body = Body::new(BodyLength::Chunked);
        let chunks = CHUNKED.len() - b"T: 1\r\nU:\r\n\r\n".len();
        assert_eq!(body.advance_to_trailers(CHUNKED, |_| ()), Ok(chunks));
        assert!(body.is_at_trailers());
        assert_eq!(body.advance_to_trailers(&CHUNKED[chunks..], |_| ()), Ok(0));
        assert_eq!(body.advance(&CHUNKED[chunks..], |_| ()), Ok(CHUNKED.len() - chunks));
        assert!(body.is_complete() && !body.is_at_trailers());
        let mut sized = Body::new(BodyLength::Sized(2));
        assert_eq!(sized.advance_to_trailers(b"abc", |_| ()), Ok(2));
        assert!(sized.is_complete());
    }

    proptest! {
        #[test]
        fn chunks_read_back(chunks in vec(vec(any::<u8>(), 1..300), 0..10)) {
            let mut input = Vec::new();
            for chunk in &chunks {
                input.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                input.extend_from_slice(chunk);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\n");
            let length = input.len();
            prop_assert_eq!(read(BodyLength::Chunked, &input), Ok((chunks.concat(), length, true)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = read(BodyLength::Chunked, &bytes);
        }
    }
}
