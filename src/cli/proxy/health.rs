//! The flags of a group about servers that fail: checks, and what sessions find out.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::bounds::{DAY, HOUR, MILLISECOND};
use crate::cli::Error;
use crate::cli::quantity::{duration, number};
use crate::upstream::Ejection;
use crate::upstream::check::{Check, Checks};

/// Statuses of replies, apart from interim ones.
const STATUSES: RangeInclusive<u16> = 200..=599;

/// Checks begin too often for any server if they begin more often than this.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// What is done about servers that fail; the bracket at the end of each text is the nginx option that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Check servers: tcp connects, http sends a request, http-auth takes a 401 that offers NTLM or Negotiate for healthy
    /// [default: none] [nginx: health_check]
    #[arg(long, value_name = "TYPE", help_heading = "Health", display_order = 1, value_parser = check())]
    health: Option<Check>,
    /// From one check of a server to the next [nginx: health_check interval]
    #[arg(
        long, value_name = "DURATION", default_value = "5s", help_heading = "Health", display_order = 2,
        value_parser = duration(INTERVAL_MIN..=DAY), requires = "health"
    )]
    health_interval: Duration,
    /// Longest time for one check [nginx: -]
    #[arg(
        long, value_name = "DURATION", default_value = "2s", help_heading = "Health", display_order = 3,
        value_parser = duration(MILLISECOND..=HOUR), requires = "health"
    )]
    health_timeout: Duration,
    /// Checks in a row that succeed until a server is used again [nginx: health_check passes]
    #[arg(
        long, value_name = "N", default_value = "2", help_heading = "Health", display_order = 4,
        value_parser = number(1..=1000), requires = "health"
    )]
    health_rise: u32,
    /// Checks in a row that fail until a server is not used any more; the first one of all decides alone [nginx:
    /// health_check fails]
    #[arg(
        long, value_name = "N", default_value = "3", help_heading = "Health", display_order = 5,
        value_parser = number(1..=1000), requires = "health"
    )]
    health_fall: u32,
    /// Path, with its query, that checks with requests ask for [default: /] [nginx: health_check uri]
    #[arg(
        long, value_name = "PATH", help_heading = "Health", display_order = 6, value_parser = path,
        requires = "health"
    )]
    health_path: Option<String>,
    /// Host that checks with requests ask for [default: the server's name] [nginx: -]
    #[arg(
        long, value_name = "HOST", help_heading = "Health", display_order = 7, value_parser = host,
        requires = "health"
    )]
    health_host: Option<String>,
    /// Statuses of a healthy server, with commas [default: 200-399; http-auth: 200-399,401] [nginx: match]
    #[arg(
        long, value_name = "STATUSES", help_heading = "Health", display_order = 8, value_parser = statuses,
        requires = "health"
    )]
    health_expect: Option<Statuses>,
    /// Failures in a row after which a server is left out for a while; 0: never [nginx: max_fails]
    #[arg(
        long, value_name = "N", default_value = "3", help_heading = "Health", display_order = 9,
        value_parser = number(0..=1_000_000)
    )]
    eject_after: u32,
    /// How long a server is left out the first time; twice as long each further time in a row [nginx: fail_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "10s", help_heading = "Health", display_order = 10,
        value_parser = duration(MILLISECOND..=DAY)
    )]
    eject_time: Duration,
    /// How long a server is left out at most [nginx: -]
    #[arg(
        long, value_name = "DURATION", default_value = "5m", help_heading = "Health", display_order = 11,
        value_parser = duration(MILLISECOND..=DAY)
    )]
    eject_time_max: Duration,
    /// How long the share of a server that came back grows from nothing to its weight; 0: not at all [nginx: slow_start]
    #[arg(
        long, value_name = "DURATION", default_value = "0", help_heading = "Health", display_order = 12,
        value_parser = duration(Duration::ZERO..=HOUR)
    )]
    slow_start: Duration,
}

/// Ranges of statuses. (A type of its own, because clap treats `Vec` as "may be repeated".)
#[derive(Debug, Clone, PartialEq, Eq)]
struct Statuses(Vec<RangeInclusive<u16>>);

impl HealthArgs {
    /// When a server that fails is left out.
    pub(super) fn ejection(&self) -> Ejection {
        let Self { eject_after: after, eject_time: time, eject_time_max: time_max, .. } = *self;
        Ejection { after, time, time_max }
    }

    /// How long the share of a server that came back grows.
    pub(super) fn slow_start(&self) -> Duration {
        self.slow_start
    }

    /// The keys of flags that were not given, and whose defaults depend on others, with the values in force.
    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        let Some(default) = self.health.map(Checks::new).filter(|default| !default.expect.is_empty()) else {
            return Vec::new();
        };
        let mut keys = Vec::new();
        if self.health_path.is_none() {
            keys.push(("health-path", default.path));
        }
        if self.health_expect.is_none() {
            let range = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            };
            keys.push(("health-expect", default.expect.iter().map(range).collect::<Vec<_>>().join(",")));
        }
        keys
    }

    /// How servers are checked.
    ///
    /// # Errors
    /// A flag about requests with a check that sends none.
    pub(super) fn checks(&self) -> Result<Option<Arc<Checks>>, Error> {
        let Some(check) = self.health else { return Ok(None) };
        let of_requests = [
            ("--health-path", self.health_path.is_some()),
            ("--health-host", self.health_host.is_some()),
            ("--health-expect", self.health_expect.is_some()),
        ];
        if check.expects().is_empty()
            && let Some((flag, _)) = of_requests.into_iter().find(|(_, is_given)| *is_given)
        {
            return Err(Error::Usage(format!(
                "{flag} is about requests, and --health {} sends none; give --health http or http-auth",
                check.name()
            )));
        }
        let default = Checks::new(check);
        Ok(Some(Arc::new(Checks {
            interval: self.health_interval,
            timeout: self.health_timeout,
            rise: self.health_rise,
            fall: self.health_fall,
            path: self.health_path.clone().unwrap_or(default.path),
            host: self.health_host.clone(),
            expect: self.health_expect.as_ref().map_or(default.expect, |Statuses(ranges)| ranges.clone()),
            check,
        })))
    }
}

/// Parses the name of a check.
fn check() -> impl TypedValueParser<Value = Check> {
    let named = |name: String| Check::named(&name).ok_or("this is not the name of a check");
    PossibleValuesParser::new(Check::ALL.map(Check::name)).try_map(named)
}

/// Parses the target of a request.
fn path(text: &str) -> Result<String, String> {
    let is_target = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if is_target {
        Ok(text.to_owned())
    } else {
        Err("give a path that begins with /, such as /owa/healthcheck.htm, with %20 for a space".to_owned())
    }
}

/// Parses the value of a Host field.
fn host(text: &str) -> Result<String, String> {
    let is_host = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    if is_host { Ok(text.to_owned()) } else { Err("give a host name, with :PORT if need be".to_owned()) }
}

/// Parses `200-399,401`.
fn statuses(text: &str) -> Result<Statuses, String> {
    let wrong = || {
        let (least, most) = (STATUSES.start(), STATUSES.end());
        format!("give statuses and ranges from {least} to {most}, such as 200-399,401")
    };
    let status = |text: &str| text.parse().ok().filter(|status| STATUSES.contains(status)).ok_or_else(wrong);
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (status(first.trim())?, status(last.trim())?);
        if first <= last { Ok(first..=last) } else { Err(wrong()) }
    };
    text.split(',').map(range).collect::<Result<_, _>>().map(Statuses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_and_ranges() {
        assert_eq!(statuses("200-399, 401"), Ok(Statuses(vec![200..=399, 401..=401])));
        for wrong in ["", "200,", "399-200", "100", "600", "200-", "2xx", "200 399"] {
            assert!(
                statuses(wrong).is_err_and(|message| message.contains("such as 200-399,401")),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn paths_and_hosts_cannot_break_out_of_a_request() {
        for wrong in ["", "owa", "/a b", "/a\r\nX: y", "/#x", "/ü"] {
            assert!(path(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(path("/owa/healthcheck.htm?x=1"), Ok("/owa/healthcheck.htm?x=1".to_owned()));
        for wrong in ["", "a b", "a\r\nb", "a/b"] {
            assert!(host(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(host("iis.corp.example:8080"), Ok("iis.corp.example:8080".to_owned()));
    }
}
