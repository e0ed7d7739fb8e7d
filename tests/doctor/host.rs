//! The machine that the tests run on, with limits of their own.

use std::io::Write as _;
use std::process::{Command, Output};

use crate::run::doctor;

/// A run below limits that a shell sets.
fn limited(limits: &str, arguments: &str) -> Output {
    let line = format!("{limits} && exec \"$0\" {arguments}");
    let mut command = Command::new("sh");
    command.args(["-c", &line, env!("CARGO_BIN_EXE_iisplice")]).output().expect("a shell")
}

#[test]
fn the_machine_is_looked_at_without_a_site() {
    let report = doctor(&["--host"]);
    report.has("host-io-uring", "fine", "grants rings");
    report.has("host-ports", "fine", "connections to each server at once");
    for id in ["host-descriptors", "host-backlog", "host-cores", "host-pipes", "host-memlock"] {
        assert_eq!(report.all(id).len(), 1, "{id}: {report:?}");
    }
    assert!(report.json.get("sent").is_none(), "nothing is sent: {report:?}");
}

#[test]
fn a_descriptor_limit_without_room_is_broken() {
    let output = limited("ulimit -n 64", "doctor --host");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said.contains("broken  host-descriptors: the descriptor limit of 64 leaves no room"), "{said}");
    assert!(said.contains("warning host-pipes: "), "{said}");
}

#[test]
fn a_settings_file_says_what_is_wanted() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let settings = "max-connections = 900000\nworkers = 500\npipes = 1\n\
                    [service.a]\nlisten = \"127.0.0.1:0\"\nbacklog = 65535\nupstream = \"iis\"\n\
                    [group.iis]\nservers = [\"192.0.2.1:80\", \"192.0.2.2:80\", \"192.0.2.2:80\"]\n";
    file.write_all(settings.as_bytes()).expect("written");
    let report = doctor(&["--host", "--config", file.path().to_str().expect("UTF-8")]);
    report.has("host-ports", "warning", "max-connections is 900000");
    report.has("host-ports", "warning", "each of 2 servers");
    report.has("host-cores", "warning", "500 workers");
    let output = limited("ulimit -n 10000", &format!("doctor --host --config {}", file.path().display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("warning host-descriptors: max-connections 900000 needs"), "{said}");
}

#[test]
fn a_mistake_in_the_settings_file_is_one_line() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"[service.a]\nlisten = 7\n").expect("written");
    let arguments = format!("doctor --host --config {}", file.path().display());
    let output = limited("true", &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains(":2:"), "{said}");
    let output = limited("true", "doctor --config x.toml http://127.0.0.1:1/");
    assert_eq!(output.status.code(), Some(2), "--config needs --host: {output:?}");
}
