//! TLS that ends at the proxy: the files of `--tls-cert`, `--tls-key` and `--tls-client-ca`, read at start and on
//! SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{DEFAULT_VERSIONS, SupportedProtocolVersion};

use super::trust::authorities;
use super::{ALPN, Error, files, validity};
use crate::protocol::credentials::{self, Wanted};
use crate::proxy::tls::certificates::Certificates;

const CERT: &str = "--tls-cert";
const KEY: &str = "--tls-key";

const ONLY_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];

/// A certificate's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub chain: PathBuf,
    /// The private key; may be the same file.
    pub key: PathBuf,
}

/// The files for TLS that ends here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// The first is the default; never empty.
    pub certificates: Vec<CertificateFiles>,
    /// Clients must present a certificate of these authorities.
    pub client_ca: Option<PathBuf>,
    /// Clients that speak TLS 1.2 at most are refused.
    pub requires_tls13: bool,
    /// Clients get tickets, with which they can resume their sessions.
    pub resumes: bool,
}

/// The contents of the files.
#[derive(Debug, Clone)]
pub struct Terminated {
    /// For workers.
    pub config: Arc<ServerConfig>,
    /// The servers' own certificates, in the order of the files.
    pub leaves: Vec<CertificateDer<'static>>,
    /// What an operator should know before clients notice, one line each.
    pub warnings: Vec<String>,
}

impl Termination {
    /// Reads all files.
    ///
    /// # Errors
    /// The first file that is not as required.
    pub fn read(&self) -> Result<Terminated, Error> {
        let provider = Arc::new(ring::default_provider());
        let versions = if self.requires_tls13 { ONLY_TLS13 } else { DEFAULT_VERSIONS };
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                const FLAG: &str = "--tls-client-ca";
                let roots = Arc::new(authorities(FLAG, path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| Error::File {
                    flag: FLAG,
                    path: path.clone(),
                    reason: error.to_string(),
                    wanted: Wanted::Authorities.wish().to_owned(),
                })?)
            }
        };
        let all = self.certificates.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let leaves: Vec<_> = all.iter().filter_map(|one| one.cert.first().cloned()).collect();
        let now = validity::now();
        let warnings = std::iter::zip(&all, &self.certificates)
            .flat_map(|(one, files)| validity::warnings(&one.cert, &files.chain, now))
            .collect();
        let mut config = builder.with_cert_resolver(Arc::new(Certificates::new(all)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Sessions are resumed only by tickets, with keys that all workers share: nothing is stored here, because
        // storage would take a lock.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.resumes {
            config.ticketer = ring::Ticketer::new()?;
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(Terminated { config: Arc::new(config), leaves, warnings })
    }
}

fn read(files: &CertificateFiles) -> Result<CertifiedKey, Error> {
    let CertificateFiles { chain: chain_path, key: key_path } = files;
    let wrong_chain = |reason: String, wanted: &str| Error::File {
        flag: CERT,
        path: chain_path.clone(),
        reason,
        wanted: wanted.to_owned(),
    };
    let chain_bytes = files::read(CERT, chain_path)?;
    // Read once if it is one file: it may be a pipe.
    let key_bytes = if chain_path == key_path { chain_bytes.clone() } else { files::read(KEY, key_path)? };
    if !credentials::has_certificate(&chain_bytes)
        && credentials::has_key(&chain_bytes)
        && credentials::has_certificate(&key_bytes)
    {
        return Err(Error::Swapped { certificate: chain_path.clone(), key: key_path.clone() });
    }
    let chain = files::certificates_in(&chain_bytes, CERT, chain_path, Wanted::Chain)?;
    let key = files::key_in(&key_bytes, KEY, key_path)?;
    let wish = Wanted::Chain.wish();
    let leaf = chain.first().ok_or_else(|| wrong_chain(Wanted::Chain.lacking().to_owned(), wish))?.clone();
    if let Err(error) = ParsedCertificate::try_from(&leaf) {
        return Err(wrong_chain(own_words(&leaf, &error), wish));
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
                    "put the server's own certificate first, and behind it those that signed it",
                ),
                None => Error::Mismatch { certificate: chain_path.clone(), key: key_path.clone() },
            }
        }
        error @ rustls::Error::InvalidCertificate(_) => wrong_chain(own_words(&leaf, &error), wish),
        other => Error::File {
            flag: KEY,
            path: key_path.clone(),
            reason: other.to_string(),
            wanted: Wanted::Key.wish().to_owned(),
        },
    })
}

/// Describes what is wrong with the proxy's own certificate: rustls' texts are about a peer's.
fn own_words(certificate: &CertificateDer<'_>, error: &rustls::Error) -> String {
    use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};
    if let Ok((_, parsed)) = X509Certificate::from_der(certificate)
        && parsed.version() != X509Version::V3
    {
        let version = parsed.version().0 + 1;
        return format!(
            "the proxy's own certificate is of X.509 version {version}, which TLS clients do not accept; create one of \
             version 3 with the host's names (subjectAltName)"
        );
    }
    match error {
        rustls::Error::InvalidCertificate(error) => {
            format!("the proxy's own certificate cannot be used: {error}")
        }
        other => format!("the proxy's own certificate cannot be used: {other}"),
    }
}
