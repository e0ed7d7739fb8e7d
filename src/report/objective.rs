//! Whether a run met its objective, in words.

use super::{live, units};
use crate::load::Summary;
use crate::load::objective::{Miss, Verdict};
use crate::load::recorder::Leg;

/// The verdict in one line, and a line for each rate that a search tried. Empty for a run without an objective.
pub(super) fn lines(summary: &Summary) -> Vec<String> {
    let Some(verdict) = &summary.objective else { return Vec::new() };
    let mut lines = vec![in_words(verdict)];
    for step in &summary.search {
        lines.push(format!("  tried {} /s: {}", units::rate(step.rate_per_second), live::outcome(step)));
    }
    if let Some(limit) = summary.search.iter().find(|step| !step.is_kept && step.is_generator_limit) {
        lines.push(format!(
            "  the search ended at the generator's limit ({} /s), and the server may do more; use more --threads, \
             dedicated cores, or another machine",
            units::rate(limit.rate_per_second)
        ));
    }
    lines
}

/// `objective p99<50ms kept: p99 of 12,345 requests is 31.2 ms, 38 % below`.
fn in_words(verdict: &Verdict) -> String {
    let Verdict { objective, is_kept, leg, judged, value_ns, missed_by } = verdict;
    let what = match leg {
        Some(Leg::Login) => "logins",
        _ => "requests",
    };
    let judged = units::count(*judged);
    let value = match (value_ns, verdict.over_percent()) {
        (Some(ns), Some(percent)) => {
            let side = if percent < 0.0 { "below" } else { "over" };
            let time = units::time(*ns as f64);
            format!("p{} of {judged} {what} is {time}, {:.0} % {side}", objective.percentile, percent.abs())
        }
        _ if leg.is_none() => format!("none of {judged} {what} was answered"),
        _ => format!(
            "p{} of {judged} {what} is among those that failed or were not answered",
            objective.percentile
        ),
    };
    let others = missed_by.iter().filter_map(|miss| match miss {
        Miss::Unanswered(count) => Some(format!("{} unanswered at the end", units::count(*count))),
        Miss::Errors(count) => Some(format!("{} errors", units::count(*count))),
        Miss::RateMissed(count) => Some(format!("{} due but not answered", units::count(*count))),
        Miss::NothingAnswered | Miss::Latency => None,
    });
    let parts: Vec<_> = std::iter::once(value).chain(others).collect();
    format!("objective {objective} {}: {}", if *is_kept { "kept" } else { "missed" }, parts.join("; "))
}
