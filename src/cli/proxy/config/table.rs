//! One table of a settings file, turned into arguments of the flags that are its keys.

use std::ops::Range;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use toml::de::DeTable;

use super::health;
use super::kind::Kind;
use super::servers::servers;
use super::source::{Source, shown};
use super::values::{Value, routes, values};
use super::words::in_a_file;
use crate::cli::nearest::nearest;
use crate::cli::{Error, one_line};

/// A table and its keys.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) source: &'a Source,
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Where its header stands.
    pub(super) header: Range<usize>,
    entries: Vec<Entry>,
}

/// A key and the arguments that it stands for.
#[derive(Debug)]
struct Entry {
    key: String,
    at: Range<usize>,
    values: Vec<Value>,
}

impl<'a> Table<'a> {
    /// Reads the keys of `table`; `tables` are keys of it that are read elsewhere.
    ///
    /// # Errors
    /// An unknown key, or a value of a wrong type.
    pub(super) fn read(
        source: &'a Source,
        (kind, name, header): (Kind, String, Range<usize>),
        table: &DeTable<'_>,
        tables: &[&str],
    ) -> Result<Self, Error> {
        let command = kind.command();
        let mut entries = Vec::new();
        for (key, value) in table {
            let (at, key) = (key.span(), key.get_ref().as_ref());
            if tables.contains(&key) {
                continue;
            }
            if kind == Kind::Group && key == health::KEY {
                let written = health::health(source, &command, at, value)?;
                entries.extend(written.into_iter().map(|(key, at, values)| Entry { key, at, values }));
                continue;
            }
            let values = if kind == Kind::Service && key == "routes" {
                routes(source, value)?
            } else if kind == Kind::Group && key == "servers" {
                servers(source, value)?
            } else {
                let known = kind.keys().iter().any(|known| known == key);
                let argument = command.get_arguments().find(|argument| argument.get_long() == Some(key));
                let Some(argument) = argument.filter(|_| known) else {
                    return Err(source.error(&at, unknown(kind, key, tables)));
                };
                values(source, argument, value)?
            };
            entries.push(Entry { key: key.to_owned(), at, values });
        }
        entries.sort_by_key(|entry| entry.at.start);
        Ok(Self { source, kind, name, header, entries })
    }

    /// The arguments that its keys stand for, without those of the flags `except`.
    pub(super) fn arguments(&self, except: &[String]) -> Vec<String> {
        let entries = self.entries.iter().filter(|entry| !except.contains(&entry.key));
        entries.flat_map(|entry| &entry.values).map(|value| value.argument.clone()).collect()
    }

    /// Parses the arguments as a command line is parsed.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub(super) fn matches(&self) -> Result<ArgMatches, Error> {
        let matches = self.kind.command().try_get_matches_from(self.arguments(&[]));
        matches.map_err(|error| self.mistake(&error))
    }

    /// Whether it has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The place of a key, or of that value of it.
    pub(super) fn place(&self, key: &str, value: Option<&str>) -> Range<usize> {
        let Some(entry) = self.entries.iter().find(|entry| entry.key == key) else {
            return self.header.clone();
        };
        let found = value.and_then(|text| entry.values.iter().find(|value| value.text == text));
        found.map_or_else(|| entry.at.clone(), |value| value.at.clone())
    }

    /// The places of a key's values.
    pub(super) fn places(&self, key: &str) -> impl Iterator<Item = (&str, &Range<usize>)> {
        let entries = self.entries.iter().filter(move |entry| entry.key == key);
        entries.flat_map(|entry| &entry.values).map(|value| (&*value.text, &value.at))
    }

    /// An error about the flags that this table's keys stand for, at its place in the file.
    pub(super) fn locate(&self, error: Error) -> Error {
        if matches!(error, Error::Config { .. }) {
            return error;
        }
        let text = error.to_string();
        let words = in_a_file(&text, &Kind::ALL.map(Kind::command));
        let named = words.keys.iter().find(|key| self.has(key));
        let Some(key) = named else {
            // The process has no table: what is wrong was not written in the file.
            if self.kind == Kind::Process {
                return error;
            }
            let message = format!("{}: {}", self.title(), words.text);
            return self.source.error_with(&self.header, message, error.exit_code());
        };
        let value = self.places(key).find(|(value, _)| mentions(&text, value));
        let at = value.map_or_else(|| self.place(key, None), |(_, at)| at.clone());
        let rest = words.text.strip_prefix(key.as_str()).and_then(|rest| rest.strip_prefix([' ', ':']));
        let message = match rest {
            Some(rest) if !rest.starts_with('=') => format!("{key}: {}", rest.trim_start()),
            _ => format!("{key}: {}", words.text),
        };
        self.source.error_with(&at, message, error.exit_code())
    }

    /// The table as a file has it.
    pub(super) fn title(&self) -> String {
        match self.kind {
            Kind::Process => "the top level".to_owned(),
            Kind::Service => format!("[service.{}]", super::text::key(&self.name)),
            Kind::Group => format!("[group.{}]", super::text::key(&self.name)),
        }
    }

    /// clap's message about the arguments, with its place.
    fn mistake(&self, error: &clap::Error) -> Error {
        let named: Vec<String> =
            names(error, ContextKind::InvalidArg).iter().map(|name| key_of(name)).collect();
        let first = named.first().cloned().unwrap_or_default();
        let value = names(error, ContextKind::InvalidValue).first().cloned().unwrap_or_default();
        let at = |key: &str| self.place(key, None);
        match error.kind() {
            ErrorKind::ValueValidation => {
                let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                let sign = if reason.starts_with("give ") { ";" } else { ":" };
                let message = format!("{first}: invalid value {}{sign} {reason}", shown(&value));
                self.source.error(&self.place_of_argument(&first, &value), message)
            }
            ErrorKind::InvalidValue => {
                let valid = names(error, ContextKind::ValidValue).join(", ");
                let message = format!("{first}: invalid value {}; give one of {valid}", shown(&value));
                self.source.error(&self.place_of_argument(&first, &value), message)
            }
            ErrorKind::MissingRequiredArgument => self.missing(error, &first),
            ErrorKind::ArgumentConflict => {
                let prior = names(error, ContextKind::PriorArg).first().map(|name| key_of(name));
                let other = prior.unwrap_or_default();
                let message = format!("{first}: cannot be used with {other}; remove one of them");
                self.source.error(&at(&first), message)
            }
            _ => self.source.error(&self.header, format!("{}: {}", self.title(), one_line(error))),
        }
    }

    /// A key that is missing, on its own account or on another key's.
    fn missing(&self, error: &clap::Error, missing: &str) -> Error {
        if let Some(key) = self.key_that_needs(error) {
            let message = format!("{key}: needs {missing}; add {missing}, or remove {key}");
            return self.source.error(&self.place(&key, None), message);
        }
        let example = match missing {
            "upstream" => "upstream = \"GROUP\" or routes".to_owned(),
            key => format!("{key} = [\"HOST:PORT\"]"),
        };
        let message = format!("{}: {missing} is missing; add {example}", self.title());
        self.source.error(&self.header, message)
    }

    /// The key without which nothing would be missing.
    fn key_that_needs(&self, error: &clap::Error) -> Option<String> {
        let missing = names(error, ContextKind::InvalidArg);
        let needs = |entry: &&Entry| {
            let without = self.arguments(std::slice::from_ref(&entry.key));
            match self.kind.command().try_get_matches_from(without) {
                Ok(_) => true,
                Err(other) => {
                    !names(&other, ContextKind::InvalidArg).iter().any(|name| missing.contains(name))
                }
            }
        };
        self.entries.iter().find(needs).map(|entry| entry.key.clone())
    }

    fn place_of_argument(&self, key: &str, value: &str) -> Range<usize> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let found = entry.and_then(|entry| {
            entry
                .values
                .iter()
                .find(|known| known.argument.split_once('=').is_some_and(|(_, text)| text == value))
        });
        found.map_or_else(|| self.place(key, None), |value| value.at.clone())
    }
}

fn names(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(name)) => vec![name.clone()],
        Some(ContextValue::Strings(names)) => names.clone(),
        _ => Vec::new(),
    }
}

/// Whether the value stands in the text as a word of its own.
fn mentions(text: &str, value: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| " :;,=".contains(c));
    !value.is_empty()
        && text.match_indices(value).any(|(at, _)| {
            is_end(text[..at].chars().next_back()) && is_end(text[at + value.len()..].chars().next())
        })
}

/// The key of a flag as clap names it: `--backlog <N>`, or several of a group.
fn key_of(name: &str) -> String {
    let flag = name.trim_start_matches('<').trim_start_matches("--");
    let flag = flag.split([' ', '=', '|', '>']).next().unwrap_or_default();
    if super::kind::ROUTES.contains(&flag) { "routes".to_owned() } else { flag.to_owned() }
}

/// What is wrong with a key that no flag has.
fn unknown(kind: Kind, key: &str, tables: &[&str]) -> String {
    let elsewhere =
        Kind::ALL.into_iter().find(|other| *other != kind && other.keys().iter().any(|known| known == key));
    if let Some(other) = elsewhere {
        return format!(
            "{key}: this key does not belong to {}; move it to {}",
            kind.described(),
            other.described()
        );
    }
    if kind == Kind::Service && super::kind::ROUTES.contains(&key) {
        let by = match key {
            "alpn-route" => "alpn = \"PROTOCOL\"",
            "host-route" => "host = \"HOST\"",
            "path-route" => "path = \"/PATH\"",
            _ => "sni = \"NAME\"",
        };
        return format!("{key}: unknown key; give routes = [{{ {by}, upstream = \"GROUP\" }}]");
    }
    let known = kind.keys().into_iter().chain(tables.iter().map(|&table| table.to_owned()));
    match nearest(key, known) {
        Some(nearest) => format!("{}: unknown key; did you mean {nearest}?", super::text::key(key)),
        None if kind == Kind::Group => {
            format!("{}: unknown key; give one of {}", super::text::key(key), kind.keys().join(", "))
        }
        None => format!(
            "{}: unknown key; the keys of {} are the flags in iisplice proxy --help, without their dashes",
            super::text::key(key),
            kind.described()
        ),
    }
}
