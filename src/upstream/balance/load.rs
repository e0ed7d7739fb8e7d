//! How busy a server is.

use crate::upstream::server::Server;

/// How much of a server one more connection would use: its connections for its weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    connections: u64,
    weight: u64,
}

impl Load {
    /// Of a server with this weight.
    pub(super) fn of(server: &Server, weight: u64) -> Self {
        Self { connections: server.leases() as u64 + 1, weight }
    }

    pub(super) fn is_less(self, other: Self) -> bool {
        self.connections * other.weight < other.connections * self.weight
    }
}
