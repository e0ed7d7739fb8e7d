//! Line charts as inline SVG that takes the page's width: places are percentages, text keeps its size, and the page's
//! style colours all of it, so that it follows light and dark.

use std::fmt::Write as _;

use super::units;

const HEIGHT: f64 = 254.0;
/// Lines are drawn on so many steps and stretched to the plot's width.
const STEPS: f64 = 1000.0;
/// A plot is at least this wide on a wide page, and on a narrow one: `page.css` has the widths of its margins.
const WIDE_PX: f64 = 490.0;
const NARROW_PX: f64 = 190.0;
/// An upper bound for a label's usual character.
const CHARACTER_PX: f64 = 7.0;
const LABEL_GAP_PX: f64 = 4.0;
/// A logarithmic axis over more factors of ten than this has a tick at each of them only.
const FINE_DECADES_MAX: f64 = 3.0;

/// The position of a value along an axis.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale {
    /// Linear.
    Linear,
    /// By factors of ten; values are positive.
    Log,
}

/// An axis: its range and its labels.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub scale: Scale,
    pub first: f64,
    pub last: f64,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A rate from 0 to a little over `max`, with round ticks.
    pub(super) fn rate(max: f64) -> Self {
        let step = round_step(max.max(1e-9) / 5.0);
        let last = (max.max(1e-9) / step).ceil() * step;
        let ticks = multiples(step, last).map(|at| (at, units::stepped(at, step)));
        Self { scale: Scale::Linear, first: 0.0, last, ticks: ticks.collect() }
    }

    /// Seconds from 0 to `end`, with ticks at round times.
    pub(super) fn seconds(end: f64) -> Self {
        let end = end.max(1e-9);
        let (step, seconds_per_unit, unit) = time_step(end / 6.0);
        let label =
            |at: f64| format!("{} {unit}", units::stepped(at / seconds_per_unit, step / seconds_per_unit));
        let ticks = multiples(step, end).map(|at| (at, label(at)));
        Self { scale: Scale::Linear, first: 0.0, last: end, ticks: ticks.collect() }
    }

    /// Nanoseconds, both positive, logarithmic between round values.
    pub(super) fn latency(min: f64, max: f64) -> Self {
        let first_power = min.log10().floor() as i32;
        let last_power = (max.log10().ceil() as i32).max(first_power + 1);
        let decades = (first_power..=last_power).map(|power| 10_f64.powi(power));
        let mut ticks: Vec<f64> = if (max / min).log10() > FINE_DECADES_MAX {
            decades.collect()
        } else {
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|times| times * decade)).collect()
        };
        let first = ticks.iter().rposition(|tick| *tick <= min).unwrap_or(0);
        let last =
            ticks.iter().position(|tick| *tick >= max && *tick > ticks[first]).unwrap_or(ticks.len() - 1);
        ticks.truncate(last + 1);
        ticks.drain(..first);
        let (first, last) = (ticks.first().copied().unwrap_or(min), ticks.last().copied().unwrap_or(max));
        let ticks = ticks.into_iter().map(|at| (at, units::time(at))).collect();
        Self { scale: Scale::Log, first, last, ticks }
    }

    /// 0 at the first value, 1 at the last.
    fn part(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.first) / (self.last - self.first),
            Scale::Log => (value / self.first).log10() / (self.last / self.first).log10(),
        };
        part.clamp(0.0, 1.0)
    }

    /// Every how many ticks a label fits on an axis of this length.
    fn label_stride(&self, length_px: f64) -> usize {
        let half = |label: &str| label.chars().count() as f64 * CHARACTER_PX / 2.0;
        let is_apart = |pair: &[&(f64, String)]| {
            let [(left, left_label), (right, right_label)] = pair else { return true };
            let apart = (self.part(*right) - self.part(*left)) * length_px;
            apart >= half(left_label) + half(right_label) + LABEL_GAP_PX
        };
        let fits =
            |stride: &usize| self.ticks.iter().step_by(*stride).collect::<Vec<_>>().windows(2).all(is_apart);
        (1..=self.ticks.len().max(1)).find(fits).unwrap_or(1)
    }
}

/// 0 and the multiples of the step up to the last value.
fn multiples(step: f64, last: f64) -> impl Iterator<Item = f64> {
    let count = (last / step * (1.0 + 1e-9)).floor() as u32;
    (0..=count).map(move |nth| f64::from(nth) * step)
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|times| times * power)
        .find(|round| *round >= step * 0.999)
        .unwrap_or(step)
}

/// A round time of at least so many seconds: it, and the unit of its labels.
fn time_step(least: f64) -> (f64, f64, &'static str) {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    let (unit, name) = match least {
        s if s <= 0.5e-6 => (1e-9, "ns"),
        s if s <= 0.5e-3 => (1e-6, "µs"),
        s if s <= 0.05 => (1e-3, "ms"),
        s if s <= 30.0 => (1.0, "s"),
        s if s <= 30.0 * MINUTE => (MINUTE, "min"),
        _ => (HOUR, "h"),
    };
    let steps: &[f64] = match name {
        "s" if least > 1.0 => &[2.0, 5.0, 10.0, 15.0, 30.0],
        "min" => &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0],
        "h" => &[1.0, 2.0, 3.0, 6.0, 12.0, 24.0],
        _ => &[],
    };
    let in_units = least / unit;
    let step = steps.iter().copied().find(|step| *step >= in_units).unwrap_or_else(|| round_step(in_units));
    (step * unit, unit, name)
}

/// A line, with the text that shows over each of its points.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub name: &'static str,
    /// The number of the style's colour.
    pub colour: usize,
    pub is_dashed: bool,
    pub points: Vec<Point>,
}

/// A place along x where something went wrong.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub x: f64,
    pub text: String,
    /// The name and the colour of the run, where there are several.
    pub side: Option<(&'static str, usize)>,
}

#[derive(Debug, Clone)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
    pub text: String,
    /// Whether nothing was measured just before it: the line begins anew.
    pub follows_gap: bool,
}

/// What is drawn. Names and texts are the caller's own and hold no markup.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    pub label: &'a str,
    pub x: &'a Axis,
    pub y: &'a Axis,
    pub series: &'a [Series],
    pub marks: &'a [Mark],
    /// A value of y that has to be kept, and its name.
    pub goal: Option<(f64, String)>,
}

impl Chart<'_> {
    /// The chart with its legend.
    pub(super) fn svg(&self) -> String {
        let mut svg = String::from("<figure><p class=\"legend\">");
        for (nth, line) in self.series.iter().enumerate() {
            // The runs of one side share their names.
            if self.series[..nth].iter().any(|other| other.name == line.name) {
                continue;
            }
            let _ =
                write!(svg, "<span><i class=\"b{}{}\"></i>{}</span>", line.colour, dashed(line), line.name);
        }
        for side in self.sides() {
            let (class, of_side) = side
                .map_or_else(Default::default, |(name, colour)| (format!(" m{colour}"), format!("{name}: ")));
            let _ = write!(svg, "<span><i class=\"mark{class}\"></i>{of_side}errors in that time</span>");
        }
        if let Some((_, name)) = &self.goal {
            let _ = write!(svg, "<span><i class=\"goal\"></i>objective {name}</span>");
        }
        let _ = write!(svg, "</p><svg class=\"plot\" role=\"img\" aria-label=\"{}\">", self.label);
        self.grid(&mut svg);
        for Mark { x, text, side } in self.marks {
            let x = percent(self.x.part(*x));
            let class = side.map_or_else(String::new, |(_, colour)| format!(" m{colour}"));
            let _ = write!(
                svg,
                "<line class=\"mark{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{HEIGHT}\"><title>{text}</title></line>"
            );
        }
        if let Some((value, _)) = &self.goal {
            let y = self.at_y(*value);
            let _ = write!(svg, "<line class=\"goal\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        }
        self.lines(&mut svg);
        svg.push_str("</svg></figure>");
        svg
    }

    /// The sides of the marks, each once.
    fn sides(&self) -> Vec<Option<(&'static str, usize)>> {
        let mut sides: Vec<_> = self.marks.iter().map(|mark| mark.side).collect();
        sides.dedup();
        sides
    }

    fn at_y(&self, value: f64) -> f64 {
        HEIGHT * (1.0 - self.y.part(value))
    }

    fn grid(&self, svg: &mut String) {
        for (value, text) in &self.y.ticks {
            let at = self.at_y(*value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"end\" x=\"-8\" y=\"{:.1}\">{text}</text>",
                at + 4.0
            );
        }
        let wide = self.x.label_stride(WIDE_PX);
        // Of the labels of a wide page, so that a narrow one only hides some.
        let narrow = self.x.label_stride(NARROW_PX).next_multiple_of(wide);
        for (nth, (value, text)) in self.x.ticks.iter().enumerate() {
            let at = percent(self.x.part(*value));
            let _ = write!(svg, "<line class=\"grid\" x1=\"{at}\" x2=\"{at}\" y1=\"0\" y2=\"{HEIGHT}\"/>");
            if nth % wide == 0 {
                let class = if nth % narrow == 0 { "middle" } else { "middle wide" };
                let _ = write!(
                    svg,
                    "<text class=\"{class}\" x=\"{at}\" y=\"{:.1}\">{text}</text>",
                    HEIGHT + 20.0
                );
            }
        }
    }

    fn lines(&self, svg: &mut String) {
        // Stretched without its strokes: see `vector-effect` in the style.
        let _ = write!(
            svg,
            "<svg viewBox=\"0 0 {STEPS} {HEIGHT}\" preserveAspectRatio=\"none\" width=\"100%\" height=\"{HEIGHT}\">"
        );
        for line in self.series {
            let place =
                |point: &Point| format!("{:.1},{:.1}", self.x.part(point.x) * STEPS, self.at_y(point.y));
            for part in line.points.chunk_by(|_, next| !next.follows_gap) {
                let mut points: Vec<_> = part.iter().map(place).collect();
                // A point without neighbours is a dot, which a line from it to itself has by its round ends.
                points.extend(points.first().filter(|_| part.len() == 1).cloned());
                let (colour, points) = (line.colour, points.join(" "));
                let _ = write!(svg, "<polyline class=\"c{colour}{}\" points=\"{points}\"/>", dashed(line));
            }
        }
        svg.push_str("</svg>");
        for line in self.series {
            for point in &line.points {
                let _ = write!(
                    svg,
                    "<circle class=\"c{}\" cx=\"{}\" cy=\"{:.1}\" r=\"3\"><title>{}: {}</title></circle>",
                    line.colour,
                    percent(self.x.part(point.x)),
                    self.at_y(point.y),
                    line.name,
                    point.text
                );
            }
        }
    }
}

fn dashed(line: &Series) -> &'static str {
    if line.is_dashed { " dashed" } else { "" }
}

fn percent(part: f64) -> String {
    format!("{:.2}%", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn times_from_microseconds_to_a_day_have_round_ticks_with_labels_of_their_own() {
        assert_eq!(labels(&Axis::seconds(2.3)), ["0 s", "0.5 s", "1 s", "1.5 s", "2 s"]);
        assert_eq!(labels(&Axis::seconds(10.0)), ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]);
        assert_eq!(labels(&Axis::seconds(90.0)), ["0 s", "15 s", "30 s", "45 s", "60 s", "75 s", "90 s"]);
        assert_eq!(labels(&Axis::seconds(600.0)).last(), Some(&"10 min"));
        assert_eq!(labels(&Axis::seconds(86_400.0)), ["0 h", "6 h", "12 h", "18 h", "24 h"]);
        let mut end = 3e-6;
        while end < 90_000.0 {
            let axis = Axis::seconds(end);
            let labels = labels(&axis);
            let mut distinct = labels.clone();
            distinct.dedup();
            assert_eq!(labels, distinct, "{end} s");
            assert!((3..=8).contains(&labels.len()), "{end} s: {labels:?}");
            assert!(labels.iter().all(|label| label.len() <= 9), "{end} s: {labels:?}");
            end *= 1.07;
        }
    }

    #[test]
    fn rates_and_latencies_have_round_ticks_with_labels_of_their_own() {
        assert_eq!(labels(&Axis::rate(873.0)), ["0", "200", "400", "600", "800", "1,000"]);
        assert_eq!(labels(&Axis::rate(0.004)), ["0", "0.001", "0.002", "0.003", "0.004"]);
        assert_eq!(labels(&Axis::latency(1.2e6, 7e6)), ["1 ms", "2 ms", "5 ms", "10 ms"]);
        assert_eq!(labels(&Axis::latency(30.0, 2e9)).first(), Some(&"10 ns"));
        let mut min = 1.0;
        while min < 1e12 {
            for factor in [1.0, 1.5, 30.0, 1e3, 1e6] {
                let axis = Axis::latency(min, (min * factor).min(3.6e12));
                let labels = labels(&axis);
                let mut distinct = labels.clone();
                distinct.dedup();
                assert_eq!(labels, distinct);
                assert!(
                    labels.len() >= 2 && axis.first <= min && axis.last >= min * factor.min(3.6e12 / min)
                );
                let rates = Axis::rate(min / 1e4);
                assert!((4..=7).contains(&rates.ticks.len()), "{rates:?}");
            }
            min *= 1.9;
        }
    }

    #[test]
    fn labels_do_not_touch_each_other() {
        let axis = Axis::seconds(75.0 * 60.0);
        let stride = axis.label_stride(100.0);
        assert!(stride > 1 && axis.label_stride(2_000.0) == 1, "{stride}: {axis:?}");
    }

    #[test]
    fn nothing_is_drawn_outside_the_plot_or_nowhere() {
        let (x, y) = (Axis::seconds(0.0), Axis::latency(1.0, 10.0));
        let point = |x, y| Point { x, y, text: String::new(), follows_gap: false };
        let series = [Series {
            name: "a",
            colour: 0,
            is_dashed: false,
            points: vec![point(0.0, 0.0), point(9e9, 1e12)],
        }];
        let (marks, goal) =
            ([Mark { x: 1e9, text: String::new(), side: None }], Some((1e99, "p99&lt;1s".to_owned())));
        let svg = Chart { label: "c", x: &x, y: &y, series: &series, marks: &marks, goal }.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("0.0,254.0 1000.0,0.0"), "{svg}");
    }
}
