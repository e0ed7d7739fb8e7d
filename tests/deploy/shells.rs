//! The completions.

use std::fs;

use clap::CommandFactory as _;
use iisplice::cli::Cli;

use super::{files, program, run, said};

fn completion(name: &str) -> String {
    let found = files::completions().into_iter().find(|(known, _)| known == name);
    String::from_utf8(found.expect("a completion for that shell").1).expect("UTF-8")
}

pub(super) fn are_complete() {
    let mut cli = Cli::command();
    cli.build();
    for (name, text) in files::completions() {
        let text = String::from_utf8(text).expect("UTF-8");
        for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(text.contains(command.get_name()), "{name} lacks {}", command.get_name());
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                let there = text.contains(&format!("--{flag}")) || text.contains(&format!("-l {flag}"));
                assert!(there, "{name} lacks --{flag} of {}", command.get_name());
            }
        }
    }
}

/// What bash offers at the end of a command line.
pub(super) fn bash() {
    let script = completion("iisplice");
    let syntax = run(program("bash").arg("-n"), script.as_bytes());
    assert!(syntax.status.success(), "{}", said(&syntax));
    let offered = |words: &[&str]| -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let last = words.len() - 1;
        let asked = format!(
            "{script}\nCOMP_WORDS=({}); COMP_CWORD={last}\n_iisplice iisplice {} {}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words[last],
            words[last - 1]
        );
        let output = run(program("bash").args(["--norc", "--noprofile"]), asked.as_bytes());
        assert!(output.status.success(), "{}", said(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(offered(&["iisplice", "pro"]), ["proxy"]);
    assert_eq!(offered(&["iisplice", "proxy", "--drain"]), ["--drain-timeout", "--drain-delay"]);
    let modes = offered(&["iisplice", "proxy", "--mode", ""]);
    assert!(modes.contains(&"http".to_owned()), "{modes:?}");
    assert!(offered(&["iisplice", "status", "--drain"]).is_empty());
}

/// Without a terminal zsh completes nothing; it reads the function and knows what it is for.
pub(super) fn zsh() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("_iisplice"), completion("_iisplice")).expect("it is written");
    let asked = format!(
        "fpath=({} $fpath); autoload -U compinit; compinit -u -D; zsh -n {0}/_iisplice; autoload +X _iisplice; print $_comps[iisplice]",
        place.path().display()
    );
    let output = run(program("zsh").args(["-f", "-c", &asked]), b"");
    assert_eq!(said(&output), "_iisplice\n");
}

pub(super) fn fish() {
    let script = completion("iisplice.fish");
    let asked = format!("{script}\ncomplete -C 'iisplice pro'; complete -C 'iisplice proxy --drain'");
    let place = tempfile::tempdir().expect("a directory");
    let output = run(program("fish").arg("--no-config").env("HOME", place.path()), asked.as_bytes());
    let said = said(&output);
    let names: Vec<_> = said.lines().map(|line| line.split('\t').next().unwrap_or_default()).collect();
    assert_eq!(names, ["proxy", "--drain-delay", "--drain-timeout"], "{said}");
}
