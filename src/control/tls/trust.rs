//! Whom TLS connections to servers trust.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{ALPN, Error};

/// Who vouches for servers, and the flags that say so.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// The file with authorities, in place of this host's.
    pub ca: Option<&'a Path>,
    /// Nobody has to.
    pub is_insecure: bool,
    /// The flag of `ca`.
    pub ca_flag: &'static str,
    /// The flag of `is_insecure`.
    pub insecure_flag: &'static str,
}

/// A client that speaks `http/1.1` and resumes no session.
///
/// # Errors
/// A file that is not what it should be; a host without trusted certificates.
pub fn client_config(trust: Trust<'_>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut config = if trust.is_insecure {
        let everybody = Arc::new(TrustEverybody(provider));
        builder.dangerous().with_custom_certificate_verifier(everybody).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(trust)?).with_no_client_auth()
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn roots(trust: Trust<'_>) -> Result<RootCertStore, Error> {
    if let Some(path) = trust.ca {
        return authorities(trust.ca_flag, path);
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::NoRoots { ca: trust.ca_flag, insecure: trust.insecure_flag });
    }
    Ok(roots)
}

/// The certificates in a file, as authorities.
pub(super) fn authorities(flag: &'static str, path: &Path) -> Result<RootCertStore, Error> {
    let wrong = |reason: String| Error::File {
        flag,
        path: path.to_owned(),
        reason,
        wanted: "give a PEM file of certificates",
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        return Err(wrong("no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// Takes any certificate, but holds the server to the one it shows.
#[derive(Debug)]
pub(super) struct TrustEverybody(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for TrustEverybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
