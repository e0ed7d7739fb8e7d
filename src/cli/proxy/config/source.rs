//! The text of a settings file, and places in it.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::Error;

/// Bytes of a value that a message shows.
const SHOWN_MAX: usize = 80;

/// A settings file.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    pub(super) text: String,
}

impl Source {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that cannot be read, or is not UTF-8.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { flag: "--config", path: path.to_owned(), source };
        let bytes = fs::read(path).map_err(unreadable)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { path: path.to_owned(), text }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned();
                let source = Self { path: path.to_owned(), text };
                Err(source.error(&(at..at), "this is not UTF-8; save the file as UTF-8"))
            }
        }
    }

    /// A mistake at this place of the file.
    pub(super) fn error(&self, span: &Range<usize>, message: impl Into<String>) -> Error {
        self.error_with(span, message, ExitCode::from(2))
    }

    /// The same with an exit code.
    pub(super) fn error_with(
        &self,
        span: &Range<usize>,
        message: impl Into<String>,
        code: ExitCode,
    ) -> Error {
        Error::Config { place: self.place(span), message: message.into(), code }
    }

    /// `FILE:LINE:COLUMN`, both counted from 1, columns in characters.
    pub(super) fn place(&self, span: &Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// A value as a message shows it: quoted, in one line, not too long.
pub(super) fn shown(value: &str) -> String {
    let mut end = value.len().min(SHOWN_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < value.len() { "…" } else { "" };
    format!("{:?}{more}", &value[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let source = Source { path: "a.toml".into(), text: "a = 1\nß = \"ü\" # x\n".to_owned() };
        let at = |found: &str| source.text.find(found).expect("it is there");
        assert_eq!(source.place(&(0..1)), "a.toml:1:1");
        assert_eq!(source.place(&(at("\"ü\"")..at("#"))), "a.toml:2:5");
        assert_eq!(source.place(&(at("#")..at("#"))), "a.toml:2:9");
        assert_eq!(source.place(&(source.text.len()..source.text.len())), "a.toml:3:1");
    }
}
