//! URLs.

use std::str::FromStr;
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use url::Position;

use super::{Error, usage};
use crate::control::names::system::words;
use crate::load::plan::{Target, Tls};

/// An `http` or `https` URL with a host.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Url(pub(in crate::cli) url::Url);

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "give a URL such as http://host:8080/path";
        let url = url::Url::parse(text).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => format!("it has no http:// or https://; {wanted}"),
            error => format!("{error}; {wanted}"),
        })?;
        match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(_)) if url.username().is_empty() && url.password().is_none() => {
                Ok(Self(url))
            }
            ("http" | "https", Some(_)) => Err("the URL must not contain a user; use --user".to_owned()),
            _ => Err(wanted.to_owned()),
        }
    }
}

fn unresolved<T>(url: &url::Url, reason: String) -> Result<T, Error> {
    Err(Error::Host(crate::cli::Error::ResolveUrl { url: url.to_string(), reason }))
}

impl Url {
    pub(in crate::cli) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Resolves the host, which can take seconds. `tls` is for `https`.
    pub(super) fn resolve(&self, tls: Option<&Arc<ClientConfig>>) -> Result<Target, Error> {
        let url = &self.0;
        let addresses = match url.socket_addrs(|| None) {
            Ok(addresses) if !addresses.is_empty() => addresses,
            Ok(_) => return unresolved(url, "it has no address".to_owned()),
            Err(error) => return unresolved(url, words(&error)),
        };
        let host = url.host_str().unwrap_or_default();
        let tls = match tls.filter(|_| self.is_https()) {
            None => None,
            Some(config) => {
                // An IPv6 address has brackets in a URL, but not in a certificate.
                let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let server_name = ServerName::try_from(name).or_else(|_| {
                    usage(format!("{url}: the host is not a valid name for a certificate; give a host name or an IP address"))
                })?;
                Some(Tls { config: Arc::clone(config), server_name })
            }
        };
        Ok(Target {
            url: url.to_string(),
            host: host.to_owned(),
            authority: url[Position::BeforeHost..Position::AfterPort].to_owned(),
            path: url[Position::BeforePath..Position::AfterQuery].to_owned(),
            addresses,
            tls,
        })
    }
}
