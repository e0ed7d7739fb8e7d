//! The flags of a group about servers that fail.

use std::time::Duration;

use clap::Args;

use super::bounds::{DAY, MILLISECOND};
use crate::cli::quantity::{duration, number};
use crate::upstream::Ejection;

/// What is done about servers that fail; the bracket at the end of each text is the nginx option that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[allow(clippy::struct_field_names, reason = "the names of the flags")]
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Failures in a row after which a server is left out for a while; 0: never [nginx: max_fails]
    #[arg(
        long, value_name = "N", default_value = "3", help_heading = "Health", display_order = 1,
        value_parser = number(0..=1_000_000)
    )]
    eject_after: u32,
    /// How long a server is left out the first time; twice as long each further time in a row [nginx: fail_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "10s", help_heading = "Health", display_order = 2,
        value_parser = duration(MILLISECOND..=DAY)
    )]
    eject_time: Duration,
    /// How long a server is left out at most [nginx: -]
    #[arg(
        long, value_name = "DURATION", default_value = "5m", help_heading = "Health", display_order = 3,
        value_parser = duration(MILLISECOND..=DAY)
    )]
    eject_time_max: Duration,
}

impl HealthArgs {
    /// When a server that fails is left out.
    pub(super) fn ejection(&self) -> Ejection {
        let Self { eject_after: after, eject_time: time, eject_time_max: time_max } = *self;
        Ejection { after, time, time_max }
    }
}
