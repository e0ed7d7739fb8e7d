//! The report: as Markdown, as JSON, and as a page with plots.

mod conditions;
mod json;
mod markdown;
mod page;
mod verdict;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::arms::Arms;
use crate::cases::{Case, Column};
use crate::figures::{Figures, Spread};
use crate::host::Host;

/// What is reported.
pub(crate) struct Report<'a> {
    pub(crate) host: &'a Host,
    pub(crate) arms: &'a Arms,
    /// What this host could not do.
    pub(crate) limits: &'a [String],
    pub(crate) cases: &'a [&'a Case],
    pub(crate) figures: &'a Figures,
}

impl Report<'_> {
    /// Prints it, and writes it into a directory if there is one.
    pub(crate) fn show(&self, as_json: bool, directory: Option<&Path>) -> Result<()> {
        let (markdown, json) = (markdown::text(self), json::text(self)?);
        if let Some(directory) = directory {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            let page = page::text(self);
            for (name, text) in [("report.md", &markdown), ("report.json", &json), ("report.html", &page)] {
                let file = directory.join(name);
                fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
                eprintln!("wrote {}", file.display());
            }
        }
        println!("{}", if as_json { json } else { markdown }.trim_end());
        Ok(())
    }

    /// The conditions in a line.
    fn conditions(&self) -> String {
        let host = self.host;
        let load_cpus: Vec<String> = host.load_cpus.iter().map(usize::to_string).collect();
        format!(
            "{}: Linux {}, {}{}, {} cores; proxy on core {}, clients and servers on {}. Median (min..max) of {} \
             round{} of {} s, the arms of each in a drawn order (seed {}).",
            host.started,
            host.kernel,
            host.cpu,
            if host.is_virtual { " (virtual)" } else { "" },
            host.cores,
            host.proxy_cpu,
            load_cpus.join(", "),
            host.rounds,
            if host.rounds == 1 { "" } else { "s" },
            host.seconds,
            host.seed
        )
    }

    /// What was measured with, and what could not be.
    fn programs(&self) -> Vec<String> {
        let arms = self.arms.runnable.iter().map(|arm| format!("{}: {}", arm.name(), arm.version()));
        let second = crate::generators::wrk_version().map(|version| format!("second generator: {version}"));
        let missing = self.arms.missing.iter().map(|(arm, reason)| format!("not measured: {arm}: {reason}"));
        let limits = self.limits.iter().map(|limit| format!("not possible here: {limit}"));
        arms.chain(second).chain(missing).chain(limits).collect()
    }

    /// Whether the tables show the column: the second generator's only where it ran.
    fn shows(&self, case: &Case, column: &Column) -> bool {
        self.arms.of(case).iter().any(|arm| self.figures.spread(case, arm.name(), column.key).is_some())
    }

    /// The errors of all rounds, of both generators.
    fn errors(&self, case: &Case, arm: &str) -> f64 {
        ["errors", "wrk_errors"].iter().flat_map(|key| self.figures.rounds(case, arm, key)).sum()
    }
}

/// A case in a line.
fn summary(case: &Case) -> String {
    let realtime = if case.realtime { "; real-time priority" } else { "" };
    format!("{}{realtime}", case.summary)
}

/// A value with its range, if it has one.
fn value(spread: &Spread, column: &Column) -> String {
    let places = column.decimals;
    let Spread { median, min, max } = spread;
    if min < max {
        format!("{median:.places$} ({min:.places$}..{max:.places$})")
    } else {
        format!("{median:.places$}")
    }
}
