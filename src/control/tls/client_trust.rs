//! Which certificates of clients are accepted: the files of `--tls-client-ca` and `--tls-client-crl`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};

use super::trust::authorities;
use super::{Error, files, validity};
use crate::protocol::credentials::{Wanted, without_mark};

const CA: &str = "--tls-client-ca";
const CRL: &str = "--tls-client-crl";

/// Which certificates of clients are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTrust {
    /// The file with the authorities that sign them.
    pub authorities: PathBuf,
    /// The file with the lists of those that were revoked; without it none counts as revoked.
    pub revoked: Option<PathBuf>,
    /// Whether clients without a certificate are accepted as well.
    pub is_optional: bool,
}

impl ClientTrust {
    /// Reads the files; `now` in seconds since 1970. Returns what an operator should know as well, one line each.
    pub(super) fn read(
        &self,
        provider: Arc<CryptoProvider>,
        now: i64,
    ) -> Result<(Arc<dyn ClientCertVerifier>, Vec<String>), Error> {
        let roots = Arc::new(authorities(CA, &self.authorities)?);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        if self.is_optional {
            builder = builder.allow_unauthenticated();
        }
        let mut warnings = Vec::new();
        if let Some(path) = &self.revoked {
            let lists = lists(path)?;
            warnings = validity::warnings_of_lists(CRL, &lists, path, now);
            // As nginx does: every certificate of the chain needs a list that is in force.
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        let verifier = builder.build().map_err(|error| match (error, &self.revoked) {
            (VerifierBuilderError::InvalidCrl(error), Some(path)) => wrong(
                CRL,
                path,
                format!("it cannot be used: {}", rustls::Error::from(error)),
                Wanted::RevocationLists,
            ),
            (other, _) => wrong(CA, &self.authorities, other.to_string(), Wanted::Authorities),
        })?;
        Ok((verifier, warnings))
    }
}

fn wrong(flag: &'static str, path: &Path, reason: String, wanted: Wanted) -> Error {
    Error::File { flag, path: path.to_owned(), reason, wanted: wanted.instruction().to_owned() }
}

/// The revocation lists in a file, at least one.
fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let bytes = files::read(CRL, path)?;
    let found =
        CertificateRevocationListDer::pem_slice_iter(without_mark(&bytes)).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        found => Err(files::wrong(&bytes, CRL, path, Wanted::RevocationLists, found.err())),
    }
}
