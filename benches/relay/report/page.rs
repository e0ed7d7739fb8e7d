//! The report as one page: a plot for each figure, with a bar for each arm and its range.

use std::fmt::Write as _;

use super::verdict::{self, Comparison};
use super::{Report, conditions, summary, value};
use crate::arms::Arm;
use crate::cases::{Better, Case, Column};
use crate::figures::Spread;

/// The looks of the other reports, and those of bars.
const STYLE: &str = concat!(include_str!("../../../src/report/page.css"), include_str!("page.css"));

pub(super) fn text(report: &Report<'_>) -> String {
    let mut body = String::from("<h1>iisplice beside nginx and HAProxy</h1>");
    let _ = write!(
        body,
        "<p class=\"dim\">{}</p><pre>{}</pre><ul class=\"dim\">",
        escaped(&report.conditions()),
        escaped(&report.host.command)
    );
    for line in report.programs() {
        let _ = write!(body, "<li>{}</li>", escaped(&line));
    }
    body.push_str("</ul>");
    comparisons("Beside the best peer", "best peer", verdict::beside_the_best_peer(report), &mut body);
    comparisons("Above the floor", "floor", verdict::above_the_floor(report), &mut body);
    agreements(report, &mut body);
    for case in report.cases {
        section(report, case, &mut body);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>iisplice: benchmark</title><style>{STYLE}</style></head>\
         <body>{body}</body></html>\n"
    )
}

fn comparisons(title: &str, other: &str, comparisons: Vec<Comparison>, out: &mut String) {
    if comparisons.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "<h2>{title}</h2><p class=\"dim\">Not told apart: the ranges overlap.</p><div class=\"scroll\"><table>\
         <tr><th>case, figure</th><th>arm</th><th>value</th><th>{other}</th><th>its value</th><th>ratio</th><th></th></tr>",
    );
    for one in comparisons {
        let _ = write!(
            out,
            "<tr><td><a href=\"#{case}\">{case}</a>: {}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}x</td>\
             <td class=\"{}\">{}</td></tr>",
            one.column.title,
            escaped(&one.arm),
            value(&one.ours, one.column),
            one.other,
            value(&one.theirs, one.column),
            one.ratio,
            if one.verdict == "behind" { "bad" } else { "" },
            one.verdict,
            case = one.case,
        );
    }
    out.push_str("</table></div>");
}

fn agreements(report: &Report<'_>, out: &mut String) {
    let agreements = verdict::agreements(report);
    if agreements.is_empty() {
        return;
    }
    out.push_str(
        "<h2>The two generators</h2><div class=\"scroll\"><table><tr><th>case, arm</th><th>figure</th>\
         <th>iisplice load</th><th>wrk</th><th>difference</th><th></th></tr>",
    );
    for one in agreements {
        let _ = write!(
            out,
            "<tr><td>{}, {}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            one.case,
            escaped(&one.arm),
            one.column.title,
            value(&one.first, one.column),
            value(&one.second, one.column),
            one.difference(),
            one.verdict
        );
    }
    out.push_str("</table></div>");
}

fn section(report: &Report<'_>, case: &Case, out: &mut String) {
    let _ = write!(out, "<section id=\"{}\"><h2>{0}: {}</h2>", case.name, escaped(&summary(case)));
    let arms = report.arms.of(case);
    for column in case.columns.iter().filter(|column| report.shows(case, column)) {
        plot(report, case, column, &arms, out);
    }
    out.push_str("<div class=\"scroll\"><table><tr><th>arm</th><th>cores %</th><th></th></tr>");
    for arm in &arms {
        let mut remarks = conditions::warnings(report, case, arm.name());
        remarks.extend(report.figures.note_on(case, arm.name()).map(str::to_owned));
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"remark\">{}</td></tr>",
            escaped(arm.name()),
            conditions::cores(report, case, arm.name()),
            escaped(&remarks.join("; "))
        );
    }
    for (arm, reason) in report.arms.missing.iter().filter(|(arm, _)| case.arms.contains(arm)) {
        let _ = write!(out, "<tr><td>{arm}</td><td>-</td><td class=\"remark\">{}</td></tr>", escaped(reason));
    }
    out.push_str("</table></div></section>");
}

/// A bar for the median of each arm, and over it a line from the lowest to the highest round.
fn plot(report: &Report<'_>, case: &Case, column: &Column, arms: &[Arm], out: &mut String) {
    let spreads: Vec<(&Arm, Spread)> = arms
        .iter()
        .filter_map(|arm| Some((arm, report.figures.spread(case, arm.name(), column.key)?)))
        .collect();
    let largest = spreads.iter().map(|(_, spread)| spread.max).fold(0.0, f64::max);
    let better = match column.better {
        Some(Better::Less) => " (less is better)",
        Some(Better::More) => " (more is better)",
        None => "",
    };
    let _ = write!(out, "<figure class=\"bars\"><figcaption>{}{better}</figcaption>", column.title);
    for (arm, spread) in &spreads {
        let part = |value: f64| if largest > 0.0 { value / largest * 100.0 } else { 0.0 };
        let colour = match (arm.is_ours(), arm.is_peer()) {
            (true, _) => "b0",
            (_, true) => "b1",
            _ => "b8",
        };
        let _ = write!(
            out,
            "<span>{}</span><div><i class=\"{colour}\" style=\"width:{:.2}%\"></i>\
             <s style=\"left:{:.2}%;width:{:.2}%\"></s></div><b>{}</b>",
            escaped(arm.name()),
            part(spread.median),
            part(spread.min),
            part(spread.max - spread.min),
            value(spread, column)
        );
    }
    out.push_str("</figure>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
