//! The settings in force as text, without what must stay secret.

use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use crate::control::Outline;

/// What stands in place of a secret.
const BLANK: &str = "***";

/// Names of header fields that have any of these in them may have secret values.
const SECRET_WORDS: [&str; 9] =
    ["auth", "cookie", "credential", "key", "pass", "secret", "session", "signature", "token"];

/// The text of a settings file for these settings.
pub(in crate::control) fn text(outline: &Outline, workers: usize, sessions_max: usize) -> String {
    let mut text = String::new();
    for (title, keys) in &outline.0 {
        if let Some((kind, name)) = title.split_once(' ') {
            // Writing to a String does not fail.
            let _ = writeln!(text, "\n[{kind}.{name}]");
        } else {
            for (key, value) in [("workers", workers), ("max-connections", sessions_max)] {
                if !keys.iter().any(|line| line.split(' ').next() == Some(key)) {
                    let _ = writeln!(text, "# {key} = {value} (by this host)");
                }
            }
        }
        for line in keys {
            text += &blanked(line);
            text.push('\n');
        }
    }
    text
}

/// A line `KEY = VALUE` without a secret in it.
fn blanked(line: &str) -> String {
    let Some((key, _)) = line.split_once(" = ") else { return line.to_owned() };
    let is_field = matches!(key, "set-header" | "set-reply-header");
    if !is_field && !is_secret_key(key) {
        return line.to_owned();
    }
    let blank = |value: &DeValue<'_>| match value.as_str() {
        Some(text) if is_field => match text.split_once(':') {
            Some((name, _)) if is_secret_field(name) => format!("{name}:{BLANK}"),
            _ => text.to_owned(),
        },
        _ => BLANK.to_owned(),
    };
    let quoted = |text: String| serde_json::Value::from(text).to_string();
    let Ok(table) = DeTable::parse(line) else { return format!("{key} = {}", quoted(BLANK.to_owned())) };
    let values = table.get_ref().iter().next().map(|(_, value)| match value.get_ref().as_array() {
        Some(values) => {
            let values: Vec<_> = values.iter().map(|value| quoted(blank(value.get_ref()))).collect();
            format!("[{}]", values.join(", "))
        }
        None => quoted(blank(value.get_ref())),
    });
    format!("{key} = {}", values.unwrap_or_default())
}

fn is_secret_field(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Secrets of settings stand in files of their own. This holds for those to come as well.
fn is_secret_key(key: &str) -> bool {
    ["password", "secret", "token"].into_iter().any(|word| key.ends_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blanked_and_nothing_else_is() {
        for (line, expected) in [
            (
                "set-header = [\"X-A: b\", \"Authorization: Basic eA==\"]",
                "set-header = [\"X-A: b\", \"Authorization:***\"]",
            ),
            ("set-header = \"X-Api-Key:a \\\"b\\\"\"", "set-header = \"X-Api-Key:***\""),
            ("set-reply-header = [\"Set-Cookie: a=b\"]", "set-reply-header = [\"Set-Cookie:***\"]"),
            ("remove-header = [\"Authorization\"]", "remove-header = [\"Authorization\"]"),
            ("tls-key = [\"/etc/site.key\"]", "tls-key = [\"/etc/site.key\"]"),
            ("admin-token-file = \"/etc/token\"", "admin-token-file = \"/etc/token\""),
            ("affinity-secret = \"s3cret\"", "affinity-secret = \"***\""),
            ("affinity-cookie = \"site\"", "affinity-cookie = \"site\""),
            ("affinity-key = \"/etc/key\"", "affinity-key = \"/etc/key\""),
            ("keepalive-timeout = \"180s\"", "keepalive-timeout = \"180s\""),
            ("health = \"http-auth\"", "health = \"http-auth\""),
            ("secure-cookies = true", "secure-cookies = true"),
            ("upstream = \"iis\"", "upstream = \"iis\""),
        ] {
            assert_eq!(blanked(line), expected);
        }
    }

    #[test]
    fn the_text_is_a_settings_file() {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let outline = Outline(vec![
            (String::new(), keys(&["workers = 2"])),
            ("service \"a b\"".to_owned(), keys(&["listen = [\"127.0.0.1:80\"]", "upstream = \"g\""])),
            ("group g".to_owned(), keys(&["servers = [\"iis1:80\"]"])),
        ]);
        let text = text(&outline, 2, 77);
        assert_eq!(
            text,
            "# max-connections = 77 (by this host)\nworkers = 2\n\n[service.\"a b\"]\nlisten = [\"127.0.0.1:80\"]\n\
             upstream = \"g\"\n\n[group.g]\nservers = [\"iis1:80\"]\n"
        );
        DeTable::parse(&text).expect("TOML");
    }
}
