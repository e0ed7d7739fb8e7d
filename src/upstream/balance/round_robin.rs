//! In turn, by weight, smoothly: with weights 5, 1, 1 the turns are a a b a c a a, not a a a a a b c.
//!
//! Every turn each candidate gains its weight, and the one that has most pays what all gained together (as in nginx).

use std::cell::Cell;
use std::net::IpAddr;

use super::algorithm::{Algorithm, Beginning, Candidates, Tried, Wanted};

#[derive(Debug)]
struct RoundRobin {
    /// What each server has gained and not paid.
    credits: Box<[Cell<i64>]>,
}

pub(super) fn begin(with: &Beginning<'_>) -> Box<dyn Algorithm> {
    let turns = RoundRobin { credits: with.servers.iter().map(|_| Cell::new(0)).collect() };
    let tried = Tried::default();
    let candidates = Candidates::new(with.servers, &tried, false, Wanted::Any);
    let weights = || candidates.iter().map(|(_, server)| usize::from(server.options().weight.get()));
    let cycle = weights().sum::<usize>() / weights().fold(0, common_divisor).max(1);
    for _ in 0..with.offset(cycle) {
        turns.choose(&candidates, None);
    }
    Box::new(turns)
}

impl Algorithm for RoundRobin {
    fn choose(&self, candidates: &Candidates<'_>, _source: Option<IpAddr>) -> Option<usize> {
        let is_turn = candidates.is_first_choice();
        let mut gained = 0;
        let mut most: Option<(usize, i64)> = None;
        for (nth, server) in candidates.iter() {
            let weight = candidates.weight(server) as i64;
            let credit = self.credits[nth].get() + weight;
            gained += weight;
            if is_turn {
                self.credits[nth].set(credit);
            }
            if most.is_none_or(|(_, most)| credit > most) {
                most = Some((nth, credit));
            }
        }
        let (nth, credit) = most?;
        if is_turn {
            self.credits[nth].set(credit - gained);
        }
        Some(nth)
    }
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use crate::upstream::testing::{counts, group, order, servers};

    #[test]
    fn turns_are_spread_by_weight() {
        let group = group("round-robin", &servers(&[5, 1, 1]), 0);
        let order: Vec<_> = (0..7).map(|_| order(&group, None)[0]).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn each_server_gets_its_share_to_the_connection() {
        for weights in [&[1, 1, 1][..], &[5, 3, 2], &[256, 1, 7, 64], &[1; 64]] {
            let group = group("round-robin", &servers(weights), 0);
            let sum: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
            let counts = counts(&group, (0..10_000).map(|_| None));
            for (count, weight) in std::iter::zip(counts, weights) {
                let share = 10_000.0 * f64::from(*weight) / f64::from(sum);
                assert!(
                    (f64::from(count) - share).abs() <= 1.0,
                    "{count} connections of {share} ({weights:?})"
                );
            }
        }
    }

    #[test]
    fn a_server_that_was_tried_in_vain_takes_no_turn_of_others() {
        let group = group("round-robin", &servers(&[1, 1, 1]), 0);
        let orders: Vec<_> = (0..4).map(|_| order(&group, None)).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }

    #[test]
    fn workers_begin_at_different_servers() {
        let servers = servers(&[1; 8]);
        let mut first: Vec<_> =
            (0..4).map(|worker| order(&group("round-robin", &servers, worker), None)[0]).collect();
        assert_eq!(first[0], 0);
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 4, "four workers, four servers");
    }
}
