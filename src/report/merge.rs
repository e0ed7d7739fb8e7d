//! Results of several machines that measured at the same time, added up.
//!
//! Owns what may be added up. A run counts once, and rates of different times cannot be added: such results are
//! refused, or put one after the other.

use std::fmt;
use std::path::PathBuf;

use super::compare::{Mixed, mixed};
use super::units;
use crate::load::Summary;
use crate::load::summary::MergeError;

/// Runs that overlap for less than this part of the longest one have a sum of rates that was at no time.
const OVERLAP_MIN: f64 = 0.9;

/// A sum, and what a reader must know before he believes it.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The sum.
    pub sum: Summary,
    /// What is doubtful.
    pub warnings: Vec<Warning>,
}

/// What is doubtful about a sum.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// The runs measured different things, and their samples are in one histogram.
    Mixed(Vec<Mixed>),
    /// They overlapped in time only in part.
    PartialOverlap {
        /// All of them measured.
        common_seconds: f64,
        /// The longest of them measured.
        longest_seconds: f64,
    },
    /// Some of them did not overlap in time.
    Gaps,
}

/// Why results are not added up.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A run would count twice.
    #[error("{} and {} contain the same run; give each run once", first.display(), second.display())]
    SameRun {
        /// One file.
        first: PathBuf,
        /// The other one, which may be the same.
        second: PathBuf,
    },
    /// Two did not overlap in time.
    #[error(
        "{} started {} after {} ended; rates of runs that do not overlap cannot be added",
        second.display(), units::time(gap_seconds * 1e9), first.display()
    )]
    Gap {
        /// The earlier one.
        first: PathBuf,
        /// The later one.
        second: PathBuf,
        /// Between them.
        gap_seconds: f64,
    },
    /// A file of another version.
    #[error("{}: {cause}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: MergeError,
    },
}

/// Adds results up: those that overlap in time as one load, others, if `allow_gaps` is set, one after the other.
///
/// # Errors
/// [`Refusal`].
pub fn merge(mut results: Vec<(PathBuf, Summary)>, allow_gaps: bool) -> Result<Merged, Refusal> {
    for (nth, (second, result)) in results.iter().enumerate() {
        if let Some((first, _)) = results[..nth].iter().find(|(_, other)| other.shares_a_run(result)) {
            return Err(Refusal::SameRun { first: first.clone(), second: second.clone() });
        }
    }
    let mut warnings = Vec::new();
    let mixed = mixed(&results.iter().flat_map(|(_, result)| &result.runs).collect::<Vec<_>>());
    if !mixed.is_empty() {
        warnings.push(Warning::Mixed(mixed));
    }
    results.sort_by(|(_, a), (_, b)| Span::of(a).start.total_cmp(&Span::of(b).start));
    let mut groups: Vec<Group> = Vec::new();
    for (path, result) in results {
        let span = Span::of(&result);
        match groups.last_mut() {
            Some(group) if span.start <= group.common.end => group.add(path, &result, span)?,
            Some(group) if !allow_gaps => {
                return Err(Refusal::Gap {
                    first: group.first_to_end.clone(),
                    second: path,
                    gap_seconds: span.start - group.common.end,
                });
            }
            _ => groups.push(Group::new(path, result, span)),
        }
    }
    warnings.extend(groups.iter().filter_map(Group::partial_overlap));
    if groups.len() > 1 {
        warnings.push(Warning::Gaps);
    }
    let mut sums = groups.into_iter();
    let Some(mut all) = sums.next() else { unreachable!("the command line requires a file") };
    for group in sums {
        all.sum.append(&group.sum).map_err(|cause| Refusal::Format { path: group.first_to_end, cause })?;
    }
    Ok(Merged { sum: all.sum, warnings })
}

/// The time that a result was measured in, seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: f64,
    end: f64,
}

impl Span {
    fn of(result: &Summary) -> Self {
        let starts = || result.runs.iter().map(|run| run.started_unix_seconds + run.warmup_seconds);
        let last = starts().fold(f64::NEG_INFINITY, f64::max);
        Self { start: starts().fold(f64::INFINITY, f64::min), end: last + result.measured_seconds }
    }
}

/// Results that all overlap.
struct Group {
    sum: Summary,
    /// When all of them measured.
    common: Span,
    longest_seconds: f64,
    first_to_end: PathBuf,
}

impl Group {
    fn new(path: PathBuf, result: Summary, span: Span) -> Self {
        Self { sum: result, common: span, longest_seconds: span.end - span.start, first_to_end: path }
    }

    fn add(&mut self, path: PathBuf, result: &Summary, span: Span) -> Result<(), Refusal> {
        self.sum.merge(result).map_err(|cause| Refusal::Format { path: path.clone(), cause })?;
        self.longest_seconds = self.longest_seconds.max(span.end - span.start);
        self.common.start = self.common.start.max(span.start);
        if span.end < self.common.end {
            (self.common.end, self.first_to_end) = (span.end, path);
        }
        Ok(())
    }

    fn partial_overlap(&self) -> Option<Warning> {
        let (common_seconds, longest_seconds) = (self.common.end - self.common.start, self.longest_seconds);
        (common_seconds < longest_seconds * OVERLAP_MIN)
            .then_some(Warning::PartialOverlap { common_seconds, longest_seconds })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mixed(mixed) => {
                let mixed: Vec<_> = mixed.iter().map(ToString::to_string).collect();
                write!(f, "merged runs differ: {}; each percentile covers all of them", mixed.join("; "))
            }
            Self::PartialOverlap { common_seconds, longest_seconds } => write!(
                f,
                "the runs overlap for only {} of {}: the sum of their rates is too high for the rest of the time; \
                 start them together",
                units::time(common_seconds * 1e9),
                units::time(longest_seconds * 1e9)
            ),
            Self::Gaps => f.write_str(
                "the runs did not overlap in time: their durations are added, and rates are averages",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::summary::FORMAT;
    use crate::load::summary::tests::summary;

    /// A result of 100 requests in so many seconds, begun so many seconds after the first.
    fn result(name: &str, start: f64, seconds: f64) -> (PathBuf, Summary) {
        let mut result = summary(&[10; 100]);
        result.runs[0].started_unix_seconds += start;
        result.measured_seconds = seconds;
        (name.into(), result)
    }

    #[test]
    fn a_run_counts_once_whatever_its_file_is_called() {
        let sum = merge(vec![result("a", 0.0, 10.0), result("b", 1.0, 10.0)], false).unwrap().sum;
        for twice in [result("a", 0.0, 10.0), ("sum".into(), sum)] {
            let refusal =
                merge(vec![result("other", 0.5, 10.0), result("a", 0.0, 10.0), twice], true).unwrap_err();
            assert!(
                refusal.to_string().starts_with("a and ")
                    && refusal.to_string().ends_with("give each run once"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn runs_that_do_not_all_overlap_are_one_after_the_other_only_if_told() {
        // The second overlaps with both others, which do not overlap with each other.
        let chain = || vec![result("c", 16.0, 10.0), result("a", 0.0, 10.0), result("b", 8.0, 10.0)];
        let refusal = merge(chain(), false).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "c started 6 s after a ended; rates of runs that do not overlap cannot be added"
        );
        let Merged { sum, warnings } = merge(chain(), true).unwrap();
        assert_eq!((sum.counts.requests, sum.runs.len(), sum.format), (300, 3, FORMAT));
        assert!((19.9..20.1).contains(&sum.measured_seconds), "{}", sum.measured_seconds);
        assert_eq!((sum.seconds.len(), sum.seconds[1].start_seconds as u64), (2, 10));
        assert!(matches!(warnings[..], [Warning::PartialOverlap { .. }, Warning::Gaps]), "{warnings:?}");
    }

    #[test]
    fn runs_of_the_same_time_add_up_as_they_are() {
        let Merged { sum, warnings } =
            merge(vec![result("a", 0.2, 10.0), result("b", 0.0, 10.0)], false).unwrap();
        assert!((9.9..10.1).contains(&sum.measured_seconds), "{}", sum.measured_seconds);
        assert_eq!((warnings, sum.counts.requests), (vec![], 200));
    }

    #[test]
    fn the_time_before_the_warm_up_ends_is_no_overlap() {
        let (path, mut late) = result("b", 5.0, 10.0);
        late.runs[0].warmup_seconds = 8.0;
        let refusal = merge(vec![result("a", 0.0, 10.0), (path, late)], false).unwrap_err();
        assert!(matches!(refusal, Refusal::Gap { .. }), "{refusal}");
    }

    #[test]
    fn a_sum_of_different_things_says_so() {
        let (path, mut other) = result("b", 0.1, 10.0);
        other.runs[0].auth = "ntlm".into();
        let warnings = merge(vec![result("a", 0.0, 10.0), (path, other)], false).unwrap().warnings;
        let said: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["merged runs differ: auth none and ntlm; each percentile covers all of them"]);
    }
}
