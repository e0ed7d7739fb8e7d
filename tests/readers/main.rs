//! What iisplice writes for other programs, read by those: Python's hdrh for the interval log of a load, its jsonschema for
//! the JSON, its parser for the metrics of a proxy, promtool for what Prometheus is given, and Chromium for the page.
//!
//! What a claim needs and this machine lacks is said, and the claim is skipped. `files` measures something to read,
//! `python` and `browser` read it; `monitoring` has a proxy to ask.

mod browser;
mod files;
mod monitoring;
mod python;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// What is missing for a claim, if anything.
type Needs = fn() -> Option<String>;

/// Each test: what it claims, what it needs, and how it is shown.
const CLAIMS: &[(&str, Needs, fn())] = &[
    ("hdrh_reads_the_interval_log_as_it_was_measured", python::missing, python::interval_log),
    ("the_json_keeps_its_schema", python::missing, python::schema),
    ("python_reads_the_metrics", python::missing, monitoring::metrics),
    ("promtool_accepts_the_rules", monitoring::promtool_missing, monitoring::rules),
    ("promtool_accepts_the_queries_of_the_dashboard", monitoring::promtool_missing, monitoring::dashboard),
    ("a_page_fits_screens_of_every_width", browser::missing, browser::widths),
    ("a_browser_shows_tables_and_lines_without_a_complaint", browser::missing, browser::page),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = CLAIMS
        .iter()
        .map(|&(name, needs, claim)| {
            let missing = needs();
            if let Some(missing) = &missing {
                eprintln!("readers: SKIPPED {name}. Missing: {missing}. scripts/test installs it.");
            }
            let trial = Trial::test(name, move || {
                claim();
                Ok(())
            });
            trial.with_ignored_flag(missing.is_some())
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
