//! What HTTP mode passes on is read alike by others: nginx, Apache and h11 read its requests, h11, Python's http.client
//! and curl its replies. The project's own parser does not judge itself.
//!
//! `cases` and `generate` are what is sent to the proxy; `capture` takes down what comes out on its other side;
//! `servers`, `python` and `curl` read that. A message that the proxy refuses need not be read. One that it passes on has to be
//! one message to every reader, the same one, with the next message right behind it.

mod capture;
mod cases;
mod curl;
mod generate;
mod python;
#[path = "../sockets/http/cases.rs"]
mod refused;
mod replies;
mod requests;
#[path = "../common/reserved.rs"]
mod reserved;
mod servers;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

const CLAIMS: &[(&str, fn())] = &[
    ("the_repositorys_requests_are_read_alike", requests::of_the_repository),
    ("generated_requests_are_read_alike", requests::generated),
    ("odd_replies_are_read_alike", replies::of_the_repository),
    ("generated_replies_are_read_alike", replies::generated),
    ("a_message_that_is_read_in_two_ways_is_caught", requests::disagreement_is_caught),
];

/// What is missing, if anything: all of it is among the packages of the interop tests.
fn missing() -> Option<String> {
    let h11 = Command::new(python::PYTHON).args(["-c", "import h11"]).output();
    let programs = [("nginx", servers::NGINX), ("apache2", servers::APACHE), ("curl", "/usr/bin/curl")];
    let mut missing: Vec<_> = programs
        .iter()
        .filter(|(_, path)| !std::path::Path::new(path).exists())
        .map(|(name, _)| *name)
        .collect();
    if !h11.is_ok_and(|output| output.status.success()) {
        missing.push("python3-h11");
    }
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = missing();
    if let Some(missing) = &missing {
        eprintln!("alike: SKIPPED, all of it. Missing: {missing}. tests/interop/setup.sh installs it.");
    }
    let trials = CLAIMS.iter().map(|&(name, claim)| {
        let trial = Trial::test(name, move || {
            claim();
            Ok(())
        });
        trial.with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
