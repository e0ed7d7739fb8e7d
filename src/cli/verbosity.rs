//! The log level.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};
use tracing::level_filters::LevelFilter;

/// Levels in order of detail; `-v` and `-q` move along them from `--log-level`.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// What to log, for every command.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
pub struct Verbosity {
    /// Log more: once for debug, twice for trace [default: off]
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Logging")]
    verbose: u8,
    /// Log less: once for warnings, twice for errors, three times for nothing [default: off]
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Logging")]
    quiet: u8,
    /// Least severe level of messages on standard error [nginx: error_log]
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "info",
        help_heading = "Logging",
        value_parser = PossibleValuesParser::new(LEVELS.map(|(name, _)| name))
            .map(|name| LEVELS.iter().position(|(known, _)| *known == name).unwrap_or_default())
    )]
    log_level: usize,
}

impl Verbosity {
    /// The least severe level that is logged.
    pub fn filter(&self) -> LevelFilter {
        let step = self.log_level + usize::from(self.verbose);
        LEVELS[step.saturating_sub(usize::from(self.quiet)).min(LEVELS.len() - 1)].1
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        verbosity: Verbosity,
    }

    #[test]
    fn each_v_logs_more_and_each_q_less() {
        for (arguments, expected) in [
            (vec![], LevelFilter::INFO),
            (vec!["-v"], LevelFilter::DEBUG),
            (vec!["-vvvv"], LevelFilter::TRACE),
            (vec!["-q"], LevelFilter::WARN),
            (vec!["-qq"], LevelFilter::ERROR),
            (vec!["-qqqqq"], LevelFilter::OFF),
            (vec!["--log-level", "error"], LevelFilter::ERROR),
            (vec!["--log-level", "error", "-v"], LevelFilter::WARN),
            (vec!["--log-level", "off"], LevelFilter::OFF),
        ] {
            let only = Only::parse_from(std::iter::once("x").chain(arguments.iter().copied()));
            assert_eq!(only.verbosity.filter(), expected, "{arguments:?}");
        }
    }
}
