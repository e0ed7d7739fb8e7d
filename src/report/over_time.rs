//! A run over time, as charts: rates, and a chart for each leg with the stretches marked that have errors.

use super::chart::{Axis, Chart, Mark, Point, Series};
use super::html::{goal, range, section};
use super::units;
use crate::load::Summary;
use crate::load::objective::Verdict;
use crate::load::recorder::Leg;
use crate::load::timeline::{Figures, Stretch};

/// The rate of a last stretch of a few milliseconds would be noise.
const SHORTEST_SECONDS: f64 = 0.25;

/// A run to draw: its name and colour beside another run's, and what it measured.
pub(super) struct Drawn {
    pub side: Option<(&'static str, usize)>,
    stretches: Vec<Stretch>,
}

impl Drawn {
    pub(super) fn new(side: Option<(&'static str, usize)>, summary: &Summary) -> Self {
        let mut stretches = summary.timeline().into_owned();
        stretches.retain(|stretch| stretch.length_seconds >= SHORTEST_SECONDS);
        Self { side, stretches }
    }

    fn end(&self) -> f64 {
        self.stretches.last().map_or(0.0, |last| last.start_seconds + last.length_seconds)
    }

    /// The stretches in which something failed, and what.
    fn marks(&self) -> impl Iterator<Item = Mark> {
        let failed = self.stretches.iter().filter(|stretch| stretch.counts.errors_total() > 0);
        failed.map(|stretch| {
            let at = stretch.middle_seconds();
            let kinds = stretch.counts.errors.iter();
            let kinds: Vec<_> =
                kinds.map(|(class, count)| format!("{} {}", class.title(), units::count(*count))).collect();
            let side = self.side.map_or_else(String::new, |(name, _)| format!("{name}: "));
            Mark { x: at, text: format!("{side}errors at {at:.1} s: {}", kinds.join(", ")), side: self.side }
        })
    }

    fn points(&self, leg: Leg, value: fn(&Figures) -> u64) -> Vec<Point> {
        let mut points = Vec::new();
        let mut follows_gap = false;
        for stretch in &self.stretches {
            let Some(figures) = stretch.legs.get(&leg) else {
                follows_gap = true;
                continue;
            };
            let (x, y) = (stretch.middle_seconds(), value(figures).max(1) as f64);
            let text = format!("{} at {x:.1} s", units::time(y));
            points.push(Point { x, y, text, follows_gap: std::mem::take(&mut follows_gap) });
        }
        points
    }
}

/// The name and the colour of a line, and what it shows of a leg.
type Line = (&'static str, usize, fn(&Figures) -> u64);

/// The lines of one run; of two runs the first two are shown.
const LINES: [Line; 3] = [
    ("p50", 0, |figures| figures.p50_ns),
    ("p99", 4, |figures| figures.p99_ns),
    ("max", 1, |figures| figures.max_ns),
];

/// All charts of one run.
pub(super) fn charts(out: &mut String, summary: &Summary) {
    let run = Drawn::new(None, summary);
    if run.stretches.len() < 2 {
        return;
    }
    rates(out, &run);
    for leg in Leg::ALL {
        let lines = LINES.map(|(name, colour, value)| Series {
            name,
            colour,
            is_dashed: false,
            points: run.points(leg, value),
        });
        latencies(out, leg, lines.into(), &[&run], summary.objective.as_ref());
    }
}

/// A chart of a leg with the runs of both sides.
pub(super) fn compared(out: &mut String, leg: Leg, runs: &[Drawn], judged: Option<&Verdict>) {
    let mut series = Vec::new();
    for run in runs {
        let Some((side, colour)) = run.side else { continue };
        let names = if side == "base" { ["base p50", "base p99"] } else { ["new p50", "new p99"] };
        for ((name, value), is_dashed) in names.into_iter().zip([LINES[0].2, LINES[1].2]).zip([true, false]) {
            series.push(Series { name, colour, is_dashed, points: run.points(leg, value) });
        }
    }
    latencies(out, leg, series, &runs.iter().collect::<Vec<_>>(), judged);
}

/// Nothing for a leg that did not happen twice: that makes no line.
fn latencies(out: &mut String, leg: Leg, mut series: Vec<Series>, runs: &[&Drawn], judged: Option<&Verdict>) {
    series.retain(|line| line.points.len() > 1);
    let Some((min, max)) = range(&series) else { return };
    let end = runs.iter().map(|run| run.end()).fold(0.0, f64::max);
    let marks: Vec<_> = runs.iter().flat_map(|run| run.marks()).collect();
    let objective = judged.filter(|verdict| verdict.leg == Some(leg)).map(|verdict| verdict.objective);
    let (goal, min, max) = goal(objective, min, max);
    let (x, y) = (Axis::seconds(end), Axis::latency(min, max));
    let title = format!("Latency over time: {}", leg.title());
    section(
        out,
        &title,
        &Chart { label: "latency over time", x: &x, y: &y, series: &series, marks: &marks, goal },
    );
}

fn rates(out: &mut String, run: &Drawn) {
    type Count = fn(&Stretch) -> u64;
    let rates: [(&'static str, usize, Count); 4] = [
        ("requests per second", 0, |stretch| stretch.counts.requests),
        ("logins per second", 2, |stretch| stretch.counts.logins),
        ("due per second", 4, |stretch| stretch.counts.arrivals),
        ("errors per second", 1, |stretch| stretch.counts.errors_total()),
    ];
    let mut series = Vec::new();
    for (name, colour, count) in rates {
        if run.stretches.iter().all(|stretch| count(stretch) == 0) {
            continue;
        }
        let points = run.stretches.iter().map(|stretch| {
            let rate = count(stretch) as f64 / stretch.length_seconds;
            let at = stretch.middle_seconds();
            Point { x: at, y: rate, text: format!("{} at {at:.1} s", units::rate(rate)), follows_gap: false }
        });
        series.push(Series { name, colour, is_dashed: false, points: points.collect() });
    }
    let Some((_, max)) = range(&series) else { return };
    let marks: Vec<_> = run.marks().collect();
    let (x, y) = (Axis::seconds(run.end()), Axis::rate(max));
    let chart = Chart { label: "rate over time", x: &x, y: &y, series: &series, marks: &marks, goal: None };
    section(out, "Rate over time", &chart);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::recorder::{self, Counts, Cut, ErrorClass};
    use crate::load::summary::Part;
    use crate::load::summary::tests::summary;
    use crate::load::timeline;

    /// A run of seconds with these requests, in microseconds; the second with `failing` has an error.
    fn run(seconds: &[u64], failing: Option<usize>) -> Summary {
        let part = |(nth, micros): (usize, &u64)| {
            let mut samples = recorder::histogram();
            (0..20).for_each(|more| samples.record((micros + more) * 1000).expect("in range"));
            let errors = if failing == Some(nth) { [(ErrorClass::Reset, 3)].into() } else { [].into() };
            let counts = Counts { requests: 20, errors, ..Counts::default() };
            let legs = [(Leg::Request, samples.clone()), (Leg::Connect, samples)].into();
            Part::new(
                Duration::from_secs(nth as u64),
                Duration::from_secs(1),
                &Cut { counts, legs, ..Cut::default() },
            )
        };
        let seconds: Vec<_> = seconds.iter().enumerate().map(part).collect();
        Summary { timeline: timeline::of(&seconds), seconds, ..summary(&[10]) }
    }

    #[test]
    fn each_leg_has_a_chart_with_its_errors_marked() {
        let mut out = String::new();
        charts(&mut out, &run(&[100, 200, 300], Some(1)));
        for title in ["Rate over time", "Latency over time: request", "Latency over time: connect"] {
            assert_eq!(out.matches(title).count(), 1, "{title}");
        }
        assert_eq!(out.matches("errors at 1.5 s: reset 3").count(), 3, "in every chart");
        assert_eq!(
            out.matches("<polyline").count(),
            2 + 2 * 3,
            "requests, errors; p50, p99 and max of each leg"
        );
    }

    #[test]
    fn a_line_does_not_go_on_where_nothing_was_measured() {
        let mut run = run(&[100, 200, 300, 400, 500], None);
        run.timeline[2].legs.clear();
        let mut out = String::new();
        charts(&mut out, &run);
        assert_eq!(out.matches("<polyline").count(), 1 + 2 * 3 * 2, "two parts of each line of a leg");
        run.timeline[3].legs.clear();
        out.clear();
        charts(&mut out, &run);
        let dots = out.matches("points=\"900.0,").count();
        assert_eq!(dots, 6, "the last point of each line of a leg is a dot: {out}");
    }

    #[test]
    fn a_run_of_one_second_has_no_line() {
        let mut out = String::new();
        charts(&mut out, &run(&[100], None));
        assert_eq!(out, "");
    }

    #[test]
    fn both_runs_are_in_one_chart() {
        let side = |name, colour| Some((name, colour));
        let base = Drawn::new(side("base", 0), &run(&[100, 200], Some(0)));
        let new = Drawn::new(side("new", 1), &run(&[100, 200, 300, 400], Some(3)));
        let again = Drawn::new(side("new", 1), &run(&[100, 200], None));
        let mut out = String::new();
        compared(&mut out, Leg::Request, &[base, new, again], None);
        assert_eq!((out.matches("<svg class=\"plot\"").count(), out.matches("<polyline").count()), (1, 6));
        for (text, times) in [
            ("</i>base p50<", 1),
            ("</i>new p99<", 1),
            ("base: errors at 0.5 s", 1),
            ("new: errors at 3.5 s", 1),
        ] {
            assert_eq!(out.matches(text).count(), times, "{text}: {out}");
        }
        assert!(out.contains("class=\"c0 dashed\"") && out.contains("mark m1"), "{out}");
    }

    #[test]
    fn a_day_is_a_page_of_bounded_size() {
        let day = run(&[100; 2000], None);
        let mut out = String::new();
        charts(&mut out, &day);
        assert!(out.matches("<circle").count() <= 240 * 7, "{}", out.matches("<circle").count());
    }
}
