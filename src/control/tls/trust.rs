//! Which certificates TLS connections to servers trust.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;

use super::verifiers::{Pinning, TrustEverybody, is_certificate};
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

/// A client configuration that offers `http/1.1` and resumes no session.
///
/// # Errors
/// A file that is not as required; a host without trusted certificates.
pub fn client_config(trust: Trust<'_>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut config = if trust.is_insecure {
        let everybody = Arc::new(TrustEverybody(provider));
        builder.dangerous().with_custom_certificate_verifier(everybody).with_no_client_auth()
    } else if let Some(path) = trust.ca {
        let given = files::certificates(trust.ca_flag, path, Wanted::Authorities)?;
        let mut roots = RootCertStore::empty();
        if roots.add_parsable_certificates(given.iter().cloned()).0 == 0 && !given.iter().any(is_certificate)
        {
            return Err(no_certificate(trust.ca_flag, path));
        }
        // It fails if there are none.
        let authorities =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().ok();
        let pinning = Arc::new(Pinning { authorities, given, provider });
        builder.dangerous().with_custom_certificate_verifier(pinning).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots_of_this_host(trust)?).with_no_client_auth()
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
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
    let (reason, wanted) = (Wanted::Authorities.lacking().to_owned(), Wanted::Authorities.wish().to_owned());
    Error::File { flag, path: path.to_owned(), reason, wanted }
}
