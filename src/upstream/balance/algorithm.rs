//! What every algorithm is, and what it chooses from.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::upstream::health::Standing;
use crate::upstream::server::Server;
use crate::upstream::supply::Supply;

/// One worker's way to choose servers of one group.
pub(in crate::upstream) trait Algorithm: fmt::Debug {
    /// The place of a candidate for a client at `source`, where that is an IP address; none without candidates. Asked
    /// again for the same connection when the one before failed, which should not use up anything like a turn.
    fn choose(&self, candidates: &Candidates<'_>, source: Option<IpAddr>) -> Option<usize>;
}

/// What an algorithm begins with.
pub(in crate::upstream) struct Beginning<'a> {
    pub(in crate::upstream) servers: &'a [Arc<Server>],
    /// The worker's number, from 0.
    pub(in crate::upstream) worker: usize,
    /// The bits of an IPv6 address that tell clients apart.
    pub(in crate::upstream) hash_prefix_v6: u8,
}

impl Beginning<'_> {
    /// Where this worker begins in a cycle of `length` turns: workers that all began at its start would march in step,
    /// and open the first connection of each to the same server. Multiples of the golden ratio are far apart, however
    /// many workers there are.
    pub(super) fn offset(&self, length: usize) -> usize {
        const GOLDEN: f64 = 0.618_033_988_749_895;
        ((self.worker as f64 * GOLDEN).fract() * length as f64) as usize
    }
}

/// The servers that may be chosen.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct Candidates<'a> {
    servers: &'a [Arc<Server>],
    tried: &'a Tried,
    /// Whether they are the backup servers, or the others.
    backup: bool,
    standing: Wanted,
    /// Whether places at servers that have a limited number of them are for others.
    yields: bool,
    /// Connections that need no further place.
    supply: Option<&'a dyn Supply>,
}

/// What the servers that may be chosen have proved.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) enum Wanted {
    /// Only that their checks do not fail: those that are ejected may be chosen as well.
    Any,
    /// They are in use now, or else due, if one that is due may be tried.
    InUse { now: Instant, or_due: bool },
}

impl Wanted {
    fn has(self, server: &Server) -> bool {
        let Self::InUse { now, or_due } = self else { return !server.is_down() };
        match server.health().standing(now) {
            Standing::InUse => true,
            Standing::Due => or_due && !server.health().is_on_trial(),
            Standing::Ejected | Standing::Down => false,
        }
    }
}

impl<'a> Candidates<'a> {
    /// Those that are wanted and not full, were not tried, and are backup servers or not.
    pub(in crate::upstream) fn new(
        servers: &'a [Arc<Server>],
        tried: &'a Tried,
        backup: bool,
        standing: Wanted,
    ) -> Self {
        Self { servers, tried, backup, standing, yields: false, supply: None }
    }

    /// The same without those that have a limited number of places, if `yields`.
    #[must_use]
    pub(in crate::upstream) fn yielding(self, yields: bool) -> Self {
        Self { yields, ..self }
    }

    /// The same with servers that are full and have a connection in this supply.
    #[must_use]
    pub(in crate::upstream) fn supplied(self, supply: Option<&'a dyn Supply>) -> Self {
        Self { supply, ..self }
    }

    /// Each with its place in the group. Workers lend and take back servers all the time: another look may find others.
    pub(super) fn iter(self) -> impl Iterator<Item = (usize, &'a Server)> {
        let may_be_chosen = move |(nth, server): &(usize, &Server)| self.has(*nth, server);
        self.servers.iter().map(|server| &**server).enumerate().filter(may_be_chosen)
    }

    /// Whether the server at this place of the group is one of them.
    pub(super) fn have(self, nth: usize) -> bool {
        self.servers.get(nth).is_some_and(|server| self.has(nth, server))
    }

    /// Whether this server, which has this place in the group, is one of them.
    fn has(self, nth: usize, server: &Server) -> bool {
        let options = server.options();
        let is_for_others = self.yields && options.connections_max.is_some();
        options.backup == self.backup
            && server.takes_connections()
            && !self.tried.has(nth)
            && !is_for_others
            && (!server.is_full() || self.supply.is_some_and(|supply| supply.has(nth)))
            && self.standing.has(server)
    }

    /// Whether the server at this place is one of them, be it a backup server or not.
    pub(in crate::upstream) fn would_have(self, nth: usize) -> bool {
        let server = &self.servers[nth];
        Self { backup: server.options().backup, ..self }.has(nth, server)
    }

    /// The weight of one of them now, in parts of a whole one: it is less than its own for a while after it came back.
    pub(super) fn weight(self, server: &Server) -> u64 {
        match self.standing {
            Wanted::InUse { now, .. } => server.weight(Some(now)),
            Wanted::Any => server.weight(None),
        }
    }

    /// Whether the algorithm has not named any for this connection.
    pub(super) fn is_first_choice(self) -> bool {
        self.tried.is_empty()
    }
}

/// Which servers of a group were tried for a connection.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Tried {
    bits: Vec<u64>,
    /// Whether the algorithm has named any of them.
    is_any: bool,
}

impl Tried {
    fn is_empty(&self) -> bool {
        !self.is_any
    }

    /// Whether it was tried, or cannot be.
    pub(in crate::upstream) fn has(&self, nth: usize) -> bool {
        self.bits.get(nth / 64).is_some_and(|bits| bits & 1 << (nth % 64) != 0)
    }

    /// Adds one that the algorithm has named.
    pub(in crate::upstream) fn add(&mut self, nth: usize) {
        self.leave_out(nth);
        self.is_any = true;
    }

    /// Adds one that cannot be tried, or was tried for another reason.
    pub(in crate::upstream) fn leave_out(&mut self, nth: usize) {
        let Self { bits, .. } = self;
        if bits.len() <= nth / 64 {
            bits.resize(nth / 64 + 1, 0);
        }
        bits[nth / 64] |= 1 << (nth % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_tried_once() {
        let mut tried = Tried::default();
        tried.leave_out(65);
        assert!(tried.has(65) && tried.is_empty());
        for nth in [0, 63, 64, 200] {
            assert!(!tried.has(nth));
            tried.add(nth);
            assert!(tried.has(nth));
        }
        assert!(!tried.is_empty());
        assert_eq!((0..300).filter(|nth| tried.has(*nth)).count(), 5);
    }

    #[test]
    fn workers_begin_far_apart() {
        let offset = |worker, length| Beginning { servers: &[], worker, hash_prefix_v6: 128 }.offset(length);
        assert_eq!((0..5).map(|worker| offset(worker, 2)).collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
        assert_eq!((0..4).map(|worker| offset(worker, 100)).collect::<Vec<_>>(), [0, 61, 23, 85]);
        assert_eq!((offset(3, 1), offset(3, 0)), (0, 0));
    }
}
