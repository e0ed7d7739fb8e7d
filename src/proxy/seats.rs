//! The seats of all workers: how many sessions the process serves at once, and which worker gets a freed seat.
//!
//! Any worker may take any seat. A worker that finds none for its client queues in a slot of its own; returning a seat
//! calls the next queued slot, and while a slot is queued no other worker may take a seat before it, so no worker's
//! clients starve. All of it is atomic numbers, used when accepting and closing; there is no lock, and nothing on the
//! data path.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::desks::Desks;
use crate::uring::Bell;

/// How often a lack of seats is logged at most.
const FULL_INTERVAL: Duration = Duration::from_secs(1);

/// See the module docs.
#[derive(Debug)]
pub struct Seats {
    max: AtomicUsize,
    taken: AtomicUsize,
    slots: Box<[Slot]>,
    /// Number of queued slots.
    waiting: AtomicUsize,
    /// Where the search for the next slot begins.
    turn: AtomicUsize,
    full: Full,
    /// A client that is left there has a seat.
    desks: Desks,
}

/// A worker's place in the queue for a seat.
#[derive(Debug)]
struct Slot {
    waits: AtomicBool,
    /// The worker may take a seat even if others are queued.
    called: AtomicBool,
    bell: Bell,
}

/// How often no seat was free for a client.
#[derive(Debug)]
struct Full {
    since: Instant,
    count: AtomicU64,
    logged: AtomicU64,
    /// The earliest time of the next log line, in milliseconds after `since`.
    next: AtomicU64,
}

impl Seats {
    /// `max` seats for this many workers.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new(max: usize, workers: usize) -> io::Result<Self> {
        let slot =
            || Ok(Slot { waits: AtomicBool::new(false), called: AtomicBool::new(false), bell: Bell::new()? });
        Ok(Self {
            max: AtomicUsize::new(max),
            taken: AtomicUsize::new(0),
            slots: (0..workers).map(|_| slot()).collect::<io::Result<_>>()?,
            waiting: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            full: Full {
                since: Instant::now(),
                count: AtomicU64::new(0),
                logged: AtomicU64::new(0),
                next: AtomicU64::new(0),
            },
            desks: Desks::new(workers),
        })
    }

    /// Sets how many there are. With fewer than are taken, none is free until enough were returned.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::SeqCst);
        // The workers that waited look again; who finds none is queued again.
        for _ in &self.slots {
            self.call_next(None);
        }
    }

    /// How often a client had to wait for a seat.
    pub fn times_full(&self) -> u64 {
        self.full.count.load(Ordering::Relaxed)
    }

    /// How many workers take them.
    pub(super) fn workers(&self) -> usize {
        self.slots.len()
    }

    /// Where workers leave clients for each other.
    pub(super) fn desks(&self) -> &Desks {
        &self.desks
    }

    /// Rings when a worker is called, and when a client is on its desk.
    pub(super) fn bell(&self, worker: usize) -> &Bell {
        &self.slots[worker].bell
    }

    /// Takes a seat for a worker, if one is free that is not another worker's turn.
    pub(super) fn take(&self, worker: usize) -> bool {
        let is_called = self.slots[worker].called.swap(false, Ordering::SeqCst);
        let max = self.max.load(Ordering::SeqCst);
        let more = |taken| (taken < max).then_some(taken + 1);
        (is_called || self.waiting.load(Ordering::SeqCst) == 0)
            && self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Returns a worker's seat.
    pub(super) fn give_back(&self, worker: usize) {
        self.taken.fetch_sub(1, Ordering::SeqCst);
        self.call_next(Some(worker));
    }

    /// Whether trying to take a seat can succeed. If not, the worker is queued from now on.
    pub(super) fn has_room(&self, worker: usize) -> bool {
        let slot = &self.slots[worker];
        if self.is_called(worker) || (self.waiting.load(Ordering::SeqCst) == 0 && self.is_free()) {
            return true;
        }
        if !slot.waits.swap(true, Ordering::SeqCst) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
        // A seat returned before this worker was queued has called no worker.
        if self.is_free() {
            self.call_next(Some(worker));
        }
        self.is_called(worker)
    }

    /// Whether a worker has been called and has not tried to take a seat since.
    pub(super) fn is_called(&self, worker: usize) -> bool {
        self.slots[worker].called.load(Ordering::SeqCst)
    }

    /// Removes a worker from the queue: it needs no seat any more.
    pub(super) fn leave(&self, worker: usize) {
        let slot = &self.slots[worker];
        if slot.waits.swap(false, Ordering::SeqCst) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        if slot.called.swap(false, Ordering::SeqCst) {
            self.call_next(Some(worker));
        }
    }

    /// Notes that a client finds no seat: counts it, and logs it at most once a second.
    pub(super) fn note_full(&self) {
        let count = self.full.count.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.full.since.elapsed().as_millis() as u64;
        let next = self.full.next.load(Ordering::Relaxed);
        let then = now + FULL_INTERVAL.as_millis() as u64;
        if now >= next
            && self.full.next.compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let logged = self.full.logged.swap(count, Ordering::Relaxed);
            tracing::warn!(
                connections_max = self.max.load(Ordering::Relaxed),
                count = count.saturating_sub(logged),
                "maximum of connections reached (setting max-connections); new clients wait until a connection ends"
            );
        }
    }

    fn is_free(&self) -> bool {
        self.taken.load(Ordering::SeqCst) < self.max.load(Ordering::SeqCst)
    }

    /// Calls the next queued slot, if there is one. The worker `by` checks its own slot itself.
    fn call_next(&self, by: Option<usize>) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        for worker in (first..self.slots.len()).chain(0..first) {
            let slot = &self.slots[worker];
            if slot.waits.swap(false, Ordering::SeqCst) {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                slot.called.store(true, Ordering::SeqCst);
                if by != Some(worker) {
                    slot.bell.ring();
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn seats(max: usize, workers: usize) -> Seats {
        Seats::new(max, workers).expect("a descriptor for each worker")
    }

    #[test]
    fn one_worker_may_take_all_seats() {
        let seats = seats(3, 4);
        assert!((0..3).all(|_| seats.has_room(2) && seats.take(2)));
        assert!((0..4).all(|worker| !seats.take(worker)));
    }

    #[test]
    fn queued_workers_are_called_in_turn_and_no_other_takes_a_seat_before_them() {
        let seats = seats(1, 3);
        assert!(seats.take(0));
        assert!(!seats.has_room(1) && !seats.has_room(2));
        seats.give_back(0);
        assert!(!seats.take(0), "other workers were queued first");
        let called: Vec<_> = (0..3).filter(|worker| seats.is_called(*worker)).collect();
        let [first] = called[..] else { panic!("one seat calls one worker, not {called:?}") };
        assert!(seats.take(first) && !seats.has_room(0));
        let second = 3 - first;
        let mut served = Vec::new();
        let mut holder = first;
        for _ in 0..2 {
            seats.give_back(holder);
            holder = if seats.is_called(second) { second } else { 0 };
            assert!(seats.take(holder));
            served.push(holder);
        }
        served.sort_unstable();
        assert_eq!(served, [0, second], "each gets a seat once");
    }

    #[test]
    fn a_called_worker_that_leaves_calls_the_next() {
        let seats = seats(1, 3);
        assert!(seats.take(0) && !seats.has_room(1) && !seats.has_room(2));
        seats.give_back(0);
        let first = if seats.is_called(1) { 1 } else { 2 };
        seats.leave(first);
        assert!(seats.is_called(3 - first) && seats.take(3 - first));
    }

    #[test]
    fn more_seats_call_the_workers_that_wait_and_fewer_let_sessions_end() {
        let seats = seats(2, 3);
        assert!(seats.take(0) && seats.take(0) && !seats.has_room(1) && !seats.has_room(2));
        seats.set_max(4);
        assert!(seats.is_called(1) && seats.is_called(2));
        assert!(seats.take(1) && seats.take(2) && !seats.has_room(0));
        seats.set_max(1);
        for _ in 0..3 {
            seats.give_back(1);
            assert!(!seats.take(0), "more than one is taken");
        }
        seats.give_back(0);
        assert!(seats.take(0));
    }

    #[test]
    fn no_seat_is_lost_or_given_twice_among_threads() {
        const WORKERS: usize = 4;
        const SEATS: usize = 2;
        const ROUNDS: usize = 20_000;
        let seats = Arc::new(seats(SEATS, WORKERS));
        let seated = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (seats, seated) = (Arc::clone(&seats), Arc::clone(&seated));
                thread::spawn(move || {
                    for _ in 0..ROUNDS {
                        while !(seats.has_room(worker) && seats.take(worker)) {
                            thread::yield_now();
                        }
                        assert!(seated.fetch_add(1, Ordering::SeqCst) < SEATS);
                        seated.fetch_sub(1, Ordering::SeqCst);
                        seats.give_back(worker);
                    }
                    seats.leave(worker);
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("every worker got its seats");
        }
        assert_eq!(seats.taken.load(Ordering::SeqCst), 0);
        assert_eq!(seats.waiting.load(Ordering::SeqCst), 0);
    }
}
