//! Flags, defaults and the directives they stand for: the pages against `--help`, both ways.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, CommandFactory as _};
use iisplice::cli::Cli;

use super::page::{Page, Table};

/// The pages that speak of the binary's flags.
fn pages() -> Vec<Page> {
    let of_users = |page: &Page| page.path.starts_with("docs") || page.path.as_os_str() == "README.md";
    Page::all().into_iter().filter(of_users).collect()
}

/// The command line as `--help` shows it, with the flags that all commands have.
fn command_line() -> clap::Command {
    let mut cli = Cli::command();
    cli.build();
    cli
}

fn arguments(command: &clap::Command) -> impl Iterator<Item = (String, &Arg)> {
    command
        .get_arguments()
        .filter_map(|argument| Some((format!("--{}", argument.get_long()?), argument)))
        .filter(|(name, _)| !["--help", "--version"].contains(&name.as_str()))
}

fn help(argument: &Arg) -> String {
    argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default()
}

/// What stands behind `[name: ` in a help text.
fn bracketed(help: &str, name: &str) -> Option<String> {
    let (_, rest) = help.split_once(&format!("[{name}: "))?;
    rest.split_once(']').map(|(inside, _)| inside.to_owned())
}

fn default(argument: &Arg) -> String {
    let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let takes_values = argument.get_action().takes_values();
    bracketed(&help(argument), "default").unwrap_or_else(|| match () {
        () if takes_values && !values.is_empty() => values.join(","),
        () if argument.is_required_set() => "required".to_owned(),
        () if takes_values => "none".to_owned(),
        () => "off".to_owned(),
    })
}

/// What a column of a table says of a flag by the binary, where the column is one of facts.
fn fact(column: &str, argument: &Arg) -> Option<String> {
    let help = help(argument);
    match column {
        "default" => Some(default(argument)),
        "nginx" => Some(bracketed(&help, "nginx").unwrap_or_else(|| "-".to_owned())),
        "IIS" => {
            let of_another = ["Netlogon", "HTTP.sys"]
                .into_iter()
                .find_map(|name| Some(format!("{name}: {}", bracketed(&help, name)?)));
            Some(bracketed(&help, "IIS").or(of_another).unwrap_or_else(|| "-".to_owned()))
        }
        _ => None,
    }
}

/// The command whose flags a table lists: that of the heading above it, or the proxy's on its own page.
fn command_of<'a>(page: &Page, table: &Table, cli: &'a clap::Command) -> Option<&'a clap::Command> {
    if table.head.first().is_none_or(|first| first != "flag") {
        return None;
    }
    let named = table.heading.strip_prefix("Flags of iisplice ");
    let name = named.or(page.path.ends_with("settings.md").then_some("proxy"))?;
    Some(cli.find_subcommand(name).unwrap_or_else(|| panic!("{}: no command {name}", page.path.display())))
}

#[test]
fn the_tables_list_every_flag_with_its_default_and_the_directive_it_stands_for() {
    let cli = command_line();
    let mut faults = Vec::new();
    let mut listed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for page in pages() {
        for table in &page.tables {
            let Some(command) = command_of(&page, table, &cli) else { continue };
            let known: BTreeMap<_, _> = arguments(command).collect();
            for (line, row) in &table.rows {
                let at = format!("{}:{line}", page.path.display());
                let name = row[0].split(' ').next().expect("a first word").to_owned();
                let Some(argument) = known.get(&name) else {
                    faults.push(format!("{at}: iisplice {} has no {name}", command.get_name()));
                    continue;
                };
                for (column, said) in table.head.iter().zip(row) {
                    if let Some(fact) = fact(column, argument).filter(|fact| fact != said) {
                        faults.push(format!("{at}: {name}: {column} is {said:?} here, {fact:?} in --help"));
                    }
                }
                if !listed.entry(command.get_name().to_owned()).or_default().insert(name.clone()) {
                    faults.push(format!("{at}: {name} is listed twice"));
                }
            }
        }
    }
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        let listed = listed.remove(command.get_name()).unwrap_or_default();
        for (name, _) in arguments(command).filter(|(name, _)| !listed.contains(name)) {
            faults.push(format!("docs: no table lists {name} of iisplice {}", command.get_name()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_pages_name_no_flag_that_does_not_exist() {
    let cli = command_line();
    let mut known: BTreeSet<String> = ["--help", "--version"].map(str::to_owned).into();
    for command in cli.get_subcommands() {
        known.extend(arguments(command).map(|(name, _)| name));
    }
    let mut faults = Vec::new();
    for page in pages() {
        // Commands of other programs begin with the program's name.
        for span in page.code.iter().filter(|span| span.text.starts_with("--")) {
            for word in span.text.split([' ', '=']).filter(|word| word.starts_with("--")) {
                if !known.contains(word) {
                    faults.push(format!("{}:{}: no command has {word}", page.path.display(), span.line));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
