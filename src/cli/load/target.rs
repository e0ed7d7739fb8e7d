//! URLs.

use std::str::FromStr;

use url::Position;

use super::{Error, usage};
use crate::load::plan::Target;

/// An `http` URL with a host.
#[derive(Debug, Clone)]
pub(super) struct Url(url::Url);

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "give a URL like http://host:8080/path";
        let url = url::Url::parse(text).map_err(|error| format!("{error}; {wanted}"))?;
        match (url.scheme(), url.host_str()) {
            ("http", Some(_)) if url.username().is_empty() && url.password().is_none() => Ok(Self(url)),
            ("http", Some(_)) => Err("users are given by --user, not in the URL".to_owned()),
            _ => Err(wanted.to_owned()),
        }
    }
}

impl Url {
    /// Asks the resolver, so it can take seconds.
    pub(super) fn resolve(&self) -> Result<Target, Error> {
        let url = &self.0;
        let addresses = match url.socket_addrs(|| None) {
            Ok(addresses) if !addresses.is_empty() => addresses,
            Ok(_) => return usage(format!("{url}: the name has no address")),
            Err(error) => return usage(format!("{url}: cannot resolve the name: {error}")),
        };
        Ok(Target {
            url: url.to_string(),
            host: url.host_str().unwrap_or_default().to_owned(),
            authority: url[Position::BeforeHost..Position::AfterPort].to_owned(),
            path: url[Position::BeforePath..Position::AfterQuery].to_owned(),
            addresses,
        })
    }
}
