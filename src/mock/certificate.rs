//! The site's TLS: its certificate, and what a login is bound to.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::Error;
use super::settings::{CertificateSource, Protection, Settings, Tls};
use crate::protocol::credentials::{self, Wanted, without_mark};
use crate::protocol::ntlm::{ChannelBindings, ExtendedProtection};

/// The TLS settings that sessions need.
#[derive(Clone, Debug)]
pub(super) struct SiteTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) protection: ExtendedProtection,
}

/// Reads or creates the certificate.
pub(super) fn prepare(tls: &Tls, settings: &Settings) -> Result<SiteTls, Error> {
    let (chain, key) = match &tls.certificate {
        CertificateSource::SelfSigned => self_signed(settings)?,
        CertificateSource::Files { chain, key } => (read_chain(chain)?, read_key(key)?),
    };
    let protection = protection(tls.extended_protection, &chain[0])?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // HTTP/2 does not carry Windows Authentication.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(SiteTls { config: Arc::new(config), protection })
}

fn protection(wanted: Protection, certificate: &CertificateDer<'_>) -> Result<ExtendedProtection, Error> {
    Ok(match wanted {
        Protection::Off => ExtendedProtection::Off,
        Protection::Allow => ExtendedProtection::Allow(ChannelBindings::of_certificate(certificate)?),
        Protection::Require => ExtendedProtection::Require(ChannelBindings::of_certificate(certificate)?),
    })
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn self_signed(settings: &Settings) -> Result<Identity, Error> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(settings.listeners.iter().map(|address| address.ip().to_string()));
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path)?;
    match CertificateDer::pem_slice_iter(without_mark(&bytes)).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) if bytes.is_empty() => Err(Error::NoCertificate(path.to_owned())),
        chain => Err(wrong(&bytes, path, Wanted::Chain, chain.err())),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(without_mark(&bytes)).map_err(|error| match error {
        pem::Error::NoItemsFound => wrong(&bytes, path, Wanted::Key, None),
        other => wrong(&bytes, path, Wanted::Key, Some(other)),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|reason| Error::File { path: path.to_owned(), reason })
}

/// What to say of a file in which nothing of what is wanted was found.
fn wrong(bytes: &[u8], path: &Path, wanted: Wanted, error: Option<pem::Error>) -> Error {
    let (what, remedy) = match (credentials::advice(bytes, wanted, path), error) {
        (Some(advice), _) => (advice.what, advice.remedy),
        (None, Some(error)) => (error.to_string(), wanted.instruction().to_owned()),
        (None, None) => (wanted.lacking().to_owned(), wanted.instruction().to_owned()),
    };
    Error::WrongFile { path: path.to_owned(), what, remedy }
}
