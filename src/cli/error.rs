//! What is wrong with a command line, in one line.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::control::{advice_on_file, exit_code_of_file};

/// A command line that cannot be carried out, found after its text was read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that the resolver does not know, or cannot ask about now.
    #[error("--{flag} {name}: cannot resolve the name: {reason}; give an address, or mend the name service")]
    Resolve {
        /// The flag without its dashes.
        flag: &'static str,
        /// The address as written.
        name: String,
        /// The resolver's words.
        reason: String,
    },
    /// The same, in a URL.
    #[error("{url}: cannot resolve the name: {reason}; give an address, or fix the name service")]
    ResolveUrl {
        /// As written.
        url: String,
        /// The resolver's words.
        reason: String,
    },
    /// The same address twice.
    #[error("--listen {0} is given twice; give each address once")]
    ListenTwice(String),
    /// A file that cannot be read.
    #[error("{flag} {}: cannot be read: {source}; {}", path.display(), advice_on_file(.source))]
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
    /// Channel bindings without a channel.
    #[error("--extended-protection needs TLS to bind logins to; add --tls, or --tls-cert and --tls-key")]
    ProtectionWithoutTls,
    /// A Unix socket for the mock.
    #[error("--listen {0}: the mock listens on TCP only; give HOST:PORT or [IPv6]:PORT")]
    ListenPath(String),
    /// Steering to the worker on a CPU where workers have none.
    #[error("--steer cpu needs workers that are pinned to CPUs; leave out --no-pin or --steer")]
    SteerUnpinned,
    /// Permissions of nothing.
    #[error("--unix-mode is about Unix sockets; add --listen unix:PATH, or leave it out")]
    UnixModeWithoutSocket,
    /// A flag that means nothing without HTTP.
    #[error("{0} is about HTTP requests and replies; add --mode http, or leave it out")]
    NeedsHttp(&'static str),
    /// Trust in what is replaced anyway.
    #[error("--trust says whose X-Forwarded-For is added to; add --forwarded append, or leave it out")]
    TrustWithoutAppend,
    /// Flags that contradict each other.
    #[error("{0}")]
    Usage(String),
    /// A file for TLS that is not what it should be.
    #[error(transparent)]
    Tls(#[from] crate::control::tls::Error),
    /// The descriptor limit of this process leaves nothing for connections.
    #[error(
        "the descriptor limit {limit} leaves no room for connections beside {reserved} descriptors for \
         listeners, rings and pipes; raise it (ulimit -n, LimitNOFILE=), or lower --workers or --pipes"
    )]
    Descriptors {
        /// `RLIMIT_NOFILE`, raised as far as it goes.
        limit: u64,
        /// What is needed before the first connection.
        reserved: u64,
    },
}

impl Error {
    /// 2 where the command line is at fault, 1 where this host is.
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
            Self::Tls(error) => error.exit_code(),
            Self::Unreadable { source, .. } => exit_code_of_file(source),
            Self::Resolve { .. } | Self::ResolveUrl { .. } | Self::Descriptors { .. } => ExitCode::FAILURE,
        }
    }
}

/// clap's message without its usage and its hints on `--help`, in one line.
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
                "'iisplice' requires a subcommand but one was not provided [subcommands: demo, proxy, mock, load, report, help]",
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
