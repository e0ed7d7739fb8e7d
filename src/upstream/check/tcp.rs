//! Healthy is a server that accepts connections, and TLS handshakes where its group speaks TLS.
//!
//! Its kernel accepts connections as long as its backlog has room: this does not prove that the application runs.

use super::connection::Connection;
use super::{Probe, Unhealthy};

pub(super) async fn run(probe: &Probe<'_>) -> Result<(), Unhealthy> {
    Connection::open(probe.target).await.map(drop)
}
