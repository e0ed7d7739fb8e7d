//! The table for the terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{objective, units};
use crate::load::Summary;
use crate::load::identity::Identities;
use crate::load::plan::{Arrivals, Scenario};
use crate::load::recorder::Leg;
use crate::load::samples::{PERCENTILES, Samples};
use crate::load::summary::Run;

/// Names of the lines are padded to this.
const NAME_WIDTH: usize = 34;
const COLUMN_WIDTH: usize = 9;

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
        line(&mut out, &text);
    }
    for warning in summary.warnings() {
        line(&mut out, &format!("warning: {warning}"));
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn head(out: &mut String, run: &Run, summary: &Summary) {
    line(out, &run.command);
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
                &format!("{name:16}{:>14}  at the end, the oldest for {oldest}", units::count(left.count)),
            );
        }
    }
}

fn legs(out: &mut String, summary: &Summary) {
    let mut header = format!("{:NAME_WIDTH$}{:>COLUMN_WIDTH$}{:>11}", "", "count", "mean");
    for percentile in PERCENTILES {
        let _ = write!(header, "{:>11}", format!("p{percentile}"));
    }
    let _ = write!(header, "{:>11}", "max");
    line(out, &header);
    for leg in Leg::ALL {
        if let Some(packed) = summary.prepared.legs.get(&leg) {
            let name = format!("{}, before the clock", leg.title());
            line(out, &row(&name, &Samples(packed.unpack())));
        }
        if let Some(samples) = summary.legs.get(&leg) {
            line(out, &row(leg.title(), samples));
        }
    }
}

/// A line of the table, without percentiles that have too few samples above them.
pub(super) fn row(name: &str, samples: &Samples) -> String {
    let histogram = &samples.0;
    let count = units::count(histogram.len());
    let mut row = format!("{name:NAME_WIDTH$}{count:>COLUMN_WIDTH$}{:>11}", units::time(histogram.mean()));
    for percentile in PERCENTILES {
        let value = samples.percentile(percentile).map_or("-".to_owned(), |ns| units::time(ns as f64));
        let _ = write!(row, "{value:>11}");
    }
    let _ = write!(row, "{:>11}", units::time(histogram.max() as f64));
    row
}

fn generator(out: &mut String, summary: &Summary) {
    if let Some(lag) = &summary.send_lag {
        line(out, &row("(generator's own send lag)", lag));
    }
    out.push('\n');
    for run in &summary.runs {
        let shares: Vec<_> =
            run.thread_cpu_shares.iter().map(|share| format!("{:.0} %", share * 100.0)).collect();
        line(
            out,
            &format!(
                "generator: {} of a core by thread, {} of memory at most",
                shares.join(", "),
                units::bytes(run.memory_peak_bytes as f64)
            ),
        );
    }
}

fn identity(out: &mut String, found: &Identities) {
    let right = units::count(found.right);
    if found.leaked == 0 {
        line(out, &format!("identity: {right} replies named their connection's user, none named another"));
    } else {
        let leaked = units::count(found.leaked);
        line(
            out,
            &format!(
                "IDENTITY LEAK: {leaked} replies named another user than their connection's ({right} the right one):"
            ),
        );
        for leak in &found.leaks {
            line(
                out,
                &format!(
                    "  connection {} of {}: reply {} was for {}",
                    leak.connection, leak.expected, leak.reply, leak.named
                ),
            );
        }
    }
    if found.unnamed > 0 {
        line(
            out,
            &format!(
                "identity: {} replies named no user, so nothing is proven for them",
                units::count(found.unnamed)
            ),
        );
    }
}
