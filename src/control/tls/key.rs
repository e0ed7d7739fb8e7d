//! Private keys, in the clear or encrypted with a pass phrase (PKCS#8).

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::pem::Pem;

use super::side::Side;
use super::{Error, files};
use crate::protocol::credentials::without_mark;
use crate::protocol::shell::quoted_path;

/// The label of an encrypted key (RFC 7468 section 11).
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// The first private key in the bytes of a file. An encrypted one needs a file of `passphrases`, one a line, which are
/// tried in turn.
pub(super) fn read(
    bytes: &[u8],
    path: &Path,
    passphrases: Option<&Path>,
    side: Side,
) -> Result<PrivateKeyDer<'static>, Error> {
    let clear = files::key_in(bytes, side.key, path);
    let Err(error) = clear else { return clear };
    let Some(encrypted) = encrypted(bytes) else { return Err(error) };
    let Some(passphrases) = passphrases else { return Err(with_flag(error, side)) };
    decrypt(&encrypted, path, passphrases, side)
}

fn encrypted(bytes: &[u8]) -> Option<Vec<u8>> {
    Pem::iter_from_buffer(without_mark(bytes))
        .filter_map(Result::ok)
        .find(|section| section.label == ENCRYPTED)
        .map(|section| section.contents)
}

/// Names the flag that would help as well.
fn with_flag(mut error: Error, side: Side) -> Error {
    if let Error::File { wanted, .. } = &mut error {
        *wanted = format!("give its pass phrase with {} FILE, or {wanted}", side.passphrases);
    }
    error
}

fn decrypt(
    encrypted: &[u8],
    path: &Path,
    passphrases: &Path,
    side: Side,
) -> Result<PrivateKeyDer<'static>, Error> {
    let wrong = |reason: String, wanted: String| Error::File {
        flag: side.key,
        path: path.to_owned(),
        reason,
        wanted,
    };
    let key = EncryptedPrivateKeyInfoRef::try_from(encrypted).map_err(|error| {
        wrong(
            format!("the private key is damaged, or encrypted in a way that is not supported ({error})"),
            format!("encrypt it anew with `openssl pkcs8 -topk8 -in {0} -out {0}.pem`", quoted_path(path)),
        )
    })?;
    let lines = files::read(side.passphrases, passphrases)?;
    let mut lines = without_mark(&lines).split(|byte| *byte == b'\n').map(|line| {
        // As editors of Windows end lines.
        line.strip_suffix(b"\r").unwrap_or(line)
    });
    lines
        .find_map(|passphrase| key.decrypt(passphrase).ok())
        .map(|document| PrivatePkcs8KeyDer::from(document.as_bytes().to_vec()).into())
        .ok_or_else(|| {
            wrong(
                format!("no line of {} {} decrypts this key", side.passphrases, passphrases.display()),
                "give a file with the key's pass phrase on a line of its own".to_owned(),
            )
        })
}
