//! The figures of both sides, each with the interval that chance leaves it.

use std::collections::BTreeSet;

use super::{Noise, Row, Standing, Subject, Why};
use crate::load::Summary;
use crate::load::recorder::{Counts, ErrorClass, Leg};
use crate::load::samples::{PERCENTILES, Samples};

/// An interval of so many standard deviations holds 95 of 100 estimates.
const DEVIATIONS: f64 = 1.96;
/// A rate of fewer events than this is chance, as is a median of fewer samples.
const RATE_EVENTS_MIN: u64 = 10;

/// A figure of one run.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    value: f64,
    low: f64,
    high: f64,
}

/// Something that happened so many times in so many tries.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: u64,
    of: u64,
}

/// Every figure that one of the sides has: rates, failures, legs.
pub(super) fn rows(base: &[Summary], new: &[Summary]) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(rate(Subject::Requests, base, new, |counts| counts.requests));
    rows.extend(rate(Subject::Logins, base, new, |counts| counts.logins));
    failures(&mut rows, base, new);
    for leg in Leg::ALL {
        self::leg(&mut rows, leg, base, new);
    }
    rows
}

fn rate(subject: Subject, base: &[Summary], new: &[Summary], count: fn(&Counts) -> u64) -> Option<Row> {
    let events = |runs: &[Summary]| runs.iter().map(|run| count(&run.in_time)).min().unwrap_or(0);
    let estimate = |run: &Summary| {
        let (count, seconds) = (count(&run.in_time) as f64, run.measured_seconds.max(1e-9));
        let spread = DEVIATIONS * count.sqrt();
        Estimate { value: count / seconds, low: (count - spread) / seconds, high: (count + spread) / seconds }
    };
    let (base_figures, new_figures): (Vec<_>, Vec<_>) =
        (base.iter().map(estimate).collect(), new.iter().map(estimate).collect());
    let (base_value, new_value) = (median(&base_figures)?, median(&new_figures)?);
    if base_value == 0.0 && new_value == 0.0 {
        return None;
    }
    // Where logins are made before the clock starts, those in the run replace connections that broke.
    let is_incidental = matches!(subject, Subject::Logins)
        && base.iter().chain(new).any(|run| run.runs.iter().any(|run| run.scenario.prepares()));
    let standing = if is_incidental {
        Standing::NotJudged(Why::BeforeClock)
    } else if base_value == 0.0 {
        Standing::NotJudged(Why::OnlyInNew)
    } else if events(base) < RATE_EVENTS_MIN || (events(new) < RATE_EVENTS_MIN && new_value > 0.0) {
        Standing::NotJudged(Why::FewSamples)
    } else if new_value == 0.0 {
        Standing::Missing
    } else {
        Standing::Judged {
            worse_percent: (1.0 - new_value / base_value) * 100.0,
            noise: noise(&base_figures, &new_figures),
        }
    };
    Some(Row { subject, base: Some(base_value), new: Some(new_value), standing })
}

fn failures(rows: &mut Vec<Row>, base: &[Summary], new: &[Summary]) {
    let all = |run: &Summary| run.counts.errors_total() + run.prepared.counts.errors_total();
    rows.push(failure(Subject::Errors, base, new, |run| Tally { count: all(run), of: tried(run) }));
    let of_class = |run: &Summary, class| {
        let errors = [&run.counts.errors, &run.prepared.counts.errors];
        errors.iter().filter_map(|errors| errors.get(&class)).sum()
    };
    let classes: BTreeSet<ErrorClass> = base
        .iter()
        .chain(new)
        .flat_map(|run| run.counts.errors.keys().chain(run.prepared.counts.errors.keys()).copied())
        .collect();
    for class in classes {
        let tally = |run: &Summary| Tally { count: of_class(run, class), of: tried(run) };
        rows.push(failure(Subject::ErrorsOf(class), base, new, tally));
    }
    let unanswered = |run: &Summary| Tally { count: run.unanswered.count, of: tried(run) };
    let unsent = |run: &Summary| Tally { count: run.unsent.count, of: run.counts.arrivals };
    let left =
        [failure(Subject::Unanswered, base, new, unanswered), failure(Subject::Unsent, base, new, unsent)];
    rows.extend(left.into_iter().filter(|row| row.base != Some(0.0) || row.new != Some(0.0)));
    let looked = |runs: &[Summary]| runs.iter().any(|run| run.identities.is_some());
    let leaked = |runs: &[Summary]| {
        let leaks: u64 =
            runs.iter().filter_map(|run| run.identities.as_ref()).map(|found| found.leaked).sum();
        looked(runs).then_some(leaks as f64)
    };
    let (base, new) = (leaked(base), leaked(new));
    if base.is_some() || new.is_some() {
        let standing = match new {
            None => Standing::Missing,
            Some(leaks) if leaks > 0.0 => Standing::Leak,
            Some(_) => Standing::Judged { worse_percent: 0.0, noise: Noise::Within },
        };
        rows.push(Row { subject: Subject::Leaks, base, new, standing });
    }
}

/// What was tried in a run, with whatever end: what a share of failures is a share of.
fn tried(run: &Summary) -> u64 {
    let of = |counts: &Counts| {
        let is_reply = |class: &ErrorClass| {
            matches!(class, ErrorClass::Unexpected401 | ErrorClass::Status4xx | ErrorClass::Status5xx)
        };
        // Replies whose status is an error are among the requests and logins already.
        let others = counts.errors.iter().filter(|(class, _)| !is_reply(class)).map(|(_, count)| count);
        counts.requests + counts.logins + counts.unprotected + others.sum::<u64>()
    };
    of(&run.counts) + of(&run.prepared.counts) + run.unanswered.count
}

fn failure(subject: Subject, base: &[Summary], new: &[Summary], tally: impl Fn(&Summary) -> Tally) -> Row {
    let sum = |runs: &[Summary]| {
        runs.iter()
            .map(&tally)
            .fold(Tally::default(), |sum, run| Tally { count: sum.count + run.count, of: sum.of + run.of })
    };
    let (base_sum, new_sum) = (sum(base), sum(new));
    let standing = match (base_sum.count, new_sum.count) {
        (0, 0) => Standing::Judged { worse_percent: 0.0, noise: Noise::Within },
        (0, _) => Standing::NewFailures,
        _ => {
            let shares = |runs: &[Summary]| runs.iter().map(|run| share(tally(run))).collect::<Vec<_>>();
            let noise = if is_chance(base_sum, new_sum) {
                Noise::Within
            } else {
                noise(&points(shares(base)), &points(shares(new)))
            };
            Standing::Judged { worse_percent: (share(new_sum) / share(base_sum) - 1.0) * 100.0, noise }
        }
    };
    Row { subject, base: Some(base_sum.count as f64), new: Some(new_sum.count as f64), standing }
}

fn share(tally: Tally) -> f64 {
    tally.count as f64 / tally.of.max(1) as f64
}

/// Whether two counts may be of the same share: a count of rare things varies by its square root.
fn is_chance(base: Tally, new: Tally) -> bool {
    let expected = share(base) * new.of as f64;
    let deviation = (expected * (1.0 + new.of as f64 / base.of.max(1) as f64)).sqrt();
    (new.count as f64 - expected).abs() <= DEVIATIONS * deviation
}

/// A leg's samples in one run.
struct Found {
    samples: Samples,
    is_before_clock: bool,
}

/// A leg's samples; those from before the clock if there are none after.
fn find(run: &Summary, leg: Leg) -> Option<Found> {
    if let Some(samples) = run.legs.get(&leg).filter(|samples| !samples.0.is_empty()) {
        return Some(Found { samples: samples.clone(), is_before_clock: false });
    }
    let packed = run.prepared.legs.get(&leg)?;
    Some(Found { samples: Samples(packed.unpack()), is_before_clock: true })
}

fn leg(rows: &mut Vec<Row>, leg: Leg, base: &[Summary], new: &[Summary]) {
    let find_all = |runs: &[Summary]| runs.iter().filter_map(|run| find(run, leg)).collect::<Vec<_>>();
    let (base_found, new_found) = (find_all(base), find_all(new));
    let is_before_clock = |found: &[Found]| found.iter().any(|found| found.is_before_clock);
    let lacks_base = base_found.len() < base.len();
    let lacks_new = new_found.len() < new.len();
    let standing = match () {
        () if base_found.is_empty() && new_found.is_empty() => return,
        () if base_found.is_empty() => Standing::NotJudged(Why::OnlyInNew),
        // Error replies that are gone are no loss.
        () if lacks_new && leg == Leg::ErrorReply => return,
        () if lacks_base => Standing::NotJudged(Why::NotInEveryRun),
        () if lacks_new && is_before_clock(&base_found) => Standing::NotJudged(Why::BeforeClock),
        () if lacks_new => Standing::Missing,
        () => return percentiles(rows, leg, &base_found, &new_found),
    };
    let typical = |found: &[Found]| {
        median(&found.iter().filter_map(|found| estimate(&found.samples, PERCENTILES[0])).collect::<Vec<_>>())
    };
    let new = if standing == Standing::Missing { None } else { typical(&new_found) };
    rows.push(Row { subject: Subject::Leg(leg), base: typical(&base_found), new, standing });
}

fn percentiles(rows: &mut Vec<Row>, leg: Leg, base: &[Found], new: &[Found]) {
    let is_before_clock = base.iter().chain(new).any(|found| found.is_before_clock);
    for percentile in PERCENTILES {
        let figures = |found: &[Found]| {
            found.iter().map(|found| estimate(&found.samples, percentile)).collect::<Option<Vec<_>>>()
        };
        let (base, new) = (figures(base), figures(new));
        let value = |figures: &Option<Vec<_>>| figures.as_deref().and_then(median);
        let (base_value, new_value) = (value(&base), value(&new));
        let standing = match (&base, &new) {
            (Some(_), Some(_)) if is_before_clock => Standing::NotJudged(Why::BeforeClock),
            (Some(base), Some(new)) => {
                let slower = new_value.unwrap_or(0.0) / base_value.unwrap_or(0.0).max(1.0);
                Standing::Judged { worse_percent: (slower - 1.0) * 100.0, noise: noise(base, new) }
            }
            _ => Standing::NotJudged(Why::FewSamples),
        };
        let subject = Subject::Percentile(leg, percentile);
        rows.push(Row { subject, base: base_value, new: new_value, standing });
    }
}

/// A percentile, between the samples whose ranks chance may give it; `None`: too few samples.
fn estimate(samples: &Samples, percentile: f64) -> Option<Estimate> {
    let value = samples.percentile(percentile)?;
    let (count, quantile) = (samples.0.len() as f64, percentile / 100.0);
    let spread = DEVIATIONS * (quantile * (1.0 - quantile) / count).sqrt();
    let at = |quantile: f64| samples.0.value_at_quantile(quantile.clamp(0.0, 1.0)) as f64;
    Some(Estimate { value: value as f64, low: at(quantile - spread), high: at(quantile + spread) })
}

fn points(values: Vec<f64>) -> Vec<Estimate> {
    values.into_iter().map(|value| Estimate { value, low: value, high: value }).collect()
}

fn noise(base: &[Estimate], new: &[Estimate]) -> Noise {
    let low = |side: &[Estimate]| side.iter().map(|figure| figure.low).fold(f64::INFINITY, f64::min);
    let high = |side: &[Estimate]| side.iter().map(|figure| figure.high).fold(f64::NEG_INFINITY, f64::max);
    if low(base) <= high(new) && low(new) <= high(base) {
        Noise::Within
    } else if base.len() == 1 && new.len() == 1 {
        Noise::Unknown
    } else {
        Noise::Beyond
    }
}

fn median(figures: &[Estimate]) -> Option<f64> {
    let mut values: Vec<_> = figures.iter().map(|figure| figure.value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
