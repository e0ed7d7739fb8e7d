//! What all connections of a mock share: its settings, and the domain controller's limit on concurrent verifications.
//! It holds no connection's state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::Error;
use super::certificate::{self, SiteTls};
use super::settings::Settings;
use crate::protocol::ntlm;

/// The domain that the site reports if no account has one.
const DEFAULT_DOMAIN: &str = "CORP";
const COMPUTER: &str = "MOCKIIS";

pub(super) struct Site {
    pub(super) settings: Settings,
    pub(super) tls: Option<SiteTls>,
    /// What it says about itself in Type 2.
    pub(super) ntlm: ntlm::Server,
    /// Limits concurrent verifications.
    pub(super) verify_turns: Option<Semaphore>,
    connections: AtomicU64,
}

impl Site {
    pub(super) fn new(settings: Settings) -> Result<Arc<Self>, Error> {
        let tls = settings.tls.as_ref().map(|tls| certificate::prepare(tls, &settings)).transpose()?;
        let nb_domain = settings.accounts.first_domain().unwrap_or(DEFAULT_DOMAIN).to_uppercase();
        let dns_domain = format!("{}.test", nb_domain.to_lowercase());
        let ntlm = ntlm::Server {
            nb_computer: COMPUTER.to_owned(),
            dns_computer: format!("{}.{dns_domain}", COMPUTER.to_lowercase()),
            nb_domain,
            dns_domain,
        };
        let verify_turns = settings.verify_concurrency.map(Semaphore::new);
        Ok(Arc::new(Self { settings, tls, ntlm, verify_turns, connections: AtomicU64::new(0) }))
    }

    /// The number of a new connection, from 1 on.
    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }
}
