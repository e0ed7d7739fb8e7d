//! The flags of `iisplice proxy` for TLS: routes by hello, TLS that ends here, TLS to servers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clap::{ArgGroup, Args, ValueEnum};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;

use super::{HOUR, MILLISECOND, connectable};
use crate::cli::Error;
use crate::cli::address::Unresolved;
use crate::cli::quantity::duration;
use crate::control::tls::{CertificateFiles, Terminated, Termination, Trust, config_by, verifier};
use crate::proxy::routes::{Group, Routes};
use crate::proxy::settings::{ClientTls, Upstream, UpstreamTls};

/// What verifies servers' certificates.
type Verifier = Arc<dyn ServerCertVerifier>;

/// Longest time for a client's TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a host name (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// The TLS flags; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("routes").multiple(true)))]
pub(super) struct TlsArgs {
    /// Server for clients whose TLS hello asks for this name; TLS is passed through: NAME or *.NAME; repeatable
    /// [default: none] [nginx: ssl_preread, map]
    #[arg(long, value_name = "NAME=ADDR", group = "routes", help_heading = "TLS", value_parser = named)]
    sni_route: Vec<(String, Unresolved)>,
    /// Server for clients whose TLS hello offers this protocol; takes precedence over the name [default: none] [nginx:
    /// ssl_preread, $ssl_preread_alpn_protocols]
    #[arg(long, value_name = "PROTOCOL=ADDR", group = "routes", help_heading = "TLS", value_parser = protocol)]
    alpn_route: Vec<(String, Unresolved)>,
    /// Longest time for a client to send its TLS hello, if a route depends on it [nginx: preread_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "3s", requires = "routes", help_heading = "TLS",
        value_parser = duration(MILLISECOND..=HOUR)
    )]
    peek_timeout: Duration,
    /// End clients' TLS here, with the certificate chain (PEM) in this file; repeatable for more names [default: none]
    /// [nginx: ssl_certificate]
    #[arg(long, value_name = "FILE", help_heading = "TLS", conflicts_with = "alpn_route")]
    tls_cert: Vec<PathBuf>,
    /// Private key (PEM) of each --tls-cert, in their order [default: in the certificate's file] [nginx:
    /// ssl_certificate_key]
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    tls_key: Vec<PathBuf>,
    /// Require clients to present a certificate of one of the authorities (PEM) in this file [default: none] [nginx:
    /// ssl_client_certificate, ssl_verify_client on]
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    tls_client_ca: Option<PathBuf>,
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
    /// Name to ask servers for and to verify in their certificates [default: the host of their address] [nginx:
    /// proxy_ssl_name, proxy_ssl_server_name on]
    #[arg(
        long, value_name = "NAME", requires = "upstream_tls", help_heading = "TLS", value_parser = server_name
    )]
    upstream_name: Option<ServerName<'static>>,
    /// Accept any certificate from servers; for tests only [default: off] [nginx: proxy_ssl_verify off]
    #[arg(long, requires = "upstream_tls", help_heading = "TLS")]
    upstream_insecure: bool,
    /// When a TLS connection ends without close_notify, and nothing else shows that all data has arrived: reset the
    /// other side, or accept it as an end [default: reset] [nginx: -]
    #[arg(long, value_name = "WHAT", help_heading = "TLS")]
    tls_missing_close_notify: Option<MissingCloseNotify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MissingCloseNotify {
    Reset,
    Accept,
}

impl TlsArgs {
    /// Checks for contradictory flags.
    pub(super) fn check(&self, is_http: bool) -> Result<(), Error> {
        let routes = !self.sni_route.is_empty() || !self.alpn_route.is_empty();
        if routes && self.tls_cert.is_empty() && is_http {
            return Err(Error::Usage(
                "--mode http needs to read requests, which --sni-route and --alpn-route pass through encrypted; add \
                 --tls-cert to end the clients' TLS here, or remove --mode http"
                    .to_owned(),
            ));
        }
        if routes && self.tls_cert.is_empty() && self.upstream_tls {
            return Err(Error::Usage(
                "--upstream-tls would put the clients' own TLS, which --sni-route and --alpn-route pass through, into \
                 a second one; remove it, or add --tls-cert to end the clients' TLS here"
                    .to_owned(),
            ));
        }
        if self.tls_missing_close_notify.is_some() && self.tls_cert.is_empty() && !self.upstream_tls {
            return Err(Error::Usage(
                "--tls-missing-close-notify applies only to TLS that ends or begins here; add --tls-cert or \
                 --upstream-tls, or remove it"
                    .to_owned(),
            ));
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

    /// All servers, those of routes after those without, and which of them a connection goes to.
    pub(super) fn servers(&self, defaults: &[Unresolved]) -> Result<(Vec<Upstream>, Routes), Error> {
        let mut servers = Servers { tls: self, upstreams: Vec::new() };
        let mut routes = Routes { default: servers.add("upstream", defaults.iter())?, ..Routes::default() };
        for (name, _) in &self.sni_route {
            let of_name = self.sni_route.iter().filter(|(other, _)| other == name).map(|(_, server)| server);
            // Only the first time it is named.
            if let std::collections::hash_map::Entry::Vacant(vacant) = routes.by_name.entry(name)
                && let Some(group) = servers.add("sni-route", of_name)?
            {
                vacant.insert(group);
            }
        }
        for (protocol, _) in &self.alpn_route {
            if routes.by_protocol.iter().any(|(other, _)| other == protocol.as_bytes()) {
                continue;
            }
            let offered =
                self.alpn_route.iter().filter(|(other, _)| other == protocol).map(|(_, server)| server);
            if let Some(group) = servers.add("alpn-route", offered)? {
                routes.by_protocol.push((protocol.as_bytes().to_vec(), group));
            }
        }
        Ok((servers.upstreams, routes))
    }

    pub(super) fn accepts_missing_close_notify(&self) -> bool {
        self.tls_missing_close_notify == Some(MissingCloseNotify::Accept)
    }

    pub(super) fn peek_timeout(&self) -> Duration {
        self.peek_timeout
    }

    /// The files for TLS that ends here, their contents, and what workers use.
    pub(super) fn client_tls(&self) -> Result<Option<(Termination, Terminated, ClientTls)>, Error> {
        if self.tls_cert.is_empty() {
            return Ok(None);
        }
        let keys = if self.tls_key.is_empty() { &self.tls_cert } else { &self.tls_key };
        let termination = Termination {
            certificates: std::iter::zip(&self.tls_cert, keys)
                .map(|(chain, key)| CertificateFiles { chain: chain.clone(), key: key.clone() })
                .collect(),
            client_ca: self.tls_client_ca.clone(),
        };
        let terminated = termination.read()?;
        let config = Arc::new(ArcSwap::new(Arc::clone(&terminated.config)));
        Ok(Some((termination, terminated, ClientTls { config, handshake_timeout: HANDSHAKE_TIMEOUT })))
    }

    /// TLS with servers, and what verifies their certificates.
    pub(super) fn upstream_tls(&self) -> Result<Option<(UpstreamTls, Verifier)>, Error> {
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
        let config = Arc::new(config_by(Arc::clone(&verifier))?);
        Ok(Some((UpstreamTls { config, trusts_any_certificate: self.upstream_insecure }, verifier)))
    }

    fn tls_name(&self, server: &Unresolved) -> Result<Option<ServerName<'static>>, Error> {
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

/// The list of servers under construction.
struct Servers<'a> {
    tls: &'a TlsArgs,
    upstreams: Vec<Upstream>,
}

impl Servers<'_> {
    /// Appends a group, unless it is empty.
    fn add<'a>(
        &mut self,
        flag: &'static str,
        servers: impl Iterator<Item = &'a Unresolved>,
    ) -> Result<Option<Group>, Error> {
        let first = self.upstreams.len();
        for server in servers {
            let tls_name = self.tls.tls_name(server)?;
            self.upstreams.push(Upstream {
                name: server.to_string(),
                addresses: server.resolve(flag)?,
                tls_name,
            });
        }
        let count = self.upstreams.len() - first;
        Ok((count > 0).then_some(Group { first, count }))
    }
}

/// Parses `NAME=ADDR`.
fn named(text: &str) -> Result<(String, Unresolved), String> {
    let wanted = "give NAME=HOST:PORT with a host name, or *.NAME for all names below it";
    let (name, server) = text.split_once('=').ok_or(wanted)?;
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if host.len() > NAME_BYTES_MAX || !host.split('.').all(is_label) || host.parse::<IpAddr>().is_ok() {
        return Err(wanted.to_owned());
    }
    Ok((name.to_ascii_lowercase(), connectable(server)?))
}

/// Parses `PROTOCOL=ADDR`.
fn protocol(text: &str) -> Result<(String, Unresolved), String> {
    let wanted = "give PROTOCOL=HOST:PORT with a protocol's ALPN name, such as h2, http/1.1 or acme-tls/1";
    let (protocol, server) = text.split_once('=').ok_or(wanted)?;
    if !(1..=255).contains(&protocol.len()) {
        return Err(wanted.to_owned());
    }
    Ok((protocol.to_owned(), connectable(server)?))
}

/// Parses a server's name.
fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| "give the host name or the IP address in the server's certificate".to_owned())
}
