//! The binary as an operator meets it: what a command line leads to, on which stream, with which exit code.

use std::process::{Command, Output};

const LEAST: [&str; 5] = ["proxy", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9"];

fn iisplice(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_iisplice")).args(arguments).output().expect("the binary was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// The one line on standard error; nothing on standard output.
fn complaint(arguments: &[&str], exit_code: i32) -> String {
    let output = iisplice(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "{arguments:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    let line = said.strip_suffix('\n').unwrap_or_else(|| panic!("{arguments:?}: not a line: {said:?}"));
    assert!(!line.contains('\n'), "{arguments:?}: more than a line: {said}");
    line.to_owned()
}

#[test]
fn a_wrong_command_line_is_one_line_and_exit_code_2() {
    for (wrong, expected) in [
        (&["--listne=127.0.0.1:80"][..], "a similar argument exists: '--listen'"),
        (&["--listen=80"], "write 0.0.0.0:80 or [::]:80"),
        (&["--upstream=http://iis1/"], "this is a URL; write iis1"),
        (
            &["--upstream=no-such-host.invalid:80"],
            "--upstream no-such-host.invalid:80: cannot resolve the name",
        ),
        (&["--splice=sometimes"], "possible values: auto, never, always"),
        (&["--idle-timeout=5"], "give a duration like 250ms, 3s or 1h"),
        (&["--buffer-size=tiny"], "give a size like 16KiB or 1MiB"),
        (&["--tcp-fastopen=yes"], "give a whole number from 1 to 65535, or off"),
        (&["--steer=cpu", "--no-pin"], "leave out --no-pin or --steer"),
        (&["--log-level=loud"], "possible values: off, error, warn, info, debug, trace"),
    ] {
        let line = complaint(&[&LEAST, wrong].concat(), 2);
        assert!(line.starts_with("iisplice: ") && line.contains(expected), "{wrong:?}: {line}");
    }
    for (wrong, expected) in [
        (&[][..], "requires a subcommand"),
        (&["prxy"], "a similar subcommand exists: 'proxy'"),
        (&["proxy"], "--listen <ADDR> --upstream <ADDR>"),
    ] {
        let line = complaint(wrong, 2);
        assert!(line.starts_with("iisplice: ") && line.contains(expected), "{wrong:?}: {line}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [&["--help"][..], &["proxy", "--help"], &["--version"]] {
        let output = iisplice(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_ne!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn the_docs_explain_every_end_of_the_access_log() {
    let words: Vec<&str> = include_str!("../src/proxy/record.rs")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \"")?.1.strip_suffix("\","))
        .collect();
    assert!(words.contains(&"client-close") && words.len() > 5, "the source was not understood: {words:?}");
    for word in words {
        assert!(
            include_str!("../docs/access-log.md").contains(&format!("| `{word}` |")),
            "{word} is not explained"
        );
    }
}
