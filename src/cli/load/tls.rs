//! Which certificates a TLS connection trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::client::ClientConfig;

use super::Error;
use crate::control::tls::{Trust, client_config};

/// Trusts this host's authorities, those of the file `ca` instead, or any certificate. Every connection does a full
/// handshake, so that results do not depend on earlier connections.
pub(super) fn config(ca: Option<&Path>, is_insecure: bool) -> Result<Arc<ClientConfig>, Error> {
    let trust = Trust { ca, is_insecure, ca_flag: "--ca", insecure_flag: "--insecure" };
    client_config(trust).map(Arc::new).map_err(|error| Error::Host(error.into()))
}
