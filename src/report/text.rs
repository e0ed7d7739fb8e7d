//! The table for the terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{objective, units, wrap};
use crate::load::Summary;
use crate::load::identity::Identities;
use crate::load::plan::{Arrivals, Scenario};
use crate::load::recorder::Leg;
use crate::load::samples::{PERCENTILES, Samples};
use crate::load::summary::Run;

/// Names of the lines are padded to this, which is what the longest one takes.
const NAME_WIDTH: usize = 19;
/// A blank, and what [`units::narrow_count`] takes.
const COUNT_WIDTH: usize = 12;
/// A blank, and what [`units::narrow_time`] takes.
const TIME_WIDTH: usize = 7;

/// The whole report as text.
pub fn text(summary: &Summary) -> String {
    let mut out = String::new();
    for run in &summary.runs {
        head(&mut out, run, summary);
    }
    out.push('\n');
    counts(&mut out, summary);
    out.push('\n');
    legs(&mut out, summary);
    generator(&mut out, summary);
    if let Some(identities) = &summary.identities {
        out.push('\n');
        identity(&mut out, identities);
    }
    for text in objective::lines(summary) {
        statement(&mut out, &text);
    }
    for warning in summary.warnings() {
        statement(&mut out, &format!("warning: {warning}"));
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(&wrap::prose(text));
    out.push('\n');
}

/// A line that programs look for, and that only a terminal breaks.
fn statement(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn head(out: &mut String, run: &Run, summary: &Summary) {
    out.push_str(&wrap::command(&run.command));
    out.push('\n');
    let machine = &run.machine;
    line(
        out,
        &format!(
            "{}, {}, {} cores, Linux {}; iisplice {}; {}",
            machine.host, machine.cpu, machine.cores, machine.kernel, machine.version, run.started
        ),
    );
    line(out, &what(run, summary.measured_seconds));
}

/// The parameters of the run, in one line.
pub(super) fn what(run: &Run, measured_seconds: f64) -> String {
    let scenario = match run.scenario {
        Scenario::Session { requests_per_login } => format!("session of {requests_per_login} requests"),
        other => other.name().to_owned(),
    };
    let pace = match &run.offered {
        None => "closed loop".to_owned(),
        Some(offered) => {
            let first = units::rate(offered.rate.first_per_second);
            let last = units::rate(offered.rate.last_per_second);
            let rate = if first == last { first } else { format!("{first} to {last}") };
            let arrivals = match offered.arrivals {
                Arrivals::Constant => "evenly spread",
                Arrivals::Poisson => "Poisson",
            };
            format!("open loop {rate} /s {arrivals}")
        }
    };
    let warmup = if run.warmup_seconds > 0.0 {
        format!(" after {} of warm-up", units::time(run.warmup_seconds * 1e9))
    } else {
        String::new()
    };
    format!(
        "{scenario}, auth {}, {} connections on {} threads, {pace}, {} measured{warmup}",
        run.auth,
        run.connections,
        run.thread_cpu_shares.len(),
        units::time(measured_seconds * 1e9)
    )
}

fn counts(out: &mut String, summary: &Summary) {
    let seconds = summary.measured_seconds.max(1e-9);
    let in_time = &summary.in_time;
    let all = &summary.counts;
    let mut counted = |name: &str, count: u64, in_time: u64| {
        let rate = units::rate(in_time as f64 / seconds);
        line(out, &format!("{name:16}{:>14}  {rate:>12} /s", units::count(count)));
    };
    if all.arrivals > 0 {
        counted("due", all.arrivals, all.arrivals);
    }
    if all.requests > 0 || all.logins == 0 {
        counted("requests", all.requests, in_time.requests);
    }
    if all.logins > 0 {
        counted("logins", all.logins, in_time.logins);
    }
    if all.connects > 0 {
        counted("connects", all.connects, in_time.connects);
    }
    for (name, bytes, in_time) in [
        ("received", all.received_bytes, in_time.received_bytes),
        ("sent", all.sent_bytes, in_time.sent_bytes),
    ] {
        let rate = units::bytes(in_time as f64 / seconds);
        line(out, &format!("{name:16}{:>14}  {rate:>12}/s", units::bytes(bytes as f64)));
    }
    let prepared = &summary.prepared.counts;
    if prepared.connects > 0 {
        let logins = if prepared.logins > 0 {
            format!(", {} logins", units::count(prepared.logins))
        } else {
            String::new()
        };
        let text = format!(
            "before the clock{:>14} connects{logins} in {}",
            units::count(prepared.connects),
            units::time(summary.prepared.length_seconds * 1e9)
        );
        line(out, &text);
    }
    let challenges = all.challenges + prepared.challenges;
    if challenges > 0 {
        line(
            out,
            &format!(
                "{:16}{:>14}  part of the logins, not errors",
                "401 challenges",
                units::count(challenges)
            ),
        );
    }
    errors(out, summary);
}

fn errors(out: &mut String, summary: &Summary) {
    let mut errors: BTreeMap<_, u64> = summary.counts.errors.clone();
    for (class, count) in &summary.prepared.counts.errors {
        *errors.entry(*class).or_default() += count;
    }
    let total: u64 = errors.values().sum();
    let classes: Vec<_> =
        errors.iter().map(|(class, count)| format!("{} {}", class.title(), units::count(*count))).collect();
    let classes = if classes.is_empty() { String::new() } else { format!("  {}", classes.join(", ")) };
    line(out, &format!("{:16}{:>14}{classes}", "errors", units::count(total)));
    for (name, left) in [("unanswered", summary.unanswered), ("not sent", summary.unsent)] {
        if left.count > 0 {
            let oldest = units::time(left.oldest_seconds * 1e9);
            line(
                out,
                &format!("{name:16}{:>14}  at the end; the oldest waited {oldest}", units::count(left.count)),
            );
        }
    }
}

fn legs(out: &mut String, summary: &Summary) {
    let before: Vec<_> = Leg::ALL
        .into_iter()
        .filter_map(|leg| Some((leg, Samples(summary.prepared.legs.get(&leg)?.unpack()))))
        .collect();
    if !before.is_empty() {
        header(out, "before the clock");
        for (leg, samples) in &before {
            row(out, leg.title(), samples);
        }
    }
    let measured: Vec<_> =
        Leg::ALL.into_iter().filter_map(|leg| Some((leg, summary.legs.get(&leg)?))).collect();
    if !measured.is_empty() || summary.send_lag.is_some() || before.is_empty() {
        header(out, "measured");
        for (leg, samples) in measured {
            row(out, leg.title(), samples);
        }
    }
}

/// The names of the columns.
fn header(out: &mut String, rows: &str) {
    let _ = write!(out, "{rows:NAME_WIDTH$}{:>COUNT_WIDTH$}{:>TIME_WIDTH$}", "count", "mean");
    for percentile in PERCENTILES {
        let _ = write!(out, "{:>TIME_WIDTH$}", format!("p{percentile}"));
    }
    let _ = writeln!(out, "{:>TIME_WIDTH$}", "max");
}

/// A line of the table, without percentiles that have too few samples above them.
fn row(out: &mut String, name: &str, samples: &Samples) {
    let histogram = &samples.0;
    let time = |nanoseconds: f64| format!("{:>TIME_WIDTH$}", units::narrow_time(nanoseconds));
    let count = units::narrow_count(histogram.len());
    let _ = write!(out, "{name:NAME_WIDTH$}{count:>COUNT_WIDTH$}{}", time(histogram.mean()));
    for percentile in PERCENTILES {
        let value = samples.percentile(percentile);
        out.push_str(&value.map_or_else(|| format!("{:>TIME_WIDTH$}", "-"), |ns| time(ns as f64)));
    }
    let _ = writeln!(out, "{}", time(histogram.max() as f64));
}

fn generator(out: &mut String, summary: &Summary) {
    if let Some(lag) = &summary.send_lag {
        row(out, "generator send lag", lag);
    }
    out.push('\n');
    for run in &summary.runs {
        let shares: Vec<_> =
            run.thread_cpu_shares.iter().map(|share| format!("{:.0} %", share * 100.0)).collect();
        line(
            out,
            &format!(
                "generator: {} of a core per thread, {} of memory at peak",
                shares.join(", "),
                units::bytes(run.memory_peak_bytes as f64)
            ),
        );
    }
}

fn identity(out: &mut String, found: &Identities) {
    let right = units::count(found.right);
    if found.leaked == 0 {
        statement(
            out,
            &format!("identity: {right} replies named their connection's user, none named another"),
        );
    } else {
        let leaked = units::count(found.leaked);
        statement(
            out,
            &format!(
                "IDENTITY LEAK: {leaked} replies named a user other than their connection's ({right} named the right \
                 one):"
            ),
        );
        for leak in &found.leaks {
            statement(
                out,
                &format!(
                    "  connection {} of {}: reply {} was for {}",
                    leak.connection, leak.expected, leak.reply, leak.named
                ),
            );
        }
    }
    if found.unnamed > 0 {
        statement(
            out,
            &format!(
                "identity: {} replies named no user, so nothing is proven for them",
                units::count(found.unnamed)
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::identity::Leak;
    use crate::load::objective::Objective;
    use crate::load::plan::Rate;
    use crate::load::recorder::{ErrorClass, histogram};
    use crate::load::samples::Packed;
    use crate::load::search::Step;
    use crate::load::summary::tests::summary;
    use crate::load::summary::{Left, Offered, SkippedAddress};

    const MANY: u64 = 99_999_999_999;

    /// All that can stand in a report, with names and numbers as long as they get.
    fn longest() -> Summary {
        let long = "n".repeat(150);
        let mut samples = histogram();
        samples.record_n(3_599_999_999_999, 999_999_999).unwrap();
        let mut all = summary(&[10; 20]);
        for leg in Leg::ALL {
            all.legs.insert(leg, Samples(samples.clone()));
            all.prepared.legs.insert(leg, Packed::new(&samples));
        }
        all.send_lag = Some(Samples(samples));
        let run = &mut all.runs[0];
        run.command = format!("iisplice load 'http://{long}/?a b' --user 'CORP\\{long}:***' --rate 10000000");
        (run.machine.host, run.machine.cpu) = (long.clone(), format!("A CPU {long}"));
        run.thread_cpu_shares = vec![0.99; 128];
        let rate = Rate { first_per_second: 1e7, last_per_second: 9_999_999.0 };
        run.offered = Some(Offered { rate, arrivals: Arrivals::Constant });
        let counts = &mut all.counts;
        for class in [ErrorClass::Unexpected401, ErrorClass::LoginRefused, ErrorClass::Timeout] {
            counts.errors.insert(class, MANY);
        }
        (counts.arrivals, counts.requests, counts.logins) = (MANY, MANY, MANY);
        (counts.connects, counts.challenges, counts.received_bytes) = (MANY, MANY, u64::MAX);
        (counts.other_challenges, counts.inherited, counts.unprotected) = (9, 9, MANY);
        all.in_time = counts.clone();
        all.prepared.counts = counts.clone();
        all.unanswered = Left { count: MANY, oldest_seconds: 3600.0 };
        all.unsent = all.unanswered;
        let leak = Leak { connection: 999_999, reply: MANY, expected: long.clone(), named: long.clone() };
        all.identities = Some(Identities { right: MANY, leaked: MANY, unnamed: 9, leaks: vec![leak] });
        all.objective = Some("p99.99<59m 59s 999ms".parse::<Objective>().unwrap().judge(&all));
        all.search = vec![Step { rate_per_second: 1e7, is_kept: false, is_generator_limit: true }];
        all.skipped_addresses =
            vec![SkippedAddress { url: long.clone(), address: "[::1]:1".into(), cause: long }];
        all
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        for summary in [longest(), summary(&[]), summary(&[10; 200])] {
            let text = wrap::lines(&text(&summary));
            for line in text.lines() {
                assert!(line.chars().count() <= wrap::WIDTH, "{line}\n\n{text}");
            }
        }
        let text = text(&longest());
        for name in ["from intended start", "generator send lag", "before the clock", "anonymous -> 401"] {
            // The counts above the table have a line of one of these names as well.
            let is_row = |line: &&str| line.starts_with(name) && line.chars().count() == wrap::WIDTH;
            let row = text.lines().find(is_row).unwrap_or_else(|| panic!("{name}: {text}"));
            assert!(row[name.len()..].starts_with(' '), "{row:?}");
        }
    }
}
