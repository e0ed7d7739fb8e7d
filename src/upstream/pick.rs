//! Choosing servers for one connection: the algorithm's choice, then the others, each lent only when it is asked for.
//!
//! ```text
//!   servers in use, one at most that is due for a trial -> backup servers likewise -> those that are ejected
//! ```
//!
//! A server that the client's cookie names comes before them, a backup server as well, as far as it is in use; where only
//! ejected servers are left, before the others of these.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::{Algorithm, Candidates, Tried, Wanted};
use super::health::Standing;
use super::lease::Lease;
use super::queue::{Called, Queue, Ticket, Waiter};
use super::server::Server;
use super::supply::Supply;
use crate::uring::{Pager, Ring};

/// How often a session that waits looks for servers that have come back.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Leases in the order to try them. Drop one before asking for the next.
#[derive(Debug)]
pub struct Pick<'a> {
    servers: &'a [Arc<Server>],
    algorithm: &'a dyn Algorithm,
    queue: &'a Arc<Queue>,
    /// Whether the session waits for a place where all servers are full.
    waits: bool,
    /// The client's address, if it has an IP address.
    source: Option<IpAddr>,
    /// The places of the servers that come first.
    preferred: Box<[usize]>,
    now: Instant,
    tried: Tried,
    /// Whether a server that is due may be tried: one for each connection, so that no client waits for several that
    /// do not answer.
    may_try_due: bool,
    /// The number in the queue that the session had before.
    number: Option<u64>,
    /// Connections of this worker that were opened ahead.
    supply: Option<&'a dyn Supply>,
}

/// A place in the group, and why it was chosen.
enum Choice {
    /// The client's cookie names it.
    Preferred(usize),
    /// The algorithm does.
    InTurn(usize),
}

impl<'a> Pick<'a> {
    pub(super) fn new(
        (servers, algorithm): (&'a [Arc<Server>], &'a dyn Algorithm),
        (queue, waits): (&'a Arc<Queue>, bool),
        source: Option<IpAddr>,
        now: Instant,
    ) -> Self {
        let (preferred, tried, number, supply) = Default::default();
        Self {
            servers,
            algorithm,
            queue,
            waits,
            source,
            preferred,
            now,
            tried,
            may_try_due: true,
            number,
            supply,
        }
    }

    /// The same leases, but first those of the servers at these places, as far as these may be used.
    #[must_use]
    pub(super) fn preferring(self, preferred: Box<[usize]>) -> Self {
        Self { preferred, ..self }
    }

    /// The same, which takes connections that were opened ahead where it can.
    #[must_use]
    pub fn supplied(self, supply: Option<&'a dyn Supply>) -> Self {
        Self { supply, ..self }
    }

    /// Leaves out servers that are no choice for this client.
    #[must_use]
    pub(super) fn without(mut self, is_unfit: impl Fn(&Server) -> bool) -> Self {
        for (nth, server) in self.servers.iter().enumerate() {
            if is_unfit(server) {
                self.tried.leave_out(nth);
            }
        }
        self
    }

    /// Whether a server that was not tried yet would do, but has as many connections as it may have, or gives its next
    /// place to a session that waits.
    pub fn is_held_up(&self) -> bool {
        self.limited().any(|(_, server)| !server.is_down() && (self.yields() || server.is_full()))
    }

    /// Whether connections that wait for other clients have places that it could use. The workers that have them give them
    /// up when a session waits.
    pub fn is_held_up_by_warm(&self) -> bool {
        self.limited().any(|(_, server)| !server.is_down() && server.warm() > 0)
    }

    /// Waits for a place at one of the servers that hold it up, `timeout` at most. None when that is over, when too many
    /// sessions wait, and when no server holds it up any more.
    pub async fn wait(&mut self, ring: &Ring, pager: &Arc<Pager>, timeout: Duration) -> Option<Lease> {
        let ends = ring.now() + timeout;
        let ticket = self.join(pager, ring.now())?;
        self.number = Some(ticket.number());
        loop {
            let left = ends.saturating_duration_since(ring.now());
            if left.is_zero() || !self.is_held_up() {
                return None;
            }
            if let Some(called) = ring.timeout(left.min(LOOK_INTERVAL), ticket.called()).await {
                return Some(self.answer(called));
            }
            // A server may have come back, or be due for a trial.
            self.now = ring.now();
            ticket.look(self.now);
            if let Some(lease) = self.next() {
                return Some(lease);
            }
        }
    }

    /// A place that is free and that no session which waits could use. There is one where those that wait have other settings,
    /// from before a reload, and so other servers.
    pub fn unwanted(&mut self, pager: &Arc<Pager>, now: Instant) -> Option<Lease> {
        if !self.queue.is_in_use() {
            return None;
        }
        let called = self.join(pager, now)?.take()?;
        Some(self.answer(called))
    }

    /// Queues up for a place at one of the servers that hold it up.
    fn join(&self, pager: &Arc<Pager>, now: Instant) -> Option<Ticket<'a>> {
        let servers = self.limited().map(|(nth, server)| (nth, Arc::clone(server))).collect();
        let waiter = Waiter::new(servers, self.may_try_due, pager);
        self.queue.join(self.number, waiter, now)
    }

    /// Goes on with the place that the queue gave.
    fn answer(&mut self, (nth, lease): Called) -> Lease {
        if let Some(nth) = nth {
            self.tried.add(nth);
        }
        self.may_try_due &= !lease.is_trial();
        lease
    }

    /// The servers that were not tried, may be used, and have a limited number of places.
    fn limited(&self) -> impl Iterator<Item = (usize, &'a Arc<Server>)> {
        let is_limited = |(nth, server): &(usize, &Arc<Server>)| {
            let options = server.options();
            options.connections_max.is_some() && server.takes_connections() && !self.tried.has(*nth)
        };
        self.servers.iter().enumerate().filter(is_limited)
    }

    /// Whether places at servers with a limited number of them are for the sessions that wait. One that has waited goes
    /// on to take part in this.
    fn yields(&self) -> bool {
        self.number.is_some() || self.queue.is_in_use()
    }

    /// The next server: a backup server only when there is no other, and one that is ejected only when there is no
    /// backup server either, and none that is worth waiting for.
    fn choose(&self) -> Option<Choice> {
        let yields = self.yields();
        let candidates = |backup, wanted| {
            let candidates = Candidates::new(self.servers, &self.tried, backup, wanted);
            candidates.yielding(yields).supplied(self.supply)
        };
        let preferred = |wanted| {
            let candidates = candidates(false, wanted);
            let nth = self.preferred.iter().copied().find(|nth| candidates.would_have(*nth));
            nth.map(Choice::Preferred)
        };
        let among = |backup, wanted| {
            self.algorithm.choose(&candidates(backup, wanted), self.source).map(Choice::InTurn)
        };
        let any = |wanted| preferred(wanted).or_else(|| among(false, wanted)).or_else(|| among(true, wanted));
        let chosen = any(Wanted::InUse { now: self.now, or_due: self.may_try_due });
        if chosen.is_some() || self.should_wait() {
            return chosen;
        }
        any(Wanted::Any)
    }

    /// Whether there is time to wait for a place at a server in use.
    fn should_wait(&self) -> bool {
        let is_in_use = |server: &Server| server.health().standing(self.now) == Standing::InUse;
        (self.waits || self.is_held_up_by_warm()) && self.limited().any(|(_, server)| is_in_use(server))
    }
}

impl Iterator for Pick<'_> {
    type Item = Lease;

    fn next(&mut self) -> Option<Lease> {
        loop {
            let (nth, is_in_turn) = match self.choose()? {
                Choice::Preferred(nth) => (nth, false),
                Choice::InTurn(nth) => (nth, true),
            };
            // Another worker may have taken its last place: then it is no candidate any more.
            let warm = self.supply.and_then(|supply| supply.take(nth));
            if let Some(lease) = warm.or_else(|| Lease::of(&self.servers[nth])) {
                if is_in_turn {
                    self.tried.add(nth);
                } else {
                    self.tried.leave_out(nth);
                }
                self.may_try_due &= !lease.begin_trial(self.now);
                return Some(lease);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use crate::upstream::group::{Group, GroupSettings};
    use crate::upstream::queue::Waiter;
    use crate::upstream::testing::{group, order, servers, with_options};
    use crate::upstream::{Ejection, Lease, Server, ServerOptions};
    use crate::uring::{Bell, Pager};

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
    fn full_servers_are_left_out_until_a_connection_ends() {
        let options = |max, backup| ServerOptions {
            connections_max: std::num::NonZeroU32::new(max),
            backup,
            ..ServerOptions::default()
        };
        let servers = with_options(&[options(1, false), options(2, false), options(1, true)]);
        for balance in crate::upstream::Balance::ALL {
            let group = group(balance.name(), &servers, 0);
            let mut leases: Vec<_> =
                (0..4).map(|_| group.pick(None, Instant::now()).next().expect("a place")).collect();
            assert_eq!(&**leases[3].server().name(), "2", "the backup server comes last");
            let mut pick = group.pick(None, Instant::now());
            assert!(pick.next().is_none() && pick.is_held_up());
            let left = leases.remove(0);
            let name = left.server().name().to_string();
            drop(left);
            let mut pick = group.pick(None, Instant::now());
            assert_eq!(*pick.next().expect("its place").server().name(), name.into());
            assert!(pick.next().is_none(), "all others are full");
        }
    }

    #[test]
    fn a_group_without_servers_in_use_gives_no_lease() {
        let options = ServerOptions { disabled: true, ..ServerOptions::default() };
        assert_eq!(group("round-robin", &with_options(&[options]), 0).pick(None, Instant::now()).count(), 0);
        assert_eq!(group("round-robin", &servers(&[]), 0).pick(None, Instant::now()).count(), 0);
    }

    const EJECTION: Ejection =
        Ejection { after: 2, time: Duration::from_secs(10), time_max: Duration::from_secs(40) };

    /// What [`order`] gives after a time.
    fn order_at(group: &Group, now: Instant) -> Vec<usize> {
        group.pick(None, now).map(|lease| lease.server().name().parse().expect("its place")).collect()
    }

    fn group_of(options: &[ServerOptions]) -> Group {
        let servers = with_options(options);
        let ejected = |server: &Arc<Server>| Arc::new(Server::clone(server).with_ejection(EJECTION));
        group("round-robin", &servers.iter().map(ejected).collect::<Vec<_>>(), 0)
    }

    fn lease_of(group: &Group, nth: usize, now: Instant) -> Lease {
        let name = nth.to_string();
        group.pick(None, now).find(|lease| **lease.server().name() == *name).expect("it is in the group")
    }

    #[test]
    fn ejected_servers_are_left_out_until_none_other_is_left() {
        let backup = ServerOptions { backup: true, ..ServerOptions::default() };
        let group = group_of(&[ServerOptions::default(), ServerOptions::default(), backup]);
        let now = Instant::now();
        let fail = |nth| (0..2).for_each(|_| lease_of(&group, nth, now).note_failure(now));
        fail(0);
        for _ in 0..3 {
            assert_eq!(order_at(&group, now), [1, 2, 0], "behind the backup server");
        }
        fail(2);
        assert_eq!(order_at(&group, now)[0], 1);
        fail(1);
        let mut order = order_at(&group, now);
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2], "all are tried when none is in use");
    }

    #[test]
    fn one_session_tries_a_server_that_is_due_and_no_session_tries_two() {
        let group = group_of(&[ServerOptions::default(); 3]);
        let now = Instant::now();
        for nth in [0, 1] {
            (0..2).for_each(|_| lease_of(&group, nth, now).note_failure(now));
        }
        let due = now + EJECTION.time;
        let name = |lease: &Lease| lease.server().name().parse::<usize>().expect("its place");
        let mut first = group.pick(None, due);
        let trial = first.find(|lease| name(lease) != 2).expect("one that is due");
        let rest: Vec<_> = first.map(|lease| name(&lease)).collect();
        let other = 1 - name(&trial);
        assert!(
            rest == [2, other] || rest == [other],
            "the one in use comes before another that is due: {rest:?}"
        );
        let other_trial = group.pick(None, due).find(|lease| name(lease) != 2).expect("one that is due");
        assert_eq!(name(&other_trial), other, "another session tries the other");
        for _ in 0..3 {
            assert_eq!(order_at(&group, due)[0], 2, "both are on trial");
        }
        trial.note_success(due);
        other_trial.note_failure(due);
        let in_use = [name(&trial), 2];
        drop((trial, other_trial));
        let firsts: Vec<_> = (0..4).map(|_| order_at(&group, due)[0]).collect();
        assert!(in_use.iter().all(|nth| firsts.contains(nth)) && !firsts.contains(&other), "{firsts:?}");
        let due_again = due + 2 * EJECTION.time;
        drop(lease_of(&group, other, due_again));
        let firsts: Vec<_> = (0..3).map(|_| order_at(&group, due_again)[0]).collect();
        assert!(firsts.contains(&other), "a trial that was given up is made by the next session: {firsts:?}");
    }

    /// The order in which servers are tried for a client whose cookies name these.
    fn order_for(group: &Group, named: &[usize], now: Instant) -> Vec<usize> {
        let pick = group.pick(None, now).preferring(named.into());
        pick.map(|lease| lease.server().name().parse().expect("its place")).collect()
    }

    #[test]
    fn a_named_server_comes_first_and_takes_no_turn_of_others() {
        let backup = ServerOptions { backup: true, ..ServerOptions::default() };
        for balance in crate::upstream::Balance::ALL {
            let options =
                [ServerOptions::default(), ServerOptions::default(), ServerOptions::default(), backup];
            let group = group(balance.name(), &with_options(&options), 0);
            let now = Instant::now();
            for named in 0..4 {
                let order = order_for(&group, &[named], now);
                assert_eq!((order[0], order.len()), (named, 4), "{balance:?}: {order:?}");
            }
        }
        let group = group("round-robin", &servers(&[1, 1, 1]), 0);
        let now = Instant::now();
        let firsts: Vec<_> = (0..3).map(|_| order_for(&group, &[2], now)[..2].to_vec()).collect();
        assert_eq!(firsts, [[2, 0], [2, 1], [2, 0]], "what follows it takes turns");
        let once = || group.pick(None, now).preferring([2].into()).next().map(drop);
        (0..5).for_each(|_| once().expect("a server"));
        assert_eq!(order(&group, None)[0], 1, "as if it had not been asked for");
    }

    #[test]
    fn a_named_server_that_cannot_be_used_is_replaced() {
        let full =
            ServerOptions { connections_max: std::num::NonZeroU32::new(1), ..ServerOptions::default() };
        let disabled = ServerOptions { disabled: true, ..ServerOptions::default() };
        let group = group_of(&[ServerOptions::default(), full, disabled, ServerOptions::default()]);
        let servers = &group.settings().servers;
        let now = Instant::now();
        assert!(servers[1].lend());
        for named in [1, 2] {
            let order = order_for(&group, &[named], now);
            assert!(!order.contains(&named) && order.len() == 2, "{order:?}");
        }
        assert_eq!(order_for(&group, &[1, 3], now)[0], 3, "the second one that is named");
        servers[1].take_back();
        assert_eq!(order_for(&group, &[1], now)[0], 1);

        (0..2).for_each(|_| lease_of(&group, 3, now).note_failure(now));
        assert_ne!(order_for(&group, &[3], now)[0], 3, "it is ejected");
        let due = now + EJECTION.time;
        let trial = group.pick(None, due).preferring([3].into()).next().expect("a server");
        assert_eq!(&**trial.server().name(), "3", "its own client tries it");
        assert_ne!(order_for(&group, &[3], due)[0], 3, "one client at a time");
        trial.note_success(due);
        drop(trial);
        servers[3].note_check(false);
        assert!(!order_for(&group, &[3], due).contains(&3), "it is down");

        servers[3].note_check(true);
        for nth in [0, 1, 3] {
            (0..2).for_each(|_| lease_of(&group, nth, now).note_failure(now));
        }
        assert_eq!(order_for(&group, &[3], now)[0], 3, "all are ejected");
    }

    #[test]
    fn sessions_that_wait_keep_no_other_from_a_server_that_is_none_of_theirs() {
        let one = ServerOptions { connections_max: std::num::NonZeroU32::new(1), ..ServerOptions::default() };
        let group = group_of(&[one]);
        let GroupSettings { servers, queue, .. } = group.settings();
        let before_reload = with_options(&[one]).remove(0);
        assert!(before_reload.lend());
        let pager = Pager::new(Bell::new().expect("a descriptor"));
        let now = Instant::now();
        let waiter = Waiter::new(vec![(0, before_reload)], true, &pager);
        let _ticket = queue.join(None, waiter, now).expect("room in the queue");
        let mut pick = group.pick(None, now);
        assert!(pick.next().is_none() && pick.is_held_up(), "places are for those who wait");
        let lease = pick.unwanted(&pager, now).expect("a place that they cannot use");
        assert!(servers[0].is_full() && queue.waiting() == 1);
        let mut pick = group.pick(None, now);
        assert!(pick.next().is_none() && pick.unwanted(&pager, now).is_none(), "it is taken");
        drop(lease);
        let waiter = Waiter::new(vec![(0, Arc::clone(&servers[0]))], true, &pager);
        let _first = queue.join(None, waiter, now).expect("room in the queue");
        let mut pick = group.pick(None, now);
        assert!(pick.next().is_none() && pick.unwanted(&pager, now).is_none(), "it is for the one who waits");
    }

    #[test]
    fn a_named_server_gives_its_place_to_those_who_wait() {
        let one = ServerOptions { connections_max: std::num::NonZeroU32::new(1), ..ServerOptions::default() };
        let group = group_of(&[one, ServerOptions::default()]);
        let GroupSettings { servers, queue, .. } = group.settings();
        let other = with_options(&[one]).remove(0);
        assert!(other.lend());
        let pager = Pager::new(Bell::new().expect("a descriptor"));
        let now = Instant::now();
        let waiter = Waiter::new(vec![(7, other)], true, &pager);
        let _ticket = queue.join(None, waiter, now).expect("room in the queue");
        assert!(!servers[0].is_full());
        assert_eq!(order_for(&group, &[0], now), [1]);
    }
}
