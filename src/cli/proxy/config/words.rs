//! Messages about flags, in the words of a settings file.

use clap::Command;

/// A message without dashes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) text: String,
    /// The keys that it names, in their order.
    pub(super) keys: Vec<String>,
}

/// Writes each flag in `message` as the key that it is: `--mode http` as `mode = "http"`.
pub(super) fn in_a_file(message: &str, commands: &[Command]) -> Words {
    let message = message.replace("--sni-route and --alpn-route", "--sni-route");
    let mut words = Words { text: String::new(), keys: Vec::new() };
    let mut rest = message.as_str();
    while let Some(at) = rest.find("--") {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let after = &rest[at + 2..];
        let name = &after[..after.find(|c| !is_name(c)).unwrap_or(after.len())];
        words.text += &rest[..at];
        rest = &after[name.len()..];
        let is_route = super::kind::ROUTES.contains(&name);
        let key = if is_route { "routes" } else { name };
        // Not every route applies to the same connections.
        words.text += match name {
            "host-route" => "a host in routes",
            "path-route" => "a path in routes",
            _ => key,
        };
        words.keys.push(key.to_owned());
        let flag =
            commands.iter().flat_map(Command::get_arguments).find(|flag| flag.get_long() == Some(name));
        if let Some(flag) = flag
            && let Some(next) = rest.strip_prefix(' ')
        {
            let value = &next[..next.find(|c| !is_name(c)).unwrap_or(next.len())];
            if flag.get_possible_values().iter().any(|possible| possible.matches(value, false)) {
                words.text.extend([" = \"", value, "\""]);
                rest = &next[value.len()..];
            }
        }
    }
    words.text += rest;
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::proxy::config::kind::Kind;

    #[test]
    fn flags_become_keys() {
        let commands = Kind::ALL.map(Kind::command);
        for (flags, expected, keys) in [
            ("nothing to do - or --", "nothing to do - or ", &[""][..]),
            (
                "--trace applies to HTTP mode only; add --mode http, or remove it",
                "trace applies to HTTP mode only; add mode = \"http\", or remove it",
                &["trace", "mode"],
            ),
            (
                "--mode http needs what --sni-route and --alpn-route pass through; add --tls-cert FILE",
                "mode = \"http\" needs what routes pass through; add tls-cert FILE",
                &["mode", "routes", "tls-cert"],
            ),
            (
                "--host-route applies to HTTP mode only; add --mode http",
                "a host in routes applies to HTTP mode only; add mode = \"http\"",
                &["routes", "mode"],
            ),
        ] {
            let words = in_a_file(flags, &commands);
            assert_eq!(
                (words.text.as_str(), &words.keys[..]),
                (expected, &keys.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
            );
        }
    }
}
