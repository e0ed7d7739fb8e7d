//! The proxy's own certificates with their keys: those that clients see, and those that servers ask for.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::side::{Side, TO_SERVERS};
use super::{Error, files, key, validity};
use crate::protocol::credentials::{self, Wanted};
use crate::upstream::OwnCertificate;

/// A certificate's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the proxy's own certificate first.
    pub chain: PathBuf,
    /// The private key; may be the same file.
    pub key: PathBuf,
    /// Pass phrases of encrypted keys, one a line.
    pub passphrases: Option<PathBuf>,
}

/// Reads the certificate that servers are shown if they ask for one, and puts it into `config`. Returns it,
/// and what an operator should know before servers notice, one line each.
///
/// # Errors
/// The first file that is not as required.
pub fn show_to_servers(
    config: &mut ClientConfig,
    files: &CertificateFiles,
) -> Result<(Option<OwnCertificate>, Vec<String>), Error> {
    let certified = read(files, TO_SERVERS)?;
    let warnings = validity::warnings(&certified.cert, &files.chain, TO_SERVERS, validity::now());
    let own = certified.cert.first().cloned();
    let own = own.map(|leaf| OwnCertificate { leaf, file: files.chain.clone() });
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    Ok((own, warnings))
}

/// Reads a certificate of `side` and its key.
///
/// # Errors
/// The first file that is not as required.
pub(super) fn read(files: &CertificateFiles, side: Side) -> Result<CertifiedKey, Error> {
    let CertificateFiles { chain: chain_path, key: key_path, passphrases } = files;
    let wrong_chain = |reason: String, wanted: &str| Error::File {
        flag: side.cert,
        path: chain_path.clone(),
        reason,
        wanted: wanted.to_owned(),
    };
    let chain_bytes = files::read(side.cert, chain_path)?;
    // Read once if it is one file: it may be a pipe.
    let key_bytes =
        if chain_path == key_path { chain_bytes.clone() } else { files::read(side.key, key_path)? };
    if !credentials::has_certificate(&chain_bytes)
        && credentials::has_key(&chain_bytes)
        && credentials::has_certificate(&key_bytes)
    {
        let (certificate, key) = (chain_path.clone(), key_path.clone());
        return Err(Error::Swapped { cert_flag: side.cert, certificate, key_flag: side.key, key });
    }
    let chain = files::certificates_in(&chain_bytes, side.cert, chain_path, Wanted::Chain)?;
    let key = key::read(&key_bytes, key_path, passphrases.as_deref(), side)?;
    let wish = Wanted::Chain.instruction();
    let leaf = chain.first().ok_or_else(|| wrong_chain(Wanted::Chain.lacking().to_owned(), wish))?.clone();
    if let Err(error) = ParsedCertificate::try_from(&leaf) {
        return Err(wrong_chain(reason_for_own(&leaf, &error, side), wish));
    }
    let provider = ring::default_provider();
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let fits = |other: &CertificateDer<'static>| {
                CertifiedKey::from_der(vec![other.clone()], key.clone_key(), &provider).is_ok()
            };
            match chain.iter().position(fits) {
                Some(index) => wrong_chain(
                    format!("the key matches certificate {} of the file, not the first", index + 1),
                    "put the server's own certificate first, then the intermediate certificates",
                ),
                None => Error::Mismatch {
                    cert_flag: side.cert,
                    certificate: chain_path.clone(),
                    key_flag: side.key,
                    key: key_path.clone(),
                },
            }
        }
        error @ rustls::Error::InvalidCertificate(_) => {
            wrong_chain(reason_for_own(&leaf, &error, side), wish)
        }
        other => Error::File {
            flag: side.key,
            path: key_path.clone(),
            reason: other.to_string(),
            wanted: Wanted::Key.instruction().to_owned(),
        },
    })
}

/// Describes what is wrong with the proxy's own certificate: rustls' texts are about a peer's.
fn reason_for_own(certificate: &CertificateDer<'_>, error: &rustls::Error, side: Side) -> String {
    use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};
    if let Ok((_, parsed)) = X509Certificate::from_der(certificate)
        && parsed.version() != X509Version::V3
    {
        let version = parsed.version().0 + 1;
        return format!(
            "the proxy's own certificate is of X.509 version {version}, which TLS {} do not accept; create one of version 3 \
             with the host's names (subjectAltName)",
            side.readers
        );
    }
    match error {
        rustls::Error::InvalidCertificate(error) => {
            format!("the proxy's own certificate cannot be used: {error}")
        }
        other => format!("the proxy's own certificate cannot be used: {other}"),
    }
}
