//! The texts of the files, from the flags of the binary.

use std::io;

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use iisplice::cli::Cli;

/// The name of a file and its text.
pub(crate) type File = (String, Vec<u8>);

/// The command line as `--help` shows it. `iisplice help proxy` needs no page.
fn command_line() -> Command {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    cli
}

/// A page for the binary and one for each of its commands.
pub(crate) fn man_pages() -> io::Result<Vec<File>> {
    let cli = command_line();
    let commands: Vec<_> = cli.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let others: Vec<String> = commands.iter().map(|command| page_name(command)).collect();
    let all = [&cli].into_iter().chain(commands);
    all.map(|command| Ok((file_name(command), page(command, &others)?))).collect()
}

/// Completions, under the names that each shell looks for.
pub(crate) fn completions() -> Vec<File> {
    let shells = [(Shell::Bash, "iisplice"), (Shell::Zsh, "_iisplice"), (Shell::Fish, "iisplice.fish")];
    let complete = |(shell, name): (Shell, &str)| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "iisplice", &mut text);
        (name.to_owned(), text)
    };
    shells.map(complete).into()
}

fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn file_name(command: &Command) -> String {
    format!("{}.1", page_name(command))
}

fn page(command: &Command, others: &[String]) -> io::Result<Vec<u8>> {
    // `[OPTIONS]`, as in the help: the synopsis of a hundred flags says nothing.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let name = page_name(command);
    let man = Man::new(command.clone().override_usage(usage).mut_args(with_values));
    // Without a date: the same source gives the same page on every day.
    let title = format!(".TH \"{name}\" 1 \"\" \"iisplice {}\" \"iisplice\"\n", env!("CARGO_PKG_VERSION"));
    let mut text = title.into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_subcommands().next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    let mut rest = Roff::new();
    for part in command.get_after_help().map(ToString::to_string).unwrap_or_default().split("\n\n") {
        after(&mut rest, part);
    }
    rest.control("SH", ["SEE ALSO"]);
    let others: Vec<_> =
        ["iisplice".to_owned()].into_iter().chain(others.to_vec()).filter(|other| *other != name).collect();
    for (number, other) in others.iter().enumerate() {
        rest.text([bold(other.clone()), roman(if number + 1 < others.len() { "(1)," } else { "(1)" })]);
    }
    rest.to_writer(&mut text)?;
    Ok(text)
}

/// The values that a flag may have, behind its meaning: a list of their own is longer than all else on the page.
fn with_values(flag: Arg) -> Arg {
    let values = flag.get_possible_values();
    let shown = values.iter().filter(|value| !value.is_hide_set());
    let shown: Vec<_> = shown
        .map(|value| match value.get_help() {
            Some(help) => format!("{} ({help})", value.get_name()),
            None => value.get_name().to_owned(),
        })
        .collect();
    if shown.is_empty() || !flag.get_action().takes_values() {
        return flag;
    }
    let meaning = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
    flag.help(format!("{meaning}; one of {}", shown.join(", "))).hide_possible_values(true)
}

/// What stands behind the flags in the help: `Examples:` with lines of their own, and paragraphs that begin with their name.
fn after(page: &mut Roff, part: &str) {
    let Some((title, text)) = part.split_once(':') else { return };
    let heading = if title == "Exit codes" { "EXIT STATUS".to_owned() } else { title.to_uppercase() };
    page.control("SH", [heading.as_str()]);
    if text.starts_with('\n') {
        page.control("nf", []);
        for line in text.trim_matches('\n').lines() {
            page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        page.control("fi", []);
    } else {
        page.text([roman(text.split_whitespace().collect::<Vec<_>>().join(" "))]);
    }
}
