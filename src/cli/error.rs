//! Errors of a command line, in one line each.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::control::{advice_on, exit_code_of_file};

/// A command line that cannot be executed, found after it was parsed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that the resolver does not know, or cannot look up now.
    #[error(
        "--{flag} {name}: cannot resolve the name: {reason}; give an IP address, or fix the name service"
    )]
    Resolve {
        /// The flag without its dashes.
        flag: &'static str,
        /// The address as written.
        name: String,
        /// The resolver's message.
        reason: String,
    },
    /// A name in a URL that the resolver does not know, or cannot look up now.
    #[error("{url}: cannot resolve the name: {reason}; give an IP address, or fix the name service")]
    ResolveUrl {
        /// As written.
        url: String,
        /// The resolver's message.
        reason: String,
    },
    /// The same address twice.
    #[error("--listen {0} is given twice; give each address once")]
    ListenTwice(String),
    /// A file that cannot be read.
    #[error("{flag} {}: cannot be read: {source}; {}", path.display(), advice_on(path, .source))]
    Unreadable {
        /// The flag with its dashes.
        flag: &'static str,
        /// As given.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file with users that is none.
    #[error("--users {}: {reason}", path.display())]
    UsersFile {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Channel bindings without TLS.
    #[error("--extended-protection needs TLS; add --tls, or --tls-cert and --tls-key")]
    ProtectionWithoutTls,
    /// A Unix socket for the mock.
    #[error("--listen {0}: the mock listens on TCP only; give HOST:PORT or [IPv6]:PORT")]
    ListenPath(String),
    /// Steering to the worker on a CPU, but workers are not pinned.
    #[error("--steer cpu needs workers pinned to CPUs; remove --no-pin or --steer")]
    SteerUnpinned,
    /// Permissions without a Unix socket.
    #[error("--unix-mode applies to Unix sockets only; add --listen unix:PATH, or remove it")]
    UnixModeWithoutSocket,
    /// A flag that applies only to HTTP mode.
    #[error("{0} applies to HTTP mode only; add --mode http, or remove it")]
    NeedsHttp(&'static str),
    /// Trust in fields that are replaced anyway.
    #[error("--trust applies to --forwarded append only; add --forwarded append, or remove it")]
    TrustWithoutAppend,
    /// A mistake in a settings file.
    #[error("{place}: {message}")]
    Config {
        /// `FILE:LINE:COLUMN`.
        place: String,
        /// The key, what is wrong, and what would be right.
        message: String,
        /// As for the same mistake on a command line.
        code: ExitCode,
    },
    /// Contradictory flags.
    #[error("{0}")]
    Usage(String),
    /// A TLS file that is not as required.
    #[error(transparent)]
    Tls(#[from] crate::control::tls::Error),
    /// The descriptor limit of this process leaves nothing for connections.
    #[error(
        "the descriptor limit {limit} leaves no room for connections: listeners, rings and pipes take {reserved} \
         descriptors; raise the limit (ulimit -n, LimitNOFILE=), or lower --workers or --pipes"
    )]
    Descriptors {
        /// `RLIMIT_NOFILE`, raised to its hard limit.
        limit: u64,
        /// The number needed before the first connection.
        reserved: u64,
    },
}

impl Error {
    /// 2 if the command line is at fault, 1 if this host is.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::ListenTwice(_)
            | Self::UsersFile { .. }
            | Self::ProtectionWithoutTls
            | Self::ListenPath(_)
            | Self::NeedsHttp(_)
            | Self::TrustWithoutAppend
            | Self::SteerUnpinned
            | Self::UnixModeWithoutSocket
            | Self::Usage(_) => ExitCode::from(2),
            Self::Config { code, .. } => *code,
            Self::Tls(error) => error.exit_code(),
            Self::Unreadable { source, .. } => exit_code_of_file(source),
            Self::Resolve { .. } | Self::ResolveUrl { .. } | Self::Descriptors { .. } => ExitCode::FAILURE,
        }
    }
}

/// clap's message without its usage and its pointer to `--help`, in one line.
pub fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let mut line = String::new();
    for paragraph in rendered.split("\n\n") {
        let paragraph = paragraph.trim();
        if paragraph.is_empty()
            || paragraph.starts_with("Usage:")
            || paragraph.starts_with("For more information")
        {
            continue;
        }
        if !line.is_empty() {
            line.push_str("; ");
        }
        let words = paragraph.strip_prefix("error: ").unwrap_or(paragraph).split_whitespace();
        for (nth, word) in words.enumerate() {
            if nth > 0 {
                line.push(' ');
            }
            line.extend(word.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn complaint(arguments: &[&str]) -> String {
        let arguments = std::iter::once(&"iisplice").chain(arguments);
        one_line(&Cli::try_parse_from(arguments).expect_err("a wrong command line"))
    }

    #[test]
    fn a_wrong_command_line_is_one_line_that_says_what_would_be_right() {
        for (arguments, expected) in [
            (
                &["proxy", "--listne", "127.0.0.1:80"][..],
                "unexpected argument '--listne' found; tip: a similar argument exists: '--listen'",
            ),
            (
                &["proxy", "--listen", "127.0.0.1:80"],
                "the following required arguments were not provided: --upstream <ADDR>",
            ),
            (
                &["proxy", "--splice", "sometimes"],
                "invalid value 'sometimes' for '--splice <WHEN>' [possible values: auto, never, always]",
            ),
            (
                &["proxy", "--backlog", "many"],
                "invalid value 'many' for '--backlog <N>': give a whole number from 1 to 65535",
            ),
            (&["serve"], "unrecognized subcommand 'serve'"),
            (
                &[],
                "'iisplice' requires a subcommand but one was not provided [subcommands: demo, proxy, status, top, upgrade, mock, load, doctor, report, help]",
            ),
        ] {
            assert_eq!(complaint(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn nothing_in_a_value_breaks_the_line_or_reaches_the_terminal() {
        let line = complaint(&["proxy", "--backlog", "1\n\n\u{1b}[31m2"]);
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.contains("--backlog"), "{line:?}");
    }
}
