//! Two versions of a run side by side: what became worse, what of it is noise, and what cannot be judged.
//!
//! Owns the judgement of two sets of results, as typed values; [`text`] prints them. It must never hide a figure
//! that one side has: what is not judged is a row that says why.
//!
//! ```text
//! base, new -> figures   the estimates of each run, with what chance leaves of them
//!           -> unlike    what the runs were asked for, where it differs
//!           => Comparison { rows, warnings } -> judge(allowance) -> Verdict
//! ```
//!
//! Chance and repeats tell noise: each figure of a run has an interval that its number of samples allows, the
//! intervals of a side's runs are taken together, and a difference is noise if the two sides' intervals overlap.

mod figures;
pub mod html;
mod text;
mod unlike;

use std::fmt;

pub use text::text;
pub(super) use unlike::{Mixed, mixed};
pub use unlike::{Trait, Unlike};

use super::units;
use crate::load::Summary;
use crate::load::recorder::{ErrorClass, Leg};
use crate::load::warning;

/// What two sets of results say of each other.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Every figure that one of the sides has.
    pub rows: Vec<Row>,
    /// What a reader must know before he believes the rows.
    pub warnings: Vec<Warning>,
}

/// One figure of both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What it is a figure of.
    pub subject: Subject,
    /// The median of the base runs (the sum, of counts), in the subject's unit; `None`: they do not have it.
    pub base: Option<f64>,
    /// The same of the new runs.
    pub new: Option<f64>,
    /// What it counts for.
    pub standing: Standing,
}

/// What a row is a figure of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subject {
    /// Requests with a whole reply, a second.
    Requests,
    /// Logins, a second.
    Logins,
    /// Failures of all classes.
    Errors,
    /// Failures of one class.
    ErrorsOf(ErrorClass),
    /// Requests without an answer at the end.
    Unanswered,
    /// Requests that were due and not sent.
    Unsent,
    /// Replies that named another user than their connection's.
    Leaks,
    /// A percentile of a leg, nanoseconds.
    Percentile(Leg, f64),
    /// A whole leg, which one of the sides lacks: its median, nanoseconds.
    Leg(Leg),
}

/// What a row counts for in a judgement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// It is worse by so many percent; negative: better.
    Judged {
        /// Slower, fewer a second, or a larger share of failures.
        worse_percent: f64,
        /// What chance and repeats say.
        noise: Noise,
    },
    /// The base has none of these failures and the new runs have.
    NewFailures,
    /// The base has this leg and the new runs do not.
    Missing,
    /// A reply named another user: never allowed.
    Leak,
    /// It counts for nothing.
    NotJudged(Why),
}

/// Why a row is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was taken while the generator prepared, when all connections begin at once.
    BeforeClock,
    /// One of the runs has fewer than five samples above the percentile.
    FewSamples,
    /// The base does not have it.
    OnlyInNew,
    /// Some of the base's repeats do not have it.
    NotInEveryRun,
}

/// What chance and repeats say of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// One run on each side, apart by more than chance: what repeats would do is unknown.
    Unknown,
    /// The sides' intervals overlap.
    Within,
    /// There are repeats, and the intervals do not overlap.
    Beyond,
}

/// What a reader must know before he believes a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// The runs were not asked for the same.
    Unlike(Vec<Unlike>),
    /// A run is on both sides.
    SameRun,
    /// The base has no reply that is no error.
    EmptyBase,
    /// One run on each side.
    SingleRuns,
    /// The figures of one of the runs are doubtful by themselves.
    OfRun {
        /// The side, and its number there if it has repeats.
        run: String,
        /// Why.
        warning: warning::Warning,
    },
}

/// What may be worse without failing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// Worse by so many percent.
    pub worse_percent: f64,
    /// Whether runs are judged that were not asked for the same.
    pub unlike: bool,
}

/// What an allowance makes of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict<'a> {
    /// Nothing that was judged is worse by more than allowed.
    Kept {
        /// How many rows were judged.
        judged: usize,
    },
    /// These rows are worse by more than allowed.
    Missed(Vec<&'a Row>),
    /// Nothing is worse, and that says nothing.
    NotJudged(Obstacle),
}

/// Why a comparison proves nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Obstacle {
    /// The runs were asked for different loads.
    Unlike(Vec<Unlike>),
    /// The base measured nothing.
    EmptyBase,
}

impl Comparison {
    /// Compares every figure of the new runs with the base's; several runs on a side are repeats.
    pub fn of(base: &[Summary], new: &[Summary]) -> Self {
        Self { rows: figures::rows(base, new), warnings: warnings(base, new) }
    }

    /// Judges it.
    pub fn judge(&self, allowance: Allowance) -> Verdict<'_> {
        let missed: Vec<_> = self.rows.iter().filter(|row| row.is_over(allowance.worse_percent)).collect();
        if !missed.is_empty() {
            return Verdict::Missed(missed);
        }
        if self.warnings.contains(&Warning::EmptyBase) {
            return Verdict::NotJudged(Obstacle::EmptyBase);
        }
        let decisive: Vec<_> = self.unlike().iter().filter(|unlike| unlike.is_decisive).cloned().collect();
        if !decisive.is_empty() && !allowance.unlike {
            return Verdict::NotJudged(Obstacle::Unlike(decisive));
        }
        let is_judged = |row: &&Row| !matches!(row.standing, Standing::NotJudged(_));
        Verdict::Kept { judged: self.rows.iter().filter(is_judged).count() }
    }

    fn unlike(&self) -> &[Unlike] {
        let unlike = self.warnings.iter().find_map(|warning| match warning {
            Warning::Unlike(unlike) => Some(unlike.as_slice()),
            _ => None,
        });
        unlike.unwrap_or_default()
    }
}

impl Row {
    /// Whether it is worse by more than `percent`, and not because of noise.
    pub fn is_over(&self, percent: f64) -> bool {
        match self.standing {
            Standing::Judged { worse_percent, noise } => noise != Noise::Within && worse_percent > percent,
            Standing::NewFailures | Standing::Missing | Standing::Leak => true,
            Standing::NotJudged(_) => false,
        }
    }

    /// By how many percent the new figure is larger; negative: smaller; `None`: a side has no figure, or the base is 0.
    pub fn percent(&self) -> Option<f64> {
        match (self.base, self.new, self.standing) {
            // The share of all that was tried, not the count.
            (Some(base), _, Standing::Judged { worse_percent, .. }) if self.subject.is_failure() => {
                (base > 0.0).then_some(worse_percent)
            }
            (Some(base), Some(new), _) if base > 0.0 => Some((new / base - 1.0) * 100.0),
            _ => None,
        }
    }
}

impl Subject {
    /// Whether it counts failures.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Errors | Self::ErrorsOf(_) | Self::Unanswered | Self::Unsent | Self::Leaks)
    }

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Requests => "requests /s".to_owned(),
            Self::Logins => "logins /s".to_owned(),
            Self::Errors => "errors".to_owned(),
            Self::ErrorsOf(class) => format!("  {}", class.title()),
            Self::Unanswered => "unanswered".to_owned(),
            Self::Unsent => "not sent".to_owned(),
            Self::Leaks => "identity leaks".to_owned(),
            Self::Percentile(leg, _) | Self::Leg(leg) => leg.title().to_owned(),
        }
    }

    /// A value in its unit.
    pub fn value(self, value: f64) -> String {
        match self {
            Self::Requests | Self::Logins => units::rate(value),
            Self::Percentile(..) | Self::Leg(_) => units::time(value),
            _ => units::count(value as u64),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlike(unlike) => {
                write!(
                    f,
                    "runs differ: {}; this alone can explain a difference; measure both sides under the same load",
                    list(unlike)
                )
            }
            Self::SameRun => {
                f.write_str("base and new contain the same run; compare two different measurements")
            }
            Self::EmptyBase => {
                f.write_str("the base has no successful reply, so no figure can be judged; measure it again")
            }
            Self::SingleRuns => f.write_str(
                "one run on each side: only repeated runs show how much of a difference is noise; measure each side \
                 at least three times, and give all runs",
            ),
            Self::OfRun { run, warning } => write!(f, "{run}: {warning}"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlike(unlike) => write!(f, "the runs differ ({})", list(unlike)),
            Self::EmptyBase => f.write_str("the base has no successful reply"),
        }
    }
}

fn list(unlike: &[Unlike]) -> String {
    unlike.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn warnings(base: &[Summary], new: &[Summary]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let unlike = unlike::unlike(base, new);
    if !unlike.is_empty() {
        warnings.push(Warning::Unlike(unlike));
    }
    if base.iter().any(|base| new.iter().any(|new| base.shares_a_run(new))) {
        warnings.push(Warning::SameRun);
    }
    let has_good_reply = |run: &Summary| {
        [Leg::Request, Leg::Login]
            .iter()
            .any(|leg| run.legs.get(leg).is_some_and(|samples| !samples.0.is_empty()))
    };
    if !base.iter().any(has_good_reply) {
        warnings.push(Warning::EmptyBase);
    }
    for (side, runs) in [("base", base), ("new", new)] {
        for (nth, run) in runs.iter().enumerate() {
            let name = if runs.len() > 1 { format!("{side} run {}", nth + 1) } else { side.to_owned() };
            warnings.extend(
                run.warnings().into_iter().map(|warning| Warning::OfRun { run: name.clone(), warning }),
            );
        }
    }
    if base.len() == 1 && new.len() == 1 {
        warnings.push(Warning::SingleRuns);
    }
    warnings
}

#[cfg(test)]
mod tests;
