//! Settings as the text of a settings file.

use std::fmt::Write as _;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::kind::{Kind, ROUTES, Shape, shape};
use crate::cli::proxy::routes::{Route, RouteArgs, Target};
use crate::cli::proxy::servers::WrittenServer;
use crate::control::{Outline, Plan};

/// Settings in force, to be written.
#[derive(Debug, Default)]
pub(in super::super) struct Settings {
    /// The keys of the process.
    pub(in super::super) process: Vec<String>,
    /// The services with their keys.
    pub(in super::super) services: Vec<(String, Vec<String>)>,
    /// The groups with their keys.
    pub(in super::super) groups: Vec<(String, Vec<String>)>,
}

impl Settings {
    /// The same by table.
    pub(in super::super) fn outline(&self) -> Outline {
        let of_kind = |kind: &'static str, tables: &[(String, Vec<String>)]| {
            let titled =
                tables.iter().map(move |(name, keys)| (format!("{kind} {}", key(name)), keys.clone()));
            titled.collect::<Vec<_>>()
        };
        let process = vec![(String::new(), self.process.clone())];
        Outline([process, of_kind("service", &self.services), of_kind("group", &self.groups)].concat())
    }

    /// The text of the file for this plan. What was computed for this host is in comments, so that another host computes
    /// it anew.
    pub(in super::super) fn text(&self, plan: &Plan) -> String {
        let mut text = self.process.join("\n") + "\n";
        let peek_bytes: usize = plan.workers.iter().map(|worker| worker.peek_bytes_max).sum();
        let has_peek_memory = plan.services.iter().any(|planned| planned.service.reads_first());
        let computed = [
            ("workers", Some(plan.workers.len().to_string())),
            ("max-connections", Some(plan.sessions_max.to_string())),
            ("peek-memory", has_peek_memory.then(|| format!("\"{}KiB\"", peek_bytes / 1024))),
        ];
        for (key, value) in computed {
            let is_written = self.process.iter().any(|line| line.split(' ').next() == Some(key));
            if let Some(value) = value.filter(|_| !is_written) {
                // Writing to a String does not fail.
                let _ = writeln!(text, "# {key} = {value} (by this host)");
            }
        }
        for (kind, tables) in [("service", &self.services), ("group", &self.groups)] {
            for (name, keys) in tables {
                // Writing to a String does not fail.
                let _ = write!(text, "\n[{kind}.{}]\n{}\n", key(name), keys.join("\n"));
            }
        }
        text
    }
}

/// The keys in force of a table of this kind: those that were given, and defaults that may be given; `in_force` are
/// defaults that depend on other keys.
pub(in super::super) fn keys(
    kind: Kind,
    matches: &ArgMatches,
    in_force: &[(&'static str, String)],
) -> Vec<String> {
    let command = kind.command();
    let mut given = Vec::new();
    let mut all = Vec::new();
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let Some(flag) = argument.get_long() else { continue };
        // Groups are named by their tables.
        if ROUTES.contains(&flag) || flag == "upstream" || flag == "servers" {
            continue;
        }
        let is_default = matches.value_source(id) == Some(ValueSource::DefaultValue);
        if shape(argument) == Shape::Switch {
            if matches.get_flag(id) {
                given.push(format!("--{flag}"));
                all.push((format!("{flag} = true"), None));
            }
            continue;
        }
        if let Some((key, text)) = in_force.iter().find(|(key, _)| *key == flag) {
            all.push((format!("{key} = {}", value(text)), None));
            continue;
        }
        let Ok(Some(raw)) = matches.try_get_raw(id) else { continue };
        let values: Vec<String> = raw.map(|value| value.to_string_lossy().into_owned()).collect();
        let arguments: Vec<_> = values.iter().map(|value| format!("--{flag}={value}")).collect();
        let line = match (&values[..], shape(argument)) {
            ([one], Shape::One) => format!("{flag} = {}", value(one)),
            _ => format!("{flag} = {}", array(&values)),
        };
        if is_default {
            all.push((line, Some(arguments)));
        } else {
            given.extend(arguments);
            all.push((line, None));
        }
    }
    let needed = match kind {
        Kind::Service if matches.contains_id("hello_routes") => Some("--sni-route=a=b"),
        Kind::Service if matches.contains_id("routes") => Some("--host-route=a=b"),
        Kind::Service if matches.contains_id("upstream") => Some("--upstream=a"),
        Kind::Group => Some("--servers=a:1"),
        // It has none where it redirects every request.
        Kind::Service | Kind::Process => None,
    };
    given.extend(needed.map(str::to_owned));
    let ends_tls = kind != Kind::Service || matches.contains_id("tls_cert");
    all.retain(|(line, default)| ends_tls || default.is_none() || !line.starts_with("tls-"));
    let may_be_given = |arguments: &Vec<String>| {
        kind.command().try_get_matches_from([&given[..], arguments].concat()).is_ok()
    };
    let kept = all.into_iter().filter(|(_, default)| default.as_ref().is_none_or(may_be_given));
    kept.map(|(line, _)| line).collect()
}

/// The keys of a service that name its groups; `group` names that of a route.
pub(in super::super) fn routes(
    written: &RouteArgs,
    mut group: impl FnMut(Route<'_>, &[&Target]) -> String,
) -> Vec<String> {
    let mut keys = Vec::new();
    let mut lines = Vec::new();
    for (route, targets) in written.by_route() {
        let group = quoted(&group(route, &targets));
        match route {
            Route::All => keys.push(format!("upstream = {group}")),
            Route::Name(name) => lines.push(format!("  {{ sni = {}, upstream = {group} }},", quoted(name))),
            Route::Protocol(protocol) => {
                lines.push(format!("  {{ alpn = {}, upstream = {group} }},", quoted(protocol)));
            }
            Route::Requests(place) => {
                let host = place.host.iter().map(|host| format!("host = {}, ", quoted(host)));
                let path = place.path.iter().map(|path| format!("path = {}, ", quoted(&path.written)));
                lines.push(format!("  {{ {}upstream = {group} }},", host.chain(path).collect::<String>()));
            }
        }
    }
    if !lines.is_empty() {
        keys.push(format!("routes = [\n{}\n]", lines.join("\n")));
    }
    keys
}

/// The key that names the servers of a group.
pub(in super::super) fn servers<'a>(servers: impl Iterator<Item = &'a WrittenServer>) -> String {
    let written = |server: &WrittenServer| {
        let address = quoted(&server.address.to_string());
        let keys: String = server.keys().iter().flat_map(|(key, value)| [", ", key, " = ", value]).collect();
        if keys.is_empty() { address } else { format!("{{ address = {address}{keys} }}") }
    };
    format!("servers = [{}]", servers.map(written).collect::<Vec<_>>().join(", "))
}

fn array(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|one| value(one)).collect::<Vec<_>>().join(", "))
}

/// An integer without quotes, everything else with them.
fn value(text: &str) -> String {
    let is_integer = text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    if is_integer { text.to_owned() } else { quoted(text) }
}

/// The name of a key or a table.
pub(super) fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            // Writing to a String does not fail.
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_back_as_they_were() {
        for text in ["", "a b", "C:\\x \"y\"", "two\nlines\t\u{1b}\u{7f}\u{85}", "ü"] {
            let file = format!("{} = {}", key(text), quoted(text));
            let table = toml::de::DeTable::parse(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
            let (key, value) = table.get_ref().iter().next().expect("one key");
            assert_eq!((key.get_ref().as_ref(), value.get_ref().as_str()), (text, Some(text)), "{file}");
        }
    }

    #[test]
    fn only_numbers_that_read_the_same_lose_their_quotes() {
        for (text, expected) in
            [("0", "0"), ("4096", "4096"), ("0660", "\"0660\""), ("3s", "\"3s\""), ("+1", "\"+1\"")]
        {
            assert_eq!(value(text), expected);
        }
    }
}
