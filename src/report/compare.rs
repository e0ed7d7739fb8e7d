//! Two versions of a run beside each other: each leg's percentiles, and what of the difference is noise.
//!
//! Noise is told by repeats only: with several runs on a side, a difference is noise if the two sides' ranges overlap.

use std::fmt::Write as _;

use super::units;
use crate::load::Summary;
use crate::load::recorder::Leg;
use crate::load::samples::{PERCENTILES, Samples};

/// A difference of one figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// What it is a figure of.
    pub leg: Leg,
    /// `p50` to `p99.99`.
    pub percentile: f64,
    /// Median of the base runs, nanoseconds.
    pub base_ns: u64,
    /// Median of the new runs, nanoseconds.
    pub new_ns: u64,
    /// What the repeats say.
    pub noise: Noise,
}

/// What repeats say of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// One run on each side: nobody knows.
    Unknown,
    /// The sides' ranges overlap.
    Within,
    /// They do not.
    Beyond,
}

impl Difference {
    /// By how much the new one is slower; negative: faster.
    pub fn percent(&self) -> f64 {
        (self.new_ns as f64 / self.base_ns.max(1) as f64 - 1.0) * 100.0
    }

    /// Whether it is slower by more than that, and not by noise.
    pub fn is_over(&self, percent: f64) -> bool {
        self.noise != Noise::Within && self.percent() > percent
    }
}

/// The differences of all figures that every run has.
pub fn compare(base: &[Summary], new: &[Summary]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for leg in Leg::ALL {
        for percentile in PERCENTILES {
            let (Some(base), Some(new)) = (values(base, leg, percentile), values(new, leg, percentile))
            else {
                continue;
            };
            let noise = match (base.as_slice(), new.as_slice()) {
                ([_], [_]) => Noise::Unknown,
                (base, new) if base.first() <= new.last() && new.first() <= base.last() => Noise::Within,
                _ => Noise::Beyond,
            };
            let (base_ns, new_ns) = (median(&base), median(&new));
            differences.push(Difference { leg, percentile, base_ns, new_ns, noise });
        }
    }
    differences
}

/// A figure of each run, in order; `None` if one of them does not have it.
fn values(runs: &[Summary], leg: Leg, percentile: f64) -> Option<Vec<u64>> {
    let value = |run: &Summary| {
        let before_the_clock = || Some(Samples(run.prepared.legs.get(&leg)?.unpack()));
        run.legs.get(&leg).cloned().or_else(before_the_clock)?.percentile(percentile)
    };
    let mut values = runs.iter().map(value).collect::<Option<Vec<_>>>()?;
    values.sort_unstable();
    Some(values)
}

fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// The differences as a table, with the request rates above it.
pub fn text(base: &[Summary], new: &[Summary], differences: &[Difference], fail_over: Option<f64>) -> String {
    let mut out = format!("{:24}{:>8}{:>14}{:>14}{:>12}\n", "", "", "base", "new", "difference");
    for (name, per_second) in [("requests /s", requests as fn(&Summary) -> f64), ("logins /s", logins)] {
        let (base, new) = (median_rate(base, per_second), median_rate(new, per_second));
        if base > 0.0 && new > 0.0 {
            let percent = (new / base - 1.0) * 100.0;
            let _ =
                writeln!(out, "{name:32}{:>14}{:>14}{percent:>+10.1} %", units::rate(base), units::rate(new));
        }
    }
    for difference in differences {
        let noise = match difference.noise {
            Noise::Unknown => "",
            Noise::Within => "  within noise",
            Noise::Beyond => "  beyond noise",
        };
        let mark = if fail_over.is_some_and(|percent| difference.is_over(percent)) { "  SLOWER" } else { "" };
        let _ = writeln!(
            out,
            "{:24}{:>8}{:>14}{:>14}{:>+10.1} %{noise}{mark}",
            difference.leg.title(),
            format!("p{}", difference.percentile),
            units::time(difference.base_ns as f64),
            units::time(difference.new_ns as f64),
            difference.percent()
        );
    }
    if base.len() == 1 && new.len() == 1 {
        out.push_str("one run on each side: how much of this is noise only repeats can tell\n");
    }
    out
}

fn requests(run: &Summary) -> f64 {
    run.in_time.requests as f64 / run.measured_seconds.max(1e-9)
}

fn logins(run: &Summary) -> f64 {
    run.in_time.logins as f64 / run.measured_seconds.max(1e-9)
}

fn median_rate(runs: &[Summary], per_second: fn(&Summary) -> f64) -> f64 {
    let mut rates: Vec<_> = runs.iter().map(per_second).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::summary::tests::summary;

    fn runs(micros: &[u64]) -> Vec<Summary> {
        micros.iter().map(|&micros| summary(&[micros; 20])).collect()
    }

    fn p50(base: &[u64], new: &[u64]) -> Difference {
        compare(&runs(base), &runs(new)).into_iter().next().unwrap()
    }

    #[test]
    fn single_runs_tell_a_difference_but_not_its_noise() {
        let difference = p50(&[100], &[150]);
        assert_eq!(difference.noise, Noise::Unknown);
        assert!((49.0..51.0).contains(&difference.percent()), "{difference:?}");
        assert!(difference.is_over(40.0) && !difference.is_over(60.0));
    }

    #[test]
    fn overlapping_repeats_are_noise_and_do_not_fail() {
        let overlapping = p50(&[100, 200, 110], &[150, 190, 180]);
        assert_eq!(overlapping.noise, Noise::Within);
        assert!(overlapping.percent() > 50.0 && !overlapping.is_over(5.0));
        assert_eq!(p50(&[100, 110], &[150, 160]).noise, Noise::Beyond);
    }

    #[test]
    fn figures_that_a_run_lacks_are_left_out() {
        // Twenty samples are too few for p99.
        let percentiles: Vec<_> = compare(&runs(&[1]), &runs(&[2])).iter().map(|d| d.percentile).collect();
        assert_eq!(percentiles, [50.0]);
    }
}
