//! iisplice beside the best of its peers, and the two generators beside each other.

use super::Report;
use crate::cases::{Better, Case, Column};
use crate::figures::Spread;

/// Two generators that differ by less agree.
const AGREE_PERCENT: f64 = 10.0;

/// A figure of an arm of ours beside the best peer's.
pub(super) struct Comparison {
    pub(super) case: &'static str,
    pub(super) column: &'static Column,
    pub(super) arm: String,
    pub(super) ours: Spread,
    pub(super) peer: String,
    pub(super) theirs: Spread,
    pub(super) ratio: f64,
    pub(super) verdict: &'static str,
}

/// All comparisons, in the order of the cases.
pub(super) fn comparisons(report: &Report<'_>) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for case in report.cases {
        let arms = report.arms.of(case);
        for column in case.columns {
            let peers = arms.iter().filter(|arm| arm.is_peer());
            let Some((peer, theirs)) = report.figures.best(case, column, peers) else { continue };
            for arm in arms.iter().filter(|arm| arm.is_ours()) {
                let Some(ours) = report.figures.spread(case, arm.name(), column.key) else { continue };
                let ratio = ours.median / theirs.median;
                if !ratio.is_finite() {
                    continue;
                }
                comparisons.push(Comparison {
                    case: case.name,
                    column,
                    arm: arm.name().to_owned(),
                    ours,
                    peer: peer.name().to_owned(),
                    theirs,
                    ratio,
                    verdict: verdict(column, &ours, &theirs, report.host.rounds),
                });
            }
        }
    }
    comparisons
}

fn verdict(column: &Column, ours: &Spread, theirs: &Spread, rounds: u32) -> &'static str {
    let is_less = ours.median < theirs.median;
    let is_ahead = is_less == (column.better == Some(Better::Less));
    if rounds < 2 {
        "one round tells nothing"
    } else if ours.overlaps(theirs) {
        "not told apart"
    } else if is_ahead {
        "ahead"
    } else {
        "behind"
    }
}

/// How far wrk differs from `iisplice load` in a figure.
pub(super) struct Agreement {
    pub(super) case: &'static str,
    pub(super) arm: String,
    pub(super) column: &'static Column,
    pub(super) first: Spread,
    pub(super) second: Spread,
    pub(super) percent: f64,
    pub(super) verdict: &'static str,
}

/// The pairs of figures that both generators have taken.
pub(super) fn agreements(report: &Report<'_>) -> Vec<Agreement> {
    let mut agreements = Vec::new();
    for case in report.cases {
        for arm in report.arms.of(case) {
            agreements
                .extend(case.columns.iter().filter_map(|column| agreement(report, case, arm.name(), column)));
        }
    }
    agreements
}

fn agreement(report: &Report<'_>, case: &Case, arm: &str, second: &Column) -> Option<Agreement> {
    let key = second.key.strip_prefix("wrk_")?;
    let column = Case::named(case.name)?.columns.iter().find(|column| column.key == key)?;
    let first = report.figures.spread(case, arm, column.key)?;
    let second = report.figures.spread(case, arm, second.key)?;
    let percent = (second.median / first.median - 1.0) * 100.0;
    let verdict = if percent.abs() <= AGREE_PERCENT || (report.host.rounds > 1 && first.overlaps(&second)) {
        "agree"
    } else {
        "differ"
    };
    let case = Case::named(case.name)?.name;
    Some(Agreement { case, arm: arm.to_owned(), column, first, second, percent, verdict })
}
