//! The generators that are programs of their own: `iisplice load` and wrk.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use iisplice::load::Summary;
use iisplice::load::recorder::Leg;

use crate::cases::{Plan, Scenario};
use crate::front::SERVER_NAME;

/// The account of every login.
pub(crate) const ACCOUNT: &str = "CORP\\bench:secret";

/// What a generator has counted in its measured time.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) requests_per_s: f64,
    pub(crate) logins_per_s: f64,
    pub(crate) received_gb_per_s: f64,
    /// `None` if there were too few requests.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) errors: f64,
}

/// The load that a generator is asked for.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) target: SocketAddr,
    pub(crate) has_tls: bool,
    /// Requests (or logins) a second; `None` for a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) threads: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

impl Order<'_> {
    fn url(&self) -> String {
        let scheme = if self.has_tls { "https" } else { "http" };
        format!("{scheme}://{SERVER_NAME}:{}{}", self.target.port(), self.plan.path)
    }

    fn long_field(&self) -> Option<String> {
        let bytes = self.plan.field_bytes;
        (bytes > 0).then(|| format!("X-Long: {}", "x".repeat(bytes)))
    }

    /// The command of `iisplice load`, which writes its result to `json`.
    pub(crate) fn iisplice_load(&self, json: &Path) -> Vec<OsString> {
        let scenario: &[&str] = match self.plan.scenario {
            Scenario::Steady => &["steady"],
            Scenario::OneRequest => &["session", "--requests-per-login", "1"],
            Scenario::Bulk => &["bulk"],
            Scenario::Login => &["login", "--auth", "ntlm", "--user", ACCOUNT],
        };
        let mut words = vec!["load".to_owned(), self.url(), "--scenario".to_owned()];
        words.extend(scenario.iter().map(|word| (*word).to_owned()));
        words.extend(self.has_tls.then(|| "--insecure".to_owned()));
        words.extend(["--quiet", "--connections"].map(str::to_owned));
        words.push(self.plan.connections.to_string());
        words.extend(["--threads".to_owned(), self.threads.to_string()]);
        words.extend(["--warmup".to_owned(), format!("{}ms", self.warm_up.as_millis())]);
        words.extend(["--duration".to_owned(), format!("{}ms", self.window.as_millis())]);
        words.extend(self.rate.into_iter().flat_map(|rate| ["--rate".to_owned(), format!("{rate:.0}")]));
        words.extend(self.long_field().into_iter().flat_map(|field| ["--header".to_owned(), field]));
        let mut command = vec![env!("CARGO_BIN_EXE_iisplice").into()];
        command.extend(words.into_iter().map(OsString::from));
        command.extend(["--json".into(), json.into()]);
        command
    }

    /// How long wrk measures: it knows whole seconds only.
    pub(crate) fn wrk_window(&self) -> Duration {
        Duration::from_secs(self.window.as_secs_f64().floor().max(1.0) as u64)
    }

    /// The command of wrk.
    pub(crate) fn wrk(&self) -> Vec<OsString> {
        let mut words = vec!["wrk".to_owned(), "--latency".to_owned()];
        words.push(format!("-t{}", self.threads));
        words.push(format!("-c{}", self.plan.connections));
        words.push(format!("-d{}s", self.wrk_window().as_secs()));
        words.extend(self.long_field().into_iter().flat_map(|field| ["-H".to_owned(), field]));
        words.push(self.url());
        words.into_iter().map(OsString::from).collect()
    }
}

/// Reads the result of `iisplice load`.
pub(crate) fn read_iisplice_load(json: &Path) -> Result<Counted> {
    let summary: Summary = iisplice::report::read(json).context("the result of iisplice load")?;
    let seconds = summary.measured_seconds.max(1e-9);
    let leg = [Leg::FromIntendedStart, Leg::Request, Leg::Login]
        .iter()
        .find_map(|leg| summary.legs.get(leg).filter(|samples| !samples.0.is_empty()));
    let percentile =
        |percentile: f64| leg.and_then(|samples| samples.percentile(percentile)).map(|ns| ns as f64 / 1e3);
    let errors: u64 = summary.counts.errors.values().sum();
    Ok(Counted {
        requests_per_s: summary.in_time.requests as f64 / seconds,
        logins_per_s: summary.in_time.logins as f64 / seconds,
        received_gb_per_s: summary.in_time.received_bytes as f64 / seconds / 1e9,
        p50_us: percentile(50.0),
        p99_us: percentile(99.0),
        errors: (errors + summary.unsent.count) as f64,
    })
}

/// Reads what wrk has printed.
pub(crate) fn read_wrk(output: &str) -> Result<Counted> {
    let value_of = |name: &str| {
        output.lines().find_map(|line| line.trim().strip_prefix(name)).map(|rest| rest.trim().to_owned())
    };
    let rate =
        value_of("Requests/sec:").with_context(|| format!("wrk printed no rate: {}", output.trim()))?;
    // "Socket errors: connect 0, read 0, write 0, timeout 0"
    let numbers = |line: String| {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<f64>().ok()).sum::<f64>()
    };
    let errors = value_of("Socket errors:").map_or(0.0, numbers)
        + value_of("Non-2xx or 3xx responses:").map_or(0.0, numbers);
    Ok(Counted {
        requests_per_s: rate.parse().context("wrk's rate")?,
        p50_us: value_of("50%").map(|text| microseconds(&text)).transpose()?,
        p99_us: value_of("99%").map(|text| microseconds(&text)).transpose()?,
        errors,
        ..Counted::default()
    })
}

/// wrk's `12.34us`, `1.23ms` or `1.20s`.
fn microseconds(text: &str) -> Result<f64> {
    let (number, unit) = text.split_at(text.find(char::is_alphabetic).unwrap_or(text.len()));
    let times = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => bail!("wrk printed no time: {text}"),
    };
    Ok(number.parse::<f64>().with_context(|| format!("wrk printed no time: {text}"))? * times)
}

/// wrk's version, if it is installed.
pub(crate) fn wrk_version() -> Option<String> {
    let output = Command::new("wrk").arg("-v").output().ok()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some(text.lines().next()?.split(" Copyright").next()?.trim().to_owned())
}
