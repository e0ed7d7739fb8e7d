//! Where a settings file names what turns out to be wrong on this host.

use std::net::IpAddr;

use super::Error;
use crate::proxy;
use crate::uring::Address;

/// Places in a settings file, each as `FILE:LINE:COLUMN`; empty without a file.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Of each listener's address.
    pub listeners: Vec<(Address, String)>,
    /// Of each address that connections to servers come from.
    pub sources: Vec<(IpAddr, String)>,
    /// Where the first group asks for connections from the addresses of clients.
    pub transparent: Option<String>,
    /// Of the access log's target.
    pub access_log: Option<String>,
}

impl Places {
    /// The error, with the place of what it is about.
    pub fn describe(&self, error: &Error) -> String {
        let about = match error {
            Error::Proxy(proxy::Error::Bind { address, .. }) => Some(address),
            Error::OwnListener { listener, .. } => Some(listener),
            _ => None,
        };
        if let Some((_, place)) = self.listeners.iter().find(|(address, _)| about == Some(address)) {
            return format!("{place}: listen: {error}");
        }
        if let Error::SourceAddress { address, .. } = error
            && let Some((_, place)) = self.sources.iter().find(|(one, _)| one == address)
        {
            return format!("{place}: source-address: {error}");
        }
        let place = match error {
            Error::AccessLog { .. } | Error::UnreadAccessLog(_) => &self.access_log,
            Error::Transparent(_) => &self.transparent,
            _ => &None,
        };
        match place {
            Some(place) => format!("{place}: {error}"),
            None => error.to_string(),
        }
    }
}
