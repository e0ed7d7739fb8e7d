//! Words of commands that a person is to copy.

use std::fmt::Write as _;
use std::path::Path;

/// The word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+.,:/@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else if word.contains(char::is_control) {
        escaped(word.as_bytes())
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The same for a path, which need not be text.
pub fn quoted_path(path: &Path) -> String {
    path.to_str().map_or_else(|| escaped(path.as_os_str().as_encoded_bytes()), quoted)
}

/// In `$'…'`, which bash, ksh and zsh know: on one line, whatever the bytes are.
fn escaped(bytes: &[u8]) -> String {
    let mut word = "$'".to_owned();
    for &byte in bytes {
        // Writing to a String does not fail.
        let _ = match byte {
            b'\'' | b'\\' => write!(word, "\\{}", char::from(byte)),
            b' '..=b'~' => write!(word, "{}", char::from(byte)),
            _ => write!(word, "\\x{byte:02x}"),
        };
    }
    word.push('\'');
    word
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_shown_word_can_be_typed_again() {
        assert_eq!(quoted("http://a:1/b?c"), "'http://a:1/b?c'");
        assert_eq!(quoted("CORP\\al'ice"), "'CORP\\al'\\''ice'");
        assert_eq!(quoted("--rate=5"), "--rate=5");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a\n'b"), "$'a\\x0a\\'b'");
        assert_eq!(quoted_path(Path::new(OsStr::from_bytes(b"\xffkey"))), "$'\\xffkey'");
    }
}
