//! Carries a load out: runs it, shows its progress and its results, makes the exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use super::{Error, LoadArgs, Task};
use crate::load::objective::find_rate;
use crate::load::{self, Summary};
use crate::report::recording::Recording;
use crate::report::{self, live::Live};

/// A reply named another user than its connection's.
const EXIT_LEAK: u8 = 3;
/// The objective was missed.
const EXIT_OBJECTIVE_MISSED: u8 = 4;
/// After a second Ctrl-C: 128 and the signal's number, as shells have it.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs `iisplice load`.
///
/// # Errors
/// See [`Error`]; leaks and missed objectives are exit codes.
pub fn execute(arguments: LoadArgs) -> Result<ExitCode, Error> {
    let Task { mut plan, objective, search_from_per_second, outputs, record } = arguments.task(command())?;
    let stop = stop_on_signal().map_err(Error::Signals)?;
    let recording = match &record {
        None => None,
        Some(path) => {
            let (recording, logins) = Recording::create(path)?;
            plan.record = Some(logins);
            Some(recording)
        }
    };
    let live = Live::default();
    let watch = |second: &_| live.show(second);
    let summary = if let (Some(objective), Some(first_per_second)) = (objective, search_from_per_second) {
        let told = |step: &_| live.step(step, objective);
        let found = find_rate(&plan, first_per_second, objective, &stop, watch, told);
        live.end();
        found?.best
    } else {
        let run = load::run(&plan, &stop, watch);
        live.end();
        Some(run?)
    };
    // The plan has the last of the recording's senders.
    drop(plan);
    let recorded = recording.map_or(Ok(()), Recording::finish);
    // A recording that failed is no reason to withhold what was measured.
    let Some(summary) = summary else {
        recorded?;
        return Ok(ExitCode::from(EXIT_OBJECTIVE_MISSED));
    };
    report::show(&summary, &outputs)?;
    recorded?;
    let is_missed = objective.is_some_and(|objective| !objective.is_kept_by(&summary));
    Ok(exit_code(&summary, is_missed))
}

/// What the summary means to whoever called.
pub(in crate::cli) fn exit_code(summary: &Summary, is_objective_missed: bool) -> ExitCode {
    let named_nobody = summary.identities.as_ref().is_some_and(|found| found.right == 0);
    if summary.has_leak() {
        ExitCode::from(EXIT_LEAK)
    } else if named_nobody {
        // Asked to prove something, and proved nothing.
        ExitCode::FAILURE
    } else if is_objective_missed {
        ExitCode::from(EXIT_OBJECTIVE_MISSED)
    } else {
        ExitCode::SUCCESS
    }
}

/// The command as it was typed, with passwords left out: it goes into reports.
fn command() -> String {
    let mut words = Vec::new();
    let mut is_password = false;
    let mut is_user = false;
    for word in std::env::args_os() {
        let word = word.to_string_lossy().into_owned();
        let shown = match word.split_once('=') {
            _ if is_password => "***".to_owned(),
            _ if is_user => without_password(&word),
            Some(("--password", _)) => "--password=***".to_owned(),
            Some(("--user", user)) => format!("--user={}", without_password(user)),
            _ => word.clone(),
        };
        (is_password, is_user) = (word == "--password", word == "--user");
        words.push(quoted(&shown));
    }
    words.join(" ")
}

fn without_password(user: &str) -> String {
    user.split_once(':').map_or_else(|| user.to_owned(), |(name, _)| format!("{name}:***"))
}

/// As a shell would take it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+.,:/@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Ctrl-C and SIGTERM end the run early, with the report of what was measured; a second one ends the process.
fn stop_on_signal() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Before the threads of the run are made, which inherit the mask: only the thread below gets the signals.
    signals.thread_block()?;
    let seen = Arc::clone(&stop);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while signals.wait().is_ok() {
            if seen.swap(true, Ordering::Relaxed) {
                std::process::exit(EXIT_INTERRUPTED);
            }
        }
    })?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_typed_again() {
        assert_eq!(quoted("http://a:1/b?c"), "'http://a:1/b?c'");
        assert_eq!(quoted("CORP\\al'ice"), "'CORP\\al'\\''ice'");
        assert_eq!(quoted("--rate=5"), "--rate=5");
    }

    #[test]
    fn a_users_password_is_not_shown() {
        assert_eq!(without_password("CORP\\alice:secret:more"), "CORP\\alice:***");
        assert_eq!(without_password("alice"), "alice");
    }
}
