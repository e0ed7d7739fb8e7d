//! A latency that a run has to keep, and the search for the highest rate that keeps it.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::failure::LoadError;
use super::plan::{Arrivals, Pace, Plan, Rate};
use super::recorder::Leg;
use super::summary::{Part, Summary};

/// The search ends when the rates that keep and miss the objective are this close.
const CLOSE_ENOUGH: f64 = 1.05;
/// An answered part of what was due below this means that the rate was not kept.
const RATE_KEPT_MIN: f64 = 0.99;
/// More than this part of failures means that the rate was not kept.
const ERRORS_MAX: f64 = 0.01;
/// The highest rate that is tried.
const RATE_MAX: f64 = 10e6;

/// "This percentile stays below that time."
#[derive(Debug, Clone, Copy, PartialEq)]
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

impl std::fmt::Display for Objective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p{}<{}", self.percentile, humantime::format_duration(self.below))
    }
}

impl Objective {
    /// Whether the run kept it: latency from the intended start if there is one, otherwise service time (of the login,
    /// where that is all there is). Failures and unsent requests do not keep it.
    pub fn is_kept_by(&self, summary: &Summary) -> bool {
        let legs = [Leg::FromIntendedStart, Leg::Request, Leg::Login];
        let Some(samples) = legs.iter().find_map(|leg| summary.legs.get(leg)) else { return false };
        let answered = samples.0.len() as f64;
        let errors = summary.counts.errors_total() as f64;
        let is_rate_kept = answered >= summary.counts.arrivals as f64 * RATE_KEPT_MIN;
        let value = Duration::from_nanos(samples.0.value_at_percentile(self.percentile));
        answered > 0.0 && value < self.below && is_rate_kept && errors <= answered * ERRORS_MAX
    }
}

/// One rate that was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Due by second.
    pub rate_per_second: f64,
    /// Whether the objective was kept.
    pub is_kept: bool,
}

/// What the search found.
#[derive(Debug)]
pub struct Found {
    /// All rates tried, in order.
    pub steps: Vec<Step>,
    /// The run at the highest rate that kept the objective; `None`: not even the first did.
    pub best: Option<Summary>,
}

/// Runs the plan at doubled rates until the objective is missed, then halves the gap between the highest rate that kept
/// it and the lowest that did not, until they are within a twentieth. `tried` hears of each rate.
///
/// # Errors
/// As [`run`](super::run).
pub fn find_rate(
    plan: &Plan,
    first_per_second: f64,
    objective: Objective,
    stop: &Arc<AtomicBool>,
    mut watch: impl FnMut(&Part),
    mut tried: impl FnMut(&Step),
) -> Result<Found, LoadError> {
    let arrivals = match plan.pace {
        Pace::Open { arrivals, .. } => arrivals,
        Pace::Closed => Arrivals::Constant,
    };
    let mut found = Found { steps: Vec::new(), best: None };
    let mut search = Search { kept: None, missed: None, first_per_second };
    while let Some(rate_per_second) = search.next_rate() {
        let rate = Rate { first_per_second: rate_per_second, last_per_second: rate_per_second };
        let plan = Plan { pace: Pace::Open { rate, arrivals }, ..plan.clone() };
        let summary = super::run(&plan, stop, &mut watch)?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let tried_rate = Step { rate_per_second, is_kept: objective.is_kept_by(&summary) };
        tried(&tried_rate);
        search.learn(tried_rate);
        if tried_rate.is_kept {
            found.best = Some(summary);
        }
        found.steps.push(tried_rate);
    }
    Ok(found)
}

/// Where the search stands.
#[derive(Debug)]
struct Search {
    kept: Option<f64>,
    missed: Option<f64>,
    first_per_second: f64,
}

impl Search {
    /// The next rate to try; `None`: it is found.
    fn next_rate(&self) -> Option<f64> {
        match (self.kept, self.missed) {
            (None, None) => Some(self.first_per_second),
            (Some(kept), None) => Some(kept * 2.0).filter(|rate| *rate <= RATE_MAX),
            // Not even the first rate: whether half of it would do is another question.
            (None, Some(_)) => None,
            (Some(kept), Some(missed)) => (missed / kept > CLOSE_ENOUGH).then(|| f64::midpoint(kept, missed)),
        }
    }

    fn learn(&mut self, step: Step) {
        let side = if step.is_kept { &mut self.kept } else { &mut self.missed };
        *side = Some(step.rate_per_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn latency_errors_and_a_missed_rate_break_an_objective() {
        let objective: Objective = "p90<1ms".parse().unwrap();
        assert!(objective.is_kept_by(&summary(&[500; 100])));
        assert!(!objective.is_kept_by(&summary(&[1500; 100])));
        assert!(!objective.is_kept_by(&summary(&[])));
        let mut unsent = summary(&[500; 100]);
        unsent.counts.arrivals = 200;
        assert!(!objective.is_kept_by(&unsent));
        let mut failed = summary(&[500; 100]);
        failed.counts.errors.insert(crate::load::recorder::ErrorClass::Timeout, 5);
        assert!(!objective.is_kept_by(&failed));
    }

    #[test]
    fn the_search_closes_in_on_the_limit() {
        let mut search = Search { kept: None, missed: None, first_per_second: 100.0 };
        let mut tries = 0;
        while let Some(rate_per_second) = search.next_rate() {
            search.learn(Step { rate_per_second, is_kept: rate_per_second <= 3_210.0 });
            tries += 1;
        }
        let kept = search.kept.unwrap();
        assert!((3_210.0 / CLOSE_ENOUGH..=3_210.0).contains(&kept), "{kept}");
        assert!(tries <= 12, "{tries}");
    }

    #[test]
    fn a_server_that_never_keeps_it_ends_the_search_at_once() {
        let mut search = Search { kept: None, missed: None, first_per_second: 100.0 };
        search.learn(Step { rate_per_second: 100.0, is_kept: false });
        assert_eq!(search.next_rate(), None);
    }
}
