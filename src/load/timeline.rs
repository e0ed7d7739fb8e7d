//! A run over time, in a bounded number of stretches: what plots show, and programs read without unpacking histograms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::recorder::{self, Counts, Leg};
use super::summary::Part;

/// Most stretches. A run of that many seconds has one a second; a longer one has stretches of several seconds.
pub const STRETCHES_MAX: usize = 240;

/// A part of the run: what was counted in it, and how long its legs took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Since the end of the warm-up.
    pub start_seconds: f64,
    /// How long it was.
    pub length_seconds: f64,
    /// Its counters, with the errors.
    pub counts: Counts,
    /// The legs that happened in it.
    pub legs: BTreeMap<Leg, Figures>,
}

/// Latencies of a leg within a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Samples.
    pub count: u64,
    /// Half of them were faster.
    pub p50_ns: u64,
    /// 99 of 100 were faster; of fewer than 100 samples the slowest.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
}

impl Stretch {
    /// Its middle.
    pub fn middle_seconds(&self) -> f64 {
        self.start_seconds + self.length_seconds / 2.0
    }
}

/// The stretches of these seconds.
pub fn of(seconds: &[Part]) -> Vec<Stretch> {
    let each = seconds.len().div_ceil(STRETCHES_MAX).max(1);
    seconds.chunks(each).map(stretch).collect()
}

fn stretch(parts: &[Part]) -> Stretch {
    let (first, last) = (&parts[0], &parts[parts.len() - 1]);
    let mut counts = Counts::default();
    for part in parts {
        counts.add(&part.counts);
    }
    Stretch {
        start_seconds: first.start_seconds,
        length_seconds: last.start_seconds + last.length_seconds - first.start_seconds,
        counts,
        legs: Leg::ALL.into_iter().filter_map(|leg| Some((leg, figures(parts, leg)?))).collect(),
    }
}

fn figures(parts: &[Part], leg: Leg) -> Option<Figures> {
    let mut packed = parts.iter().filter_map(|part| part.legs.get(&leg));
    let mut samples = packed.next()?.unpack();
    for more in packed {
        recorder::add(&mut samples, &more.unpack());
    }
    let at = |quantile| samples.value_at_quantile(quantile);
    Some(Figures { count: samples.len(), p50_ns: at(0.5), p99_ns: at(0.99), max_ns: samples.max() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::recorder::{Cut, ErrorClass};

    fn part(nth: u64, micros: &[u64]) -> Part {
        let mut samples = recorder::histogram();
        for micros in micros {
            samples.record(micros * 1000).expect("in range");
        }
        let errors = [(ErrorClass::Reset, 1)].into();
        let counts = Counts { requests: micros.len() as u64, errors, ..Counts::default() };
        let cut = Cut { counts, legs: [(Leg::Request, samples)].into(), ..Cut::default() };
        Part::new(Duration::from_secs(nth), Duration::from_secs(1), &cut)
    }

    #[test]
    fn a_short_run_has_a_stretch_a_second() {
        let stretches = of(&[part(0, &[10, 20]), part(1, &[30_000])]);
        assert_eq!(stretches.len(), 2);
        let Figures { count, p50_ns, p99_ns, max_ns } = stretches[1].legs[&Leg::Request];
        assert_eq!(count, 1);
        for value in [p50_ns, p99_ns, max_ns] {
            assert!(value.abs_diff(30_000_000) < 30_000, "{value}");
        }
        assert_eq!((stretches[1].counts.errors_total(), stretches[0].counts.requests), (1, 2));
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn a_long_run_has_no_more_stretches_than_a_plot_needs() {
        let seconds: Vec<_> = (0..1000).map(|nth| part(nth, &[10])).collect();
        let stretches = of(&seconds);
        assert_eq!(stretches.len(), 200, "of five seconds each");
        let counted: u64 = stretches.iter().map(|stretch| stretch.counts.requests).sum();
        let samples: u64 = stretches.iter().map(|stretch| stretch.legs[&Leg::Request].count).sum();
        assert_eq!((counted, samples), (1000, 1000));
        assert!((stretches[1].start_seconds - 5.0).abs() < 1e-9);
        assert!((stretches[1].length_seconds - 5.0).abs() < 1e-9);
    }
}
