//! Messages that the pages quote are in the source: a code span that begins with a log line's level, or with the program's
//! name as an error's line does. `…` stands for what changes from line to line.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use iisplice::cli::Cli;

use super::page::{Page, repository};

/// What a quoted message begins with.
const BEGINNINGS: [&str; 4] = ["ERROR ", "WARN ", "INFO ", "iisplice: "];

fn collect(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(&path).expect("a source file");
        }
    }
}

/// The sources, with string literals that go over several lines joined as the compiler does.
fn sources() -> String {
    let mut text = String::new();
    collect(&repository().join("src"), &mut text);
    let mut lines = text.split("\\\n");
    let mut joined = lines.next().unwrap_or_default().to_owned();
    lines.for_each(|line| joined += line.trim_start());
    joined
}

#[test]
fn messages_that_the_pages_quote_are_those_of_the_source() {
    let sources = sources();
    let mut seen = 0;
    let mut faults = Vec::new();
    for page in Page::all().iter().filter(|page| page.path.starts_with("docs")) {
        for span in &page.code {
            let Some(message) = BEGINNINGS.iter().find_map(|beginning| span.text.strip_prefix(beginning))
            else {
                continue;
            };
            seen += 1;
            for part in message.split('…').map(str::trim).filter(|part| !part.is_empty()) {
                // What an error has in braces is written by another one.
                if !part.split(": ").all(|words| sources.contains(words)) {
                    faults.push(format!("{}:{}: no message says {part:?}", page.path.display(), span.line));
                }
            }
        }
    }
    assert!(seen > 5, "the pages were not understood: {seen} messages");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The rooms below `control` say what ran out; what to change is named by those who know how it is set.
#[test]
fn the_lower_rooms_name_no_flag() {
    let cli = Cli::command();
    let proxy = cli.find_subcommand("proxy").expect("a command");
    let flags: Vec<_> = proxy.get_arguments().filter_map(|flag| flag.get_long()).collect();
    assert!(flags.contains(&"peek-memory"), "{flags:?}");
    let mut faults = Vec::new();
    for room in ["proxy", "upstream", "uring", "protocol"] {
        let mut text = String::new();
        collect(&repository().join("src").join(room), &mut text);
        for (at, _) in text.match_indices("--") {
            let name = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let rest = &text[at + 2..];
            let word = &rest[..rest.find(|c| !name(c)).unwrap_or(rest.len())];
            if flags.contains(&word) {
                faults.push(format!("src/{room}: --{word}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
