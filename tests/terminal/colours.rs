//! Colours are for terminals whose user did not switch them off: <https://no-color.org>.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::pty::{Streams, Terminal, iisplice};

const ESCAPE: char = '\u{1b}';

/// Everything that the mock's log says from start to end.
fn log(environment: &[(&str, &str)]) -> String {
    let mut command = iisplice(&["mock", "--listen=127.0.0.1:0", "--user=CORP\\alice:secret"]);
    command.envs(environment.iter().copied());
    let mut terminal = Terminal::start(command, 80, Streams::Both);
    terminal.wait_for("the mock listens", |screen| screen.contains("mock IIS on"));
    terminal.signal(Signal::SIGTERM);
    terminal.end().1
}

fn help(environment: &[(&str, &str)]) -> String {
    let mut command = iisplice(&["load", "--help"]);
    command.envs(environment.iter().copied());
    Terminal::start(command, 80, Streams::Both).end().1
}

#[test]
fn logs_and_help_have_colours_unless_the_user_switched_them_off() {
    for (environment, has_colours) in [
        (&[][..], true),
        // The convention: an empty value switches nothing off.
        (&[("NO_COLOR", "")], true),
        (&[("NO_COLOR", "1")], false),
        (&[("NO_COLOR", "0")], false),
        (&[("TERM", "dumb")], false),
        (&[("CLICOLOR", "0")], false),
    ] {
        assert_eq!(log(environment).contains(ESCAPE), has_colours, "the log with {environment:?}");
        assert_eq!(help(environment).contains(ESCAPE), has_colours, "help with {environment:?}");
    }
}

#[test]
fn a_file_or_pipe_gets_no_colours() {
    for arguments in [&["load", "--help"][..], &["load"], &["demo", "-d200ms", "-c1"]] {
        let command: &mut Command = &mut iisplice(arguments);
        let output = command.output().expect("it was built");
        for bytes in [output.stdout, output.stderr] {
            assert!(!bytes.contains(&(ESCAPE as u8)), "{arguments:?}: {}", String::from_utf8_lossy(&bytes));
        }
    }
}
