//! Of two servers drawn by weight, the one with fewer connections for its weight. Nearly as even as least connections,
//! and workers that look at the same moment do not all choose the same server.

use std::net::IpAddr;

use super::algorithm::{Algorithm, Beginning, Candidates};
use super::load::Load;

#[derive(Debug)]
struct RandomTwo;

pub(super) fn begin(_with: &Beginning<'_>) -> Box<dyn Algorithm> {
    Box::new(RandomTwo)
}

impl Algorithm for RandomTwo {
    fn choose(&self, candidates: &Candidates<'_>, _source: Option<IpAddr>) -> Option<usize> {
        let mut first: Option<(usize, Load)> = None;
        let mut second: Option<(usize, Load)> = None;
        let (mut first_key, mut second_key) = (f64::INFINITY, f64::INFINITY);
        for (nth, server) in candidates.iter() {
            // The two smallest of exponential variates with the weights as their rates are two draws by weight without
            // putting back (Efraimidis and Spirakis, 2006).
            let weight = candidates.weight(server);
            let key = exponential(weight as f64, second_key);
            let Some(key) = key else { continue };
            let drawn = Some((nth, Load::of(server, weight)));
            if key < first_key {
                (second, second_key) = (first, first_key);
                (first, first_key) = (drawn, key);
            } else {
                (second, second_key) = (drawn, key);
            }
        }
        match (first?, second) {
            (_, Some((other, less))) if less.is_less(first?.1) => Some(other),
            ((nth, _), _) => Some(nth),
        }
    }
}

/// A random variate with the rate `weight`, if it is less than `most`.
fn exponential(weight: f64, most: f64) -> Option<f64> {
    super::rank::rank(fastrand::u64(..), weight, most)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::upstream::testing::{counts, group, order, servers};

    #[test]
    fn servers_are_drawn_by_weight() {
        let group = group("random-two", &servers(&[1, 2, 5]), 0);
        let counts = counts(&group, (0..10_000).map(|_| None));
        // All have no connections, so one with more weight always wins over one with less: the heaviest gets what its two
        // draws give it, and the lightest nothing.
        let heaviest = 5.0 / 8.0 + (1.0 / 8.0) * (5.0 / 7.0) + (2.0 / 8.0) * (5.0 / 6.0);
        assert!((f64::from(counts[2]) / 10_000.0 - heaviest).abs() < 0.02, "{counts:?}");
        assert_eq!(counts[0], 0);
    }

    #[test]
    fn connections_spread_evenly_for_the_weight() {
        let servers = servers(&[1, 1, 1, 2]);
        let workers = [group("random-two", &servers, 0), group("random-two", &servers, 1)];
        let leases: Vec<_> = (0..10_000)
            .map(|nth: usize| workers[nth % 2].pick(None, Instant::now()).next().expect("a lease"))
            .collect();
        for (server, share) in std::iter::zip(&servers, [2000.0, 2000.0, 2000.0, 4000.0]) {
            let count = server.leases() as f64;
            assert!((count - share).abs() <= share * 0.01, "{count} connections of {share}");
        }
        drop(leases);
    }

    #[test]
    fn every_server_is_tried_once() {
        let group = group("random-two", &servers(&[1, 2, 3, 4]), 0);
        for _ in 0..100 {
            let mut order = order(&group, None);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3]);
        }
    }
}
