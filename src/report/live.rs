//! A line a second on standard error while a run goes on: over itself on a terminal, one below the other elsewhere.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::units;
use crate::load::objective::Objective;
use crate::load::recorder::Leg;
use crate::load::samples::Packed;
use crate::load::search::Step;
use crate::load::summary::Part;

/// The live line.
#[derive(Debug)]
pub struct Live {
    bar: ProgressBar,
    is_terminal: bool,
}

impl Default for Live {
    /// Nothing is printed until the first second is over.
    fn default() -> Self {
        let bar = ProgressBar::no_length().with_style(ProgressStyle::default_spinner());
        bar.set_draw_target(ProgressDrawTarget::stderr());
        let is_terminal = !bar.is_hidden();
        Self { bar, is_terminal }
    }
}

impl Live {
    /// Shows a second of the run.
    pub fn show(&self, second: &Part) {
        let line = line(second);
        if self.is_terminal {
            self.bar.set_message(line);
            self.bar.tick();
        } else {
            // Nobody may be reading; the run goes on.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// Shows a step of the search for a rate; it stays.
    pub fn step(&self, step: &Step, objective: Objective) {
        let line = format!("{} /s: {objective} {}", units::rate(step.rate_per_second), outcome(step));
        if self.is_terminal {
            self.bar.println(line);
        } else {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// Clears the line: the report follows.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// What a rate that was tried came to.
pub(super) fn outcome(step: &Step) -> &'static str {
    match (step.is_kept, step.is_generator_limit) {
        (true, false) => "kept",
        (true, true) => "kept, with the generator at its limit",
        (false, false) => "missed",
        (false, true) => "missed at the limit of the generator, not of the server",
    }
}

/// What a second was like.
fn line(second: &Part) -> String {
    let length = second.length_seconds.max(1e-9);
    let counts = &second.counts;
    let (what, count, leg) = if counts.requests > 0 || counts.logins == 0 {
        ("requests", counts.requests, Leg::Request)
    } else {
        ("logins", counts.logins, Leg::Login)
    };
    let samples = second.legs.get(&leg).map(Packed::unpack);
    let latency = samples.map_or(String::new(), |samples| {
        let at = |quantile| units::time(samples.value_at_quantile(quantile) as f64);
        format!(", p50 {}, p99 {}, max {}", at(0.5), at(0.99), units::time(samples.max() as f64))
    });
    let end = Duration::from_secs_f64(second.start_seconds + second.length_seconds);
    format!(
        "{:>4.0} s  {} {what}/s{latency}, errors {}",
        end.as_secs_f64(),
        units::rate(count as f64 / length),
        units::count(counts.errors_total())
    )
}
