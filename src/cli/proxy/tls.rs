//! The flags of `iisplice proxy` for TLS: with clients, which belongs to a service, and with servers, which belongs to a
//! group.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rustls::pki_types::ServerName;

use crate::cli::Error;
use crate::cli::proxy::servers::Whereabouts;
use crate::control::tls::{
    CertificateFiles, ClientTrust, Terminated, Termination, Trust, config_by, show_to_servers, verifier,
};
use crate::proxy::settings::ClientTls;
use crate::upstream;

/// The flags for TLS with clients; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[allow(clippy::struct_field_names, reason = "the flags are called so")]
#[derive(Debug, Args)]
pub(super) struct TlsArgs {
    /// Terminate client TLS with the certificate chain (PEM) in this file; repeatable, for more names [default: none]
    /// [nginx: ssl_certificate]
    #[arg(long, value_name = "FILE", help_heading = "TLS", conflicts_with = "alpn_route")]
    tls_cert: Vec<PathBuf>,
    /// Private key (PEM) of each --tls-cert, in the same order [default: in the certificate's file] [nginx:
    /// ssl_certificate_key]
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    tls_key: Vec<PathBuf>,
    /// OCSP response (DER) of each --tls-cert, in their order, to send to clients that ask for it [default: none]
    /// [nginx: ssl_stapling_file]
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    tls_ocsp: Vec<PathBuf>,
    /// File with the pass phrases of encrypted keys (PKCS#8), one per line; each is tried [default: none] [nginx:
    /// ssl_password_file]
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    tls_key_password_file: Option<PathBuf>,
    /// Ask clients for a certificate of one of the authorities (PEM) in this file [default: none] [nginx:
    /// ssl_client_certificate]
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    tls_client_ca: Option<PathBuf>,
    /// Whether clients have to present a certificate of --tls-client-ca; one of another authority is refused in either
    /// case [nginx: ssl_verify_client]
    #[arg(
        long,
        value_name = "WHETHER",
        default_value = "required",
        requires = "tls_client_ca",
        help_heading = "TLS"
    )]
    tls_client_cert: ClientCertificate,
    /// Refuse client certificates that the lists (CRL, PEM) in this file revoke; every authority of a chain needs a
    /// list that has not expired [default: none] [nginx: ssl_crl]
    #[arg(long, value_name = "FILE", requires = "tls_client_ca", help_heading = "TLS")]
    tls_client_crl: Option<PathBuf>,
    /// Oldest version of TLS that clients may use [nginx: ssl_protocols]
    #[arg(long, value_name = "VERSION", default_value = "1.2", requires = "tls_cert", help_heading = "TLS")]
    tls_min_version: MinVersion,
    /// Let clients resume TLS sessions with tickets [nginx: ssl_session_tickets]
    #[arg(long, value_name = "WHETHER", default_value = "on", requires = "tls_cert", help_heading = "TLS")]
    tls_resumption: OnOff,
    /// When a TLS connection ends without close_notify, and nothing else shows that all data has arrived: reset the
    /// other side, or accept it as an end [default: reset] [nginx: -]
    #[arg(long, value_name = "WHAT", help_heading = "TLS")]
    tls_missing_close_notify: Option<MissingCloseNotify>,
}

/// The flags for TLS with servers; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[allow(clippy::struct_field_names, reason = "the flags are called so")]
#[derive(Debug, Args)]
pub(super) struct UpstreamTlsArgs {
    /// Use TLS to servers [default: off] [nginx: proxy_ssl on]
    #[arg(long, help_heading = "TLS")]
    upstream_tls: bool,
    /// Trust server certificates of the authorities (PEM) in this file [default: those of this host] [nginx:
    /// proxy_ssl_trusted_certificate]
    #[arg(
        long,
        value_name = "FILE",
        requires = "upstream_tls",
        help_heading = "TLS",
        conflicts_with = "upstream_insecure"
    )]
    upstream_ca: Option<PathBuf>,
    /// Certificate chain (PEM) to show servers that ask for one [default: none] [nginx: proxy_ssl_certificate]
    #[arg(long, value_name = "FILE", requires = "upstream_tls", help_heading = "TLS")]
    upstream_cert: Option<PathBuf>,
    /// Private key (PEM) of --upstream-cert [default: in the certificate's file] [nginx: proxy_ssl_certificate_key]
    #[arg(long, value_name = "FILE", requires = "upstream_cert", help_heading = "TLS")]
    upstream_key: Option<PathBuf>,
    /// File with the pass phrase of an encrypted key (PKCS#8) [default: none] [nginx: proxy_ssl_password_file]
    #[arg(long, value_name = "FILE", requires = "upstream_cert", help_heading = "TLS")]
    upstream_key_password_file: Option<PathBuf>,
    /// Name to send to servers (SNI) and to verify in their certificates [default: the host of their address] [nginx:
    /// proxy_ssl_name, proxy_ssl_server_name on]
    #[arg(
        long, value_name = "NAME", requires = "upstream_tls", help_heading = "TLS", value_parser = server_name
    )]
    upstream_name: Option<ServerName<'static>>,
    /// Accept any certificate from servers; for tests only [default: off] [nginx: proxy_ssl_verify off]
    #[arg(long, requires = "upstream_tls", help_heading = "TLS")]
    upstream_insecure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MissingCloseNotify {
    Reset,
    Accept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClientCertificate {
    Required,
    Optional,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MinVersion {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

impl TlsArgs {
    /// Whether clients' TLS ends here.
    pub(super) fn ends_here(&self) -> bool {
        !self.tls_cert.is_empty()
    }

    /// A flag that does nothing without a certificate, and was given. clap waives what a flag requires where something
    /// else excludes that.
    fn needs_certificate(&self) -> Option<&'static str> {
        let given = [
            ("--tls-key", !self.tls_key.is_empty()),
            ("--tls-ocsp", !self.tls_ocsp.is_empty()),
            ("--tls-key-password-file", self.tls_key_password_file.is_some()),
            ("--tls-client-ca", self.tls_client_ca.is_some()),
            ("--tls-client-cert", self.tls_client_cert == ClientCertificate::Optional),
            ("--tls-client-crl", self.tls_client_crl.is_some()),
            ("--tls-min-version", self.tls_min_version == MinVersion::Tls13),
            ("--tls-resumption", self.tls_resumption == OnOff::Off),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// Checks for contradictory flags. `has_routes`: by hello; `speaks_tls`: a group with its servers.
    pub(super) fn check(&self, is_http: bool, has_routes: bool, speaks_tls: bool) -> Result<(), Error> {
        if let Some(flag) = self.needs_certificate().filter(|_| !self.ends_here()) {
            return Err(Error::Usage(format!(
                "{flag} applies to TLS that ends here; add --tls-cert, or remove it"
            )));
        }
        let passes_through = has_routes && self.tls_cert.is_empty();
        if passes_through && is_http {
            return Err(Error::Usage(
                "--mode http needs to read requests, which --sni-route and --alpn-route pass through encrypted; add \
                 --tls-cert to terminate client TLS here, or remove --mode http"
                    .to_owned(),
            ));
        }
        if passes_through && speaks_tls {
            return Err(Error::Usage(
                "--upstream-tls would wrap the clients' own TLS, which --sni-route and --alpn-route pass through, \
                 into a second TLS connection; remove it, or add --tls-cert to terminate client TLS here"
                    .to_owned(),
            ));
        }
        if self.tls_missing_close_notify.is_some() && self.tls_cert.is_empty() && !speaks_tls {
            return Err(Error::Usage(
                "--tls-missing-close-notify applies only to TLS that the proxy terminates or starts; add --tls-cert \
                 or --upstream-tls, or remove it"
                    .to_owned(),
            ));
        }
        if !self.tls_ocsp.is_empty() && self.tls_ocsp.len() != self.tls_cert.len() {
            return Err(Error::Usage(format!(
                "--tls-cert is given {} times and --tls-ocsp {} times; give one response per certificate in the same \
                 order, or none",
                self.tls_cert.len(),
                self.tls_ocsp.len()
            )));
        }
        if !self.tls_key.is_empty() && self.tls_key.len() != self.tls_cert.len() {
            return Err(Error::Usage(format!(
                "--tls-cert is given {} times and --tls-key {} times; give one key per certificate in the same order, \
                 or none if each certificate's file contains its key",
                self.tls_cert.len(),
                self.tls_key.len()
            )));
        }
        Ok(())
    }

    /// The defaults in force of flags that were not given.
    pub(super) fn in_force(&self) -> Option<(&'static str, String)> {
        let is_absent = self.tls_missing_close_notify.is_none() && !self.tls_cert.is_empty();
        is_absent.then(|| ("tls-missing-close-notify", "reset".to_owned()))
    }

    pub(super) fn accepts_missing_close_notify(&self) -> bool {
        self.tls_missing_close_notify == Some(MissingCloseNotify::Accept)
    }

    /// The contents of the files for TLS that ends here, and what workers use.
    pub(super) fn client_tls(&self) -> Result<Option<(Terminated, ClientTls)>, Error> {
        if self.tls_cert.is_empty() {
            return Ok(None);
        }
        let keys = if self.tls_key.is_empty() { &self.tls_cert } else { &self.tls_key };
        let termination = Termination {
            certificates: std::iter::zip(&self.tls_cert, keys)
                .map(|(chain, key)| CertificateFiles {
                    chain: chain.clone(),
                    key: key.clone(),
                    passphrases: self.tls_key_password_file.clone(),
                })
                .collect(),
            staples: self.tls_ocsp.clone(),
            clients: self.tls_client_ca.clone().map(|authorities| ClientTrust {
                authorities,
                revoked: self.tls_client_crl.clone(),
                is_optional: self.tls_client_cert == ClientCertificate::Optional,
            }),
            requires_tls13: self.tls_min_version == MinVersion::Tls13,
            resumes: self.tls_resumption == OnOff::On,
        };
        let terminated = termination.read()?;
        let config = Arc::clone(&terminated.config);
        Ok(Some((terminated, ClientTls { config })))
    }
}

impl UpstreamTlsArgs {
    /// Whether servers are spoken to with TLS.
    pub(super) fn is_on(&self) -> bool {
        self.upstream_tls
    }

    pub(super) fn tls(&self) -> Result<Option<upstream::Tls>, Error> {
        if !self.upstream_tls {
            return Ok(None);
        }
        let trust = Trust {
            ca: self.upstream_ca.as_deref(),
            is_insecure: self.upstream_insecure,
            ca_flag: "--upstream-ca",
            insecure_flag: "--upstream-insecure",
        };
        let verifier = verifier(trust)?;
        let mut config = config_by(Arc::clone(&verifier))?;
        let (own, warnings) = match &self.upstream_cert {
            None => (None, Vec::new()),
            Some(chain) => {
                let files = CertificateFiles {
                    chain: chain.clone(),
                    key: self.upstream_key.as_ref().unwrap_or(chain).clone(),
                    passphrases: self.upstream_key_password_file.clone(),
                };
                show_to_servers(&mut config, &files)?
            }
        };
        let config = Arc::new(config);
        let trusts_any_certificate = self.upstream_insecure;
        Ok(Some(upstream::Tls { config, verifier, own, trusts_any_certificate, warnings }))
    }

    /// What a server must prove to be, where it is spoken to with TLS.
    pub(super) fn tls_name(&self, server: &Whereabouts) -> Result<Option<ServerName<'static>>, Error> {
        match &self.upstream_name {
            _ if !self.upstream_tls => Ok(None),
            Some(name) => Ok(Some(name.clone())),
            None => match server.host().map(|host| ServerName::try_from(host.into_owned())) {
                Some(Ok(name)) => Ok(Some(name)),
                _ => Err(Error::Usage(format!(
                    "--upstream-tls: {server} has no host name to verify in a certificate; add --upstream-name NAME"
                ))),
            },
        }
    }
}

/// Parses a server's name.
fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| "give the host name or the IP address in the server's certificate".to_owned())
}
