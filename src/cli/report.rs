//! `iisplice report`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::load::OutputArgs;
use crate::control::exit_code_of_file;
use crate::load::Summary;
use crate::load::summary::MergeError;
use crate::report::{self, ReportError, compare};

/// An objective, here "not slower than before", was missed.
const EXIT_OBJECTIVE_MISSED: u8 = 4;

/// Every flag.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Results of `iisplice load --json FILE`; of several, each is shown, unless they are merged or compared
    #[arg(value_name = "RUN.json", required = true)]
    runs: Vec<PathBuf>,
    /// Add up the runs, which went on at the same time on several machines, and write the sum
    #[arg(long, value_name = "OUT.json", conflicts_with = "compare")]
    merge: Option<PathBuf>,
    /// Compare the runs with this one; with repeats on both sides (repeat this flag) noise is told apart
    #[arg(long, value_name = "BASE.json")]
    compare: Vec<PathBuf>,
    /// Exit with code 4 if a percentile is slower by more than this, beyond noise
    #[arg(long, value_name = "PCT", requires = "compare", value_parser = percent)]
    fail_over: Option<f64>,

    #[command(flatten)]
    outputs: OutputArgs,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim_end().parse().ok();
    number
        .filter(|percent: &f64| percent.is_finite() && *percent >= 0.0)
        .ok_or_else(|| "give a percentage, like 5".to_owned())
}

/// A command line that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Flags that contradict each other.
    #[error("{0}")]
    Usage(&'static str),
    /// A file.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A file of another version.
    #[error("{}: {cause}", path.display())]
    Merge {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: MergeError,
    },
}

impl Error {
    /// 2 where the command line is at fault, 1 otherwise.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Report(ReportError::Read { cause, .. }) => exit_code_of_file(cause),
            Self::Report(_) | Self::Merge { .. } => ExitCode::FAILURE,
        }
    }
}

/// Runs `iisplice report`.
///
/// # Errors
/// See [`Error`]; a missed objective is an exit code.
pub fn execute(arguments: ReportArgs) -> Result<ExitCode, Error> {
    let ReportArgs { runs: paths, merge, compare, fail_over, outputs } = arguments;
    let mut outputs = outputs.outputs();
    let runs = read_all(&paths)?;
    if !compare.is_empty() {
        if !outputs.is_empty() {
            return Err(Error::Usage(
                "a comparison has no files to write; leave out --json, --hgrm, --hlog and --html",
            ));
        }
        return compared(&read_all(&compare)?, &runs, fail_over);
    }
    if let Some(out) = merge {
        if outputs.json.is_some() {
            return Err(Error::Usage("--merge writes the JSON; leave out --json"));
        }
        outputs.json = Some(out);
        report::show(&merged(&paths, runs)?, &outputs)?;
        return Ok(ExitCode::SUCCESS);
    }
    if runs.len() > 1 && !outputs.is_empty() {
        return Err(Error::Usage(
            "files are written of one run; give one, or add them up with --merge OUT.json",
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

fn compared(base: &[Summary], new: &[Summary], fail_over: Option<f64>) -> Result<ExitCode, Error> {
    let differences = compare::compare(base, new);
    report::print(&compare::text(base, new, &differences, fail_over))?;
    let is_missed =
        fail_over.is_some_and(|percent| differences.iter().any(|difference| difference.is_over(percent)));
    Ok(if is_missed { ExitCode::from(EXIT_OBJECTIVE_MISSED) } else { ExitCode::SUCCESS })
}

fn merged(paths: &[PathBuf], runs: Vec<Summary>) -> Result<Summary, Error> {
    let mut runs = runs.into_iter().zip(paths);
    let Some((mut sum, _)) = runs.next() else { return Err(Error::Usage("--merge needs runs to add up")) };
    for (run, path) in runs {
        sum.merge(&run).map_err(|cause| Error::Merge { path: Path::to_owned(path), cause })?;
    }
    Ok(sum)
}
