//! The report as Markdown tables.

use std::fmt::Write as _;

use super::verdict::{self, Comparison};
use super::{Report, conditions, summary, value};
use crate::cases::Case;

pub(super) fn text(report: &Report<'_>) -> String {
    // Writing to a String cannot fail.
    let mut text = format!("# Benchmark\n\n`{}`\n\n{}\n\n", report.host.command, report.conditions());
    for line in report.programs() {
        let _ = writeln!(text, "- {line}");
    }
    text.push_str(LEGEND);
    comparisons("Beside the best peer", "best peer", verdict::beside_the_best_peer(report), &mut text);
    comparisons("Above the floor", "floor", verdict::above_the_floor(report), &mut text);
    agreements(report, &mut text);
    for case in report.cases {
        let _ = write!(text, "\n## {}: {}\n\n{}", case.name, summary(case), table(report, case));
    }
    text
}

const LEGEND: &str = "\nCores: percent busy, the proxy's core (the proxy's own part), then those of clients and servers. \
    `ends' limit`: a core of theirs was over 95 % busy, so rates are lower bounds and times include their queue; compare \
    CPU. `disturbed`: other programs or machines took part of a core.\n";

fn comparisons(title: &str, other: &str, comparisons: Vec<Comparison>, text: &mut String) {
    if comparisons.is_empty() {
        return;
    }
    let _ = write!(text, "\n## {title}\n\n`not told apart`: the ranges overlap.\n\n");
    let _ = writeln!(text, "| case | figure | arm | value | {other} | its value | ratio | |");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for one in comparisons {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.2}x | {} |",
            one.case,
            one.column.title,
            one.arm,
            value(&one.ours, one.column),
            one.other,
            value(&one.theirs, one.column),
            one.ratio,
            one.verdict
        );
    }
}

fn agreements(report: &Report<'_>, text: &mut String) {
    let agreements = verdict::agreements(report);
    if agreements.is_empty() {
        return;
    }
    text.push_str(
        "\n## The two generators\n\nThey agree within 10 %, or where their ranges overlap. They share cores with the \
         server, and each costs something else, so rates at the ends' limit are theirs.\n\n",
    );
    text.push_str("| case | arm | figure | iisplice load | wrk | difference | |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for one in agreements {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            one.case,
            one.arm,
            one.column.title,
            value(&one.first, one.column),
            value(&one.second, one.column),
            one.difference(),
            one.verdict
        );
    }
}

fn table(report: &Report<'_>, case: &Case) -> String {
    let columns: Vec<_> = case.columns.iter().filter(|column| report.shows(case, column)).collect();
    let mut text = String::from("| arm |");
    for column in &columns {
        let _ = write!(text, " {} |", column.title);
    }
    let _ = writeln!(text, " cores % | |\n| --- |{} --- | --- |", " --- |".repeat(columns.len()));
    for arm in report.arms.of(case) {
        let _ = write!(text, "| {} |", arm.name());
        for column in &columns {
            let spread = report.figures.spread(case, arm.name(), column.key);
            let cell = spread.map_or_else(|| "-".to_owned(), |spread| value(&spread, column));
            let _ = write!(text, " {cell} |");
        }
        let mut remarks = conditions::warnings(report, case, arm.name());
        remarks.extend(report.figures.note_on(case, arm.name()).map(|note| note.replace('|', "/")));
        let _ = writeln!(text, " {} | {} |", conditions::cores(report, case, arm.name()), remarks.join("; "));
    }
    for (arm, reason) in &report.arms.missing {
        if case.arms.contains(arm) {
            let _ = writeln!(text, "| {arm} |{} - | not measured: {reason} |", " - |".repeat(columns.len()));
        }
    }
    text
}
