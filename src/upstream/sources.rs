//! Where connections to servers come from: addresses of this host in turn, the address of the client, or what the kernel
//! chooses.
//!
//! The kernel has some 28,000 source ports for each source address and server. One that has run out of them is no fault of
//! the server: the next address is tried.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::uring::{Address, LocalEnd};

/// Most addresses of a group.
pub const ADDRESSES_MAX: usize = 64;

/// An address without a free port is tried after the others for so long: searching for one takes milliseconds.
const SPENT_TIME: Duration = Duration::from_secs(1);

/// Where the connections of a group come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Sources {
    /// From the address that the kernel chooses for a server.
    #[default]
    Kernel,
    /// From these addresses of this host in turn, each for servers of its family; at most [`ADDRESSES_MAX`]. For others the
    /// kernel chooses.
    Own(Vec<IpAddr>),
    /// From the client's address.
    Client,
}

impl Sources {
    /// The addresses of this host that connections to a server at `server` come from, if it has any of its family.
    pub(super) fn own(&self, server: IpAddr) -> Vec<LocalEnd> {
        let Self::Own(addresses) = self else { return Vec::new() };
        let of_family = addresses.iter().filter(|address| is_of_family(**address, server));
        of_family.map(|address| LocalEnd { address: *address, is_foreign: false }).collect()
    }
}

/// One worker's view of them: whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    /// The address to begin with, for servers with IPv4 and with IPv6.
    next: [Cell<usize>; 2],
    /// Until when each counts as one without a free port.
    spent_until: Box<[Cell<Option<Instant>>]>,
}

/// Where a connection for one client may come from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    sources: &'a Sources,
    turns: &'a Turns,
    client: Option<IpAddr>,
}

/// Where attempts to connect to one server come from, one after the other.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    origin: Origin<'a>,
    server: &'a Address,
    /// Those that were tried: a bit for each address.
    tried: u64,
    /// The last one.
    nth: usize,
}

impl Turns {
    /// The turns of the worker with this number.
    pub(super) fn new(sources: &Sources, worker: usize) -> Self {
        let count = match sources {
            Sources::Own(addresses) => addresses.len(),
            Sources::Kernel | Sources::Client => 0,
        };
        Self {
            next: [worker, worker].map(Cell::new),
            spent_until: (0..count).map(|_| Cell::new(None)).collect(),
        }
    }
}

impl<'a> Origin<'a> {
    /// `client`: the address of the client, if it has an IP address.
    pub(super) fn new(sources: &'a Sources, turns: &'a Turns, client: Option<IpAddr>) -> Self {
        Self { sources, turns, client }
    }

    /// Whether a server can be connected to from there: not where it is to see a client that has no address, or one that
    /// no connection to it can come from.
    pub fn suits(self, server: &Address) -> bool {
        match (self.sources, server, self.client) {
            (Sources::Client, Address::Ip(server), Some(client)) => can_reach(client, server.ip()),
            (Sources::Client, Address::Ip(_), None) => false,
            _ => true,
        }
    }

    /// Whether servers see the client's address.
    pub(super) fn is_client(self) -> bool {
        *self.sources == Sources::Client
    }

    pub(super) fn attempts(self, server: &'a Address) -> Attempts<'a> {
        Attempts { origin: self, server, tried: 0, nth: 0 }
    }
}

impl Attempts<'_> {
    /// Where the next attempt comes from: None for what the kernel chooses. None at all when everything was tried.
    #[allow(clippy::option_option, reason = "an attempt without an address is not the end")]
    pub(super) fn next(&mut self, now: Instant) -> Option<Option<LocalEnd>> {
        let Self { origin: Origin { sources, turns, client }, server, .. } = *self;
        let is_first = self.tried == 0;
        let of_kernel = is_first.then_some(None);
        let from = match (sources, server) {
            (Sources::Own(addresses), Address::Ip(server))
                if addresses.iter().any(|one| is_of_family(*one, server.ip())) =>
            {
                let turn = &turns.next[usize::from(server.is_ipv6())];
                let nth = self.choose(addresses, server.ip(), turn.get(), now)?;
                if is_first {
                    turn.set(nth + 1);
                }
                self.nth = nth;
                Some(Some(LocalEnd { address: addresses[nth], is_foreign: false }))
            }
            // Never from this host's own.
            (Sources::Client, Address::Ip(_)) => {
                client.filter(|_| is_first).map(|address| Some(LocalEnd { address, is_foreign: true }))
            }
            _ => of_kernel,
        };
        self.tried |= 1 << self.nth;
        from
    }

    /// Notes that there is no free port at the last one.
    pub(super) fn note_spent(&self, now: Instant) {
        if let Some(until) = self.origin.turns.spent_until.get(self.nth) {
            until.set(Some(now + SPENT_TIME));
        }
    }

    /// The first address from this turn on that was not tried, one with free ports before others.
    fn choose(&self, addresses: &[IpAddr], server: IpAddr, turn: usize, now: Instant) -> Option<usize> {
        let in_turn = || (0..addresses.len()).map(|after| (turn + after) % addresses.len());
        let fits = |nth: &usize| self.tried & 1 << nth == 0 && is_of_family(addresses[*nth], server);
        let is_spent = |nth: usize| self.origin.turns.spent_until[nth].get().is_some_and(|until| now < until);
        in_turn().filter(fits).find(|nth| !is_spent(*nth)).or_else(|| in_turn().find(fits))
    }
}

/// Whether a connection to a server can come from this address. In place of one that no host has, the kernel would use an
/// address of this host.
fn can_reach(client: IpAddr, server: IpAddr) -> bool {
    let is_of_no_host = match client {
        IpAddr::V4(v4) => v4.is_broadcast(),
        // With IPv4 the kernel refuses it.
        IpAddr::V6(v6) => v6.is_loopback() && !server.is_loopback(),
    };
    is_of_family(client, server) && !client.is_unspecified() && !client.is_multicast() && !is_of_no_host
}

/// Whether both are IPv4, or both IPv6.
fn is_of_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str) -> Address {
        Address::Ip(address.parse().expect("an address"))
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().expect("an address")
    }

    fn own(addresses: &[&str]) -> Sources {
        Sources::Own(addresses.iter().map(|address| ip(address)).collect())
    }

    /// The first attempt of a connection.
    fn first(origin: Origin<'_>, server: &Address) -> Option<IpAddr> {
        let from = origin.attempts(server).next(Instant::now()).expect("one attempt at least");
        from.map(|from| from.address)
    }

    #[test]
    fn addresses_of_a_family_take_turns() {
        let sources = own(&["10.0.0.5", "10.0.0.6", "2001:db8::5", "10.0.0.7"]);
        let turns = Turns::new(&sources, 0);
        let origin = Origin::new(&sources, &turns, None);
        let (v4, v6) = (server("10.1.0.2:80"), server("[2001:db8:1::2]:80"));
        let firsts = (0..4).map(|_| {
            assert_eq!(first(origin, &v6), Some(ip("2001:db8::5")));
            first(origin, &v4).expect("one of them").to_string()
        });
        assert_eq!(firsts.collect::<Vec<_>>(), ["10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.5"]);
        let of_worker = Turns::new(&sources, 1);
        assert_eq!(first(Origin::new(&sources, &of_worker, None), &v4), Some(ip("10.0.0.6")));
    }

    #[test]
    fn a_server_of_another_family_gets_what_the_kernel_chooses() {
        let sources = own(&["10.0.0.5"]);
        let turns = Turns::new(&sources, 0);
        let origin = Origin::new(&sources, &turns, Some(ip("192.0.2.7")));
        for server in [server("[2001:db8::2]:80"), Address::Unix("/run/s".into())] {
            assert!(origin.suits(&server));
            let mut attempts = origin.attempts(&server);
            assert_eq!([(); 2].map(|()| attempts.next(Instant::now())), [Some(None), None]);
        }
    }

    #[test]
    fn each_is_tried_once_and_one_without_ports_last() {
        let sources = own(&["10.0.0.5", "10.0.0.6", "10.0.0.7"]);
        let turns = Turns::new(&sources, 0);
        let (origin, server, now) =
            (Origin::new(&sources, &turns, None), server("10.1.0.2:80"), Instant::now());
        let all = |now, spent: &[&str]| {
            let mut attempts = origin.attempts(&server);
            let mut all = Vec::new();
            while let Some(from) = attempts.next(now) {
                all.push(from.expect("an address").address.to_string());
                if spent.contains(&all[all.len() - 1].as_str()) {
                    attempts.note_spent(now);
                }
            }
            all
        };
        assert_eq!(all(now, &["10.0.0.5"]), ["10.0.0.5", "10.0.0.6", "10.0.0.7"]);
        assert_eq!(all(now, &[]), ["10.0.0.6", "10.0.0.7", "10.0.0.5"]);
        assert_eq!(all(now, &[]), ["10.0.0.7", "10.0.0.6", "10.0.0.5"]);
        assert_eq!(all(now, &[]), ["10.0.0.6", "10.0.0.7", "10.0.0.5"], "not in its own turn either");
        assert_eq!(all(now + SPENT_TIME, &[])[0], "10.0.0.7");
        assert_eq!(all(now + SPENT_TIME, &[])[0], "10.0.0.5", "it may have ports again");
    }

    #[test]
    fn a_client_suits_servers_of_its_family() {
        let sources = Sources::Client;
        let turns = Turns::new(&sources, 0);
        let suits =
            |client: Option<&str>, to: &str| Origin::new(&sources, &turns, client.map(ip)).suits(&server(to));
        assert!(suits(Some("192.0.2.7"), "10.1.0.2:80") && suits(Some("2001:db8::7"), "[2001:db8::2]:80"));
        assert!(!suits(Some("192.0.2.7"), "[2001:db8::2]:80") && !suits(Some("2001:db8::7"), "10.1.0.2:80"));
        for client in [None, Some("0.0.0.0"), Some("255.255.255.255"), Some("224.0.0.1")] {
            assert!(!suits(client, "10.1.0.2:80"), "{client:?}");
        }
        for client in [Some("::"), Some("ff02::1"), Some("::1")] {
            assert!(!suits(client, "[2001:db8::2]:80"), "{client:?}");
        }
        assert!(suits(Some("::1"), "[::1]:80") && suits(Some("127.0.0.1"), "127.0.0.1:80"));
        let origin = Origin::new(&sources, &turns, Some(ip("192.0.2.7")));
        let (to, now) = (server("10.1.0.2:80"), Instant::now());
        let mut attempts = origin.attempts(&to);
        let from = LocalEnd { address: ip("192.0.2.7"), is_foreign: true };
        assert_eq!([(); 2].map(|()| attempts.next(now)), [Some(Some(from)), None]);
        assert_eq!(Origin::new(&sources, &turns, None).attempts(&to).next(now), None);
        assert!(
            Origin::new(&sources, &turns, None).suits(&Address::Unix("/run/s".into())),
            "it sees no address"
        );
    }
}
