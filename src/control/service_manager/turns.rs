//! Whether each worker still takes turns on its ring.
//!
//! A worker with nothing to do sleeps in the kernel; its bell has it take a turn. So within half of the watchdog's period each
//! one has to show a turn, busy or idle, or it is stuck: in an endless loop, in a system call that does not return.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::proxy::counters::Counters;
use crate::proxy::orders::Orders;

/// Looks within the period of the watchdog.
const LOOKS: u32 = 4;

/// The period without a watchdog.
const PERIOD: Duration = Duration::from_secs(20);

/// Looks do not follow each other faster than this, however short the period.
const TICK_MIN: Duration = Duration::from_millis(10);

/// Since when each worker that is stuck has taken no turn, by number. No worker takes the lock.
#[derive(Debug, Default)]
pub(in crate::control) struct Stuck(Mutex<Vec<(usize, Instant)>>);

impl Stuck {
    /// The numbers of the workers that are stuck, and for how long they have taken no turn.
    pub(in crate::control) fn workers(&self) -> Vec<(usize, Duration)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(worker, since)| (*worker, since.elapsed())).collect()
    }

    /// What is wrong with them, for people.
    pub(in crate::control) fn faults(&self) -> Vec<String> {
        let fault = |(worker, silent): (usize, Duration)| {
            format!("worker {worker} has taken no turn for {} s", silent.as_secs())
        };
        self.workers().into_iter().map(fault).collect()
    }

    fn set(&self, workers: Vec<(usize, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = workers;
    }
}

/// The workers, watched.
pub(in crate::control) struct Turns {
    workers: Vec<(Orders, Arc<Counters>)>,
    watch: Watch,
    is_fed: bool,
}

impl Turns {
    /// Watches these workers; with a watchdog, within its period.
    pub(super) fn new(watchdog: Option<Duration>, orders: &[Orders], counters: &[Arc<Counters>]) -> Self {
        let workers: Vec<_> = std::iter::zip(orders.to_vec(), counters.to_vec()).collect();
        let watch = Watch::new(watchdog.unwrap_or(PERIOD), workers.len(), Instant::now());
        Self { workers, watch, is_fed: watchdog.is_some() }
    }

    /// How often to look.
    pub(super) fn tick(&self) -> Duration {
        self.watch.tick
    }

    /// Whether each worker has taken a turn; has those take one that have not.
    pub(super) fn have_begun(&self) -> bool {
        let begun = |(orders, counters): &(Orders, Arc<Counters>)| {
            let has_begun = turns(counters) != Some(0);
            if !has_begun {
                orders.turn();
            }
            has_begun
        };
        // Rings the bells of all.
        self.workers.iter().filter(|worker| !begun(worker)).count() == 0
    }

    /// Looks at the workers, says what has changed, and notes who is stuck. True if none is.
    pub(super) fn look(&mut self, stuck: &Stuck) -> bool {
        let counts: Vec<_> = self.workers.iter().map(|(_, counters)| turns(counters)).collect();
        let found = self.watch.look(Instant::now(), &counts);
        for worker in found.idle {
            self.workers[worker].0.turn();
        }
        for worker in found.began {
            let for_ms = self.watch.limit.as_millis();
            if self.is_fed {
                tracing::error!(
                    worker,
                    for_ms,
                    "worker is stuck: it takes no turn; not feeding the watchdog, so that the service manager restarts the proxy"
                );
            } else {
                tracing::error!(
                    worker,
                    for_ms,
                    "worker is stuck: it takes no turn; its connections stand still"
                );
            }
        }
        for worker in found.ended {
            tracing::info!(worker, "worker takes turns again");
        }
        let none = found.stuck.is_empty();
        stuck.set(found.stuck);
        none
    }
}

/// How many turns the worker has taken; `None` once it takes no more because it has ended.
fn turns(counters: &Counters) -> Option<u64> {
    match counters.ring() {
        Some(ring) if ring.has_ended() => None,
        Some(ring) => Some(ring.turns().iter().sum()),
        None => Some(0),
    }
}

/// What is judged: numbers of turns over time.
struct Watch {
    /// How long a worker may take no turn.
    limit: Duration,
    tick: Duration,
    looked: Instant,
    workers: Vec<Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    turns: u64,
    /// When that number was seen first.
    since: Instant,
    is_stuck: bool,
}

/// What a look found: numbers of workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    /// They have taken no turn since the last look.
    idle: Vec<usize>,
    /// They are stuck, since then.
    stuck: Vec<(usize, Instant)>,
    /// They were not before.
    began: Vec<usize>,
    /// They were before, and are no longer.
    ended: Vec<usize>,
}

impl Watch {
    fn new(period: Duration, workers: usize, now: Instant) -> Self {
        let tick = (period / LOOKS).max(TICK_MIN);
        let seen = Seen { turns: 0, since: now, is_stuck: false };
        Self { limit: (period / 2).max(2 * TICK_MIN), tick, looked: now, workers: vec![seen; workers] }
    }

    /// Judges the workers by how many turns each has taken; `None` for one that has ended.
    fn look(&mut self, now: Instant, counts: &[Option<u64>]) -> Found {
        // Where this thread itself stood still (a stopped process, a paused machine), so did the workers.
        let passed = now.saturating_duration_since(self.looked);
        let late = if passed > 2 * self.tick { passed.saturating_sub(self.tick) } else { Duration::ZERO };
        self.looked = now;
        let mut found = Found::default();
        for (worker, (seen, count)) in self.workers.iter_mut().zip(counts).enumerate() {
            seen.since += late;
            match *count {
                Some(count) if count == seen.turns => found.idle.push(worker),
                Some(count) => (seen.turns, seen.since) = (count, now),
                None => seen.since = now,
            }
            let was_stuck = seen.is_stuck;
            seen.is_stuck = now.saturating_duration_since(seen.since) >= self.limit;
            match (was_stuck, seen.is_stuck) {
                (false, true) => found.began.push(worker),
                (true, false) => found.ended.push(worker),
                _ => {}
            }
            if seen.is_stuck {
                found.stuck.push((worker, seen.since));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(8);
    const TICK: Duration = Duration::from_secs(2);

    /// The numbers of stuck workers at each look, a tick after the other.
    fn stuck_at(looks: &[&[Option<u64>]]) -> Vec<Vec<usize>> {
        let begin = Instant::now();
        let mut watch = Watch::new(PERIOD, looks[0].len(), begin);
        assert_eq!(watch.tick, TICK);
        let stuck = |(nth, counts): (usize, &&[Option<u64>])| {
            let found = watch.look(begin + TICK * (nth as u32 + 1), counts);
            found.stuck.iter().map(|(worker, _)| *worker).collect()
        };
        looks.iter().enumerate().map(stuck).collect()
    }

    #[test]
    fn a_worker_without_a_turn_for_half_of_the_period_is_stuck_until_it_turns() {
        let looks: [&[Option<u64>]; 6] = [
            &[Some(1), Some(5)],
            &[Some(1), Some(6)],
            &[Some(1), Some(7)],
            &[Some(1), Some(7)],
            &[Some(2), Some(8)],
            &[Some(2), Some(8)],
        ];
        let none = Vec::new;
        assert_eq!(stuck_at(&looks), [none(), none(), vec![0], vec![0], none(), none()]);
    }

    #[test]
    fn a_worker_that_never_begins_is_stuck_and_one_that_has_ended_is_not() {
        let looks: [&[Option<u64>]; 3] = [&[Some(0), Some(4)], &[Some(0), None], &[Some(0), None]];
        assert_eq!(stuck_at(&looks), [vec![], vec![0], vec![0]]);
    }

    #[test]
    fn changes_are_found_once_and_bells_ring_for_those_without_a_turn() {
        let begin = Instant::now();
        let mut watch = Watch::new(PERIOD, 1, begin);
        let mut look = |nth: u32, count| watch.look(begin + TICK * nth, &[Some(count)]);
        let idle = Found { idle: vec![0], ..Found::default() };
        assert_eq!(look(1, 1), Found::default());
        assert_eq!(look(2, 1), idle);
        let stuck = vec![(0, begin + TICK)];
        assert_eq!(look(3, 1), Found { stuck: stuck.clone(), began: vec![0], ..idle.clone() });
        assert_eq!(look(4, 1), Found { stuck, ..idle });
        assert_eq!(look(5, 2), Found { ended: vec![0], ..Found::default() });
    }

    #[test]
    fn a_process_that_stood_still_as_a_whole_has_no_stuck_worker() {
        let begin = Instant::now();
        let mut watch = Watch::new(PERIOD, 1, begin);
        watch.look(begin + TICK, &[Some(1)]);
        let after = begin + Duration::from_secs(3600);
        assert_eq!(watch.look(after, &[Some(1)]).stuck, []);
        assert_eq!(watch.look(after + TICK, &[Some(1)]).began, [0], "it does not turn afterwards");
    }

    #[test]
    fn a_period_of_nothing_at_all_keeps_no_core_busy() {
        let watch = Watch::new(Duration::from_micros(1), 1, Instant::now());
        assert_eq!((watch.tick, watch.limit), (TICK_MIN, 2 * TICK_MIN));
    }
}
