//! Whether a worker polls for completions before it sleeps.
//!
//! Letting a core sleep and waking it costs more than a message of a lone connection does otherwise, in time and in CPU.
//! Polling costs the time until the next message. So it pays where messages come faster than that, and `auto` polls as
//! long as they do: it looks at how long the last waits were.

use std::fmt;
use std::time::Duration;

/// How long to poll for completions before sleeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spin {
    /// This long, whatever happens.
    For(Duration),
    /// A little, as long as that is likely to be enough.
    Auto,
}

impl Spin {
    /// Not at all.
    pub const NEVER: Self = Self::For(Duration::ZERO);
}

impl fmt::Display for Spin {
    /// Same as on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(time) => humantime::format_duration(*time).fmt(f),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// The longest spin of `auto`: about what sleeping costs. Measured on a virtual machine with one connection: with half of
/// it most messages come too late.
const SPIN_MAX: Duration = Duration::from_micros(50);
/// The longest of its first spins: a peer that sleeps answers late, and one that is awake answers soon.
const FIRST_SPIN_MAX: Duration = Duration::from_micros(150);
/// How many of those there are.
const FIRST_SPINS: u32 = 4;
/// A wait up to this is short when the worker slept. Waking up makes it longer, at both ends: measured on virtual machines,
/// 40 to 125 microseconds longer.
const SHORT_SLEEP: Duration = Duration::from_micros(200);
/// More completions than these at once are no lone messages: the core is busy, and one that sleeps a little finds more
/// of them at once.
const FEW: usize = 8;
/// Short waits in a row before it polls.
const RUN_MIN: u32 = 4;
/// The same after many attempts that came to nothing.
const RUN_MAX: u32 = 1024;
/// After so many spins in a row that were worth it, it is as at first.
const SUCCESSES: u32 = 16;

/// What the last waits say of the next one.
#[derive(Debug)]
pub(super) struct Spinner {
    spin: Spin,
    /// Short waits in a row.
    short: u32,
    /// How many it takes to poll.
    needed: u32,
    /// Spins in a row that were worth it.
    spins: u32,
}

impl Spinner {
    pub(super) fn new(spin: Spin) -> Self {
        Self { spin, short: 0, needed: RUN_MIN, spins: 0 }
    }

    /// Whether it learns from waits.
    pub(super) fn is_auto(&self) -> bool {
        self.spin == Spin::Auto
    }

    /// How long to poll in the next wait.
    pub(super) fn limit(&self) -> Duration {
        match self.spin {
            Spin::For(time) => time,
            Spin::Auto if self.short < self.needed => Duration::ZERO,
            Spin::Auto if self.spins < FIRST_SPINS => FIRST_SPIN_MAX,
            Spin::Auto => SPIN_MAX,
        }
    }

    /// Notes how long a wait took, however it was waited, and how many completions it ended with.
    pub(super) fn waited(&mut self, took: Duration, completions: usize) {
        let limit = self.limit();
        let has_spun = !limit.is_zero();
        let is_short = took < if has_spun { limit } else { SHORT_SLEEP } && completions <= FEW;
        self.short = if is_short { self.short.saturating_add(1) } else { 0 };
        if !has_spun {
            return;
        }
        if is_short {
            self.spins = self.spins.saturating_add(1);
            if self.spins == SUCCESSES {
                // The next wait that is long doubles it.
                self.needed = RUN_MIN / 2;
            }
        } else {
            // Messages that come now early, now late must not cost a spin each.
            (self.spins, self.needed) = (0, (self.needed * 2).min(RUN_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits of these microseconds; returns how many of them began with a spin.
    fn spins(spinner: &mut Spinner, completions: usize, waits: impl IntoIterator<Item = u64>) -> usize {
        let mut spins = 0;
        for wait in waits {
            spins += usize::from(!spinner.limit().is_zero());
            spinner.waited(Duration::from_micros(wait), completions);
        }
        spins
    }

    #[test]
    fn messages_that_come_fast_are_polled_for_until_one_is_late() {
        let mut spinner = Spinner::new(Spin::Auto);
        assert_eq!(spins(&mut spinner, 1, [180; 4]), 0, "waking up takes a part of it");
        assert_eq!(spins(&mut spinner, 1, [140, 90, 60, 60]), 4, "the other end wakes up");
        assert_eq!(spins(&mut spinner, 1, [20; 1000]), 1000);
        assert_eq!(spins(&mut spinner, 1, [5000; 1000]), 1, "the first that is late");
        assert_eq!(spins(&mut spinner, 1, [180, 180, 180, 180, 160]), 1, "too late for the first spin");
        assert_eq!(spins(&mut spinner, 1, [180; 8]), 0, "and it takes more to begin again");
        assert_eq!(spins(&mut spinner, 1, [20; 16]), 16);
        assert_eq!(
            spins(&mut spinner, 1, [60, 180, 180, 180, 180, 20]),
            2,
            "and no more once it has been worth it"
        );
    }

    #[test]
    fn messages_that_come_slowly_or_by_chance_are_hardly_polled_for() {
        let mut spinner = Spinner::new(Spin::Auto);
        assert_eq!(spins(&mut spinner, 1, [1000; 1000]), 0);
        let always_late = std::iter::repeat_n(80, 10_000);
        assert!(spins(&mut spinner, 1, always_late) < 100, "too late for a spin that goes on");
        let mut dice = fastrand::Rng::with_seed(7);
        let by_chance = std::iter::repeat_with(|| (dice.f64().ln() * -70.0) as u64).take(10_000);
        let spins = spins(&mut Spinner::new(Spin::Auto), 1, by_chance);
        assert!(spins < 500, "{spins}");
    }

    #[test]
    fn a_fixed_time_stays_as_it_is() {
        let time = Duration::from_micros(200);
        let mut spinner = Spinner::new(Spin::For(time));
        assert_eq!(spins(&mut spinner, 1, [5000; 10]), 10);
        assert_eq!(spinner.limit(), time);
        assert_eq!((Spin::For(time).to_string(), Spin::Auto.to_string()), ("200us".into(), "auto".into()));
    }
}
