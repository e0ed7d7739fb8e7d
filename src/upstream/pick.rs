//! Choosing servers for one connection: the algorithm's choice, then the others, each lent only when it is asked for.

use std::net::IpAddr;
use std::sync::Arc;

use super::balance::{Algorithm, Candidates, Tried};
use super::lease::Lease;
use super::server::Server;

/// Leases in the order to try them. Drop one before asking for the next.
#[derive(Debug)]
pub struct Pick<'a> {
    servers: &'a [Arc<Server>],
    algorithm: &'a dyn Algorithm,
    /// The client's address, if it has an IP address.
    source: Option<IpAddr>,
    tried: Tried,
}

impl<'a> Pick<'a> {
    pub(super) fn new(
        servers: &'a [Arc<Server>],
        algorithm: &'a dyn Algorithm,
        source: Option<IpAddr>,
    ) -> Self {
        Self { servers, algorithm, source, tried: Tried::default() }
    }

    /// The next server: a backup server only when there is no other.
    fn choose(&self) -> Option<usize> {
        let among =
            |backup| self.algorithm.choose(&Candidates::new(self.servers, &self.tried, backup), self.source);
        among(false).or_else(|| among(true))
    }
}

impl Iterator for Pick<'_> {
    type Item = Lease;

    fn next(&mut self) -> Option<Lease> {
        let nth = self.choose()?;
        self.tried.add(nth);
        Some(Lease::new(&self.servers[nth]))
    }
}

#[cfg(test)]
mod tests {
    use crate::upstream::ServerOptions;
    use crate::upstream::testing::{group, order, servers, with_options};

    #[test]
    fn backup_servers_come_last_and_disabled_ones_never() {
        let options = |backup, disabled| ServerOptions { backup, disabled, ..ServerOptions::default() };
        let servers = with_options(&[
            options(true, false),
            options(false, false),
            options(false, true),
            options(true, true),
            options(false, false),
            options(true, false),
        ]);
        let group = group("round-robin", &servers, 0);
        assert_eq!(order(&group, None), [1, 4, 0, 5]);
        assert_eq!(order(&group, None), [4, 1, 0, 5]);
    }

    #[test]
    fn a_group_without_servers_in_use_gives_no_lease() {
        let options = ServerOptions { disabled: true, ..ServerOptions::default() };
        assert_eq!(group("round-robin", &with_options(&[options]), 0).pick(None).count(), 0);
        assert_eq!(group("round-robin", &servers(&[]), 0).pick(None).count(), 0);
    }
}
