//! Which certificates TLS connections to servers trust.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;

use super::verifiers::{AcceptAny, Pinning, is_certificate};
use super::{ALPN, Error, files};
use crate::protocol::credentials::Wanted;

/// Who vouches for servers, and the flags for that.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// The file with authorities, or with the servers' own certificates, instead of this host's authorities.
    pub ca: Option<&'a Path>,
    /// Certificates are not verified.
    pub is_insecure: bool,
    /// The flag of `ca`.
    pub ca_flag: &'static str,
    /// The flag of `is_insecure`.
    pub insecure_flag: &'static str,
}

/// A client that speaks `http/1.1`, resumes no session and verifies as `trust` says.
///
/// # Errors
/// See [`verifier`].
pub fn client_config(trust: Trust<'_>) -> Result<ClientConfig, Error> {
    config_by(verifier(trust)?)
}

/// The same, with a verifier.
///
/// # Errors
/// None that is known.
pub fn config_by(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What verifies servers' certificates.
///
/// # Errors
/// A file that is not as required; a host without trusted certificates.
pub fn verifier(trust: Trust<'_>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let provider = Arc::new(ring::default_provider());
    if trust.is_insecure {
        return Ok(Arc::new(AcceptAny(provider)));
    }
    let by_roots =
        |roots| WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let Some(path) = trust.ca else {
        return match by_roots(roots_of_this_host(trust)?) {
            Ok(verifier) => Ok(verifier),
            Err(_) => Err(Error::NoRoots { ca: trust.ca_flag, insecure: trust.insecure_flag }),
        };
    };
    let given = files::certificates(trust.ca_flag, path, Wanted::Authorities)?;
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(given.iter().cloned()).0 == 0 && !given.iter().any(is_certificate) {
        return Err(no_certificate(trust.ca_flag, path));
    }
    // It fails if there are none.
    let authorities = by_roots(roots).ok();
    Ok(Arc::new(Pinning { authorities, given, provider }))
}

fn roots_of_this_host(trust: Trust<'_>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::NoRoots { ca: trust.ca_flag, insecure: trust.insecure_flag });
    }
    Ok(roots)
}

/// The certificates in a file, as authorities.
pub(super) fn authorities(flag: &'static str, path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(files::certificates(flag, path, Wanted::Authorities)?).0 == 0 {
        return Err(no_certificate(flag, path));
    }
    Ok(roots)
}

/// Whatever is in the file cannot be read as one.
fn no_certificate(flag: &'static str, path: &Path) -> Error {
    let (reason, wanted) =
        (Wanted::Authorities.lacking().to_owned(), Wanted::Authorities.instruction().to_owned());
    Error::File { flag, path: path.to_owned(), reason, wanted }
}
