//! TLS that ends at the proxy: the files of `--tls-cert`, `--tls-key`, `--tls-client-ca` and what goes with them, read at
//! start and on SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::version::TLS13;
use rustls::{DEFAULT_VERSIONS, SupportedProtocolVersion};

use super::client_trust::ClientTrust;
use super::identity::{self, CertificateFiles};
use super::side::TO_CLIENTS;
use super::staple::staple;
use super::{ALPN, Error, validity};
use crate::proxy::tls::certificates::Certificates;

const ONLY_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];

/// The files for TLS that ends here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// The first is the default; never empty.
    pub certificates: Vec<CertificateFiles>,
    /// The OCSP response for each certificate, in their order; or none at all.
    pub staples: Vec<PathBuf>,
    /// Which certificates of clients are accepted; without it they are asked for none.
    pub clients: Option<ClientTrust>,
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
    /// Their files, in the same order.
    pub files: Vec<PathBuf>,
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
        let now = validity::now();
        let (builder, mut warnings) = match &self.clients {
            None => (builder.with_no_client_auth(), Vec::new()),
            Some(clients) => {
                let (verifier, warnings) = clients.read(provider, now)?;
                (builder.with_client_cert_verifier(verifier), warnings)
            }
        };
        let mut all = self
            .certificates
            .iter()
            .map(|files| identity::read(files, TO_CLIENTS))
            .collect::<Result<Vec<_>, _>>()?;
        for (certified, path) in std::iter::zip(&mut all, &self.staples) {
            warnings.extend(staple(certified, path, now)?);
        }
        let leaves: Vec<_> = all.iter().filter_map(|one| one.cert.first().cloned()).collect();
        warnings.extend(
            std::iter::zip(&all, &self.certificates)
                .flat_map(|(one, files)| validity::warnings(&one.cert, &files.chain, TO_CLIENTS, now)),
        );
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
        let files = self.certificates.iter().map(|files| files.chain.clone()).collect();
        Ok(Terminated { config: Arc::new(config), leaves, files, warnings })
    }
}
