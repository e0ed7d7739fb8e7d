//! A comparison as a table of 80 columns.

use std::fmt::Write as _;

use super::{Allowance, Comparison, Noise, Row, Standing, Subject, Verdict, Warning, Why};

/// Columns of a terminal.
const WIDTH: usize = 80;

/// The rows, with warnings before and after them, and the verdict if there is an allowance.
pub fn text(comparison: &Comparison, allowance: Option<Allowance>) -> String {
    let mut out = String::new();
    let is_first = |warning: &&Warning| matches!(warning, Warning::Unlike(_) | Warning::SameRun);
    for warning in comparison.warnings.iter().filter(is_first) {
        paragraph(&mut out, &format!("warning: {warning}"));
    }
    let _ = writeln!(out, "{:27}{:>12}{:>12}{:>11}", "", "base", "new", "difference");
    for (row, stands_for_those_above) in lines(comparison) {
        line(&mut out, row, stands_for_those_above, allowance);
    }
    for warning in comparison.warnings.iter().filter(|warning| !is_first(warning)) {
        paragraph(&mut out, &format!("warning: {warning}"));
    }
    if let Some(allowance) = allowance {
        paragraph(&mut out, &verdict(comparison, allowance));
    }
    out
}

/// The verdict of a comparison under an allowance, in one line.
pub(super) fn verdict(comparison: &Comparison, allowance: Allowance) -> String {
    let limit = allowance.worse_percent;
    match comparison.judge(allowance) {
        Verdict::Kept { judged } => {
            format!("kept: none of {judged} figures is worse by more than {limit} %, beyond noise")
        }
        Verdict::Missed(rows) => {
            let rows: Vec<_> = rows.iter().map(|row| in_words(row)).collect();
            format!("missed: worse by more than {limit} %, beyond noise: {}", rows.join(", "))
        }
        Verdict::NotJudged(obstacle) => format!("not judged: {obstacle}"),
    }
}

/// `request p99 +12.3 %`.
fn in_words(row: &Row) -> String {
    let name = match row.subject {
        Subject::Percentile(leg, percentile) => format!("{} p{percentile}", leg.title()),
        Subject::Leg(_) => format!("{} (missing)", row.subject.name()),
        _ => row.subject.name().trim_start().to_owned(),
    };
    match (row.standing, row.percent(), row.base, row.new) {
        (Standing::NewFailures | Standing::Leak, _, base, new) => {
            let value = |value: Option<f64>| row.subject.value(value.unwrap_or(0.0));
            format!("{name} {} -> {}", value(base), value(new))
        }
        (_, Some(percent), ..) => format!("{name} {}", difference(percent)),
        _ => name,
    }
}

/// Whether neither side has a figure.
fn is_empty(row: &Row) -> bool {
    row.standing == Standing::NotJudged(Why::FewSamples) && row.base.is_none() && row.new.is_none()
}

fn leg(row: &Row) -> Option<&'static str> {
    match row.subject {
        Subject::Percentile(leg, _) => Some(leg.title()),
        _ => None,
    }
}

/// The rows to show, and whether one stands for the percentiles above it, which have even fewer samples.
pub(super) fn lines(comparison: &Comparison) -> impl Iterator<Item = (&Row, bool)> {
    let mut rows = comparison.rows.iter().peekable();
    std::iter::from_fn(move || {
        let row = rows.next()?;
        let is_empty = is_empty(row);
        while is_empty && rows.next_if(|next| self::is_empty(next) && leg(next) == leg(row)).is_some() {}
        Some((row, is_empty))
    })
}

fn line(out: &mut String, row: &Row, stands_for_those_above: bool, allowance: Option<Allowance>) {
    let line = format!(
        "{:20}{:>7}{:>12}{:>12}{:>11}  {}",
        row.subject.name(),
        percentile(row, stands_for_those_above),
        value(row, row.base),
        value(row, row.new),
        row.percent().map(difference).unwrap_or_default(),
        remark(row, allowance)
    );
    let _ = writeln!(out, "{}", line.trim_end());
}

/// `p99`, or `p99+` for it and those above it.
pub(super) fn percentile(row: &Row, stands_for_those_above: bool) -> String {
    match row.subject {
        Subject::Percentile(_, percentile) if stands_for_those_above => format!("p{percentile}+"),
        Subject::Percentile(_, percentile) => format!("p{percentile}"),
        Subject::Leg(_) if row.base.or(row.new).is_some() => "p50".to_owned(),
        _ => String::new(),
    }
}

/// A side's value in a row.
pub(super) fn value(row: &Row, value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| row.subject.value(value))
}

/// With its sign and unit; without decimals where they say nothing.
pub(super) fn difference(percent: f64) -> String {
    match percent {
        p if p.abs() < 999.95 => format!("{p:+.1} %"),
        p if p < 99_999.5 => format!("{p:+.0} %"),
        _ => "> +99999 %".to_owned(),
    }
}

/// In capitals what counts against the allowance, otherwise how to read the row.
pub(super) fn remark(row: &Row, allowance: Option<Allowance>) -> &'static str {
    let is_over = allowance.is_some_and(|allowance| row.is_over(allowance.worse_percent));
    match row.standing {
        Standing::Judged { .. } if is_over && row.subject.is_failure() => "MORE",
        Standing::Judged { .. } if is_over => match row.subject {
            Subject::Requests | Subject::Logins => "FEWER",
            _ => "SLOWER",
        },
        Standing::NewFailures if is_over => "NEW",
        Standing::NewFailures => "none in base",
        Standing::Missing if is_over => "MISSING",
        Standing::Missing => "missing",
        Standing::Leak => "LEAK",
        Standing::Judged { .. } if row.subject.is_failure() && row.base == row.new => "",
        Standing::Judged { noise: Noise::Within, .. } => "within noise",
        Standing::Judged { noise: Noise::Beyond, .. } => "beyond noise",
        Standing::Judged { noise: Noise::Unknown, .. } => "",
        Standing::NotJudged(Why::BeforeClock) => "before the clock",
        Standing::NotJudged(Why::FewSamples) => "too few samples",
        Standing::NotJudged(Why::OnlyInNew) => "only in new",
        Standing::NotJudged(Why::NotInEveryRun) => "not in every run",
    }
}

/// Breaks a line at blanks so that it fits; lines after the first are indented.
fn paragraph(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            out.push_str("\n ");
            column = 1;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
}
