//! One self-contained page: headline, charts, tables, and what is needed to repeat the run.

use std::fmt::Write as _;

use hdrhistogram::iterators::IterationValue;

use super::chart::{Axis, Chart, Point, Scale, Series};
use super::{objective, over_time, text, units};
use crate::load::Summary;
use crate::load::objective::Objective;
use crate::load::recorder::Leg;
use crate::load::samples::{PERCENTILES, Samples};
use crate::load::summary::Left;

/// Steps of the spectrum for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 4;

/// The whole page.
pub fn page(summary: &Summary) -> String {
    let mut out = String::new();
    head(&mut out, summary);
    cards(&mut out, summary);
    objective_lines(&mut out, summary);
    for warning in summary.warnings() {
        let _ = write!(out, "<p class=\"warning\">{}</p>", escape(&warning.to_string()));
    }
    leaks(&mut out, summary);
    spectrum(&mut out, summary);
    over_time::charts(&mut out, summary);
    errors(&mut out, summary);
    legs(&mut out, summary);
    machines(&mut out, summary);
    document(&format!("iisplice load: {}", urls(summary)), &out)
}

/// A page that loads nothing from elsewhere.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{}</title><style>{}</style></head><body>{body}</body></html>\n",
        escape(title),
        include_str!("page.css")
    )
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn urls(summary: &Summary) -> String {
    let mut urls: Vec<_> = summary.runs.iter().flat_map(|run| run.urls.iter().map(String::as_str)).collect();
    urls.dedup();
    urls.join(" ")
}

fn head(out: &mut String, summary: &Summary) {
    let _ = write!(out, "<h1>{}</h1>", escape(&urls(summary)));
    for run in &summary.runs {
        let what = text::what(run, summary.measured_seconds);
        let _ = write!(out, "<p class=\"dim\">{}; {}</p>", escape(&run.started), escape(&what));
    }
}

fn cards(out: &mut String, summary: &Summary) {
    let seconds = summary.measured_seconds.max(1e-9);
    out.push_str("<div class=\"cards\">");
    let mut card = |class: &str, value: &str, name: &str| {
        let _ = write!(out, "<div class=\"{class}\"><b>{value}</b><span>{name}</span></div>");
    };
    let (counts, in_time) = (&summary.counts, &summary.in_time);
    let open_loop = summary.legs.get(&Leg::FromIntendedStart);
    let (what, count, service) = if counts.requests > 0 {
        ("requests per second", in_time.requests, summary.legs.get(&Leg::Request))
    } else {
        ("logins per second", in_time.logins, summary.legs.get(&Leg::Login))
    };
    card("", &units::rate(count as f64 / seconds), what);
    if counts.arrivals > 0 {
        card("", &units::rate(counts.arrivals as f64 / seconds), "due per second");
    }
    if let Some(samples) = open_loop.or(service) {
        let from = if open_loop.is_some() { " from intended start" } else { "" };
        for percentile in [50.0, 99.0] {
            if let Some(value) = samples.percentile(percentile) {
                card("", &units::time(value as f64), &format!("p{percentile}{from}"));
            }
        }
    }
    let received = units::bytes(in_time.received_bytes as f64 / seconds);
    card("", &format!("{received}/s"), "received");
    let errors = counts.errors_total() + summary.prepared.counts.errors_total();
    card(if errors > 0 { "bad" } else { "good" }, &units::count(errors), "errors");
    if summary.unanswered.count > 0 {
        card("bad", &units::count(summary.unanswered.count), "unanswered at the end");
    }
    if let Some(found) = &summary.identities {
        let class = if found.leaked > 0 { "bad" } else { "good" };
        card(
            class,
            &units::count(found.leaked),
            &format!("identity leaks in {} replies", units::count(found.right + found.leaked)),
        );
    }
    out.push_str("</div>");
}

fn objective_lines(out: &mut String, summary: &Summary) {
    let class = match &summary.objective {
        Some(verdict) if verdict.is_kept => "verdict kept",
        _ => "verdict missed",
    };
    let lines = objective::lines(summary);
    let Some((verdict, search)) = lines.split_first() else { return };
    let _ = write!(out, "<div class=\"{class}\"><b>{}</b>", escape(verdict));
    for line in search {
        let _ = write!(out, "<p>{}</p>", escape(line));
    }
    out.push_str("</div>");
}

fn leaks(out: &mut String, summary: &Summary) {
    let Some(found) = summary.identities.as_ref().filter(|found| found.leaked > 0) else { return };
    out.push_str("<h2 class=\"bad\">Replies that named another user</h2><div class=\"scroll\"><table><tr><th>connection of</th><th>reply was for</th><th>connection</th><th>reply</th></tr>");
    for leak in &found.leaks {
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&leak.expected),
            escape(&leak.named),
            leak.connection,
            leak.reply
        );
    }
    out.push_str("</table></div>");
}

/// A leg's samples; those from before the clock if there are none after it.
fn samples_of(summary: &Summary, leg: Leg) -> Option<Samples> {
    let before = || Some(Samples(summary.prepared.legs.get(&leg)?.unpack()));
    summary.legs.get(&leg).cloned().or_else(before)
}

fn spectrum(out: &mut String, summary: &Summary) {
    let mut series = Vec::new();
    for leg in Leg::ALL {
        let Some(samples) = samples_of(summary, leg) else { continue };
        series.push(Series {
            name: leg.title(),
            colour: leg as usize,
            is_dashed: false,
            points: points(&samples),
        });
    }
    spectrum_chart(out, "Latency by percentile", &series, objective(summary));
}

/// The percentiles of samples: along x, by how few of the samples are above them.
pub(super) fn points(samples: &Samples) -> Vec<Point> {
    let point = |step: IterationValue<u64>| {
        // At 100 % the distance is zero: the maximum is drawn at the share of one sample.
        let distance = (1.0 - step.quantile_iterated_to()).max(1.0 / samples.0.len() as f64);
        let value = step.value_iterated_to().max(1) as f64;
        let text = format!("p{:.4} {}", step.quantile_iterated_to() * 100.0, units::time(value));
        Point { x: 1.0 / distance, y: value, text, follows_gap: false }
    };
    samples.0.iter_quantiles(TICKS_PER_HALF_DISTANCE).map(point).collect()
}

/// Lines of [`points`]; nothing without lines.
pub(super) fn spectrum_chart(out: &mut String, title: &str, series: &[Series], objective: Option<Objective>) {
    let Some((min, max)) = range(series) else { return };
    let longest =
        series.iter().flat_map(|line| &line.points).fold(10.0, |longest: f64, point| longest.max(point.x));
    let names = [
        (1.0, "p0"),
        (2.0, "p50"),
        (10.0, "p90"),
        (100.0, "p99"),
        (1e3, "p99.9"),
        (1e4, "p99.99"),
        (1e5, "p99.999"),
        (1e6, "p99.9999"),
    ];
    let ticks = names.iter().filter(|(at, _)| *at <= longest).map(|(at, name)| (*at, (*name).to_owned()));
    let x = Axis { scale: Scale::Log, first: 1.0, last: longest, ticks: ticks.collect() };
    let (goal, min, max) = goal(objective, min, max);
    let y = Axis::latency(min, max);
    section(out, title, &Chart { label: "latency by percentile", x: &x, y: &y, series, marks: &[], goal });
}

pub(super) fn section(out: &mut String, title: &str, chart: &Chart<'_>) {
    // Together, for pages of paper.
    let _ = write!(out, "<section><h2>{}</h2>{}</section>", escape(title), chart.svg());
}

fn objective(summary: &Summary) -> Option<Objective> {
    summary.objective.as_ref().map(|verdict| verdict.objective)
}

/// The objective as a line to draw, and the range widened so that it is in it.
pub(super) fn goal(objective: Option<Objective>, min: f64, max: f64) -> (Option<(f64, String)>, f64, f64) {
    let Some(objective) = objective else { return (None, min, max) };
    let below = objective.below.as_nanos() as f64;
    (Some((below, escape(&objective.to_string()))), min.min(below), max.max(below))
}

/// The smallest and the largest value of all points; `None` if there are none.
pub(super) fn range(series: &[Series]) -> Option<(f64, f64)> {
    let values = || series.iter().flat_map(|line| &line.points).map(|point| point.y);
    let min = values().reduce(f64::min)?;
    Some((min, values().reduce(f64::max)?))
}

fn legs(out: &mut String, summary: &Summary) {
    let columns: Vec<_> = ["count".to_owned(), "mean".to_owned()]
        .into_iter()
        .chain(PERCENTILES.map(|percentile| format!("p{percentile}")))
        .chain(["max".to_owned()])
        .collect();
    out.push_str("<h2>Legs</h2><div class=\"scroll\"><table class=\"legs\"><tr><th></th>");
    for column in &columns {
        let _ = write!(out, "<th>{column}</th>");
    }
    out.push_str("</tr>");
    let mut row = |name: &str, samples: &Samples| {
        let histogram = &samples.0;
        let of_samples = |percentile| {
            samples.percentile(percentile).map_or_else(|| "–".to_owned(), |ns| units::time(ns as f64))
        };
        let values = [units::count(histogram.len()), units::time(histogram.mean())]
            .into_iter()
            .chain(PERCENTILES.map(of_samples))
            .chain([units::time(histogram.max() as f64)]);
        let _ = write!(out, "<tr><td>{}</td>", escape(name));
        // A narrow page has no line of headers: each value has its name beside it.
        for (column, value) in columns.iter().zip(values) {
            let _ = write!(out, "<td data-name=\"{column}\">{value}</td>");
        }
        out.push_str("</tr>");
    };
    for leg in Leg::ALL {
        if let Some(packed) = summary.prepared.legs.get(&leg) {
            row(&format!("{}, before the clock", leg.title()), &Samples(packed.unpack()));
        }
        if let Some(samples) = summary.legs.get(&leg) {
            row(leg.title(), samples);
        }
    }
    if let Some(lag) = &summary.send_lag {
        row("generator send lag", lag);
    }
    out.push_str(
        "</table></div><p class=\"dim\">A percentile with fewer than five samples above it is omitted.</p>",
    );
}

fn errors(out: &mut String, summary: &Summary) {
    let mut errors = summary.counts.errors.clone();
    for (class, count) in &summary.prepared.counts.errors {
        *errors.entry(*class).or_default() += count;
    }
    let at_end = |left: &Left| {
        format!("at the end of the run; the oldest waited {}", units::time(left.oldest_seconds * 1e9))
    };
    let error_replies = summary.legs.get(&Leg::ErrorReply).map_or(0, |samples| samples.0.len());
    let challenges = summary.counts.challenges + summary.prepared.counts.challenges;
    let mut lines: Vec<_> =
        errors.iter().map(|(class, count)| (class.title(), *count, String::new())).collect();
    if lines.is_empty() {
        lines.push(("errors", 0, String::new()));
    }
    let others = [
        (
            "error replies",
            error_replies,
            "complete replies with an error status; counted by kind above".to_owned(),
        ),
        ("unanswered", summary.unanswered.count, at_end(&summary.unanswered)),
        ("not sent", summary.unsent.count, at_end(&summary.unsent)),
        ("401 challenges", challenges, "part of the logins, not errors".to_owned()),
    ];
    lines.extend(others.into_iter().filter(|(_, count, _)| *count > 0));
    out.push_str("<h2>Errors and challenges</h2><table class=\"errors\">");
    for (name, count, remark) in lines {
        let count = units::count(count);
        let _ = write!(out, "<tr><td>{name}</td><td>{count}</td><td class=\"dim\">{remark}</td></tr>");
    }
    out.push_str("</table>");
}

fn machines(out: &mut String, summary: &Summary) {
    out.push_str("<h2>How it was measured</h2>");
    for run in &summary.runs {
        let machine = &run.machine;
        let shares: Vec<_> =
            run.thread_cpu_shares.iter().map(|share| format!("{:.0} %", share * 100.0)).collect();
        let _ = write!(
            out,
            "<pre>{}</pre><p class=\"dim\">{}: {}, {} cores, Linux {}; iisplice {}. The generator's threads used {} of a core, \
             its memory {} at most.</p>",
            escape(&run.command),
            escape(&machine.host),
            escape(&machine.cpu),
            machine.cores,
            escape(&machine.kernel),
            escape(&machine.version),
            shares.join(", "),
            units::bytes(run.memory_peak_bytes as f64)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::summary::tests::summary;

    #[test]
    fn what_came_from_outside_is_escaped() {
        let mut summary = summary(&[10; 20]);
        summary.runs[0].command = "iisplice load '<script>alert(1)</script>'".into();
        summary.runs[0].urls = vec!["http://a/?\"><u>".into()];
        let page = page(&summary);
        assert!(!page.contains("<script") && !page.contains("<u>"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = page(&summary(&[10; 20]));
        for outside in ["src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_run_of_nothing_is_a_page_too() {
        let page = page(&summary(&[]));
        assert!(page.contains("nothing was measured") && page.ends_with("</body></html>\n"), "{page}");
        assert!(!page.contains("NaN"), "{page}");
    }
}
