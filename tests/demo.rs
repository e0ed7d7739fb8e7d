//! `iisplice demo`: the first command that a new user tries.

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_iisplice")).arg("demo").args(arguments).output().expect("it was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// The first number behind `name` at the beginning of a line.
fn count(report: &str, name: &str) -> u64 {
    let line = report.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no line {name:?} in\n{report}"));
    let number = line.split_whitespace().next().unwrap_or_else(|| panic!("nothing behind {name:?}"));
    number.replace(',', "").parse().unwrap_or_else(|_| panic!("{name:?}: no number: {number}"))
}

#[test]
fn it_logs_in_proves_that_nothing_leaked_and_shows_the_difference() {
    let directory = tempfile::tempdir().expect("a directory");
    let page = directory.path().join("demo.html");
    let page_flag = format!("--html={}", page.display());
    let output = demo(&["--duration=1s", "--connections=4", &page_flag]);
    let (report, progress) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{report}{progress}");
    assert!(count(report, "logins ") > 0, "{report}");
    assert_eq!(count(report, "errors "), 0, "{report}");
    assert!(count(report, "identity: ") > count(report, "logins "), "{report}");
    assert!(report.contains("replies named their connection's user, none named another\n"), "{report}");
    let (_, difference) =
        report.split_once("\nwithout the proxy (base) and through the proxy (new):\n").expect(report);
    for leg in ["connect ", "Type 1 -> Type 2 ", "Type 3 -> final ", "whole login ", "request "] {
        assert!(difference.lines().any(|line| line.starts_with(leg)), "{leg}: {report}");
    }
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "not a whole page");
}

#[test]
fn a_wrong_flag_is_one_line_and_exit_code_2() {
    for (wrong, expected) in [
        ("--duration=1", "give a duration such as 250ms, 3s or 1h, from 200ms to 1h"),
        ("--connections=0", "give a whole number from 1 to 200"),
        ("--html=-", "give a file name; standard output is used for the report"),
        ("--users=x", "unexpected argument '--users'"),
    ] {
        let output = demo(&[wrong]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {said}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{wrong}: {said}");
        assert_eq!(output.stdout, b"", "{wrong}");
    }
}
