//! Which certificate a client is shown.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::proxy::names::Names;

/// Certificates with their keys, under the names that they are for.
#[derive(Debug)]
pub struct Certificates {
    by_name: Names<Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    /// The first one is for those who ask for no name, or for one that none is for.
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
    /// Of several for a name it is the first that the client can verify: RSA and ECDSA go side by side.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let named = name.and_then(|name| self.by_name.get(&name)).unwrap_or(&self.all);
        let fits =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        named.iter().find(fits).or(self.all.first()).cloned()
    }
}

/// The host names that a certificate is for (subjectAltName), wildcards among them.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    // One that does not parse is for no name. The key that belongs to it was compared by then, which says so.
    webpki::EndEntityCert::try_from(certificate)
        .map(|certificate| certificate.valid_dns_names().map(str::to_owned).collect())
        .unwrap_or_default()
}
