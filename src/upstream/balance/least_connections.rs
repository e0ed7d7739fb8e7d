//! The server with the fewest connections for its weight, over all workers; those that have equally many take turns.

use std::cell::Cell;
use std::net::IpAddr;

use super::algorithm::{Algorithm, Beginning, Candidates};
use super::load::Load;

#[derive(Debug)]
struct LeastConnections {
    servers: usize,
    /// The server that wins a tie, or the next one in line.
    turn: Cell<usize>,
}

pub(super) fn begin(with: &Beginning<'_>) -> Box<dyn Algorithm> {
    let servers = with.servers.len();
    Box::new(LeastConnections { servers, turn: Cell::new(with.offset(servers)) })
}

impl Algorithm for LeastConnections {
    fn choose(&self, candidates: &Candidates<'_>, _source: Option<IpAddr>) -> Option<usize> {
        let turn = self.turn.get();
        let wait = |nth: usize| if nth < turn { nth + self.servers - turn } else { nth - turn };
        let mut least: Option<(usize, Load)> = None;
        for (nth, server) in candidates.iter() {
            let load = Load::of(server, candidates.weight(server));
            let is_less = least.is_none_or(|(other, least)| {
                load.is_less(least) || (!least.is_less(load) && wait(nth) < wait(other))
            });
            if is_less {
                least = Some((nth, load));
            }
        }
        let (nth, _) = least?;
        if candidates.is_first_choice() {
            self.turn.set((nth + 1) % self.servers);
        }
        Some(nth)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::upstream::testing::{group, order, servers};

    #[test]
    fn connections_of_all_workers_count_for_the_weight() {
        let servers = servers(&[1, 3]);
        let workers = [group("least-connections", &servers, 0), group("least-connections", &servers, 1)];
        let leases: Vec<_> = (0..4000)
            .map(|nth: usize| workers[nth % 2].pick(None, Instant::now()).next().expect("a lease"))
            .collect();
        assert_eq!([servers[0].leases(), servers[1].leases()], [1000, 3000]);
        drop(leases);
    }

    #[test]
    fn equal_servers_take_turns_and_the_next_best_comes_second() {
        let servers = servers(&[1, 1, 1]);
        let group = group("least-connections", &servers, 0);
        let orders: Vec<_> = (0..4).map(|_| order(&group, None)).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        let _held: Vec<_> = [1, 1, 0].into_iter().map(|nth: usize| servers[nth].lend()).collect();
        assert_eq!(order(&group, None), [2, 0, 1], "none, one and two connections");
    }
}
