//! A latency objective, and the verdict of a run on it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::recorder::Leg;
use super::samples::Samples;
use super::summary::Summary;

/// The rate was missed if less than this part of the due requests was answered.
const RATE_KEPT_MIN: f64 = 0.99;
/// The objective is missed if more than this part failed, whatever the percentile.
const ERRORS_MAX: f64 = 0.01;

/// "This percentile stays below that time."
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Objective {
    /// Above 0, below 100.
    pub percentile: f64,
    /// Not 0.
    pub below: Duration,
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (percentile, below) = text.strip_prefix('p')?.split_once('<')?;
            let percentile = percentile.trim().parse().ok().filter(|p| *p > 0.0 && *p < 100.0)?;
            let below = humantime::parse_duration(below.trim()).ok().filter(|below| !below.is_zero())?;
            Some(Self { percentile, below })
        };
        parse().ok_or_else(|| "give a percentile and a time, like 'p99<50ms'".to_owned())
    }
}

impl TryFrom<String> for Objective {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Objective> for String {
    fn from(objective: Objective) -> Self {
        objective.to_string()
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}<{}", self.percentile, humantime::format_duration(self.below))
    }
}

/// Whether a run kept its objective, and why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The objective.
    pub objective: Objective,
    /// Whether the run kept it: true if `missed_by` is empty.
    pub is_kept: bool,
    /// The leg it was judged by: latency from the intended start if there is one, otherwise service time (of logins if
    /// there are no requests); `None`: nothing was answered.
    pub leg: Option<Leg>,
    /// Requests (or logins) judged: answered, failed and unanswered ones.
    pub judged: u64,
    /// The percentile, nanoseconds, where failed and unanswered ones count as slower than all others; `None`: it is
    /// among those.
    pub value_ns: Option<u64>,
    /// Why it was missed; empty when it was kept.
    pub missed_by: Vec<Miss>,
}

/// A reason for a missed objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Miss {
    /// Nothing was answered.
    NothingAnswered,
    /// The percentile is at or above the objective's time.
    Latency,
    /// The number of requests that waited longer than the objective's time and had no answer at the end.
    Unanswered(u64),
    /// The number of failures: more than one in a hundred.
    Errors(u64),
    /// The number of due requests that were not sent or not answered: more than one in a hundred.
    RateMissed(u64),
}

impl Objective {
    /// Judges a run.
    pub fn judge(self, summary: &Summary) -> Verdict {
        let legs = [Leg::FromIntendedStart, Leg::Request, Leg::Login];
        let found = legs.iter().find_map(|leg| Some((*leg, summary.legs.get(leg)?)));
        let answered = found.map_or(0, |(_, samples)| samples.0.len());
        let errors = summary.counts.errors_total();
        // One that has not waited for the objective's time yet is no miss.
        let has_waited = summary.unanswered.oldest_seconds >= self.below.as_secs_f64();
        let unanswered = if has_waited { summary.unanswered.count } else { 0 };
        let judged = answered + errors + unanswered;
        let value_ns = found.and_then(|(_, samples)| self.percentile_among(samples, judged));
        let (due, got) = (summary.counts.arrivals, answered + errors);
        let misses = [
            (answered == 0).then_some(Miss::NothingAnswered),
            (answered > 0 && value_ns.is_none_or(|ns| Duration::from_nanos(ns) >= self.below))
                .then_some(Miss::Latency),
            (unanswered as f64 > judged as f64 * ERRORS_MAX).then_some(Miss::Unanswered(unanswered)),
            (errors as f64 > judged as f64 * ERRORS_MAX).then_some(Miss::Errors(errors)),
            ((got as f64) < due as f64 * RATE_KEPT_MIN).then_some(Miss::RateMissed(due - got.min(due))),
        ];
        let missed_by: Vec<_> = misses.into_iter().flatten().collect();
        let is_kept = missed_by.is_empty();
        Verdict { objective: self, is_kept, leg: found.map(|(leg, _)| leg), judged, value_ns, missed_by }
    }

    /// The percentile of all judged requests. Those without a sample count as slower than every sample.
    fn percentile_among(self, samples: &Samples, judged: u64) -> Option<u64> {
        let below = (judged as f64 * self.percentile / 100.0).ceil();
        let quantile = below / samples.0.len() as f64;
        (quantile <= 1.0).then(|| samples.0.value_at_quantile(quantile))
    }
}

impl Verdict {
    /// By how much the percentile is over the objective's time; negative: how much is left. In percent of it.
    pub fn over_percent(&self) -> Option<f64> {
        Some((self.value_ns? as f64 / self.objective.below.as_nanos() as f64 - 1.0) * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::ErrorClass;
    use crate::load::summary::Left;
    use crate::load::summary::tests::summary;

    #[test]
    fn objectives_are_read_and_written() {
        let objective: Objective = "p99.9<1s 500ms".parse().unwrap();
        assert_eq!(objective, Objective { percentile: 99.9, below: Duration::from_millis(1500) });
        assert_eq!(objective.to_string(), "p99.9<1s 500ms");
        for wrong in ["", "p99", "99<5ms", "p100<5ms", "p0<5ms", "p99<0s", "p99<5", "p99>5ms"] {
            assert_eq!(
                wrong.parse::<Objective>(),
                Err("give a percentile and a time, like 'p99<50ms'".to_owned())
            );
        }
    }

    fn judged(summary: &Summary) -> Verdict {
        "p90<1ms".parse::<Objective>().unwrap().judge(summary)
    }

    #[test]
    fn latency_errors_and_a_missed_rate_break_an_objective() {
        let kept = judged(&summary(&[500; 100]));
        assert!(kept.is_kept && kept.missed_by.is_empty() && kept.judged == 100, "{kept:?}");
        assert!((-51.0..-49.0).contains(&kept.over_percent().unwrap()), "{kept:?}");
        assert_eq!(judged(&summary(&[1500; 100])).missed_by, [Miss::Latency]);
        assert_eq!(judged(&summary(&[])).missed_by, [Miss::NothingAnswered]);
        let mut unsent = summary(&[500; 100]);
        unsent.counts.arrivals = 200;
        assert_eq!(judged(&unsent).missed_by, [Miss::RateMissed(100)]);
        let mut failed = summary(&[500; 100]);
        failed.counts.errors.insert(ErrorClass::Timeout, 5);
        assert_eq!(judged(&failed).missed_by, [Miss::Errors(5)]);
    }

    #[test]
    fn a_server_that_hangs_misses_it_by_what_it_leaves_unanswered() {
        let mut hung = summary(&[500; 100]);
        hung.unanswered = Left { count: 50, oldest_seconds: 1.0 };
        let verdict = judged(&hung);
        assert_eq!(verdict.missed_by, [Miss::Latency, Miss::Unanswered(50)]);
        assert_eq!((verdict.judged, verdict.value_ns), (150, None));
        hung.unanswered.oldest_seconds = 0.000_1;
        assert!(judged(&hung).is_kept, "they were sent just before the end");
    }

    #[test]
    fn failures_are_slower_than_every_sample() {
        let mut some = summary(&[[500; 895], [900; 895]].concat());
        some.counts.errors.insert(ErrorClass::Timeout, 10);
        assert_eq!(judged(&some).missed_by, []);
        let objective: Objective = "p99.9<1ms".parse().unwrap();
        assert_eq!(objective.judge(&some).missed_by, [Miss::Latency]);
    }
}
