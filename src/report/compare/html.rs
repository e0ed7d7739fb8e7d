//! A comparison as one self-contained page: warnings, the table of both sides, and their latencies
//! by percentile and over time, in one picture a leg each.

use std::fmt::Write as _;

use super::text::{difference, lines, percentile, remark, value, verdict};
use super::{Allowance, Comparison, Row, Standing, Verdict};
use crate::load::Summary;
use crate::load::recorder::{self, Leg};
use crate::load::samples::Samples;
use crate::report::chart::Series;
use crate::report::html::{document, escape, points, spectrum_chart};
use crate::report::over_time::{self, Drawn};
use crate::report::{objective, text};

/// The sides' names and colours.
const SIDES: [(&str, usize); 2] = [("base", 0), ("new", 1)];

/// The whole page.
pub fn page(
    comparison: &Comparison,
    base: &[Summary],
    new: &[Summary],
    allowance: Option<Allowance>,
) -> String {
    let mut out = String::from("<h1>iisplice load: base and new</h1>");
    for ((side, _), runs) in SIDES.iter().zip([base, new]) {
        head(&mut out, side, runs);
    }
    if let Some(allowance) = allowance {
        let class = match comparison.judge(allowance) {
            Verdict::Kept { .. } => "verdict kept",
            Verdict::Missed(_) | Verdict::NotJudged(_) => "verdict missed",
        };
        let _ =
            write!(out, "<div class=\"{class}\"><b>{}</b></div>", escape(&verdict(comparison, allowance)));
    }
    for warning in &comparison.warnings {
        let _ = write!(out, "<p class=\"warning\">{}</p>", escape(&warning.to_string()));
    }
    let drawn = |(side, runs): (&(&'static str, usize), &[Summary])| -> Vec<Drawn> {
        runs.iter().map(|run| Drawn::new(Some(*side), run)).collect()
    };
    let runs: Vec<_> = SIDES.iter().zip([base, new]).flat_map(drawn).collect();
    let judged = new.iter().chain(base).find_map(|run| run.objective.as_ref());
    for leg in Leg::ALL {
        chart(&mut out, leg, base, new);
        over_time::compared(&mut out, leg, &runs, judged);
    }
    table(&mut out, comparison, allowance);
    out.push_str("<h2>How it was measured</h2>");
    for ((side, _), runs) in SIDES.iter().zip([base, new]) {
        for run in runs.iter().flat_map(|result| &result.runs) {
            let _ = write!(out, "<p class=\"dim\">{side}</p><pre>{}</pre>", escape(&run.command));
        }
    }
    document("iisplice load: base and new", &out)
}

fn head(out: &mut String, side: &str, results: &[Summary]) {
    for result in results {
        for run in &result.runs {
            let what = text::what(run, result.measured_seconds);
            let (started, urls) = (escape(&run.started), escape(&run.urls.join(" ")));
            let _ = write!(out, "<p class=\"dim\"><b>{side}</b>: {urls}; {started}; {}</p>", escape(&what));
        }
        for line in objective::lines(result) {
            let _ = write!(out, "<p class=\"dim\"><b>{side}</b>: {}</p>", escape(&line));
        }
    }
}

/// Both sides' latencies of a leg that was measured on one of them; repeats are one line.
fn chart(out: &mut String, leg: Leg, base: &[Summary], new: &[Summary]) {
    let line = |(&(name, colour), runs): (&(&'static str, usize), &[Summary])| {
        let mut sum = recorder::histogram();
        for samples in runs.iter().filter_map(|run| run.legs.get(&leg)) {
            recorder::add(&mut sum, &samples.0);
        }
        (!sum.is_empty()).then(|| Series { name, colour, is_dashed: false, points: points(&Samples(sum)) })
    };
    let judged = new.iter().chain(base).find_map(|run| run.objective.as_ref());
    let objective = judged.filter(|verdict| verdict.leg == Some(leg)).map(|verdict| verdict.objective);
    let series: Vec<_> = SIDES.iter().zip([base, new]).filter_map(line).collect();
    spectrum_chart(out, &format!("Latency by percentile: {}", leg.title()), &series, objective);
}

fn table(out: &mut String, comparison: &Comparison, allowance: Option<Allowance>) {
    out.push_str(
        "<h2>Figures</h2><div class=\"scroll\"><table><tr><th></th><th></th><th>base</th><th>new</th>\
         <th>difference</th><th></th></tr>",
    );
    for (row, stands_for_those_above) in lines(comparison) {
        let difference = row.percent().map(difference).unwrap_or_default();
        let _ = write!(
            out,
            "<tr class=\"{}\"><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{difference}</td><td>{}</td></tr>",
            class(row, allowance),
            escape(row.subject.name().trim_start()),
            percentile(row, stands_for_those_above),
            value(row, row.base),
            value(row, row.new),
            remark(row, allowance)
        );
    }
    out.push_str("</table></div>");
}

fn class(row: &Row, allowance: Option<Allowance>) -> &'static str {
    match row.standing {
        Standing::NotJudged(_) => "dim",
        _ if allowance.is_some_and(|allowance| row.is_over(allowance.worse_percent)) => "bad",
        _ => "",
    }
}
