//! Lines of bounded length, from a stream of any length.

use std::io::{self, BufRead};

/// Most bytes of a line that are kept. A request's head may have 64 KiB, most of it in one field.
pub(super) const LINE_BYTES_MAX: usize = 128 * 1024;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It is longer than [`LINE_BYTES_MAX`].
    TooLong,
}

/// A reader of lines that end with LF or CRLF.
pub(super) struct Lines<R> {
    from: R,
    line: Vec<u8>,
    /// The number of the last line, from 1.
    pub(super) number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, line: Vec::new(), number: 0 }
    }

    /// The next line; `None` at the end. A last line without an end counts.
    ///
    /// # Errors
    /// Those of the reader.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut is_too_long = false;
        let mut has_any = false;
        loop {
            let read = match self.from.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read.is_empty() {
                break;
            }
            has_any = true;
            let end = memchr::memchr(b'\n', read);
            let part = &read[..end.unwrap_or(read.len())];
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                is_too_long = true;
            } else {
                self.line.extend_from_slice(part);
            }
            let used = end.map_or(read.len(), |end| end + 1);
            self.from.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !has_any {
            return Ok(None);
        }
        self.number += 1;
        if is_too_long {
            return Ok(Some(Line::TooLong));
        }
        let mut line = &self.line[..];
        line = line.strip_suffix(b"\r").unwrap_or(line);
        // At the head of every file that was appended to another one, not only of the first.
        line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        Ok(Some(Line::Whole(line)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn all(bytes: &[u8], capacity: usize) -> Vec<String> {
        let mut lines = Lines::new(BufReader::with_capacity(capacity, bytes));
        let mut all = Vec::new();
        while let Some(line) = lines.next().expect("memory does not fail") {
            all.push(match line {
                Line::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                Line::TooLong => "too long".to_owned(),
            });
        }
        all
    }

    #[test]
    fn lines_end_with_lf_crlf_or_the_file_and_marks_of_byte_order_are_left_out() {
        for capacity in [1, 3, 4096] {
            let bytes = b"\xef\xbb\xbfone\r\n\ntwo\n\xef\xbb\xbfthree\r\nlast";
            assert_eq!(all(bytes, capacity), ["one", "", "two", "three", "last"], "{capacity}");
        }
        assert_eq!(all(b"", 9), Vec::<String>::new());
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_the_bound() {
        let endless = io::repeat(b'x').take(8 << 20).chain(&b"\nnext\n"[..]);
        let mut lines = Lines::new(BufReader::new(endless));
        assert_eq!(lines.next().expect("memory"), Some(Line::TooLong));
        assert!(lines.line.capacity() <= 2 * LINE_BYTES_MAX);
        assert_eq!(lines.next().expect("memory"), Some(Line::Whole(b"next")));
        assert_eq!(lines.number, 2);
    }
}
