//! Line charts as inline SVG: text that the page's style colours, so that it follows light and dark.

use std::fmt::Write as _;

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 300.0;
/// Room for the labels: left, right, top, bottom of the plot.
const MARGIN: (f64, f64, f64, f64) = (76.0, 14.0, 12.0, 34.0);

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
    /// An axis from 0 to slightly more than `max`, with round ticks.
    pub(super) fn linear(max: f64, label: impl Fn(f64) -> String) -> Self {
        let step = round_step(max.max(1e-9) / 5.0);
        let last = (max.max(1e-9) / step).ceil() * step;
        let ticks = (0..=((last / step).round() as u32)).map(|nth| f64::from(nth) * step);
        Self { scale: Scale::Linear, first: 0.0, last, ticks: ticks.map(|at| (at, label(at))).collect() }
    }

    /// An axis of whole factors of ten around `min..=max`, both positive; a single value also becomes a range.
    pub(super) fn log(min: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let first = min.log10().floor() as i32;
        let last = (max.log10().ceil() as i32).max(first + 1);
        let ticks = (first..=last).map(|exponent| 10_f64.powi(exponent)).map(|at| (at, label(at)));
        Self { scale: Scale::Log, first: 10_f64.powi(first), last: 10_f64.powi(last), ticks: ticks.collect() }
    }

    /// 0 at the first value, 1 at the last.
    fn part(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.first) / (self.last - self.first),
            Scale::Log => (value / self.first).log10() / (self.last / self.first).log10(),
        };
        part.clamp(0.0, 1.0)
    }
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

/// A line, with the tooltip of each point.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub name: &'static str,
    /// The number of the style's colour.
    pub colour: usize,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
    pub text: String,
}

/// The chart with its legend. Names and texts must contain no markup.
pub(super) fn chart(label: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let mut svg = String::from("<p class=\"legend\">");
    for line in series {
        let _ = write!(svg, "<span><i class=\"b{}\"></i>{}</span>", line.colour, line.name);
    }
    let _ = write!(svg, "</p><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">");
    let (left, right, top, bottom) = (MARGIN.0, WIDTH - MARGIN.1, MARGIN.2, HEIGHT - MARGIN.3);
    let at_x = |value: f64| left + x.part(value) * (right - left);
    let at_y = |value: f64| bottom - y.part(value) * (bottom - top);
    for (value, text) in &y.ticks {
        let at = at_y(*value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            left - 8.0,
            at + 4.0
        );
    }
    for (value, text) in &x.ticks {
        let at = at_x(*value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
             <text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>",
            bottom + 20.0
        );
    }
    for line in series {
        let place = |point: &Point| format!("{:.1},{:.1}", at_x(point.x), at_y(point.y));
        let points: Vec<_> = line.points.iter().map(place).collect();
        let _ = write!(svg, "<polyline class=\"c{}\" points=\"{}\"/>", line.colour, points.join(" "));
        for point in &line.points {
            let _ = write!(
                svg,
                "<circle class=\"c{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"><title>{}: {}</title></circle>",
                line.colour,
                at_x(point.x),
                at_y(point.y),
                line.name,
                point.text
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_begin_and_end_on_round_values() {
        let linear = Axis::linear(873.0, |value| value.to_string());
        assert_eq!((linear.last, linear.ticks.len()), (1000.0, 6));
        let log = Axis::log(0.03, 20.0, |value| value.to_string());
        assert_eq!((log.first, log.last, log.ticks.len()), (0.01, 100.0, 5));
        let flat = Axis::log(1.0, 1.0, |value| value.to_string());
        assert!(flat.last > flat.first);
    }

    #[test]
    fn nothing_is_drawn_outside_the_plot_or_nowhere() {
        let y = Axis::log(1.0, 10.0, |value| value.to_string());
        let x = Axis::linear(0.0, |value| value.to_string());
        let point = |x, y| Point { x, y, text: String::new() };
        let series = [Series { name: "a", colour: 0, points: vec![point(0.0, 0.0), point(9e9, 1e12)] }];
        let svg = chart("c", &x, &y, &series);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("76.0,266.0 906.0,12.0"), "{svg}");
    }
}
