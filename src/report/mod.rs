//! Results in the forms that people and programs read: text, JSON, `.hgrm`, an `HdrHistogram` interval log, HTML.
//!
//! Owns every way a [`Summary`] is shown, and the only standard output of `load` and `report`. It must never measure or
//! change what was measured.
//!
//! ```text
//! Summary -> text              for the terminal
//!         -> json              for `iisplice report` and other programs
//!         -> hgrm, hlog        for `HdrHistogram`'s tools
//!         -> html (chart)      for people; one file, nothing loaded from elsewhere
//! two of them -> compare       what became slower, and what of it is noise
//! logins -> recording          for another run to send again
//! Findings -> findings         what the doctor saw, for people and programs
//! ```
//!
//! Start with [`text`].

mod chart;
pub mod compare;
pub mod findings;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod live;
pub mod merge;
mod objective;
mod over_time;
pub mod recording;
pub mod status;
pub mod text;
mod units;
mod wrap;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use crate::load::Summary;
use crate::load::summary::FORMAT;

/// Where results go besides standard output. `-` is standard output, instead of the table.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// The summary as JSON.
    pub json: Option<PathBuf>,
    /// The percentile spectrum of each leg, as `HdrHistogram`'s plotter reads it.
    pub hgrm: Option<PathBuf>,
    /// Each second's histograms, as `HdrHistogram`'s log tools read them.
    pub hlog: Option<PathBuf>,
    /// One file with tables and charts, for a browser.
    pub html: Option<PathBuf>,
}

impl Outputs {
    /// Whether a file's content goes to standard output, so that no table is shown.
    pub fn replace_table(&self) -> bool {
        let is_stdout = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.as_os_str() == "-");
        [&self.json, &self.hgrm, &self.hlog, &self.html].into_iter().any(is_stdout)
    }

    /// Whether only the table is written.
    pub fn is_empty(&self) -> bool {
        [&self.json, &self.hgrm, &self.hlog, &self.html].iter().all(|path| path.is_none())
    }
}

/// Why results cannot be shown or read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A local limit: the file cannot be written.
    #[error("{}: cannot be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file that must be new exists.
    #[error("{}: already exists; give a new file name, or remove this file", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file of another version.
    #[error("{}: format {format} is not supported; this version reads format {FORMAT}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The file is something else.
    #[error("{}: not a result of `iisplice load --json`: {cause}", path.display())]
    NotAResult {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
}

/// Prints the table and writes the files.
///
/// # Errors
/// [`ReportError::Write`].
pub fn show(summary: &Summary, outputs: &Outputs) -> Result<(), ReportError> {
    let mut table = Some(text::text(summary));
    if io::stdout().is_terminal() {
        table = table.map(|table| wrap::lines(&table));
    }
    let mut write = |path: &Option<PathBuf>, write_to: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
        let Some(path) = path else { return Ok(()) };
        if path.as_os_str() == "-" {
            table = None;
        }
        write_file(path, write_to)
    };
    write(&outputs.json, &|to| json(summary, to))?;
    write(&outputs.hgrm, &|to| hgrm::write(summary, to))?;
    write(&outputs.hlog, &|to| hlog::write(summary, to))?;
    write(&outputs.html, &|to| to.write_all(html::page(summary).as_bytes()))?;
    table.map_or(Ok(()), |table| print(&table))
}

/// Prints a comparison's table, and writes its page, which may be standard output in place of the table.
///
/// # Errors
/// [`ReportError::Write`].
pub fn show_comparison(
    base: &[Summary],
    new: &[Summary],
    comparison: &compare::Comparison,
    allowance: Option<compare::Allowance>,
    html: Option<&Path>,
) -> Result<(), ReportError> {
    if let Some(path) = html {
        let page = compare::html::page(comparison, base, new, allowance);
        write_file(path, &|to| to.write_all(page.as_bytes()))?;
    }
    if html.is_some_and(|path| path.as_os_str() == "-") {
        return Ok(());
    }
    print(&compare::text(comparison, allowance))
}

/// Prints text to standard output.
///
/// # Errors
/// [`ReportError::Write`].
pub fn print(text: &str) -> Result<(), ReportError> {
    write_file(Path::new("-"), &|to| to.write_all(text.as_bytes()))
}

/// Prints what the results mean on standard error.
pub fn complain(line: &str) {
    // Standard error may be closed; the exit code says it as well.
    let _ = writeln!(io::stderr(), "iisplice: {line}");
}

/// Whether the run met its objective, in one line; `None` if it had none.
pub fn verdict(summary: &Summary) -> Option<String> {
    objective::lines(summary).into_iter().next()
}

/// The summary as JSON.
///
/// # Errors
/// Those of the writer.
pub fn json(summary: &Summary, to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, summary)?;
    to.write_all(b"\n")
}

/// Reads a summary back.
///
/// # Errors
/// [`ReportError::Read`], [`ReportError::NotAResult`] and [`ReportError::Format`].
pub fn read(path: &Path) -> Result<Summary, ReportError> {
    let fail = |cause| ReportError::Read { path: path.to_owned(), cause };
    let content = std::fs::read(path).map_err(fail)?;
    let summary: Summary = serde_json::from_slice(&content)
        .map_err(|cause| ReportError::NotAResult { path: path.to_owned(), cause })?;
    match summary.format {
        FORMAT => Ok(summary),
        format => Err(ReportError::Format { path: path.to_owned(), format }),
    }
}

fn write_file(path: &Path, write_to: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> Result<(), ReportError> {
    let written = if path.as_os_str() == "-" {
        let mut to = BufWriter::new(io::stdout().lock());
        write_to(&mut to).and_then(|()| to.flush())
    } else {
        File::create(path).map(BufWriter::new).and_then(|mut to| {
            write_to(&mut to)?;
            to.flush()
        })
    };
    match written {
        // The reader has closed the pipe: `iisplice report | head`.
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(cause) => Err(ReportError::Write { path: path.to_owned(), cause }),
        Ok(()) => Ok(()),
    }
}
