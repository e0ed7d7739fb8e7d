//! Reads files of certificates and keys. The error about a file of another kind contains the command that converts it
//! to PEM.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Error;
use crate::protocol::credentials::{self, Wanted, without_mark};

/// No file of certificates is so large: a device or a wrong file is not read to its end.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The bytes of a file.
pub(super) fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let fail = |source| Error::Unreadable { flag, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fail)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(fail(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

/// The certificates in a file, at least one.
pub(super) fn certificates(
    flag: &'static str,
    path: &Path,
    wanted: Wanted,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    certificates_in(&read(flag, path)?, flag, path, wanted)
}

/// The certificates in the bytes of a file, at least one.
pub(super) fn certificates_in(
    bytes: &[u8],
    flag: &'static str,
    path: &Path,
    wanted: Wanted,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    match CertificateDer::pem_slice_iter(without_mark(bytes)).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        // A key that is encrypted the older way has lines that no other section has.
        Err(_) if credentials::has_encrypted_key(bytes) => Err(wrong(bytes, flag, path, Wanted::Key, None)),
        found => Err(wrong(bytes, flag, path, wanted, found.err())),
    }
}

/// The first private key in the bytes of a file.
pub(super) fn key_in(bytes: &[u8], flag: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(without_mark(bytes)).map_err(|error| match error {
        pem::Error::NoItemsFound => wrong(bytes, flag, path, Wanted::Key, None),
        _ if credentials::has_encrypted_key(bytes) => wrong(bytes, flag, path, Wanted::Key, None),
        other => wrong(bytes, flag, path, Wanted::Key, Some(other)),
    })
}

/// The error about a file that does not contain what is wanted; `error` is that of reading it as PEM.
pub(super) fn wrong(
    bytes: &[u8],
    flag: &'static str,
    path: &Path,
    wanted: Wanted,
    error: Option<pem::Error>,
) -> Error {
    let advice = credentials::advice(bytes, wanted, path);
    let (mut reason, remedy) = match advice {
        Some(advice) => (advice.what, advice.remedy),
        None => (wanted.lacking().to_owned(), wanted.instruction().to_owned()),
    };
    if let Some(error) = error {
        reason = format!("{reason} ({error})");
    }
    Error::File { flag, path: path.to_owned(), reason, wanted: remedy }
}
