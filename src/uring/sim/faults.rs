//! Seeded choices and fault rates.

use std::time::Duration;

/// Chances in a thousand, fixed for a run: some runs are calm, some are not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// A transfer moves less than it could.
    pub(crate) partial: u32,
    /// An operation that could complete is delayed.
    pub(crate) late: u32,
    /// An operation or call fails for a reason unrelated to the connection.
    pub(crate) error: u32,
    /// No descriptor, or no memory for one.
    pub(crate) descriptor: u32,
    /// A pipe is smaller than requested.
    pub(crate) small_pipe: u32,
}

/// A source of random choices that follow from the seed.
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// True in `in_thousand` of a thousand cases.
    pub(crate) fn chance(&mut self, in_thousand: u32) -> bool {
        in_thousand > 0 && self.0.u32(0..1000) < in_thousand
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn number(&mut self, low: usize, high: usize) -> usize {
        self.0.usize(low..=high)
    }

    /// One of `choices`.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())]
    }

    /// A time up to `longest`, in whole microseconds.
    pub(crate) fn time(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.0.u64(0..=longest.as_micros() as u64))
    }

    /// All of `bytes`, or, in `in_thousand` of a thousand cases, fewer; at least one.
    pub(crate) fn part(&mut self, bytes: usize, in_thousand: u32) -> usize {
        if bytes > 1 && self.chance(in_thousand) { self.number(1, bytes) } else { bytes }
    }
}
