//! What a reload changes, in words, and what it cannot change.

use super::SandboxMode;
use super::admin::AdminSettings;
use super::privileges::WrittenUser;
use crate::proxy::settings::WorkerSettings;

/// Most changes that the line of a reload names.
const NAMED_MAX: usize = 24;

/// Settings that are read at start only, by the keys of a settings file.
const AT_START: &[&str] = &[
    "workers",
    "no-pin",
    "ring-entries",
    "spin",
    "io-uring-without",
    "buffers",
    "buffer-size",
    "pipes",
    "pipe-size",
    "admin",
    "admin-token-file",
    "user",
    "sandbox",
];

/// Settings as a settings file has them: its tables by title, each with its keys as `KEY = VALUE`. The first is the top
/// level, which has no title.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline(pub Vec<(String, Vec<String>)>);

impl Outline {
    /// How the settings of `later` differ, without those that are read at start only.
    pub(super) fn changes(&self, later: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (title, _) in self.0.iter().filter(|(title, _)| later.table(title).is_none()) {
            changes.push(format!("{title} removed"));
        }
        for (title, keys) in &later.0 {
            match self.table(title) {
                None => changes.push(format!("{title} added")),
                Some(before) => {
                    let differing = differing(before, keys);
                    match (&differing[..], title.as_str()) {
                        ([], _) => {}
                        (keys, "") => changes.push(keys.join(", ")),
                        (keys, title) => changes.push(format!("{title} ({})", keys.join(", "))),
                    }
                }
            }
        }
        changes
    }

    /// The same, with the settings that are read at start only as they were.
    #[must_use]
    pub(super) fn with_those_at_start_of(mut self, before: &Self) -> Self {
        let is_at_start = |key: &String| AT_START.contains(&name(key));
        if let (Some((_, keys)), Some(before)) = (self.0.first_mut(), before.table("")) {
            keys.retain(|key| !is_at_start(key));
            keys.splice(0..0, before.iter().filter(|key| is_at_start(key)).cloned());
        }
        self
    }

    fn table(&self, title: &str) -> Option<&Vec<String>> {
        self.0.iter().find(|(known, _)| known == title).map(|(_, keys)| keys)
    }
}

/// The name of a key.
fn name(key: &str) -> &str {
    key.split(" = ").next().unwrap_or_default()
}

/// The names of the keys whose values differ, or which only one of both has.
fn differing<'a>(before: &'a [String], after: &'a [String]) -> Vec<&'a str> {
    let mut names: Vec<_> = before.iter().filter(|key| !after.contains(key)).map(|key| name(key)).collect();
    for added in after.iter().filter(|key| !before.contains(key)).map(|key| name(key)) {
        if !names.contains(&added) {
            names.push(added);
        }
    }
    names.retain(|name| !AT_START.contains(name));
    names
}

/// The changes in one line of limited length.
pub(super) fn in_a_line(changes: &[String]) -> String {
    if changes.is_empty() {
        return "nothing".to_owned();
    }
    let (named, more) = changes.split_at(changes.len().min(NAMED_MAX));
    let line = named.join("; ");
    if more.is_empty() { line } else { format!("{line}; and {} more", more.len()) }
}

/// The settings of workers that differ, each with the value that it keeps and the one that needs a restart.
pub(super) fn needing_restart(running: &[WorkerSettings], read: &[WorkerSettings]) -> Vec<String> {
    let (Some(one), Some(other)) = (running.first(), read.first()) else { return Vec::new() };
    let cpus = |workers: &[WorkerSettings]| workers.iter().map(|worker| worker.cpu).collect::<Vec<_>>();
    let is_pinned = |worker: &WorkerSettings| if worker.cpu.is_some() { "pinned" } else { "not pinned" };
    let count = |workers: &[WorkerSettings]| workers.len().to_string();
    let mut differing = Vec::new();
    let mut compare = |name: &str, running: String, read: String| {
        if running != read {
            differing.push(format!("{name} (runs with {running}, set to {read})"));
        }
    };
    compare("workers", count(running), count(read));
    if cpus(running) != cpus(read) {
        compare("no-pin", is_pinned(one).to_owned(), is_pinned(other).to_owned());
    }
    compare("ring-entries", one.ring_entries.to_string(), other.ring_entries.to_string());
    compare("spin", one.spin.to_string(), other.spin.to_string());
    compare("io-uring-without", one.without.to_string(), other.without.to_string());
    compare("buffers", one.buffers.to_string(), other.buffers.to_string());
    compare("buffer-size", bytes(one.buffer_bytes), bytes(other.buffer_bytes));
    compare("pipes", one.pipes.to_string(), other.pipes.to_string());
    compare("pipe-size", bytes(one.pipe_bytes), bytes(other.pipe_bytes));
    differing
}

/// The same for the admin endpoint.
pub(super) fn needing_restart_of_admin(
    running: Option<&AdminSettings>,
    read: Option<&AdminSettings>,
) -> Vec<String> {
    let words = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let token_file =
        |settings: &AdminSettings| settings.token_file.as_ref().map(|path| path.display().to_string());
    let values = |settings: Option<&AdminSettings>| {
        [words(settings.map(ToString::to_string)), words(settings.and_then(token_file))]
    };
    let both = std::iter::zip(["admin", "admin-token-file"], std::iter::zip(values(running), values(read)));
    let differing = both.filter(|(_, (running, read))| running != read);
    differing.map(|(name, (running, read))| format!("{name} (runs with {running}, set to {read})")).collect()
}

/// The same for the user that the process runs as.
pub(super) fn needing_restart_of_user(
    running: Option<&WrittenUser>,
    read: Option<&WrittenUser>,
) -> Option<String> {
    let words = |user: Option<&WrittenUser>| user.map_or_else(|| "none".to_owned(), ToString::to_string);
    (running != read).then(|| format!("user (runs with {}, set to {})", words(running), words(read)))
}

/// The same for the sandbox.
pub(super) fn needing_restart_of_sandbox(running: SandboxMode, read: SandboxMode) -> Option<String> {
    (running != read).then(|| format!("sandbox (runs with {running}, set to {read})"))
}

/// A size as it is written in settings.
fn bytes(bytes: u32) -> String {
    match (bytes % (1 << 20), bytes % 1024) {
        (0, _) => format!("{}MiB", bytes >> 20),
        (_, 0) => format!("{}KiB", bytes / 1024),
        _ => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::uring::Spin;

    fn outline(tables: &[(&str, &[&str])]) -> Outline {
        let table = |(title, keys): &(&str, &[&str])| {
            ((*title).to_owned(), keys.iter().map(|key| (*key).to_owned()).collect())
        };
        Outline(tables.iter().map(table).collect())
    }

    #[test]
    fn changes_are_named_by_table_and_key() {
        let before = outline(&[
            ("", &["workers = 1", "drain-timeout = \"30s\""]),
            ("service a", &["listen = [\"a\"]", "idle-timeout = \"3h\"", "trace = true"]),
            ("service b", &[]),
            ("group g", &["servers = [\"s\"]"]),
        ]);
        let after = outline(&[
            ("", &["workers = 2", "drain-timeout = \"1s\""]),
            ("service a", &["listen = [\"b\"]", "idle-timeout = \"3h\"", "mode = \"http\""]),
            ("service c", &[]),
            ("group g", &["servers = [\"s\"]"]),
        ]);
        assert_eq!(
            in_a_line(&before.changes(&after)),
            "service b removed; drain-timeout; service a (listen, trace, mode); service c added"
        );
        assert_eq!(in_a_line(&after.changes(&after)), "nothing");
        let many: Vec<_> = (0..30).map(|number| number.to_string()).collect();
        assert!(in_a_line(&many).ends_with("; 23; and 6 more"));
    }

    #[test]
    fn what_is_read_at_start_only_stays_as_it_was() {
        let before =
            outline(&[("", &["workers = 1", "admin = \"a\"", "drain-timeout = \"30s\""]), ("group g", &[])]);
        let read =
            outline(&[("", &["drain-timeout = \"1s\"", "workers = 2"]), ("group h", &["workers = 3"])]);
        let expected = outline(&[
            ("", &["workers = 1", "admin = \"a\"", "drain-timeout = \"1s\""]),
            ("group h", &["workers = 3"]),
        ]);
        assert_eq!(read.with_those_at_start_of(&before), expected);
    }

    #[test]
    fn what_needs_a_restart_is_named_with_both_values() {
        let running = [WorkerSettings { cpu: Some(0), ..WorkerSettings::default() }; 2];
        assert_eq!(needing_restart(&running, &running), [""; 0]);
        let read = WorkerSettings {
            buffer_bytes: 65536,
            pipe_bytes: 4097,
            spin: Spin::NEVER,
            drain_timeout: Duration::ZERO,
            peek_bytes_max: 0,
            ..WorkerSettings::default()
        };
        assert_eq!(
            needing_restart(&running, &[read]),
            [
                "workers (runs with 2, set to 1)",
                "no-pin (runs with pinned, set to not pinned)",
                "spin (runs with auto, set to 0s)",
                "buffer-size (runs with 16KiB, set to 64KiB)",
                "pipe-size (runs with 1MiB, set to 4097)",
            ]
        );
    }
}
