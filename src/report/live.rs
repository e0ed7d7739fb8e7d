//! The live view on standard error while a run goes on: a bar on a terminal, a line a second elsewhere.
//!
//! The bar is drawn once a second, when the run hands over what it measured: nothing here takes time from the generator.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::units;
use crate::load::objective::Objective;
use crate::load::plan::{Length, Scenario};
use crate::load::recorder::{Counts, ErrorClass, Leg};
use crate::load::samples::Packed;
use crate::load::search::Step;
use crate::load::summary::Part;

/// The width of a line if the terminal's is unknown.
const LINE_WIDTH: usize = 80;
/// A bar shorter than this shows nothing.
const BAR_WIDTH_MIN: usize = 8;
const RANK_OF_BAR: u8 = 3;
const BAR_WIDTH_MAX: usize = 24;
/// The bar's own steps; lengths are in these, whatever they are made of.
const BAR_STEPS: u64 = 1000;
const SEPARATOR: &str = "  ";

/// The live view. Clones show the same view.
#[derive(Debug, Clone)]
pub struct Live {
    bar: ProgressBar,
    place: Place,
    run: Arc<Mutex<Run>>,
}

/// How the view is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In place, on a terminal.
    Terminal,
    /// One line after another.
    Lines,
    /// Not at all.
    Quiet,
}

/// The state of the current run.
#[derive(Debug, Clone, Copy)]
struct Run {
    scenario: Scenario,
    length: Length,
    warmup: Duration,
    /// Requests (or logins in [`Scenario::Login`]) so far, failed ones included.
    done: u64,
    errors: u64,
    /// Since the end of the warm-up.
    measured: Duration,
}

impl Run {
    fn new(scenario: Scenario, length: Length, warmup: Duration) -> Self {
        Self { scenario, length, warmup, done: 0, errors: 0, measured: Duration::ZERO }
    }

    fn add(&mut self, second: &Part) {
        self.done += ended(self.scenario, &second.counts);
        self.errors += second.counts.errors_total();
        self.measured = Duration::from_secs_f64(second.start_seconds + second.length_seconds);
    }

    /// How much is done, from 0 to 1, and the same in words.
    fn progress(&self) -> (f64, String) {
        match self.length {
            Length::Time(length) => {
                let total = self.warmup + length;
                let at = if self.measured.is_zero() { Duration::ZERO } else { self.warmup + self.measured };
                let [at, left, all] = units::clock([at.min(total), total.saturating_sub(at), total]);
                let part = (self.measured + self.warmup).as_secs_f64() / total.as_secs_f64().max(1e-9);
                let part = if self.measured.is_zero() { 0.0 } else { part };
                (part.min(1.0), format!("{at} of {all}, {left} left"))
            }
            Length::Requests(all) => {
                let part = (self.done as f64 / all.max(1) as f64).min(1.0);
                let mut words = format!("{} of {}", units::count(self.done.min(all)), units::count(all));
                if part > 0.0 {
                    let seconds = self.measured.as_secs_f64() * (1.0 / part - 1.0);
                    let [left] =
                        units::clock([Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)]);
                    let _ = write!(words, ", {left} left");
                }
                (part, words)
            }
        }
    }
}

impl Live {
    /// A view that shows nothing before a run begins, and nothing at all if `is_quiet`.
    pub fn new(is_quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr());
        // A terminal without cursor movements (TERM=dumb) is none to indicatif.
        let place = match bar.is_hidden() {
            _ if is_quiet => Place::Quiet,
            true => Place::Lines,
            false => Place::Terminal,
        };
        let run = Run::new(Scenario::Steady, Length::Time(Duration::ZERO), Duration::ZERO);
        Self { bar, place, run: Arc::new(Mutex::new(run)) }
    }

    /// Begins a run of this length.
    pub fn begin(&self, scenario: Scenario, length: Length, warmup: Duration) {
        let run = Run::new(scenario, length, warmup);
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = run;
        if self.place == Place::Terminal {
            self.bar.reset();
            let next = if warmup.is_zero() { "connecting" } else { "connecting and warming up" };
            self.draw(&run, &[Piece::new(next)]);
        }
    }

    /// Shows a second of the run.
    pub fn show(&self, second: &Part) {
        let run = {
            let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
            run.add(second);
            *run
        };
        match self.place {
            Place::Terminal => self.draw(&run, &pieces(second, run.errors)),
            // Standard error may be closed; the run goes on.
            Place::Lines => drop(writeln!(io::stderr(), "{}", line(second))),
            Place::Quiet => {}
        }
    }

    /// Shows a step of the search for a rate, which stays; the next step begins.
    pub fn step(&self, step: &Step, objective: Objective) {
        let line = format!("{} /s: {objective} {}", units::rate(step.rate_per_second), outcome(step));
        match self.place {
            Place::Terminal => self.bar.println(line),
            Place::Lines => drop(writeln!(io::stderr(), "{line}")),
            Place::Quiet => {}
        }
        let Run { scenario, length, warmup, .. } = *self.run.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin(scenario, length, warmup);
    }

    /// Clears the view: the report follows.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Standard error for others' lines while the view is there: they appear above it.
    pub fn stderr(&self) -> impl Write + Send + 'static {
        Above(self.bar.clone())
    }

    fn draw(&self, run: &Run, pieces: &[Piece]) {
        let columns = usize::from(Term::stderr().size().1);
        let (part, progress) = run.progress();
        let progress = Piece::new(progress);
        let all: Vec<_> = std::iter::once(&progress).chain(pieces).collect();
        let (bar_width, message) = with_bar(&all, columns);
        let template = match bar_width {
            0 => "{line}".to_owned(),
            width => format!("{{bar:{width}}} {{line}}"),
        };
        // Only an invalid template could fail, and this one is constant.
        if let Ok(style) = ProgressStyle::with_template(&template) {
            let write_line = move |_: &ProgressState, to: &mut dyn fmt::Write| {
                // Writing to memory does not fail.
                let _ = to.write_str(&message);
            };
            self.bar.set_style(style.progress_chars("━╸─").with_key("line", write_line));
        }
        self.bar.set_position((part * BAR_STEPS as f64) as u64);
        // A position that follows quickly is otherwise not drawn.
        self.bar.force_draw();
    }
}

/// Writes to standard error above the bar.
struct Above(ProgressBar);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A part of the line; the first ones of a line are the last to be left out.
struct Piece {
    text: String,
    /// Lower ones are left out first.
    rank: u8,
}

impl Piece {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), rank: u8::MAX }
    }

    fn ranked(text: impl Into<String>, rank: u8) -> Self {
        Self { text: text.into(), rank }
    }
}

/// The width of the bar and the text after it. Pieces below [`RANK_OF_BAR`] give way to it, and it to the others.
fn with_bar(pieces: &[&Piece], columns: usize) -> (usize, String) {
    let above: Vec<_> = pieces.iter().copied().filter(|piece| piece.rank > RANK_OF_BAR).collect();
    let beside_bar = fit(pieces, columns.saturating_sub(BAR_WIDTH_MIN + 1));
    let width = beside_bar.chars().count();
    if width < fit(&above, columns).chars().count() {
        return (0, fit(pieces, columns));
    }
    // A blank separates the two, and the last column stays free: some terminals wrap after it.
    (columns.saturating_sub(width + 2).min(BAR_WIDTH_MAX), beside_bar)
}

/// The pieces that fit in fewer than this many columns, in their order: the highest ranks first, cut off if necessary.
fn fit(pieces: &[&Piece], columns: usize) -> String {
    let mut by_rank: Vec<_> = (0..pieces.len()).collect();
    by_rank.sort_by_key(|&nth| std::cmp::Reverse(pieces[nth].rank));
    let mut width = 0;
    let mut fitting: Vec<_> = by_rank
        .into_iter()
        .take_while(|&nth| {
            width += pieces[nth].text.chars().count() + SEPARATOR.len();
            width < columns + SEPARATOR.len()
        })
        .collect();
    fitting.sort_unstable();
    let texts: Vec<_> = fitting.into_iter().map(|nth| pieces[nth].text.as_str()).collect();
    let first = || pieces.first().map_or("", |piece| &piece.text);
    let text = if texts.is_empty() { first().to_owned() } else { texts.join(SEPARATOR) };
    text.chars().take(columns.saturating_sub(1)).collect()
}

/// The outcome of a rate that was tried.
pub(super) fn outcome(step: &Step) -> &'static str {
    match (step.is_kept, step.is_generator_limit) {
        (true, false) => "kept",
        (true, true) => "kept, with the generator at its limit",
        (false, false) => "missed",
        (false, true) => "missed at the limit of the generator, not of the server",
    }
}

/// Requests (or logins) that ended, successfully or not.
fn ended(scenario: Scenario, counts: &Counts) -> u64 {
    // These have a reply, which is counted.
    let is_reply = |class: &ErrorClass| {
        matches!(class, ErrorClass::Status4xx | ErrorClass::Status5xx | ErrorClass::Unexpected401)
    };
    let failed: u64 =
        counts.errors.iter().filter(|(class, _)| !is_reply(class)).map(|(_, count)| count).sum();
    failed + if scenario == Scenario::Login { counts.logins } else { counts.requests }
}

/// The pieces of a line about one second.
fn pieces(second: &Part, errors: u64) -> Vec<Piece> {
    let length = second.length_seconds.max(1e-9);
    let counts = &second.counts;
    let (what, count, leg) = if counts.requests > 0 || counts.logins == 0 {
        ("requests/s", counts.requests, Leg::Request)
    } else {
        ("logins/s", counts.logins, Leg::Login)
    };
    let per_second = |count: u64| units::rate(count as f64 / length);
    let due =
        if counts.arrivals > 0 { format!(" of {}", per_second(counts.arrivals)) } else { String::new() };
    let mut pieces = vec![Piece::ranked(format!("{}{due} {what}", per_second(count)), 6)];
    if let Some(samples) = second.legs.get(&leg).map(Packed::unpack) {
        let at = |quantile| units::time(samples.value_at_quantile(quantile) as f64);
        pieces.push(Piece::ranked(format!("p50 {}", at(0.5)), 3));
        pieces.push(Piece::ranked(format!("p99 {}", at(0.99)), 4));
        pieces.push(Piece::ranked(format!("max {}", units::time(samples.max() as f64)), 2));
    }
    pieces.push(Piece::ranked(format!("errors {}", units::count(errors)), 5));
    pieces
}

/// A second as a line of its own.
fn line(second: &Part) -> String {
    let end = second.start_seconds + second.length_seconds;
    let at = Piece::new(format!("{end:>4.0} s"));
    let pieces = pieces(second, second.counts.errors_total());
    fit(&std::iter::once(&at).chain(&pieces).collect::<Vec<_>>(), LINE_WIDTH + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_keeps_what_matters_most_in_the_width_there_is() {
        let mut second = Part { length_seconds: 1.0, start_seconds: 86_399.0, ..Part::default() };
        second.counts.requests = 12_345_678;
        second.counts.errors.insert(ErrorClass::Timeout, 1_234_567);
        let mut run =
            Run::new(Scenario::Steady, Length::Time(Duration::from_secs(86_400)), Duration::from_secs(1));
        run.add(&second);
        let progress = Piece::new(run.progress().1);
        assert_eq!(progress.text, "24:00:01 of 24:00:01, 0:00:00 left");
        let pieces = pieces(&second, run.errors);
        let all: Vec<_> = std::iter::once(&progress).chain(&pieces).collect();
        for columns in 1..200 {
            let text = fit(&all, columns);
            assert!(text.chars().count() < columns.max(1) + usize::from(columns == 1), "{columns}: {text}");
            assert!(!text.contains("errors") || text.contains("requests/s"), "{columns}: {text}");
        }
        assert!(fit(&all, 80).ends_with("left  12,345,678 requests/s  errors 1,234,567"));
        assert_eq!(line(&second), "86400 s  12,345,678 requests/s  errors 1,234,567");
    }

    #[test]
    fn time_left_comes_from_the_clock_or_from_the_requests_so_far() {
        let mut timed =
            Run::new(Scenario::Steady, Length::Time(Duration::from_secs(10)), Duration::from_secs(1));
        assert_eq!(timed.progress(), (0.0, "0 s of 11 s, 11 s left".to_owned()));
        let mut second = Part { length_seconds: 1.0, start_seconds: 3.0, ..Part::default() };
        second.counts.requests = 30;
        second.counts.errors.insert(ErrorClass::Status4xx, 10);
        second.counts.errors.insert(ErrorClass::Timeout, 10);
        timed.add(&second);
        assert_eq!(timed.progress().1, "5 s of 11 s, 6 s left");
        let mut counted = Run::new(Scenario::Steady, Length::Requests(160), Duration::ZERO);
        assert_eq!(counted.progress(), (0.0, "0 of 160".to_owned()));
        counted.add(&second);
        assert_eq!(counted.progress(), (0.25, "40 of 160, 12 s left".to_owned()));
    }
}
