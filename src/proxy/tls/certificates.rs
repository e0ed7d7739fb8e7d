//! Choosing the certificate for a client.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::proxy::names::Names;

/// Certificates with their keys, by the names that they are valid for.
#[derive(Debug)]
pub struct Certificates {
    by_name: Names<Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    /// The first certificate serves clients that request no name, or a name without a certificate.
    pub fn new(all: Vec<CertifiedKey>) -> Self {
        let all: Vec<_> = all.into_iter().map(Arc::new).collect();
        let mut by_name: Names<Vec<_>> = Names::default();
        for certified in &all {
            for name in certified.end_entity_cert().map(names).unwrap_or_default() {
                by_name.entry(&name).or_default().push(Arc::clone(certified));
            }
        }
        Self { by_name, all }
    }
}

impl ResolvesServerCert for Certificates {
    /// Of several certificates for a name, chooses the first that the client can verify: RSA and ECDSA can coexist.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let named = name.and_then(|name| self.by_name.get(&name)).unwrap_or(&self.all);
        let fits =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        named.iter().find(fits).or(self.all.first()).cloned()
    }
}

/// The host names that a certificate is valid for (subjectAltName), including wildcards.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    // An unparsable certificate has no names. Comparing it with its key, which happens earlier, reports the error.
    webpki::EndEntityCert::try_from(certificate)
        .map(|certificate| certificate.valid_dns_names().map(str::to_owned).collect())
        .unwrap_or_default()
}
