//! One self-contained page: headline, charts, tables, and what is needed to repeat the run.

use std::fmt::Write as _;

use super::chart::{Axis, Point, Scale, Series, chart};
use super::{objective, text, units};
use crate::load::Summary;
use crate::load::recorder::Leg;
use crate::load::samples::{PERCENTILES, Packed, Samples};
use crate::load::summary::Part;

/// Steps of the spectrum for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 4;

/// The whole page.
pub fn page(summary: &Summary) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    let _ = write!(
        out,
        "<title>iisplice load: {}</title><style>{}</style></head><body>",
        escape(&urls(summary)),
        include_str!("page.css")
    );
    head(&mut out, summary);
    cards(&mut out, summary);
    objective_lines(&mut out, summary);
    for warning in summary.warnings() {
        let _ = write!(out, "<p class=\"warning\">{}</p>", escape(&warning.to_string()));
    }
    leaks(&mut out, summary);
    spectrum(&mut out, summary);
    over_time(&mut out, summary);
    legs(&mut out, summary);
    errors(&mut out, summary);
    machines(&mut out, summary);
    out.push_str("</body></html>\n");
    out
}

fn escape(text: &str) -> String {
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
        ("requests a second", in_time.requests, summary.legs.get(&Leg::Request))
    } else {
        ("logins a second", in_time.logins, summary.legs.get(&Leg::Login))
    };
    card("", &units::rate(count as f64 / seconds), what);
    if counts.arrivals > 0 {
        card("", &units::rate(counts.arrivals as f64 / seconds), "due a second");
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
        Some(verdict) if verdict.is_kept => "objective",
        _ => "objective bad",
    };
    for line in objective::lines(summary) {
        let _ = write!(out, "<p class=\"{class}\">{}</p>", escape(&line));
    }
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
        let points = samples.0.iter_quantiles(TICKS_PER_HALF_DISTANCE).map(|step| {
            // At 100 % the distance is zero: the maximum is drawn at the share of one sample.
            let distance = (1.0 - step.quantile_iterated_to()).max(1.0 / samples.0.len() as f64);
            let value = step.value_iterated_to().max(1) as f64;
            let text = format!("p{:.4} {}", step.quantile_iterated_to() * 100.0, units::time(value));
            Point { x: 1.0 / distance, y: value, text }
        });
        series.push(Series { name: leg.title(), colour: leg as usize, points: points.collect() });
    }
    let Some((min, max)) = range(&series) else { return };
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
    out.push_str("<h2>Latency by percentile</h2>");
    out.push_str(&chart("latency by percentile", &x, &Axis::log(min, max, units::time), &series));
}

/// The smallest and the largest value of all points; `None` if there are none.
fn range(series: &[Series]) -> Option<(f64, f64)> {
    let values = || series.iter().flat_map(|line| &line.points).map(|point| point.y);
    let min = values().reduce(f64::min)?;
    Some((min, values().reduce(f64::max)?))
}

type Count = fn(&Part) -> u64;

fn over_time(out: &mut String, summary: &Summary) {
    // The rate of a last part of a few milliseconds would be noise.
    let seconds: Vec<_> = summary.seconds.iter().filter(|part| part.length_seconds >= 0.25).collect();
    let Some(last) = seconds.last().filter(|_| seconds.len() > 1) else { return };
    let end = |part: &Part| part.start_seconds + part.length_seconds;
    let x = Axis::linear(end(last), |at| format!("{at:.0} s"));
    let x = Axis {
        last: end(last),
        ticks: x.ticks.into_iter().filter(|tick| tick.0 <= end(last)).collect(),
        ..x
    };
    let rates: [(&'static str, usize, Count); 4] = [
        ("requests a second", 0, |part| part.counts.requests),
        ("logins a second", 2, |part| part.counts.logins),
        ("due a second", 4, |part| part.counts.arrivals),
        ("errors a second", 1, |part| part.counts.errors_total()),
    ];
    let mut series = Vec::new();
    for (name, colour, count) in rates {
        if seconds.iter().all(|part| count(part) == 0) {
            continue;
        }
        let points = seconds.iter().map(|part| {
            let rate = count(part) as f64 / part.length_seconds;
            let at = part.start_seconds + part.length_seconds / 2.0;
            Point { x: at, y: rate, text: format!("{} at {at:.1} s", units::rate(rate)) }
        });
        series.push(Series { name, colour, points: points.collect() });
    }
    if let Some((_, max)) = range(&series) {
        out.push_str("<h2>Rate over time</h2>");
        out.push_str(&chart("rate over time", &x, &Axis::linear(max, units::rate), &series));
    }
    let leg = [Leg::FromIntendedStart, Leg::Request, Leg::Login]
        .into_iter()
        .find(|leg| summary.legs.contains_key(leg));
    if let Some(leg) = leg {
        latency_over_time(out, &seconds, leg, &x);
    }
}

fn latency_over_time(out: &mut String, seconds: &[&Part], leg: Leg, x: &Axis) {
    let mut series: Vec<_> = [("p50", 0.5, 0), ("p99", 0.99, 4), ("max", 1.0, 1)]
        .map(|(name, quantile, colour)| (Series { name, colour, points: Vec::new() }, quantile))
        .into();
    for part in seconds {
        let Some(samples) = part.legs.get(&leg).map(Packed::unpack) else { continue };
        let at = part.start_seconds + part.length_seconds / 2.0;
        for (line, quantile) in &mut series {
            let value = samples.value_at_quantile(*quantile).max(1) as f64;
            line.points.push(Point { x: at, y: value, text: format!("{} at {at:.1} s", units::time(value)) });
        }
    }
    let series: Vec<_> = series.into_iter().map(|(line, _)| line).collect();
    if let Some((min, max)) = range(&series) {
        let _ = write!(out, "<h2>Latency over time: {}</h2>", escape(leg.title()));
        out.push_str(&chart("latency over time", x, &Axis::log(min, max, units::time), &series));
    }
}

fn legs(out: &mut String, summary: &Summary) {
    out.push_str("<h2>Legs</h2><div class=\"scroll\"><table><tr><th></th><th>count</th><th>mean</th>");
    for percentile in PERCENTILES {
        let _ = write!(out, "<th>p{percentile}</th>");
    }
    out.push_str("<th>max</th></tr>");
    let mut row = |name: &str, samples: &Samples| {
        let histogram = &samples.0;
        let (count, mean) = (units::count(histogram.len()), units::time(histogram.mean()));
        let _ = write!(out, "<tr><td>{}</td><td>{count}</td><td>{mean}</td>", escape(name));
        for percentile in PERCENTILES {
            let value =
                samples.percentile(percentile).map_or_else(|| "–".to_owned(), |ns| units::time(ns as f64));
            let _ = write!(out, "<td>{value}</td>");
        }
        let _ = write!(out, "<td>{}</td></tr>", units::time(histogram.max() as f64));
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
        row("generator's own send lag", lag);
    }
    out.push_str(
        "</table></div><p class=\"dim\">A percentile with fewer than five samples above it is left out.</p>",
    );
}

fn errors(out: &mut String, summary: &Summary) {
    let mut errors = summary.counts.errors.clone();
    for (class, count) in &summary.prepared.counts.errors {
        *errors.entry(*class).or_default() += count;
    }
    let mut lines: Vec<_> = errors.iter().map(|(class, count)| (class.title(), *count, "")).collect();
    let at_end = "at the end of the run";
    lines.extend([
        ("unanswered", summary.unanswered.count, at_end),
        ("not sent", summary.unsent.count, at_end),
    ]);
    let challenges = summary.counts.challenges + summary.prepared.counts.challenges;
    lines.push(("401 challenges", challenges, "part of the logins, not errors"));
    lines.retain(|(_, count, _)| *count > 0);
    if lines.is_empty() {
        return;
    }
    out.push_str("<h2>Errors and challenges</h2><div class=\"scroll\"><table>");
    for (name, count, remark) in lines {
        let count = units::count(count);
        let _ = write!(out, "<tr><td>{name}</td><td>{count}</td><td class=\"dim\">{remark}</td></tr>");
    }
    out.push_str("</table></div>");
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
