//! The search for the highest rate that keeps an objective.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::failure::LoadError;
use super::objective::Objective;
use super::plan::{Arrivals, Pace, Plan, Rate};
use super::summary::{Part, Summary};
use super::warning::Warning;

/// The search ends when the rates that keep and miss the objective are this close.
const CLOSE_ENOUGH: f64 = 1.05;
/// The highest rate that is tried.
const RATE_MAX: f64 = 10e6;

/// One rate that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Requests due per second.
    pub rate_per_second: f64,
    /// Whether the objective was kept.
    pub is_kept: bool,
    /// Whether the generator was at its own limit: a miss then says nothing about the server.
    pub is_generator_limit: bool,
}

/// What the search found.
#[derive(Debug)]
pub struct Found {
    /// The run at the highest rate that kept the objective, or at the first rate, which missed it. It lists
    /// all rates tried. `None`: the search was stopped before it had tried any rate.
    pub run: Option<Summary>,
    /// Whether a rate kept the objective.
    pub is_kept: bool,
}

/// Runs the plan at doubled rates until the objective is missed, then halves the gap between the highest rate that kept
/// it and the lowest that did not, until they are within a twentieth. `tried` is called after each rate.
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
    let mut steps = Vec::new();
    let (mut best, mut first) = (None, None);
    let mut search = Search { kept: None, missed: None, first_per_second };
    while let Some(rate_per_second) = search.next_rate() {
        let rate = Rate { first_per_second: rate_per_second, last_per_second: rate_per_second };
        let plan = Plan { pace: Pace::Open { rate, arrivals }, ..plan.clone() };
        let mut summary = super::run(&plan, stop, &mut watch)?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let verdict = objective.judge(&summary);
        let attempt =
            Step { rate_per_second, is_kept: verdict.is_kept, is_generator_limit: at_own_limit(&summary) };
        summary.objective = Some(verdict);
        tried(&attempt);
        search.learn(attempt);
        steps.push(attempt);
        if attempt.is_kept {
            best = Some(summary);
        } else if first.is_none() {
            first = Some(summary);
        }
    }
    let is_kept = best.is_some();
    let run = best.or(first).map(|run| Summary { search: steps, ..run });
    Ok(Found { run, is_kept })
}

/// Whether the generator was at its limit.
fn at_own_limit(summary: &Summary) -> bool {
    let is_own =
        |warning: &Warning| matches!(warning, Warning::GeneratorBusy { .. } | Warning::SendLag { .. });
    summary.warnings().iter().any(is_own)
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

    fn step(rate_per_second: f64, is_kept: bool) -> Step {
        Step { rate_per_second, is_kept, is_generator_limit: false }
    }

    #[test]
    fn the_search_closes_in_on_the_limit() {
        let mut search = Search { kept: None, missed: None, first_per_second: 100.0 };
        let mut tries = 0;
        while let Some(rate_per_second) = search.next_rate() {
            search.learn(step(rate_per_second, rate_per_second <= 3_210.0));
            tries += 1;
        }
        let kept = search.kept.unwrap();
        assert!((3_210.0 / CLOSE_ENOUGH..=3_210.0).contains(&kept), "{kept}");
        assert!(tries <= 12, "{tries}");
    }

    #[test]
    fn a_server_that_never_keeps_it_ends_the_search_at_once() {
        let mut search = Search { kept: None, missed: None, first_per_second: 100.0 };
        search.learn(step(100.0, false));
        assert_eq!(search.next_rate(), None);
    }
}
