//! The time-outs of a service.

use std::time::Duration;

use clap::Args;

use super::super::quantity::duration;
use super::bounds::{HOUR, LONGEST, MILLISECOND};
use crate::proxy::settings::Timeouts;

/// The time-out flags; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[allow(clippy::struct_field_names, reason = "the flags are called so")]
#[derive(Debug, Clone, Args)]
pub(super) struct TimeoutArgs {
    /// Longest time for a client to send its PROXY header [nginx: proxy_protocol_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "3s", requires = "accept_proxy", help_heading = "Addresses",
        value_parser = duration(MILLISECOND..=HOUR)
    )]
    accept_proxy_timeout: Duration,
    /// Longest time for a client to send its TLS hello, if a route depends on it and TLS is passed through [default: 3s]
    /// [nginx: preread_timeout]
    #[arg(
        long, value_name = "DURATION", requires = "hello_routes", help_heading = "TLS",
        value_parser = duration(MILLISECOND..=HOUR)
    )]
    peek_timeout: Option<Duration>,
    /// Longest time that a connection may be idle in both directions [nginx: proxy_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "3h", help_heading = "Time-outs",
        value_parser = duration(MILLISECOND..=LONGEST)
    )]
    idle_timeout: Duration,
    /// With --mode http: longest time for a request's head, from the accept for the first one, from its first byte
    /// for later ones; then 408 [default: 60s] [nginx: client_header_timeout]
    #[arg(
        long, value_name = "DURATION", help_heading = "Time-outs", value_parser = duration(MILLISECOND..=LONGEST)
    )]
    head_timeout: Option<Duration>,
    /// With --mode http: longest time between requests of a client [default: 180s] [nginx: keepalive_timeout]
    #[arg(
        long, value_name = "DURATION", help_heading = "Time-outs", value_parser = duration(MILLISECOND..=LONGEST)
    )]
    keepalive_timeout: Option<Duration>,
    /// With --mode http: longest time that a request's body may stall; then 408 [default: 60s] [nginx:
    /// client_body_timeout]
    #[arg(
        long, value_name = "DURATION", help_heading = "Time-outs", value_parser = duration(MILLISECOND..=LONGEST)
    )]
    body_timeout: Option<Duration>,
    /// With --mode http: longest time for a server to reply after it has the request, or to accept more of it; then 504
    /// [default: 20m] [nginx: proxy_read_timeout]
    #[arg(
        long, value_name = "DURATION", help_heading = "Time-outs", value_parser = duration(MILLISECOND..=LONGEST)
    )]
    reply_timeout: Option<Duration>,
    /// With --mode http: longest time that a client may receive nothing of a reply [default: 60s] [nginx: send_timeout]
    #[arg(
        long, value_name = "DURATION", help_heading = "Time-outs", value_parser = duration(MILLISECOND..=LONGEST)
    )]
    send_timeout: Option<Duration>,
}

impl TimeoutArgs {
    /// Whether the time-out of hellos was given.
    pub(super) fn peeks(&self) -> bool {
        self.peek_timeout.is_some()
    }

    /// The default of that time-out.
    pub(super) fn peek_in_force(&self) -> (&'static str, String) {
        ("peek-timeout", humantime::format_duration(self.timeouts().peek).to_string())
    }

    /// The defaults in force of flags of HTTP mode that were not given; `has_servers`: requests are forwarded.
    pub(super) fn in_force(&self, has_servers: bool) -> Vec<(&'static str, String)> {
        let Timeouts { head, keepalive, body, reply, send, .. } = self.timeouts();
        let all = [
            ("head-timeout", self.head_timeout, head, true),
            ("keepalive-timeout", self.keepalive_timeout, keepalive, true),
            ("body-timeout", self.body_timeout, body, has_servers),
            ("reply-timeout", self.reply_timeout, reply, has_servers),
            ("send-timeout", self.send_timeout, send, true),
        ];
        let absent = all.into_iter().filter(|(_, given, _, applies)| given.is_none() && *applies);
        absent.map(|(key, _, value, _)| (key, humantime::format_duration(value).to_string())).collect()
    }

    /// Each flag of HTTP mode, and whether it was given.
    pub(super) fn given_for_http(&self) -> [(&'static str, bool); 5] {
        [
            ("--head-timeout", self.head_timeout.is_some()),
            ("--keepalive-timeout", self.keepalive_timeout.is_some()),
            ("--body-timeout", self.body_timeout.is_some()),
            ("--reply-timeout", self.reply_timeout.is_some()),
            ("--send-timeout", self.send_timeout.is_some()),
        ]
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        let default = Timeouts::default();
        Timeouts {
            accept_proxy: self.accept_proxy_timeout,
            peek: self.peek_timeout.unwrap_or(default.peek),
            idle: self.idle_timeout,
            head: self.head_timeout.unwrap_or(default.head),
            keepalive: self.keepalive_timeout.unwrap_or(default.keepalive),
            body: self.body_timeout.unwrap_or(default.body),
            reply: self.reply_timeout.unwrap_or(default.reply),
            send: self.send_timeout.unwrap_or(default.send),
            ..default
        }
    }
}
