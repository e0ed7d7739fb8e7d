//! What a ring counts of itself, readable from other threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::shortage::Shortage;
use crate::counter::{Counter, Gauge, Tally};

/// Number of bounds of completions a turn: 0, 1, 2, 4, 8 … 4096.
const BOUNDS: usize = 14;

/// See the module docs. The thread of the ring writes.
#[derive(Debug)]
pub struct RingCounters {
    origin: Instant,
    /// When the turn in progress began, in nanoseconds after `origin`; 0 while the ring waits in the kernel.
    turn_began: Gauge,
    /// Turns by the number of their completions.
    turns: Tally<{ BOUNDS + 1 }>,
    completions: Counter,
    /// Turns that found the completion queue overflowing: the kernel keeps the rest, which takes longer.
    pub overflows: Counter,
    /// Receive buffers on loan at the end of the last turn.
    pub buffers_lent: Gauge,
    /// Receive buffers.
    pub buffers: Gauge,
    /// Pipes on loan at the end of the last turn.
    pub pipes_lent: Gauge,
    /// Pipes that can be lent.
    pub pipes: Gauge,
    shortages: Tally<{ Shortage::ALL.len() }>,
    has_ended: AtomicBool,
}

impl RingCounters {
    /// The bounds of the numbers of completions a turn, in the order of [`turns`](Self::turns).
    pub const BOUNDS: [u64; BOUNDS] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            turn_began: Gauge::default(),
            turns: Tally::default(),
            completions: Counter::default(),
            overflows: Counter::default(),
            buffers_lent: Gauge::default(),
            buffers: Gauge::default(),
            pipes_lent: Gauge::default(),
            pipes: Gauge::default(),
            shortages: Tally::default(),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Turns by the number of their completions: each up to its bound; the last: more.
    pub fn turns(&self) -> [u64; BOUNDS + 1] {
        std::array::from_fn(|nth| self.turns.of(nth).get())
    }

    /// Completions of all turns.
    pub fn completions(&self) -> u64 {
        self.completions.get()
    }

    /// How often something ran out.
    pub fn shortages(&self, shortage: Shortage) -> u64 {
        self.shortages.of(shortage as usize).get()
    }

    /// For how long the turn in progress has been taking; zero while the ring waits for something to do.
    pub fn turn_takes(&self) -> Duration {
        match self.turn_began.get() {
            0 => Duration::ZERO,
            began => (self.origin + Duration::from_nanos(began)).elapsed(),
        }
    }

    /// Whether it takes no turn any more, because it has nothing to do for ever.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// The last turn is over.
    pub(super) fn end(&self) {
        self.waits();
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// The ring is about to wait in the kernel.
    pub(super) fn waits(&self) {
        self.turn_began.set(0);
    }

    /// A turn begins with so many completions.
    pub(super) fn turn_begins(&self, now: Instant, completions: usize) {
        self.turn_began.set((now.saturating_duration_since(self.origin).as_nanos() as u64).max(1));
        self.completions.add(completions as u64);
        let bound = match completions.checked_ilog2() {
            None => 0,
            Some(power) => power as usize + 1 + usize::from(!completions.is_power_of_two()),
        };
        self.turns.of(bound.min(BOUNDS)).increase();
    }

    pub(super) fn note_shortage(&self, shortage: Shortage) {
        self.shortages.of(shortage as usize).increase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let now = Instant::now();
        for completions in (0..5000).chain([1 << 20]) {
            let counters = RingCounters::new(now);
            counters.turn_begins(now, completions);
            let wanted = RingCounters::BOUNDS.iter().position(|bound| completions as u64 <= *bound);
            let found = counters.turns().iter().position(|count| *count == 1);
            assert_eq!(found, wanted.or(Some(BOUNDS)), "{completions}");
        }
    }

    #[test]
    fn a_ring_that_waits_is_not_within_a_turn() {
        let now = Instant::now();
        let counters = RingCounters::new(now);
        assert_eq!(counters.turn_takes(), Duration::ZERO);
        counters.turn_begins(now, 1);
        while counters.turn_takes() < Duration::from_millis(1) {}
        counters.waits();
        assert_eq!(counters.turn_takes(), Duration::ZERO);
    }
}
