//! Numbers that one thread writes and any thread reads: plain memory, written with a load and a store, never with a lock
//! or an atomic addition.
//!
//! Methods that write are for the one thread that owns the number. A reader sees each number as it was a moment ago; two
//! numbers need not be of the same moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that its owner increases.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one; for the owning thread only.
    pub(crate) fn increase(&self) {
        self.add(1);
    }

    /// Adds `number`; for the owning thread only.
    pub(crate) fn add(&self, number: u64) {
        self.0.store(self.get() + number, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each of several words.
#[derive(Debug)]
pub struct Tally<const N: usize>([Counter; N]);

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Tally<N> {
    /// The counter of the word with this number.
    pub fn of(&self, number: usize) -> &Counter {
        &self.0[number]
    }
}

/// A number that its owner sets.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it; for the owning thread only.
    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Adds one; for the owning thread only.
    pub(crate) fn increase(&self) {
        self.set(self.get() + 1);
    }

    /// Subtracts one; for the owning thread only.
    pub(crate) fn decrease(&self) {
        self.set(self.get() - 1);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A sum of bytes, which counts some of them a turn too early and takes back those that stay. Readers never see it shrink.
#[derive(Debug, Default)]
pub struct Bytes {
    counted: Counter,
    /// The largest that any reader has seen; written by readers.
    shown: AtomicU64,
}

impl Bytes {
    /// Adds bytes; for the owning thread only.
    pub(crate) fn add(&self, bytes: u64) {
        self.counted.add(bytes);
    }

    /// Subtracts bytes that were added before; for the owning thread only.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.counted.0.store(self.counted.get() - bytes, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        let counted = self.counted.get();
        self.shown.fetch_max(counted, Ordering::Relaxed).max(counted)
    }
}

/// Number of bounds of [`Times`].
const BOUNDS: usize = 18;

/// Durations in buckets that are the same everywhere.
#[derive(Debug, Default)]
pub struct Times {
    /// Each up to its bound; the last: longer ones.
    buckets: [Counter; BOUNDS + 1],
    nanoseconds: Counter,
}

impl Times {
    /// The bounds of the buckets, in microseconds.
    pub const BOUNDS_US: [u64; BOUNDS] = [
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];

    /// Records one; for the owning thread only.
    pub(crate) fn record(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = Self::BOUNDS_US.partition_point(|bound| bound * 1000 < nanoseconds);
        self.buckets[bucket].increase();
        self.nanoseconds.0.store(self.nanoseconds.get().saturating_add(nanoseconds), Ordering::Relaxed);
    }

    /// The current values.
    pub fn read(&self) -> Spread {
        Spread {
            counts: std::array::from_fn(|nth| self.buckets[nth].get()),
            seconds: self.nanoseconds.get() as f64 / 1e9,
        }
    }
}

/// What [`Times`] were read as, or the sum of several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    /// How many were in each bucket; the last: longer than every bound.
    pub counts: [u64; BOUNDS + 1],
    /// The sum of all.
    pub seconds: f64,
}

impl Spread {
    /// Adds those of another reading.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.seconds += other.seconds;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_taken_back_are_never_seen_to_shrink() {
        let bytes = Bytes::default();
        bytes.add(100);
        bytes.take_back(40);
        assert_eq!(bytes.get(), 60, "no reader has seen more");
        bytes.add(40);
        assert_eq!(bytes.get(), 100);
        bytes.take_back(40);
        assert_eq!(bytes.get(), 100);
        bytes.add(50);
        assert_eq!(bytes.get(), 110, "exact again");
    }

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let times = Times::default();
        for microseconds in [0, 100, 101, 60_000_000, 60_000_001] {
            times.record(Duration::from_micros(microseconds));
        }
        times.record(Duration::from_nanos(100_001));
        let read = times.read();
        assert_eq!((read.counts[0], read.counts[1]), (2, 2));
        assert_eq!((read.counts[BOUNDS - 1], read.counts[BOUNDS]), (1, 1));
        assert_eq!(read.count(), 6);
        assert!((read.seconds - 120.000_302).abs() < 1e-4, "{}", read.seconds);
        let mut sum = read;
        sum.add(&read);
        assert_eq!(sum.count(), 12);
    }
}
