//! The checks of a group in a settings file: `health = "tcp"`, or a table whose keys are the flags that begin with
//! `--health-`.

use std::ops::Range;

use clap::Command;
use toml::Spanned;
use toml::de::DeValue;

use super::source::Source;
use super::values::{Value, described, values};
use crate::cli::Error;
use crate::cli::nearest::nearest;

/// The key, and the beginning of the flags that its table's keys stand for.
pub(super) const KEY: &str = "health";

const WANTED: &str = "\"TYPE\" or { type = \"TYPE\", interval = \"5s\" }";

/// What a key of the file stands for: a flag, where its key is, and its arguments.
type Written = (String, Range<usize>, Vec<Value>);

/// The flags that the checks of a group stand for.
pub(super) fn health(
    source: &Source,
    command: &Command,
    at: Range<usize>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<Written>, Error> {
    let arguments = |flag: &str, value: &Spanned<DeValue<'_>>| {
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(flag));
        argument.map(|argument| values(source, argument, value)).transpose()
    };
    let DeValue::Table(table) = value.get_ref() else {
        return match value.get_ref() {
            DeValue::String(_) => Ok(vec![(KEY.to_owned(), at, arguments(KEY, value)?.unwrap_or_default())]),
            other => {
                let message = format!("{KEY}: this is {}; give {WANTED}", described(other));
                Err(source.error(&value.span(), message))
            }
        };
    };
    let mut written = Vec::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let flag = if name == "type" { KEY.to_owned() } else { format!("{KEY}-{name}") };
        let Some(values) = arguments(&flag, value)? else {
            return Err(source.error(&key.span(), unknown(command, name)));
        };
        written.push((flag, key.span(), values));
    }
    if !written.iter().any(|(flag, ..)| flag == KEY) {
        return Err(source.error(&value.span(), format!("{KEY}: this table has no type; give {WANTED}")));
    }
    Ok(written)
}

/// What is wrong with a key that no flag has.
fn unknown(command: &Command, name: &str) -> String {
    let flags = command.get_arguments().filter_map(|argument| argument.get_long());
    let known: Vec<_> =
        ["type"].into_iter().chain(flags.filter_map(|flag| flag.strip_prefix("health-"))).collect();
    match nearest(name, &known) {
        Some(nearest) => format!("{KEY}: unknown key {name:?}; did you mean {nearest}?"),
        None => format!("{KEY}: unknown key {name:?}; give one of {}", known.join(", ")),
    }
}
