//! The man pages.

use clap::CommandFactory as _;
use iisplice::cli::Cli;

use super::{files, program, run, said};

/// A page as its source has it, where a hyphen is escaped.
fn plain(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace("\\-", "-")
}

pub(super) fn is_complete() {
    let pages = files::man_pages().expect("they are written");
    let mut cli = Cli::command();
    cli.build();
    let commands =
        cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    let mut count = 1;
    for command in commands {
        let name = format!("iisplice-{}.1", command.get_name());
        let page =
            pages.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("there is no {name}"));
        let page = plain(&page.1);
        for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()).filter_map(clap::Arg::get_long)
        {
            assert!(page.contains(&format!("--{flag}\\fR")), "{name} lacks --{flag}");
        }
        for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""] {
            assert!(page.contains(&format!(".SH {heading}\n")), "{name} has no {heading}");
        }
        count += 1;
    }
    assert_eq!(pages.len(), count, "a page for the binary and one for each command");
}

pub(super) fn mandoc() {
    for (name, text) in files::man_pages().expect("they are written") {
        let output = run(program("mandoc").args(["-Tlint", "-Wwarning"]), &text);
        // The date is left out: the same source gives the same page on every day.
        let complaints = said(&output);
        let complaints: Vec<_> = complaints.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(complaints.is_empty(), "{name}: {}", complaints.join("\n"));
    }
}

pub(super) fn groff() {
    for (name, text) in files::man_pages().expect("they are written") {
        let output = run(program("groff").args(["-man", "-Tutf8", "-ww", "-z"]), &text);
        assert!(output.status.success() && said(&output).is_empty(), "{name}: {}", said(&output));
    }
}
