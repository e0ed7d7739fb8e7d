//! `iisplice report`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::load::OutputArgs;
use crate::control::exit_code_of_file;
use crate::load::Summary;
use crate::report::compare::{Allowance, Comparison, Obstacle, Verdict};
use crate::report::merge::{self, Merged, Refusal};
use crate::report::{self, ReportError};

/// An objective, here "not slower than before", was missed.
const EXIT_OBJECTIVE_MISSED: u8 = 4;

/// The flags of `iisplice report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Results of `iisplice load --json FILE`; several are shown one by one, unless merged or compared
    #[arg(value_name = "RUN.json", required = true)]
    runs: Vec<PathBuf>,
    /// Add up runs that took place at the same time on several machines, and write the sum
    #[arg(long, value_name = "OUT.json", conflicts_with = "compare")]
    merge: Option<PathBuf>,
    /// Also merge runs that did not overlap in time; their durations are added
    #[arg(long, requires = "merge")]
    allow_gaps: bool,
    /// Compare the runs with this base; repeatable: several runs on both sides separate changes from noise
    #[arg(long, value_name = "BASE.json")]
    compare: Vec<PathBuf>,
    /// Exit with code 4 if the new runs are worse: a percentile, a rate, or the share of errors or unanswered
    /// requests by more than this percentage, beyond noise; errors where the base has none; a missing leg; or a reply
    /// that named another user. Legs from before the clock and percentiles with too few samples do not count
    #[arg(long, value_name = "PCT", requires = "compare", value_parser = percent)]
    fail_over: Option<f64>,
    /// Let --fail-over judge runs whose loads differ (loop, rate, arrivals, scenario, auth, connections); without
    /// this flag, they end with exit code 1
    #[arg(long, requires = "fail_over")]
    allow_unlike: bool,

    #[command(flatten)]
    outputs: OutputArgs,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim_end().parse().ok();
    number
        .filter(|percent: &f64| percent.is_finite() && *percent >= 0.0)
        .ok_or_else(|| "give a percentage, such as 5".to_owned())
}

/// A command line that cannot be executed, or files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Contradictory flags.
    #[error("{0}")]
    Usage(&'static str),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Results that cannot be merged.
    #[error("{refusal}{}", advice(refusal))]
    Merge {
        /// The reason.
        #[from]
        refusal: Refusal,
    },
}

/// What to do about a refusal that does not say so itself.
fn advice(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Gap { .. } => "; start them at the same time, or add --allow-gaps",
        Refusal::SameRun { .. } | Refusal::Format { .. } => "",
    }
}

impl Error {
    /// 2 if the command line is at fault, 1 otherwise.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Report(ReportError::Read { cause, .. }) => exit_code_of_file(cause),
            Self::Report(_) | Self::Merge { refusal: Refusal::Format { .. } } => ExitCode::FAILURE,
            Self::Usage(_) | Self::Merge { .. } => ExitCode::from(2),
        }
    }
}

/// Runs `iisplice report`.
///
/// # Errors
/// See [`Error`]; a missed objective is an exit code.
pub fn execute(arguments: ReportArgs) -> Result<ExitCode, Error> {
    let ReportArgs { runs: paths, merge, allow_gaps, compare, fail_over, allow_unlike, outputs } = arguments;
    let mut outputs = outputs.outputs();
    let runs = read_all(&paths)?;
    if !compare.is_empty() {
        if outputs.json.is_some() || outputs.hgrm.is_some() || outputs.hlog.is_some() {
            return Err(Error::Usage(
                "a comparison is written as a table or as HTML; remove --json, --hgrm and --hlog",
            ));
        }
        let allowance = fail_over.map(|worse_percent| Allowance { worse_percent, unlike: allow_unlike });
        return compared(&read_all(&compare)?, &runs, allowance, outputs.html.as_deref());
    }
    if let Some(out) = merge {
        if outputs.json.is_some() {
            return Err(Error::Usage("--merge already writes the JSON; remove --json"));
        }
        outputs.json = Some(out);
        let Merged { sum, warnings } = merge::merge(paths.into_iter().zip(runs).collect(), allow_gaps)?;
        report::show(&sum, &outputs)?;
        for warning in warnings {
            report::complain(&format!("warning: {warning}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if runs.len() > 1 && !outputs.is_empty() {
        return Err(Error::Usage(
            "files are written for a single run; give one run, or add them up with --merge OUT.json",
        ));
    }
    for (nth, run) in runs.iter().enumerate() {
        if nth > 0 {
            report::print("\n")?;
        }
        report::show(run, &outputs)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Summary>, Error> {
    paths.iter().map(|path| Ok(report::read(path)?)).collect()
}

fn compared(
    base: &[Summary],
    new: &[Summary],
    allowance: Option<Allowance>,
    html: Option<&Path>,
) -> Result<ExitCode, Error> {
    let comparison = Comparison::of(base, new);
    report::show_comparison(base, new, &comparison, allowance, html)?;
    Ok(match allowance.map(|allowance| comparison.judge(allowance)) {
        None | Some(Verdict::Kept { .. }) => ExitCode::SUCCESS,
        Some(Verdict::Missed(_)) => ExitCode::from(EXIT_OBJECTIVE_MISSED),
        Some(Verdict::NotJudged(obstacle)) => {
            let advice = match obstacle {
                Obstacle::Unlike(_) => "measure both sides under the same load, or add --allow-unlike",
                Obstacle::EmptyBase => "measure it again",
            };
            report::complain(&format!("--fail-over cannot judge: {obstacle}; {advice}"));
            ExitCode::FAILURE
        }
    })
}
