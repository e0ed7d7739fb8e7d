//! Servers that come and go: what checks find of them and when, and what must hold then for all clients.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::choices::ip;
use super::operator::Ordered;
use crate::upstream::{Group, GroupSettings, Server};
use crate::uring::Ring;
use crate::uring::sim::{Dice, World};

/// Checks find something within this time.
const FINDINGS_MAX: Duration = Duration::from_millis(200);
/// The longest time from choosing a server to connecting to it, where no descriptor is short.
const CONNECTING_MAX: Duration = Duration::from_millis(30);
/// Connections are closed when their last operation has completed, which may be this long after their end.
const LATE_CLOSE: Duration = Duration::from_millis(10);
/// More than any ejection lasts.
const EJECTION_MAX: Duration = Duration::from_secs(3600);
/// So many picks give each of a few servers its turn, with whatever weights.
const PICKS: usize = 60;

/// What a check finds, after a time.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    after: Duration,
    server: Arc<Server>,
    is_up: bool,
}

/// What checks find of some of the servers.
pub(super) fn findings(groups: &[&Arc<GroupSettings>], dice: &mut Dice) -> Vec<Finding> {
    let servers: Vec<_> = groups.iter().flat_map(|group| &group.servers).collect();
    let count = if servers.is_empty() { 0 } else { dice.one_of(&[0, 0, 1, 3, 8]) };
    let mut findings: Vec<_> = (0..count)
        .map(|_| Finding {
            after: dice.time(FINDINGS_MAX),
            server: Arc::clone(servers[dice.number(0, servers.len() - 1)]),
            is_up: dice.chance(400),
        })
        .collect();
    findings.sort_by_key(|finding| finding.after);
    findings
}

/// What became known of each server, in that order.
pub(super) struct Past<T>(BTreeMap<SocketAddr, Vec<(Instant, T)>>);

impl<T> Default for Past<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Copy> Past<T> {
    pub(super) fn note(&mut self, server: &Server, at: Instant, news: T) {
        self.0.entry(ip(server.address())).or_default().push((at, news));
    }

    fn of(&self, server: SocketAddr) -> &[(Instant, T)] {
        self.0.get(&server).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether such news of a server ever came.
    pub(super) fn ever(&self, server: SocketAddr, is_such: impl Fn(T) -> bool) -> bool {
        self.of(server).iter().any(|(_, news)| is_such(*news))
    }

    /// Whether such news were the last ones all the time for so long until `at`.
    pub(super) fn held_for(
        &self,
        server: SocketAddr,
        is_such: impl Fn(T) -> bool,
        long: Duration,
        at: Instant,
    ) -> bool {
        let all = self.of(server);
        let before = all.iter().rev().find(|(since, _)| *since + long <= at);
        let is_new = |since: Instant| since + long > at && since <= at;
        before.is_some_and(|(_, news)| is_such(*news)) && !all.iter().any(|(since, _)| is_new(*since))
    }

    /// The last news of a server, and since when they hold.
    pub(super) fn last(&self, server: SocketAddr) -> Option<(Instant, T)> {
        self.of(server).last().copied()
    }
}

/// When each server was found up or down.
pub(super) type Found = Past<bool>;

/// Notes the findings, as the checker does.
pub(super) async fn check(ring: Ring, findings: Vec<Finding>, found: Rc<RefCell<Found>>) {
    let begin = ring.now();
    for Finding { after, server, is_up } in findings {
        ring.sleep_until(begin + after).await;
        server.note_check(is_up);
        found.borrow_mut().note(&server, ring.now(), is_up);
    }
}

/// Checks that no server was connected to that had been down for some time, or kept out by the operator.
pub(super) fn judge_choices(world: &World, found: &Found, ordered: &Ordered) {
    for (at, to) in &world.connects {
        let to = to.as_socket().expect("servers have IP addresses");
        let is_down = found.held_for(to, |is_up| !is_up, CONNECTING_MAX, *at);
        assert!(!is_down, "a connect to {to}, which is down");
        let is_kept_out = ordered.held_for(to, |order| order.is_some(), CONNECTING_MAX, *at);
        assert!(!is_kept_out, "a connect to {to}, which the operator keeps connections from");
    }
}

/// Checks that no server had more connections at once than it may have.
pub(super) fn judge_limits(world: &World, groups: &[&Arc<GroupSettings>]) {
    let servers: BTreeMap<_, _> = groups
        .iter()
        .flat_map(|group| &group.servers)
        .map(|server| (ip(server.address()), server.options().connections_max))
        .collect();
    for (server, max) in servers {
        let Some(max) = max else { continue };
        let of_server = world.served.iter().filter(|served| served.to.as_socket() == Some(server));
        let times: Vec<_> = of_server
            .map(|served| {
                let close = world.connections[served.id].near_close.expect("all descriptors are closed");
                (served.began, close.at)
            })
            .collect();
        for (began, _) in &times {
            let is_open =
                |(since, until): &&(Instant, Instant)| since <= began && *began + LATE_CLOSE < *until;
            let open = times.iter().filter(is_open).count();
            assert!(
                open <= max.get() as usize,
                "{open} connections at once to {server}, which may have {max}"
            );
        }
    }
}

/// Checks that a client that was refused because all servers were full found this one full then.
pub(super) fn judge_refusal(world: &World, server: &Server, at: Instant, connect_timeout: Duration) {
    let Some(max) = server.options().connections_max else { return };
    let address = Some(ip(server.address()));
    let (from, until) = (at.checked_sub(LATE_CLOSE).unwrap_or(at), at + CONNECTING_MAX);
    let open = world.served.iter().filter(|served| {
        let close = world.connections[served.id].near_close.expect("all descriptors are closed");
        served.to.as_socket() == address && served.began <= until && from <= close.at
    });
    // It may be lent to a session that connects, or is about to.
    let lent = world.connects.iter().filter(|(began, to)| {
        to.as_socket() == address && *began <= until && at <= *began + connect_timeout + CONNECTING_MAX
    });
    let places = open.count() + lent.count();
    assert!(places >= max.get() as usize, "refused, although {} had {places} of {max} places", server.name());
}

/// Checks that sessions got the only place of the only server of their group in the order in which they were accepted.
/// `sessions` are the server of each, how many were accepted before it, and when it was connected.
pub(super) fn judge_queue(mut sessions: Vec<(SocketAddr, usize, Instant)>) {
    sessions.sort_unstable();
    for (first, then) in sessions.iter().zip(sessions.iter().skip(1)) {
        assert!(first.0 != then.0 || first.2 < then.2, "one overtook another in the queue: {sessions:?}");
    }
}

/// Checks that no lease is left, and that servers get their turns again once their ejections are over: a trial that is
/// never ended would keep a server out for ever.
pub(super) fn judge_returns(groups: &[&Arc<GroupSettings>], now: Instant) {
    for group in groups {
        for server in &group.servers {
            assert_eq!(server.leases(), 0, "leases of {} that were not returned", server.name());
        }
        if group.balance.name() != "round-robin" {
            continue;
        }
        let again = Group::new(Arc::clone(group), 0);
        let source = Some(Ipv4Addr::new(192, 0, 2, 9).into());
        let first = |_| again.pick(source, now + EJECTION_MAX).next();
        let picked: Vec<_> = (0..PICKS).filter_map(first).map(|lease| ip(lease.address())).collect();
        let has_others = group.servers.iter().any(|server| is_in_use(server) && !server.options().backup);
        for server in group.servers.iter().filter(|server| is_in_use(server)) {
            let gets_turns = !has_others || !server.options().backup;
            let is_picked = picked.contains(&ip(server.address()));
            assert!(is_picked || !gets_turns, "{} gets no turn any more: {group:?}", server.name());
        }
    }
}

fn is_in_use(server: &Server) -> bool {
    server.takes_connections() && !server.is_down()
}
