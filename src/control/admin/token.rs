//! The token that clients of the admin endpoint must send.
//!
//! Only a digest is kept and compared, in constant time: neither the time of an answer nor the memory of the process tells
//! the token.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::super::{Error, setting::setting};

/// Longest token.
const BYTES_MAX: usize = 4096;

/// A token shorter than this can be guessed.
const BYTES_SAFE: usize = 16;

/// See the module docs.
pub(super) type Digest = [u8; 32];

/// The token that is demanded now.
#[derive(Debug)]
pub(super) struct Token(Mutex<Digest>);

impl Token {
    pub(super) fn new(digest: Digest) -> Self {
        Self(Mutex::new(digest))
    }

    /// Demands another one from now on.
    pub(super) fn set(&self, digest: Digest) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = digest;
    }

    /// Whether a client sent the token.
    pub(super) fn is(&self, sent: &[u8]) -> bool {
        let expected = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        digest(sent).ct_eq(&expected).into()
    }
}

fn digest(token: &[u8]) -> Digest {
    Sha256::digest(token).into()
}

/// Why a file has no token.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TokenFault {
    #[error("cannot be read: {0}; {advice}", advice = super::super::advice_on_file(.0))]
    Unreadable(#[from] io::Error),
    #[error("has no token; write one into it, such as the output of: openssl rand -hex 32")]
    Empty,
    #[error("is longer than {BYTES_MAX} bytes; give a file with one token and nothing else")]
    Long,
    #[error("has more than one token; give one, in one line, of printable ASCII characters without spaces")]
    NotOne,
}

/// Reads a token; warns where it is not as secret as it could be.
pub(super) fn read(path: &Path) -> Result<Digest, Error> {
    let fail = |fault| Error::AdminToken { path: path.to_owned(), fault };
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| {
        let data = file.metadata()?;
        file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(data)
    });
    let data = opened.map_err(|error| fail(error.into()))?;
    let token = parse(&bytes).map_err(fail)?;
    let (flag, path) = (setting("admin-token-file"), path.display());
    if data.mode() & 0o077 != 0 {
        let mode = data.mode() & 0o7777;
        tracing::warn!(
            "{flag} {path} can be opened by other users (mode {mode:04o}); let its owner alone open it (chmod 600)"
        );
    }
    if token.len() < BYTES_SAFE {
        tracing::warn!(
            "{flag} {path} has a token of less than {BYTES_SAFE} characters; use a longer one (openssl rand -hex 32)"
        );
    }
    Ok(digest(token))
}

fn parse(bytes: &[u8]) -> Result<&[u8], TokenFault> {
    let token = bytes.trim_ascii();
    match token {
        _ if bytes.len() > BYTES_MAX => Err(TokenFault::Long),
        [] => Err(TokenFault::Empty),
        _ if !token.iter().all(u8::is_ascii_graphic) => Err(TokenFault::NotOne),
        _ => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_of_printable_characters() {
        assert_eq!(parse(b" s3cret/+=\r\n").expect("a token"), b"s3cret/+=");
        for (bytes, expected) in [
            (&b""[..], "has no token"),
            (b" \n\n", "has no token"),
            (b"two words", "more than one token"),
            (b"two\nlines", "more than one token"),
            (b"\xfcber", "more than one token"),
            (&[b'a'; BYTES_MAX + 1], "is longer than"),
        ] {
            let fault = parse(bytes).expect_err("no token").to_string();
            assert!(fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn only_the_token_in_force_is_the_token() {
        let token = Token::new(digest(b"first"));
        assert!(token.is(b"first") && !token.is(b"firs") && !token.is(b"first2") && !token.is(b""));
        token.set(digest(b"second"));
        assert!(token.is(b"second") && !token.is(b"first"));
    }
}
