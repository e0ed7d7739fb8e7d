//! The flags that say which clients may connect.

use clap::Args;

use crate::cli::address::network;
use crate::proxy::settings::{Admission, Network};

/// Who may connect; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Clone, Args)]
pub(super) struct AdmissionArgs {
    /// Networks of the clients that may connect; all others are closed at once; repeatable; unix: for Unix sockets
    /// [default: all] [nginx: allow]
    #[arg(long, value_name = "CIDR", help_heading = "Clients", value_parser = network)]
    allow: Vec<Network>,
    /// Networks of clients that may not connect, whatever --allow says; repeatable; unix: for Unix sockets [default:
    /// none] [nginx: deny]
    #[arg(long, value_name = "CIDR", help_heading = "Clients", value_parser = network)]
    deny: Vec<Network>,
}

impl AdmissionArgs {
    /// Who may connect, if not everybody.
    pub(super) fn admission(&self) -> Option<Box<Admission>> {
        let Self { allow, deny } = self.clone();
        (!allow.is_empty() || !deny.is_empty()).then(|| Box::new(Admission { allow, deny }))
    }
}
