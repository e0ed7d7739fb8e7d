//! iisplice beside the best of its peers and above the floor, and the two generators beside each other.

use super::Report;
use crate::arms::Arm;
use crate::cases::{Better, Case, Column};
use crate::figures::Spread;

/// Two generators that differ by less agree.
const AGREE_PERCENT: f64 = 10.0;

/// A figure of an arm of ours beside another arm's.
pub(super) struct Comparison {
    pub(super) case: &'static str,
    pub(super) column: &'static Column,
    pub(super) arm: String,
    pub(super) ours: Spread,
    pub(super) other: String,
    pub(super) theirs: Spread,
    pub(super) ratio: f64,
    pub(super) verdict: &'static str,
}

/// What is compared with what.
struct Question {
    /// The arms of which the best one is taken.
    takes: fn(&Arm) -> bool,
    shows: fn(&Column) -> bool,
    /// The verdicts of a better value of ours, and of a worse one.
    better: &'static str,
    worse: &'static str,
}

/// All figures beside the best peer's, in the order of the cases.
pub(super) fn beside_the_best_peer(report: &Report<'_>) -> Vec<Comparison> {
    comparisons(report, &Question { takes: Arm::is_peer, shows: |_| true, better: "ahead", worse: "behind" })
}

/// The figures that have a floor, beside it.
pub(super) fn above_the_floor(report: &Report<'_>) -> Vec<Comparison> {
    comparisons(
        report,
        &Question { takes: Arm::is_floor, shows: Column::has_floor, better: "below", worse: "above" },
    )
}

fn comparisons(report: &Report<'_>, question: &Question) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for case in report.cases {
        let arms = report.arms.of(case);
        for column in case.columns.iter().filter(|column| (question.shows)(column)) {
            let others = arms.iter().filter(|arm| (question.takes)(arm));
            let Some((other, theirs)) = report.figures.best(case, column, others) else { continue };
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
                    other: other.name().to_owned(),
                    theirs,
                    ratio,
                    verdict: verdict(question, column, &ours, &theirs, report.host.rounds),
                });
            }
        }
    }
    comparisons
}

fn verdict(
    question: &Question,
    column: &Column,
    ours: &Spread,
    theirs: &Spread,
    rounds: u32,
) -> &'static str {
    let is_less = ours.median < theirs.median;
    let is_better = is_less == (column.better == Some(Better::Less));
    if rounds < 2 {
        "one round tells nothing"
    } else if ours.overlaps(theirs) {
        "not told apart"
    } else if is_better {
        question.better
    } else {
        question.worse
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

impl Agreement {
    /// The difference in whole percent, with its sign; zero has a plus.
    pub(super) fn difference(&self) -> String {
        format!("{:+} %", self.percent.round() as i64)
    }
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
