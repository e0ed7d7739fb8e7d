//! How many connections to open ahead to one server: the law, without any of them.
//!
//! - At first: the server's part of the operator's number.
//! - A client that finds none makes it one more, as far as the number allows.
//! - One that grows old unused, or is closed by its server, makes it one fewer. The youngest is lent first, so what grows old
//!   is what was not needed for a whole lifetime.
//! - But one stays wanted as long as a client came lately.
//!
//! So the number follows the most that clients took at once within a lifetime, and an idle proxy soon keeps none. While they
//! cannot be opened, attempts pause, each time for longer.

use std::time::{Duration, Instant};

/// A client came lately if it was within this time.
const LATELY: Duration = Duration::from_secs(600);

/// How long attempts pause after a failure: twice as long after each further one, up to the maximum.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// See the module docs.
#[derive(Debug)]
pub(super) struct Demand {
    wanted: usize,
    last_client: Option<Instant>,
    pause: Duration,
    paused_until: Option<Instant>,
}

impl Demand {
    /// So many are wanted at first.
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, last_client: None, pause: PAUSE, paused_until: None }
    }

    /// How many are wanted.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether to wait before the next attempt.
    pub(super) fn pauses(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// A client came, and found one or not. `may_grow`: whether the operator's number allows one more.
    pub(super) fn client_came(&mut self, has_found: bool, may_grow: bool, now: Instant) {
        self.last_client = Some(now);
        self.wanted += usize::from(!has_found && may_grow);
    }

    /// One was not needed.
    pub(super) fn was_unused(&mut self, now: Instant) {
        let came_lately = self.last_client.is_some_and(|came| now.saturating_duration_since(came) < LATELY);
        self.wanted = self.wanted.saturating_sub(1).max(usize::from(came_lately && self.wanted > 0));
    }

    /// None are wanted until a client comes: the server is not in use.
    pub(super) fn forget(&mut self) {
        self.wanted = 0;
    }

    /// One could not be opened. True if this is the first failure since the last pause: those of attempts that began
    /// together say nothing new.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        if self.pauses(now) {
            return false;
        }
        self.paused_until = Some(now + self.pause);
        self.pause = PAUSE_MAX.min(2 * self.pause);
        true
    }

    /// One was opened, and its server left it alone.
    pub(super) fn proved(&mut self) {
        self.pause = PAUSE;
    }

    /// How long the last pause takes.
    pub(super) fn paused_for(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

/// The part of the number that a worker gets: `(its first one, how many)` of `max` in all.
pub(super) fn part(max: u32, worker: usize, workers: usize) -> (usize, usize) {
    let (each, rest) = (max as usize / workers, max as usize % workers);
    (worker * each + worker.min(rest), each + usize::from(worker < rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn it_follows_the_most_that_clients_took_at_once() {
        let now = Instant::now();
        let mut demand = Demand::new(0);
        (0..5).for_each(|_| demand.client_came(false, true, now));
        assert_eq!(demand.wanted(), 5);
        (0..100).for_each(|_| demand.client_came(true, true, now));
        assert_eq!(demand.wanted(), 5);
        demand.client_came(false, false, now);
        assert_eq!(demand.wanted(), 5, "the operator's number");
        (0..3).for_each(|_| demand.was_unused(now));
        assert_eq!(demand.wanted(), 2);
    }

    #[test]
    fn an_idle_proxy_soon_wants_none() {
        let now = Instant::now();
        let mut demand = Demand::new(3);
        (0..3).for_each(|_| demand.was_unused(now));
        assert_eq!(demand.wanted(), 0, "no client ever came");
        demand.client_came(false, true, now);
        (0..9).for_each(|_| demand.was_unused(now + seconds(500)));
        assert_eq!(demand.wanted(), 1, "a client came lately");
        demand.was_unused(now + seconds(601));
        assert_eq!(demand.wanted(), 0);
        demand.was_unused(now);
        assert_eq!(demand.wanted(), 0, "none is wanted of a server that is left out");
    }

    #[test]
    fn attempts_pause_longer_after_each_failure_and_together_they_fail_once() {
        let mut now = Instant::now();
        let mut demand = Demand::new(4);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(!demand.pauses(now) && demand.failed(now) && demand.pauses(now));
            assert!(!demand.failed(now), "of an attempt that began before");
            assert_eq!(demand.paused_for(now), seconds(pause));
            now += seconds(pause);
        }
        demand.proved();
        assert!(demand.failed(now));
        assert_eq!(demand.paused_for(now), seconds(1));
    }

    #[test]
    fn the_parts_of_all_workers_are_the_whole() {
        for (max, workers) in [(0, 1), (1, 1), (1, 4), (4, 3), (7, 3), (100, 16)] {
            let parts: Vec<_> = (0..workers).map(|worker| part(max, worker, workers)).collect();
            let mut next = 0;
            for (first, count) in parts {
                assert_eq!(first, next);
                next += count;
            }
            assert_eq!(next, max as usize);
        }
    }
}
