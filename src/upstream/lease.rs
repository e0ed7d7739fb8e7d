//! A server lent to one session.

use std::sync::Arc;

use socket2::SockAddr;

use super::server::Server;
use crate::uring::Address;

/// A server that is lent to one session. It counts the server as in use until it is dropped.
#[derive(Debug)]
pub struct Lease {
    server: Arc<Server>,
}

impl Lease {
    pub(super) fn new(server: &Arc<Server>) -> Self {
        server.lend();
        Self { server: Arc::clone(server) }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where to connect to.
    pub fn address(&self) -> &Address {
        self.server.address()
    }

    pub(super) fn sock_addr(&self) -> &SockAddr {
        self.server.sock_addr()
    }

    /// Notes that the server cannot be used; logs once that it is down.
    pub fn note_failure(&self) {
        if self.server.note_failure() {
            let (name, address) = (&**self.server.name(), self.address());
            tracing::warn!(upstream = name, %address, "server is down; still trying it in turn");
        }
    }

    /// Notes that the server can be used; logs once that it is up again.
    pub fn note_success(&self) {
        if let Some(failures) = self.server.note_success() {
            let (name, address) = (&**self.server.name(), self.address());
            tracing::info!(upstream = name, %address, failures, "server is up again");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.server.take_back();
    }
}
