//! The times when an open loop's requests are due: pure arithmetic, no clock.
//!
//! Request number `n` is due when the integral of the rate reaches `n`. The rate is constant in the warm-up and then
//! changes linearly from `first` to `last`, so the integral is a line followed by a parabola and inverts in closed form.
//! Evenly spread arrivals step `n` by one; Poisson arrivals step it by exponential amounts with mean one.

use std::time::Duration;

use super::plan::{Arrivals, Rate};

/// The arrivals of one thread, as times since the start of the clock, in order.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: Rate,
    /// The rate is constant until then.
    warmup_seconds: f64,
    /// The time after that to reach the last rate.
    ramp_seconds: f64,
    steps: Steps,
    /// The arrivals of all threads that are due before this thread's next one.
    due_before: f64,
    threads: f64,
}

#[derive(Debug, Clone)]
enum Steps {
    Constant,
    Poisson(fastrand::Rng),
}

impl Schedule {
    /// The share of thread number `thread` out of `threads`; a ramp takes `ramp` after the warm-up. The same
    /// arguments give the same times, so that two runs can be compared.
    pub fn new(
        rate: Rate,
        arrivals: Arrivals,
        warmup: Duration,
        ramp: Duration,
        thread: usize,
        threads: usize,
    ) -> Self {
        let mut schedule = Self {
            rate,
            warmup_seconds: warmup.as_secs_f64(),
            ramp_seconds: ramp.as_secs_f64(),
            steps: match arrivals {
                Arrivals::Constant => Steps::Constant,
                Arrivals::Poisson => Steps::Poisson(fastrand::Rng::with_seed(thread as u64 + 1)),
            },
            due_before: thread as f64,
            threads: threads as f64,
        };
        if let Steps::Poisson(_) = schedule.steps {
            schedule.due_before = 0.0;
            schedule.due_before = schedule.step();
        }
        schedule
    }

    fn step(&mut self) -> f64 {
        match &mut self.steps {
            Steps::Constant => self.threads,
            // `f64` is in 0..1, so the logarithm's argument is never 0.
            Steps::Poisson(rng) => -(1.0 - rng.f64()).ln() * self.threads,
        }
    }

    /// When arrival number `n` is due; `None` if the rate falls to zero before that.
    fn due_seconds(&self, n: f64) -> Option<f64> {
        let Rate { first_per_second: first, last_per_second: last } = self.rate;
        let in_warmup = first * self.warmup_seconds;
        if n <= in_warmup {
            return Some(n / first);
        }
        let n = n - in_warmup;
        let slope = if self.ramp_seconds > 0.0 { (last - first) / self.ramp_seconds } else { 0.0 };
        let discriminant = first.mul_add(first, 2.0 * slope * n);
        // The citardauq form of the root: exact where the slope is 0.
        (discriminant >= 0.0).then(|| self.warmup_seconds + 2.0 * n / (first + discriminant.sqrt()))
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = self.due_seconds(self.due_before)?;
        self.due_before += self.step();
        Some(Duration::from_secs_f64(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Rate = Rate { first_per_second: 100.0, last_per_second: 100.0 };
    const NONE: Duration = Duration::ZERO;

    fn times(schedule: Schedule, until_seconds: f64) -> Vec<f64> {
        schedule.map(|t| t.as_secs_f64()).take_while(|t| *t < until_seconds).collect()
    }

    #[test]
    fn constant_arrivals_are_evenly_spread_from_zero() {
        let due: Vec<_> = Schedule::new(STEADY, Arrivals::Constant, NONE, NONE, 0, 1)
            .take(4)
            .map(|t| t.as_millis())
            .collect();
        assert_eq!(due, [0, 10, 20, 30]);
    }

    #[test]
    fn threads_interleave_to_the_same_schedule_as_one() {
        let one = times(Schedule::new(STEADY, Arrivals::Constant, NONE, NONE, 0, 1), 2.0);
        let mut three: Vec<f64> = (0..3)
            .flat_map(|thread| times(Schedule::new(STEADY, Arrivals::Constant, NONE, NONE, thread, 3), 2.0))
            .collect();
        three.sort_by(f64::total_cmp);
        assert_eq!(one, three);
    }

    #[test]
    fn a_ramp_is_steady_in_the_warm_up_and_then_grows_evenly() {
        let rate = Rate { first_per_second: 100.0, last_per_second: 300.0 };
        let warmup = Duration::from_secs(1);
        let due = times(Schedule::new(rate, Arrivals::Constant, warmup, Duration::from_secs(10), 0, 1), 11.0);
        let between = |a: f64, b: f64| due.iter().filter(|t| (a..b).contains(*t)).count();
        assert_eq!(between(0.0, 1.0), 100);
        // The integral of 100..300 over 10 s is 2000, of its first half 750.
        assert!((1999..=2001).contains(&between(1.0, 11.0)), "{}", between(1.0, 11.0));
        assert!((749..=751).contains(&between(1.0, 6.0)), "{}", between(1.0, 6.0));
    }

    #[test]
    fn a_ramp_down_ends() {
        let rate = Rate { first_per_second: 10.0, last_per_second: 1.0 };
        let schedule = Schedule::new(rate, Arrivals::Constant, NONE, Duration::from_secs(9), 0, 1);
        assert_eq!(schedule.count(), 51, "10 s until the rate is 0, 50 arrivals after the first");
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_their_gaps_are_exponential() {
        let due = times(Schedule::new(STEADY, Arrivals::Poisson, NONE, NONE, 1, 2), 200.0);
        // 50 a second for 200 s: 10,000 with a standard deviation of 100. The seed is fixed.
        assert!((9_600..10_400).contains(&due.len()), "{}", due.len());
        let gaps: Vec<f64> = due.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let variation = variance.sqrt() / mean;
        assert!((0.95..1.05).contains(&variation), "an exponential has the variation 1, this {variation}");
    }
}
