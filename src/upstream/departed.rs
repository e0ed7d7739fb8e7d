//! Servers that a group had before: one that comes back soon goes on with its state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::server::Server;

/// How long a server without connections is remembered.
const MEMORY: Duration = Duration::from_secs(600);

/// Most servers that are remembered.
const SERVERS_MAX: usize = 1024;

/// See the module docs.
#[derive(Debug, Clone, Default)]
pub struct Departed(Vec<(Arc<Server>, Instant)>);

impl Departed {
    /// Those that are still remembered. A server with connections always is: if it comes back they count.
    pub(super) fn since(&self, now: Instant) -> Self {
        let is_remembered = |(server, left): &&(Arc<Server>, Instant)| {
            server.leases() > 0 || now.saturating_duration_since(*left) < MEMORY
        };
        Self(self.0.iter().filter(is_remembered).cloned().collect())
    }

    /// All of them.
    pub(super) fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.0.iter().map(|(server, _)| server)
    }

    /// Takes out the first one of these.
    pub(super) fn take(&mut self, is_it: impl Fn(&Server) -> bool) -> Option<Arc<Server>> {
        let nth = self.0.iter().position(|(server, _)| is_it(server))?;
        Some(self.0.remove(nth).0)
    }

    /// Adds those that leave now; forgets the ones that left first if they are too many.
    pub(super) fn add(&mut self, servers: impl Iterator<Item = Arc<Server>>, now: Instant) {
        self.0.extend(servers.map(|server| (server, now)));
        let excess = self.0.len().saturating_sub(SERVERS_MAX);
        self.0.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::testing::servers;

    #[test]
    fn servers_are_remembered_for_a_while_and_those_with_connections_as_long_as_they_have_any() {
        let (begin, all) = (Instant::now(), servers(&[1, 1]));
        assert!(all[1].lend());
        let mut departed = Departed::default();
        departed.add(all.iter().cloned(), begin);
        let knows =
            |departed: &Departed, nth: usize| departed.0.iter().any(|(known, _)| known.is_same(&all[nth]));
        let soon = departed.since(begin + MEMORY / 2);
        assert!(knows(&soon, 0) && knows(&soon, 1));
        let later = departed.since(begin + MEMORY);
        assert!(!knows(&later, 0) && knows(&later, 1));
        all[1].take_back();
        assert!(!knows(&later.since(begin + MEMORY), 1));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut departed = Departed::default();
        let all = servers(&[1; 4]);
        for _ in 0..SERVERS_MAX {
            departed.add(all.iter().cloned(), Instant::now());
        }
        assert_eq!(departed.0.len(), SERVERS_MAX);
        assert!(departed.take(|server| server.is_same(&all[2])).is_some());
        assert_eq!(departed.0.len(), SERVERS_MAX - 1);
    }
}
