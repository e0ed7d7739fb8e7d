//! Executes a load: runs it, shows its progress and its results, and returns the exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use super::{Error, LoadArgs, Task};
use crate::load::plan::Auth;
use crate::load::recorder::ErrorClass;
use crate::load::search::find_rate;
use crate::load::{self, Summary};
use crate::protocol::shell::quoted;
use crate::report::recording::Recording;
use crate::report::{self, live::Live};
use crate::uring;

/// A reply named another user than its connection's.
const EXIT_LEAK: u8 = 3;
/// The objective was missed.
const EXIT_OBJECTIVE_MISSED: u8 = 4;
/// After Ctrl-C: 128 plus the signal's number, as in shells.
const EXIT_INTERRUPTED: u8 = 130;

/// Longest wait for the live view to disappear from the terminal.
const CLEAR_TIME_MAX: Duration = Duration::from_millis(200);
const CLEAR_POLL: Duration = Duration::from_millis(1);

/// Runs `iisplice load`.
///
/// # Errors
/// See [`Error`]; leaks and missed objectives are exit codes.
pub fn execute(arguments: LoadArgs, live: &Live) -> Result<ExitCode, Error> {
    let Task { mut plan, objective, search_from_per_second, outputs, record, fail_on_errors } =
        arguments.task(command())?;
    uring::probe_basics()?;
    let stop = stop_on_signal(live).map_err(Error::Signals)?;
    let recording = match &record {
        None => None,
        Some(path) => {
            let (recording, logins) = Recording::create(path)?;
            plan.record = Some(logins);
            Some(recording)
        }
    };
    let logs_in = !matches!(plan.auth, Auth::None);
    live.begin(plan.scenario, plan.length, plan.warmup);
    let watch = |second: &_| live.show(second);
    let run = if let (Some(objective), Some(first_per_second)) = (objective, search_from_per_second) {
        let told = |step: &_| live.step(step, objective);
        find_rate(&plan, first_per_second, objective, &stop, watch, told).map(|found| found.run)
    } else {
        load::run(&plan, &stop, watch).map(|mut summary| {
            summary.objective = objective.map(|objective| objective.judge(&summary));
            Some(summary)
        })
    };
    live.end();
    // The plan holds the last of the recording's senders.
    drop(plan);
    let recorded = recording.map_or(Ok(()), Recording::finish);
    // The results are shown even if the recording failed.
    let Some(summary) = run? else {
        recorded?;
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    report::show(&summary, &outputs)?;
    recorded?;
    if let Some(cause) = cause_of_all_failures(&summary, logs_in) {
        report::complain(&cause);
    }
    if outputs.replace_table()
        && let Some(verdict) = report::verdict(&summary)
    {
        report::complain(&verdict);
    }
    let outcome = Outcome { is_interrupted: stop.load(Ordering::Relaxed), fail_on_errors };
    Ok(exit_code(&summary, outcome))
}

/// Facts about a run that its summary does not contain.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cli) struct Outcome {
    /// Whether a signal stopped it.
    is_interrupted: bool,
    /// Whether any error makes it a failure.
    fail_on_errors: bool,
}

/// The exit code for the summary: the most serious outcome comes first.
pub(in crate::cli) fn exit_code(summary: &Summary, outcome: Outcome) -> ExitCode {
    let named_no_user = summary.identities.as_ref().is_some_and(|found| found.right == 0);
    let errors = summary.counts.errors_total() + summary.prepared.counts.errors_total();
    if summary.has_leak() {
        ExitCode::from(EXIT_LEAK)
    } else if outcome.is_interrupted {
        ExitCode::from(EXIT_INTERRUPTED)
    } else if named_no_user || summary.has_failed_wholly() || (outcome.fail_on_errors && errors > 0) {
        // Comes first: verification was requested, and nothing was verified.
        ExitCode::FAILURE
    } else if summary.objective.as_ref().is_some_and(|verdict| !verdict.is_kept) {
        ExitCode::from(EXIT_OBJECTIVE_MISSED)
    } else {
        ExitCode::SUCCESS
    }
}

/// If every request failed: the most likely cause and what to do.
fn cause_of_all_failures(summary: &Summary, logs_in: bool) -> Option<String> {
    if !summary.has_failed_wholly() {
        return None;
    }
    let (class, _) = summary.counts.errors.iter().max_by_key(|(_, count)| **count)?;
    let cause = match class {
        ErrorClass::Unexpected401 if !logs_in => {
            "the URL needs a login; add --auth ntlm --user 'CORP\\alice' (and a password)"
        }
        ErrorClass::Unexpected401 => {
            "the server does not keep logins: it answers 401 on connections that are logged in"
        }
        ErrorClass::LoginRefused => "the server refuses the login; check --user and the password",
        ErrorClass::Status4xx => {
            "the server answers 4xx; check the URL (also http:// or https://), --method and --header"
        }
        ErrorClass::Status5xx => "the server answers 5xx; check its log",
        ErrorClass::Refused => "nothing listens at the address any more; check that the server is running",
        ErrorClass::Unreachable => "the address cannot be reached from this host; check routes and firewalls",
        ErrorClass::Timeout => {
            "the server did not answer within --timeout; raise it, or check the server's log"
        }
        ErrorClass::Reset | ErrorClass::Closed => {
            "the server closes connections without an answer; check its log"
        }
        ErrorClass::Tls => {
            "the TLS handshake fails; give the server's authority with --ca FILE, or add --insecure"
        }
        ErrorClass::Protocol => {
            "the server's answer is not HTTP, or not a login with this scheme; check the URL and \
        --auth"
        }
    };
    Some(format!("every request failed ({}): {cause}", class.title()))
}

/// The command as typed, without passwords, because it goes into reports.
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

/// Ends the run early on Ctrl-C and SIGTERM, with the report of what was measured; a second signal ends the process.
fn stop_on_signal(live: &Live) -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Before the threads of the run start and inherit the mask: only the thread below receives the signals.
    signals.thread_block()?;
    let (seen, live) = (Arc::clone(&stop), live.clone());
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while signals.wait().is_ok() {
            if seen.swap(true, Ordering::Relaxed) {
                exit_interrupted(&live);
            }
        }
    })?;
    Ok(stop)
}

/// Ends the process without a report, and leaves a clean terminal.
pub(in crate::cli) fn exit_interrupted(live: &Live) -> ! {
    let live = live.clone();
    let clear = thread::Builder::new().spawn(move || live.end());
    // A paused terminal accepts nothing; the process still ends.
    let until = Instant::now() + CLEAR_TIME_MAX;
    while clear.as_ref().is_ok_and(|thread| !thread.is_finished()) && Instant::now() < until {
        thread::sleep(CLEAR_POLL);
    }
    std::process::exit(EXIT_INTERRUPTED.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_password_is_not_shown() {
        assert_eq!(without_password("CORP\\alice:secret:more"), "CORP\\alice:***");
        assert_eq!(without_password("alice"), "alice");
    }
}
