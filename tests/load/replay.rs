//! `--record` and `--replay`: a login again, byte for byte, where the server's challenge is the same.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::mock::Mock;
use crate::{TWO_USERS, measure, run};

const FIXED: &str = "--fixed-challenge=0123456789abcdef";
const OTHER: &str = "--fixed-challenge=fedcba9876543210";

/// Records so many logins of two users at a mock.
fn record(directory: &Path, mock: &Mock, scheme: &str, logins: u64) -> PathBuf {
    let path = directory.join("logins.jsonl");
    let (url, record) = (format!("{}/whoami", mock.url), format!("--record={}", path.display()));
    let number = format!("-n{logins}");
    let options = [url.as_str(), "--scenario=login", "-c2", "-t1", scheme, &number, &record];
    let result = measure(&[&options[..], &TWO_USERS[1..]].concat());
    assert_eq!(
        (&result["counts"]["logins"], &result["counts"]["errors"]),
        (&logins.into(), &serde_json::json!({}))
    );
    path
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn recorded_logins_log_in_again_where_the_challenge_is_fixed() {
    for scheme in ["--auth=ntlm", "--auth=negotiate"] {
        let directory = tempfile::tempdir().unwrap();
        let path = record(directory.path(), &Mock::start(&[FIXED]), scheme, 6);
        let recorded = lines(&path);
        assert_eq!(recorded.len(), 6, "{scheme}: the try before the run is no login of it");
        assert!(recorded.iter().all(|line| line["server_challenge"] == "0123456789abcdef"), "{scheme}");
        assert!(recorded.iter().any(|line| line["user"] == "CORP\\bob"), "{scheme}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{scheme}");

        let mock = Mock::start(&[FIXED]);
        let (url, replay) = (format!("{}/whoami", mock.url), format!("--replay={}", path.display()));
        let result = measure(&[&url, &replay, "--verify-identity", "--scenario=login", "-n40", "-c3"]);
        let counts = &result["counts"];
        assert_eq!((&counts["logins"], &counts["errors"]), (&40.into(), &serde_json::json!({})), "{scheme}");
        assert_eq!(counts["other_challenges"], 0, "{scheme}");
        assert_eq!(result["identities"]["right"], 40, "{scheme}");
        assert_eq!(result["runs"][0]["auth"], "replay");
    }
}

#[test]
fn the_logins_before_the_clock_are_recorded_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logins.jsonl");
    let mock = Mock::start(&[]);
    let (url, record) = (format!("{}/whoami", mock.url), format!("--record={}", path.display()));
    measure(&[&[url.as_str(), "-n20", "-c5", &record], &TWO_USERS[..]].concat());
    let challenges: Vec<_> = lines(&path).iter().map(|line| line["server_challenge"].to_string()).collect();
    assert_eq!(challenges.len(), 5);
    assert!(challenges[1..].iter().all(|challenge| *challenge != challenges[0]), "they are fresh each time");
}

#[test]
fn another_challenge_is_told_once_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = record(directory.path(), &Mock::start(&[FIXED]), "--auth=ntlm", 2);
    let mock = Mock::start(&[OTHER]);
    let output = run(&[&format!("{}/whoami", mock.url), &format!("--replay={}", path.display())]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), complaint.lines().count()), (Some(1), 1), "{complaint}");
    for expected in [
        "refused the recorded login of CORP\\",
        "(0123456789abcdef recorded, fedcba9876543210 now)",
        "`iisplice mock --fixed-challenge 0123456789abcdef`",
    ] {
        assert!(complaint.contains(expected), "{expected}: {complaint}");
    }
}

#[test]
fn other_challenges_during_a_run_are_counted_and_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = record(directory.path(), &Mock::start(&[FIXED]), "--auth=ntlm", 1);
    let good = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    record(directory.path(), &Mock::start(&[OTHER]), "--auth=ntlm", 1);
    let strange = fs::read_to_string(&path).unwrap();
    // The first is tried before the run, which then can begin.
    fs::write(&path, good + &strange).unwrap();

    let mock = Mock::start(&[FIXED]);
    let (url, replay) = (format!("{}/whoami", mock.url), format!("--replay={}", path.display()));
    let json = directory.path().join("run.json");
    let json_to = format!("--json={}", json.display());
    // One connection, which takes the two in turn.
    let output = run(&[&url, &replay, "--scenario=login", "-n10", "-c1", "-t1", &json_to]);
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}");
    let result: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let counts = &result["counts"];
    assert_eq!((&counts["logins"], &counts["other_challenges"]), (&5.into(), &5.into()));
    assert_eq!(counts["errors"], serde_json::json!({"login_refused": 5}));
    let warning = "warning: 5 times the server's challenge was not the recorded one";
    assert_eq!(report.matches(warning).count(), 1, "{report}");
}

#[test]
fn a_file_that_is_no_recording_is_one_line_with_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = record(directory.path(), &Mock::start(&[FIXED]), "--auth=ntlm", 1);
    let good = fs::read_to_string(&path).unwrap();
    for (content, expected) in [
        (String::new(), ": the file contains no login; create it with --record FILE"),
        (format!("{good}\n{{\"format\":1}}\n"), ", line 3: not a recorded login: missing field `user`"),
        (format!("{good}{}", &good[..70]), ", line 2: not a recorded login: EOF while parsing"),
        (good.replace("\"format\":1", "\"format\":9"), ", line 1: format 9 is not supported"),
        (good.replace("\"type3\":\"", "\"type3\":\"*"), ", line 1: type3 is not base64"),
        (good.replace("0123456789abcdef", "0000"), ", line 1: server_challenge is not the one in type2"),
    ] {
        fs::write(&path, &content).unwrap();
        let output = run(&["http://127.0.0.1:1/", &format!("--replay={}", path.display())]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), complaint.lines().count()), (Some(2), 1), "{complaint}");
        assert!(complaint.contains(&format!("{}{expected}", path.display())), "{expected}: {complaint}");
    }
}

#[test]
fn a_recording_that_cannot_be_written_ends_before_the_run() {
    let options = ["http://127.0.0.1:1/", "--record=/nonexistent/logins"];
    let output = run(&[&options[..], &TWO_USERS[..3]].concat());
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("/nonexistent/logins: cannot be written: No such file"), "{complaint}");
}

#[test]
fn a_recording_is_a_new_file_for_its_owner_alone() {
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().unwrap();
    let mock = Mock::start(&[FIXED]);
    let path = record(directory.path(), &mock, "--auth=ntlm", 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (elsewhere, link) = (directory.path().join("elsewhere"), directory.path().join("link"));
    symlink(&elsewhere, &link).unwrap();
    for there_already in [&path, &link] {
        let (url, record) = (format!("{}/whoami", mock.url), format!("--record={}", there_already.display()));
        let output = run(&[&[url.as_str(), "-n1", "-c1", &record], &TWO_USERS[..3]].concat());
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("already exists; give a new file"), "{complaint}");
    }
    assert!(!elsewhere.exists());
}
