//! Where a request's body ends (RFC 9112 sections 6 and 7.1), strictly.

/// Bytes of chunk extensions and trailers that one body may have: nothing real uses any.
const OVERHEAD_BYTES_MAX: usize = 8 * 1024;
/// Digits of a chunk's size: 2^60 is more than anybody sends.
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

/// Why bytes are not a body. The peer's fault, all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// A chunk's size is not hexadecimal digits, or more than 15 of them.
    #[error("a chunk's size is not a hexadecimal number")]
    Size,
    /// A line that ends otherwise than with CR LF.
    #[error("a line of the chunked body does not end with CR LF")]
    LineEnd,
    /// A chunk goes on after its end.
    #[error("a chunk is longer than it says")]
    ChunkEnd,
    /// A trailer line without a colon, or folded.
    #[error("a trailer of the chunked body is not a header line")]
    Trailer,
    /// More extensions and trailers than anybody needs.
    #[error("the chunked body has too many extensions or trailers")]
    Overhead,
}

/// How much of a body is still to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body {
    next: Next,
    overhead_bytes: usize,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// Nothing.
    Nothing,
    /// So many bytes, never 0, and then nothing.
    Rest(u64),
    /// The digits of a chunk's size, of which there were so many.
    Size { size: u64, digits: u8 },
    /// The rest of a size line.
    Extension { size: u64 },
    /// The LF of a size line.
    SizeLf { size: u64 },
    /// So many bytes of a chunk, never 0.
    Data(u64),
    /// The CR after a chunk.
    DataCr,
    /// The LF after that.
    DataLf,
    /// The first byte of a trailer, or the CR of the empty line that ends the body.
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

impl Body {
    /// A body of which nothing has come yet.
    pub fn new(length: BodyLength) -> Self {
        let next = match length {
            BodyLength::None | BodyLength::Sized(0) => Next::Nothing,
            BodyLength::Sized(length_bytes) => Next::Rest(length_bytes),
            BodyLength::Chunked => Next::Size { size: 0, digits: 0 },
        };
        Self { next, overhead_bytes: 0 }
    }

    /// Whether the body has ended.
    pub fn is_complete(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Takes from the start of `input` what belongs to the body, hands the content to `content`, and returns how
    /// many bytes it took: all of them unless the body has ended.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn advance(&mut self, input: &[u8], mut content: impl FnMut(&[u8])) -> Result<usize, BodyError> {
        let mut taken = 0;
        while taken < input.len() && !self.is_complete() {
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

    /// One byte that is no content.
    fn frame(&mut self, byte: u8) -> Result<(), BodyError> {
        if matches!(
            self.next,
            Next::Extension { .. } | Next::TrailerStart | Next::TrailerName | Next::TrailerValue
        ) {
            self.overhead_bytes += 1;
            if self.overhead_bytes > OVERHEAD_BYTES_MAX {
                return Err(BodyError::Overhead);
            }
        }
        self.next = match (self.next, byte) {
            (Next::Size { size, digits: 1.. } | Next::Extension { size }, b'\r') => Next::SizeLf { size },
            (Next::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => Next::Extension { size },
            (Next::Size { size, digits }, digit) => {
                let value = char::from(digit).to_digit(16).ok_or(BodyError::Size)?;
                if digits == SIZE_DIGITS_MAX {
                    return Err(BodyError::Size);
                }
                Next::Size { size: size << 4 | u64::from(value), digits: digits + 1 }
            }
            (Next::Extension { .. } | Next::TrailerValue, b'\n') => return Err(BodyError::LineEnd),
            (Next::Extension { size }, _) => Next::Extension { size },
            (Next::SizeLf { size: 0 } | Next::TrailerLf, b'\n') => Next::TrailerStart,
            (Next::SizeLf { size }, b'\n') => Next::Data(size),
            (Next::DataCr, b'\r') => Next::DataLf,
            (Next::DataLf, b'\n') => Next::Size { size: 0, digits: 0 },
            (Next::DataCr | Next::DataLf, _) => return Err(BodyError::ChunkEnd),
            (Next::TrailerStart, b'\r') => Next::LastLf,
            (Next::TrailerName, b':') => Next::TrailerValue,
            (Next::TrailerStart | Next::TrailerName, name) if name.is_ascii_graphic() && name != b':' => {
                Next::TrailerName
            }
            (Next::TrailerStart | Next::TrailerName, _) => return Err(BodyError::Trailer),
            (Next::TrailerValue, b'\r') => Next::TrailerLf,
            (Next::TrailerValue, _) => Next::TrailerValue,
            (Next::LastLf, b'\n') => Next::Nothing,
            (Next::SizeLf { .. } | Next::TrailerLf | Next::LastLf, _) => return Err(BodyError::LineEnd),
            // `advance` takes content itself, and stops at the end.
            (next @ (Next::Nothing | Next::Rest(_) | Next::Data(_)), _) => next,
        };
        Ok(())
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
            (b"1\rab", BodyError::LineEnd),
            (b"1\r\nab", BodyError::ChunkEnd),
            (b"1\r\na\n", BodyError::ChunkEnd),
            (b"1\r\na\rb", BodyError::ChunkEnd),
            (b"0\r\nno colon\r\n\r\n", BodyError::Trailer),
            (b"0\r\n folded: 1\r\n\r\n", BodyError::Trailer),
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
    fn extensions_and_trailers_are_bounded() {
        let endless = format!("1;{}", "x".repeat(OVERHEAD_BYTES_MAX + 1));
        assert_eq!(read(BodyLength::Chunked, endless.as_bytes()), Err(BodyError::Overhead));
        let endless = format!("0\r\n{}", "T: 1\r\n".repeat(OVERHEAD_BYTES_MAX / 4));
        assert_eq!(read(BodyLength::Chunked, endless.as_bytes()), Err(BodyError::Overhead));
        let many = "1;x\r\na\r\n".repeat(OVERHEAD_BYTES_MAX);
        assert_eq!(read(BodyLength::Chunked, many.as_bytes()), Err(BodyError::Overhead));
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
