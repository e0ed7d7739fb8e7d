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
mod tests;
