//! The queue of a group: sessions of all workers that wait for a place at a server, first come, first served.
//!
//! A place that becomes free is lent to the first session that can use it, before any other session can see it. A server
//! that is ejected is lent when it is due, to one session that tries it, and otherwise only to those that wait for no
//! server in use. A lock is taken only while sessions wait: without them, a number says so.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

use super::health::Standing;
use super::lease::Lease;
use super::server::{Heirs, Server};
use crate::uring::Pager;

/// Most sessions that wait at once.
pub(super) const WAITING_MAX: usize = 4096;

/// Sessions that wait for a place at a server of a group. Groups of earlier and later settings with the same name share it.
#[derive(Debug, Default)]
pub struct Queue {
    /// How many sessions wait. Changes under the lock only.
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// By their numbers: in the order in which they came.
    waiters: BTreeMap<u64, Waiter>,
    /// Servers that have been lent to sessions which have not taken them yet.
    called: BTreeMap<u64, Called>,
    /// Tasks that hold places for no client, and give them up when a session waits.
    holders: BTreeMap<u64, (Arc<Pager>, Waker)>,
}

/// A session that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The servers that would do.
    servers: Vec<Place>,
    /// Those that its group got while it waits.
    later: Vec<Arc<Server>>,
    /// Whether it may be the one that tries a server that was ejected.
    may_try_due: bool,
    task: Option<Waker>,
    pager: Arc<Pager>,
}

/// A server with its place in its group.
pub(super) type Place = (usize, Arc<Server>);

/// What a session is lent: the server's place in the group that it knows, if it is there, and the lease.
pub(super) type Called = (Option<usize>, Lease);

/// A session's place in the queue, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Waiter {
    pub(super) fn new(servers: Vec<Place>, may_try_due: bool, pager: &Arc<Pager>) -> Self {
        Self { servers, later: Vec::new(), may_try_due, task: None, pager: Arc::clone(pager) }
    }

    /// The servers that would do, those that the session knows with their places in its group.
    fn all(&self) -> impl Iterator<Item = (Option<usize>, &Arc<Server>)> {
        let known = self.servers.iter().map(|(nth, server)| (Some(*nth), server));
        known.chain(self.later.iter().map(|server| (None, server)))
    }

    /// Its group has these servers now.
    fn renew(&mut self, servers: &[Arc<Server>]) {
        self.servers.retain(|(_, known)| servers.iter().any(|server| server.is_same(known)));
        let is_new = |server: &&Arc<Server>| !self.servers.iter().any(|(_, known)| known.is_same(server));
        self.later = servers.iter().filter(is_new).map(Arc::clone).collect();
    }

    /// Whether it may have a place at this server of its own, which is not down. `now`: none if only what holds at any
    /// time counts.
    fn may_have(&self, server: &Server, now: Option<Instant>) -> bool {
        let health = server.health();
        let is_due = || now.is_some_and(|now| health.standing(now) == Standing::Due) && !health.is_on_trial();
        health.is_in_use()
            || self.may_try_due && is_due()
            || !self.all().any(|(_, own)| own.takes_connections() && own.health().is_in_use())
    }
}

impl Queue {
    /// How many sessions wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether any session waits.
    pub(super) fn is_in_use(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Queues up for a place at one of the servers: behind all others, or again with the number from before. None when
    /// too many wait.
    pub(super) fn join(
        self: &Arc<Self>,
        number: Option<u64>,
        waiter: Waiter,
        now: Instant,
    ) -> Option<Ticket<'_>> {
        let mut line = self.lock();
        if number.is_none() && line.waiters.len() >= WAITING_MAX {
            return None;
        }
        let number = number.unwrap_or(line.next);
        line.next = line.next.max(number + 1);
        let asked: Vec<_> = waiter.servers.iter().map(|(_, server)| Arc::clone(server)).collect();
        line.waiters.insert(number, waiter);
        self.count(&line);
        // A place that became free before this was known has been offered to no session.
        for server in &asked {
            server.tell_of_places(&(Arc::clone(self) as Arc<dyn Heirs>));
            self.offer(&mut line, server, Some(now));
        }
        if asked.iter().any(|server| server.warm() > 0) {
            line.holders.values().for_each(|(pager, task)| pager.page(task.clone()));
        }
        Some(Ticket { queue: self, number })
    }

    /// The group has these servers now: they do for all who wait, and those that are gone do not any more.
    pub(super) fn renew(self: &Arc<Self>, servers: &[Arc<Server>], now: Instant) {
        if !self.is_in_use() {
            return;
        }
        let mut line = self.lock();
        line.waiters.values_mut().for_each(|waiter| waiter.renew(servers));
        for server in servers {
            server.tell_of_places(&(Arc::clone(self) as Arc<dyn Heirs>));
            self.offer(&mut line, server, Some(now));
        }
    }

    /// Has `task` woken whenever a session begins to wait while connections to its servers wait for clients.
    pub fn summon(self: &Arc<Self>, pager: &Arc<Pager>, task: Waker) -> Summons {
        let mut line = self.lock();
        let number = line.next;
        line.next += 1;
        line.holders.insert(number, (Arc::clone(pager), task));
        Summons { queue: Arc::clone(self), number }
    }

    /// Lends the server's free places, each to the first session that can use it.
    fn offer(&self, line: &mut Line, server: &Server, now: Option<Instant>) {
        let mut full: Option<Arc<Server>> = None;
        let mut called = Vec::new();
        for (number, waiter) in &line.waiters {
            let Some((nth, own)) = waiter.all().find(|(_, own)| own.is_same(server)) else { continue };
            // Sessions of other settings may know it with another number of places.
            if full.as_ref().is_some_and(|full| Arc::ptr_eq(full, own)) {
                break;
            }
            if own.is_down() || !own.takes_connections() {
                full = Some(Arc::clone(own));
            } else if waiter.may_have(own, now) {
                let Some(lease) = Lease::of(own) else {
                    full = Some(Arc::clone(own));
                    continue;
                };
                if let Some(now) = now.filter(|_| waiter.may_try_due) {
                    lease.begin_trial(now);
                }
                called.push((*number, (nth, lease)));
            }
        }
        for (number, place) in called {
            let waiter = line.waiters.remove(&number);
            line.called.insert(number, place);
            if let Some(Waiter { task: Some(task), pager, .. }) = waiter {
                pager.page(task);
            }
        }
        self.count(line);
    }

    fn count(&self, line: &Line) {
        self.waiting.store(line.waiters.len(), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Queue::summon`]; until this is dropped.
#[derive(Debug)]
pub struct Summons {
    queue: Arc<Queue>,
    number: u64,
}

impl Drop for Summons {
    fn drop(&mut self) {
        self.queue.lock().holders.remove(&self.number);
    }
}

impl Heirs for Queue {
    fn place_is_free(&self, server: &Server) {
        if self.is_in_use() {
            self.offer(&mut self.lock(), server, None);
        }
    }
}

impl Ticket<'_> {
    /// Looks for places that became free unnoticed: at a server that is up again, or due.
    pub(super) fn look(&self, now: Instant) {
        let mut line = self.queue.lock();
        let waiter = line.waiters.get(&self.number);
        let servers: Vec<_> =
            waiter.iter().flat_map(|waiter| waiter.all()).map(|(_, server)| Arc::clone(server)).collect();
        for server in servers {
            self.queue.offer(&mut line, &server, Some(now));
        }
    }

    /// To queue up with again.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What it has been lent by now.
    pub(super) fn take(&self) -> Option<Called> {
        self.queue.lock().called.remove(&self.number)
    }

    /// Completes with a lease.
    pub(super) async fn called(&self) -> Called {
        poll_fn(|cx| {
            let mut line = self.queue.lock();
            if let Some(place) = line.called.remove(&self.number) {
                return Poll::Ready(place);
            }
            if let Some(waiter) = line.waiters.get_mut(&self.number) {
                waiter.task = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.lock();
        line.waiters.remove(&self.number);
        self.queue.count(&line);
        let untaken = line.called.remove(&self.number);
        drop(line);
        // The next in line gets it, which takes the lock.
        drop(untaken);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::thread;
    use std::time::{Duration, Instant};

    use futures_lite::future::{block_on, poll_once, yield_now};

    use super::*;
    use crate::upstream::testing::with_options;
    use crate::upstream::{Ejection, ServerOptions};
    use crate::uring::Bell;

    fn pager() -> Arc<Pager> {
        Pager::new(Bell::new().expect("a descriptor"))
    }

    fn server(max: u32) -> Arc<Server> {
        let options = ServerOptions { connections_max: NonZeroU32::new(max), ..ServerOptions::default() };
        with_options(&[options]).remove(0)
    }

    fn join<'a>(queue: &'a Arc<Queue>, server: &Arc<Server>) -> Ticket<'a> {
        let waiter = Waiter::new(vec![(0, Arc::clone(server))], true, &pager());
        queue.join(None, waiter, Instant::now()).expect("room in the queue")
    }

    /// Whether a session has its place, which it goes on to hold.
    fn is_called(ticket: &Ticket<'_>) -> bool {
        block_on(poll_once(ticket.called())).map(std::mem::forget).is_some()
    }

    #[test]
    fn places_go_to_those_who_wait_in_the_order_in_which_they_came() {
        let (queue, server) = (Arc::new(Queue::default()), server(2));
        assert!(server.lend() && server.lend());
        let tickets: Vec<_> = (0..4).map(|_| join(&queue, &server)).collect();
        assert!(queue.is_in_use() && !tickets.iter().any(is_called));
        server.take_back();
        assert_eq!(server.leases(), 2, "the place was never free");
        assert_eq!(tickets.iter().map(is_called).collect::<Vec<_>>(), [true, false, false, false]);
        server.take_back();
        server.take_back();
        assert_eq!(tickets.iter().map(is_called).collect::<Vec<_>>(), [false, true, true, false]);
        drop(tickets);
        assert!(!queue.is_in_use());
        server.take_back();
        server.take_back();
        assert_eq!(server.leases(), 0);
    }

    #[test]
    fn who_leaves_is_forgotten_and_what_it_was_lent_goes_to_the_next() {
        let (queue, server) = (Arc::new(Queue::default()), server(1));
        assert!(server.lend());
        let mut tickets: Vec<_> = (0..3).map(|_| join(&queue, &server)).collect();
        drop(tickets.remove(0));
        server.take_back();
        // It was called and has not looked.
        drop(tickets.remove(0));
        assert!(is_called(&tickets[0]) && server.leases() == 1);
    }

    #[test]
    fn who_comes_back_with_its_number_is_first() {
        let (queue, server) = (Arc::new(Queue::default()), server(1));
        assert!(server.lend());
        let (first, second) = (join(&queue, &server), join(&queue, &server));
        server.take_back();
        assert!(is_called(&first));
        let number = first.number();
        drop(first);
        let waiter = Waiter::new(vec![(0, Arc::clone(&server))], true, &pager());
        let again = queue.join(Some(number), waiter, Instant::now()).expect("room");
        server.take_back();
        assert!(is_called(&again) && !is_called(&second));
    }

    #[test]
    fn who_cannot_use_a_server_does_not_hold_up_the_others() {
        let queue = Arc::new(Queue::default());
        let options = ServerOptions { connections_max: NonZeroU32::new(1), ..ServerOptions::default() };
        let servers = with_options(&[options, options]);
        assert!(servers.iter().all(|server| server.lend()));
        let picky = join(&queue, &servers[0]);
        let other = join(&queue, &servers[1]);
        servers[1].take_back();
        assert!(!is_called(&picky) && is_called(&other));
    }

    #[test]
    fn who_waits_gets_places_at_servers_that_the_group_has_got_meanwhile_and_none_at_those_that_left() {
        let options = ServerOptions { connections_max: NonZeroU32::new(1), ..ServerOptions::default() };
        let servers = with_options(&[options, options, options]);
        let queue = Arc::new(Queue::default());
        assert!(servers[0].lend() && servers[1].lend());
        let known = vec![(0, Arc::clone(&servers[0])), (1, Arc::clone(&servers[1]))];
        let mut tickets: Vec<_> = (0..3)
            .map(|_| {
                let waiter = Waiter::new(known.clone(), true, &pager());
                queue.join(None, waiter, Instant::now()).expect("room in the queue")
            })
            .collect();
        queue.renew(&servers[1..], Instant::now());
        assert_eq!(tickets.iter().map(is_called).collect::<Vec<_>>(), [true, false, false], "at the new one");
        servers[0].take_back();
        assert!(!is_called(&tickets[1]), "this one has left");
        servers[2].take_back();
        servers[1].take_back();
        assert_eq!(tickets.drain(1..).filter(is_called).count(), 2);
    }

    #[test]
    fn a_place_that_is_free_already_is_given_at_once() {
        let (queue, server) = (Arc::new(Queue::default()), server(1));
        let ticket = join(&queue, &server);
        assert!(is_called(&ticket) && server.leases() == 1);
    }

    const EJECTION: Ejection =
        Ejection { after: 1, time: Duration::from_secs(10), time_max: Duration::from_secs(10) };

    /// One that is full, and one that is ejected from now on and has places.
    fn full_and_ejected() -> ([Arc<Server>; 2], Instant) {
        let options =
            |max| ServerOptions { connections_max: NonZeroU32::new(max), ..ServerOptions::default() };
        let [full, ejected] = with_options(&[options(1), options(3)]).try_into().expect("two");
        let now = Instant::now();
        let ejected = Arc::new(Server::clone(&ejected).with_ejection(EJECTION));
        assert!(full.lend());
        Lease::of(&ejected).expect("a place").note_failure(now);
        ([full, ejected], now)
    }

    #[test]
    fn an_ejected_server_is_lent_when_it_is_due_and_to_one_who_tries_it() {
        let queue = Arc::new(Queue::default());
        let ([full, ejected], now) = full_and_ejected();
        let join = |may_try_due| {
            let servers = vec![(0, Arc::clone(&full)), (1, Arc::clone(&ejected))];
            queue.join(None, Waiter::new(servers, may_try_due, &pager()), now).expect("room in the queue")
        };
        let tickets = [join(false), join(true), join(true)];
        assert!(ejected.lend());
        ejected.take_back();
        tickets[0].look(now);
        assert!(!tickets.iter().any(is_called), "it is ejected");
        let due = now + EJECTION.time;
        tickets[0].look(due);
        let called = |nth: usize| block_on(poll_once(tickets[nth].called()));
        assert!(called(0).is_none() && called(2).is_none(), "it may not, and one is enough");
        let (place, lease) = called(1).expect("its place");
        assert!(place == Some(1) && lease.is_trial());
        tickets[2].look(due);
        assert!(called(2).is_none());
        lease.note_success(due);
        tickets[2].look(due);
        assert!(called(0).is_some() && called(2).is_some(), "it is in use again");
    }

    #[test]
    fn who_leaves_with_the_trial_of_a_server_leaves_it_to_the_next() {
        let queue = Arc::new(Queue::default());
        let ([full, ejected], now) = full_and_ejected();
        let servers = vec![(0, Arc::clone(&full)), (1, Arc::clone(&ejected))];
        let due = now + EJECTION.time;
        let join = || queue.join(None, Waiter::new(servers.clone(), true, &pager()), due).expect("room");
        let (first, second) = (join(), join());
        assert!(!is_called(&second));
        // It was called and has not looked.
        drop(first);
        second.look(due);
        assert!(is_called(&second));
    }

    #[test]
    fn ejected_servers_are_lent_where_none_is_in_use() {
        let queue = Arc::new(Queue::default());
        let ([_full, ejected], now) = full_and_ejected();
        let waiter = Waiter::new(vec![(1, Arc::clone(&ejected))], true, &pager());
        let ticket = queue.join(None, waiter, now).expect("room in the queue");
        assert!(is_called(&ticket));
    }

    #[test]
    fn later_settings_with_more_places_serve_those_who_know_of_them() {
        let (queue, old) = (Arc::new(Queue::default()), server(1));
        assert!(old.lend());
        let first = join(&queue, &old);
        let new = Arc::new(server(2).inherit(&old));
        let second = join(&queue, &new);
        assert!(!is_called(&first) && is_called(&second), "one of one, and one of two places");
    }

    #[test]
    fn the_queue_has_an_end() {
        let (queue, server) = (Arc::new(Queue::default()), server(1));
        assert!(server.lend());
        let (pager, begun) = (pager(), Instant::now());
        let waiter = || Waiter::new(vec![(0, Arc::clone(&server))], true, &pager);
        let wait = || queue.join(None, waiter(), begun);
        let tickets: Vec<_> = (0..WAITING_MAX).map(|_| wait().expect("room")).collect();
        assert!(wait().is_none());
        drop(tickets);
        assert!(wait().is_some());
    }

    #[test]
    fn workers_lose_no_place_and_forget_no_session() {
        const WORKERS: usize = 4;
        const ROUNDS: usize = 2_000;
        let (queue, server) = (Arc::new(Queue::default()), server(2));
        let in_use = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let work = |worker: usize| {
            let (queue, server, in_use) = (Arc::clone(&queue), Arc::clone(&server), Arc::clone(&in_use));
            thread::spawn(move || {
                let pager = pager();
                for round in 0..ROUNDS {
                    let waiter = Waiter::new(vec![(0, Arc::clone(&server))], true, &pager);
                    let ticket = queue.join(None, waiter, begun).expect("room in the queue");
                    // Some leave before their turn, or without having looked whether it is theirs.
                    if (round + worker).is_multiple_of(7) {
                        continue;
                    }
                    let (_, lent) = block_on(async {
                        loop {
                            match poll_once(ticket.called()).await {
                                Some(place) => return place,
                                None => yield_now().await,
                            }
                            thread::yield_now();
                            assert!(begun.elapsed() < Duration::from_secs(300), "a session was forgotten");
                        }
                    });
                    assert!(in_use.fetch_add(1, Ordering::SeqCst) < 2);
                    in_use.fetch_sub(1, Ordering::SeqCst);
                    drop(ticket);
                    drop(lent);
                }
            })
        };
        for worker in (0..WORKERS).map(work).collect::<Vec<_>>() {
            worker.join().expect("every session got its place");
        }
        assert_eq!(server.leases(), 0);
        assert!(!queue.is_in_use());
    }
}
