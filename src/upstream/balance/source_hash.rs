//! By the client's address: a client gets the same server as before, from every worker, also after a restart.
//!
//! Weighted rendezvous: each server's rank is a hash of its name and the client's address, and the first one in rank is
//! chosen. A server that goes away moves only its own clients, each to its next server in rank; one that is added takes
//! only those that it ranks first with.

use std::net::IpAddr;

use super::algorithm::{Algorithm, Beginning, Candidates};
use super::rank::rank;
use crate::upstream::server::Server;

#[derive(Debug)]
struct SourceHash {
    /// What ranks each server, side by side: looking at the servers themselves would cost more than all ranks.
    places: Box<[Place]>,
    /// The bits of an IPv6 address that count.
    v6_mask: u128,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// A number that the server's name and address decide.
    seed: u64,
    weight: f64,
}

pub(super) fn begin(with: &Beginning<'_>) -> Box<dyn Algorithm> {
    let mut places: Vec<Place> = Vec::with_capacity(with.servers.len());
    for server in with.servers {
        let mut seed = seed(server);
        // A server that is in the group twice counts twice.
        while places.iter().any(|place| place.seed == seed) {
            seed = mixed(seed);
        }
        places.push(Place { seed, weight: f64::from(server.options().weight.get()) });
    }
    let v6_mask = u128::MAX.checked_shl(128 - u32::from(with.hash_prefix_v6)).unwrap_or(0);
    Box::new(SourceHash { places: places.into(), v6_mask })
}

impl SourceHash {
    /// A number for the client; a random one without an IP address.
    fn key(&self, source: Option<IpAddr>) -> u64 {
        match source.map(|source| source.to_canonical()) {
            None => fastrand::u64(..),
            Some(IpAddr::V4(address)) => mixed(u64::from(address.to_bits())),
            Some(IpAddr::V6(address)) => {
                let bits = address.to_bits() & self.v6_mask;
                mixed(mixed((bits >> 64) as u64) ^ bits as u64)
            }
        }
    }
}

impl SourceHash {
    /// The first in rank of these places.
    fn first(&self, key: u64, places: impl Iterator<Item = usize>) -> Option<usize> {
        let mut least = f64::INFINITY;
        let mut first = None;
        for nth in places {
            let Place { seed, weight } = self.places[nth];
            if let Some(rank) = rank(mixed(seed ^ key), weight, least) {
                least = rank;
                first = Some(nth);
            }
        }
        first
    }
}

impl Algorithm for SourceHash {
    fn choose(&self, candidates: &Candidates<'_>, source: Option<IpAddr>) -> Option<usize> {
        let key = self.key(source);
        // The first of all is the first of the candidates if it is one of them, as it mostly is.
        self.first(key, 0..self.places.len())
            .filter(|nth| candidates.have(*nth))
            .or_else(|| self.first(key, candidates.iter().map(|(nth, _)| nth)))
    }
}

/// FNV-1a of what a server is called, which no release of anything changes.
fn seed(server: &Server) -> u64 {
    let text = format!("{} {}", server.name(), server.address());
    mixed(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// The finalizer of `SplitMix64`: every bit of the input changes half of the output's.
fn mixed(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::upstream::group::{Group, GroupSettings};
    use crate::upstream::testing::{counts, group, order, servers};

    /// Clients as they are: a part of one network.
    fn sources() -> impl Iterator<Item = Option<IpAddr>> {
        (0..10_000).map(|nth| Some(Ipv4Addr::from_bits(0x0a01_0000 + nth).into()))
    }

    #[test]
    fn ten_thousand_sources_spread_by_weight() {
        for weights in [&[1, 1, 1][..], &[1, 2, 2], &[3, 2, 5, 2], &[10; 5]] {
            let group = group("source-hash", &servers(weights), 0);
            let sum: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
            for (count, weight) in std::iter::zip(counts(&group, sources()), weights) {
                let share = 10_000.0 * f64::from(*weight) / f64::from(sum);
                let off = (f64::from(count) - share).abs() / share;
                assert!(off <= 0.05, "{count} sources of {share} ({weights:?})");
            }
        }
    }

    #[test]
    fn a_server_that_goes_away_moves_only_its_own_clients_and_each_to_its_second() {
        for weights in [&[1; 3][..], &[1; 10], &[2, 1, 5, 2]] {
            let servers = servers(weights);
            let sum: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
            let all = group("source-hash", &servers, 0);
            for gone in 0..servers.len() {
                let mut left = servers.clone();
                left.remove(gone);
                let less = group("source-hash", &left, 1);
                let mut moved = 0;
                for source in sources() {
                    let before = order(&all, source);
                    let after = order(&less, source);
                    let expected: Vec<_> = before.iter().copied().filter(|nth| *nth != gone).collect();
                    assert_eq!(after, expected, "{source:?}");
                    moved += u32::from(before[0] == gone);
                }
                let share = f64::from(weights[gone]) / f64::from(sum);
                assert!(f64::from(moved) <= 1.05 * share * 10_000.0, "{moved} of {share} ({weights:?})");
            }
        }
    }

    #[test]
    fn the_order_of_the_settings_does_not_matter() {
        let servers = servers(&[1, 1, 1, 1]);
        let mut turned = servers.clone();
        turned.reverse();
        let (one, other) = (group("source-hash", &servers, 0), group("source-hash", &turned, 3));
        for source in sources().take(200) {
            assert_eq!(order(&one, source), order(&other, source));
        }
    }

    #[test]
    fn ipv6_clients_count_by_the_prefix_asked_for() {
        let servers = servers(&[1; 16]);
        let of_prefix = |hash_prefix_v6| {
            let group = group("source-hash", &servers, 0);
            let settings = GroupSettings { hash_prefix_v6, ..group.settings().clone() };
            Group::new(std::sync::Arc::new(settings), 0)
        };
        let first = |group: &Group, address: [u16; 8]| order(group, Some(Ipv6Addr::from(address).into()))[0];
        let distinct = |group: &Group, at: usize| {
            let mut servers: Vec<_> = (0..64)
                .map(|nth| {
                    let mut address = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0];
                    address[at] = nth;
                    first(group, address)
                })
                .collect();
            servers.sort_unstable();
            servers.dedup();
            servers.len()
        };
        let (whole, network, none) = (of_prefix(128), of_prefix(64), of_prefix(0));
        assert!(distinct(&whole, 7) > 8 && distinct(&whole, 3) > 8);
        assert_eq!(distinct(&network, 7), 1, "the same /64");
        assert!(distinct(&network, 3) > 8, "another /64");
        assert_eq!(distinct(&none, 0), 1);
        let mapped = Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped();
        assert_eq!(
            order(&network, Some(mapped.into())),
            order(&network, Some(Ipv4Addr::new(192, 0, 2, 9).into()))
        );
    }

    #[test]
    fn clients_without_an_ip_address_spread() {
        let group = group("source-hash", &servers(&[1, 1]), 0);
        let counts = counts(&group, (0..1000).map(|_| None));
        assert!(counts.iter().all(|count| *count > 300), "{counts:?}");
    }

    #[test]
    fn a_server_that_is_given_twice_counts_twice() {
        let one = servers(&[1, 1]);
        let twice = [&one[..], &one[..1]].concat();
        let counts = counts(&group("source-hash", &twice, 0), sources());
        assert!(counts[0] > 6000, "{counts:?}");
    }
}
