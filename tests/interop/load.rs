//! `iisplice load` as the client: its own NTLM is accepted by another's server, and it sees whose answers it gets.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::at_every_door;
use crate::bed::{ALICE, BOB, Bed, IMPOSTOR, Scheme, Site, User};
use crate::pooling;
use crate::server::Server;

/// What is measured: logins, or the requests of sessions.
const SAMPLES: u64 = 40;
const REQUESTS_PER_LOGIN: u64 = 5;

/// What load's connections do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    Login,
    Session,
}

/// A run of load that has ended.
struct Run {
    exit_code: Option<i32>,
    /// Standard output and standard error.
    said: String,
    /// Where `--json` went, if load came that far.
    summary: Option<Value>,
}

impl Run {
    fn count(&self, pointer: &str) -> u64 {
        let summary = self.summary.as_ref().unwrap_or_else(|| panic!("no --json: {}", self.said));
        let count = summary.pointer(pointer).and_then(Value::as_u64);
        count.unwrap_or_else(|| panic!("no {pointer} in {summary}"))
    }
}

/// Runs load with users dealt out to its connections; it looks at each answer for its user.
fn load(bed: &Bed, site: &Site, users: &[&User], options: &[&str]) -> Run {
    let directory = bed.client_directory();
    let (users_file, json) = (directory.join("users"), directory.join("run.json"));
    let lines = users.iter().map(|user| format!("{}:{}\n", user.ntlm_name(), user.password));
    fs::write(&users_file, lines.collect::<String>()).expect("the bed's directory is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.arg("load").arg("--users").arg(&users_file).arg("--json").arg(&json);
    command.args(["--verify-identity", "--identity-header", "X-User"]).args(options);
    if site.scheme == Scheme::Https {
        command.arg("--ca").arg(bed.certificate());
    }
    command.arg(format!("{}://{}/auth/echo", site.scheme, site.address));
    let output = command.output().expect("iisplice can be run");
    let said = [output.stdout, output.stderr].concat();
    Run {
        exit_code: output.status.code(),
        said: String::from_utf8_lossy(&said).into_owned(),
        summary: read(&json),
    }
}

fn read(json: &PathBuf) -> Option<Value> {
    let text = fs::read(json).ok()?;
    Some(serde_json::from_slice(&text).expect("--json writes JSON"))
}

/// Requests that the server, by its log, answered to a user under this name.
fn served(bed: &Bed, user: &User) -> usize {
    let log = fs::read_to_string(bed.directory.join("log/access.log")).expect("the server has a log");
    // Apache escapes the backslash.
    let name = format!("user=CORP\\\\{}", user.name);
    log.lines().filter(|line| line.ends_with(&name) && line.contains(" 200 ")).count()
}

/// Alice and bob log in at the same time, and each answer is for the one whose connection it came on.
pub(crate) fn own_names(auth: &str, scenario: Scenario) {
    let bed = Bed::start(Server::Apache);
    let per_login = REQUESTS_PER_LOGIN.to_string();
    let what: &[&str] = match scenario {
        Scenario::Login => &["--scenario", "login"],
        Scenario::Session => &["--scenario", "session", "--requests-per-login", &per_login],
    };
    let samples = SAMPLES.to_string();
    let options = [&["--auth", auth, "--connections", "4", "--requests", &samples], what].concat();
    at_every_door(&bed, |site| {
        let before = [&ALICE, &BOB].map(|user| served(&bed, user));
        let run = load(&bed, site, &[&ALICE, &BOB], &options);
        assert_eq!(run.exit_code, Some(0), "{site}: the exit code: {}", run.said);
        let summary = run.summary.as_ref().unwrap_or_else(|| panic!("{site}: no --json: {}", run.said));
        assert_eq!(summary["counts"]["errors"], serde_json::json!({}), "{site}: errors by class");
        let (logins, requests) = (run.count("/counts/logins"), run.count("/counts/requests"));
        if scenario == Scenario::Login {
            assert_eq!((logins, requests), (SAMPLES, 0), "{site}: logins and requests after them");
        } else {
            assert_eq!(requests, SAMPLES, "{site}: requests");
            assert!(logins >= SAMPLES / REQUESTS_PER_LOGIN, "{site}: {logins} logins are too few");
        }
        assert_eq!(run.count("/counts/challenges"), 2 * logins, "{site}: 401s that belong to logins");
        assert_eq!(run.count("/counts/unprotected"), 0, "{site}: let in without a login");
        assert_eq!(run.count("/identities/right"), logins + requests, "{site}: answers that named the user");
        assert_eq!(run.count("/identities/leaked"), 0, "{site}: answers that named the other user");
        assert_eq!(run.count("/identities/unnamed"), 0, "{site}: answers that named no user");
        for (user, before) in [&ALICE, &BOB].into_iter().zip(before) {
            assert!(served(&bed, user) > before, "{site}: the server's log does not know {}", user.name);
        }
    });
}

pub(crate) fn refused(auth: &str) {
    let bed = Bed::start(Server::Apache);
    at_every_door(&bed, |site| {
        let run = load(&bed, site, &[&IMPOSTOR], &["--auth", auth, "--scenario", "login", "--requests", "5"]);
        assert_eq!(run.exit_code, Some(1), "{site}: the exit code of an impostor's run: {}", run.said);
        let lines: Vec<_> = run.said.lines().collect();
        assert_eq!(lines.len(), 1, "{site}: more than the reason was said: {}", run.said);
        assert!(
            lines[0].ends_with(
                "/auth/echo: the server refused the login of CORP\\alice; check the user and the password"
            ),
            "{site}: the reason: {}",
            run.said
        );
        assert!(run.summary.is_none(), "{site}: a run that could not begin has no result");
    });
}

/// Alice logs in, leaves her connection in the pool, and bob is given it. One connection at a time: the pool then
/// has just one, so that the parts of a login meet on it and it's certain who gets it next.
pub(crate) fn leak_is_caught() {
    let bed = Bed::start(Server::Apache);
    let proxy = pooling::start(&bed);
    let site = proxy.site(Scheme::Http);
    let options = "--auth ntlm --scenario session --connections 1 --threads 1 --requests 3";
    let options: Vec<_> = options.split(' ').collect();
    let alice = load(&bed, &site, &[&ALICE], &options);
    assert_eq!(alice.exit_code, Some(0), "alice's exit code: {}", alice.said);
    let bob = load(&bed, &site, &[&BOB], &options);
    assert_eq!(bob.exit_code, Some(3), "bob's exit code: {}", bob.said);
    assert!(bob.count("/identities/leaked") > 0, "no leak in the JSON: {}", bob.said);
    assert!(
        bob.said.contains("of CORP\\bob: reply 0 was for CORP\\alice"),
        "both names are not told: {}",
        bob.said
    );
}
