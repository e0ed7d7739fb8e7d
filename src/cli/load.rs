//! `iisplice load`.

mod cause;
mod execute;
mod replay;
pub(super) mod target;
mod tls;
pub(super) mod users;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

pub use execute::execute;
pub(super) use execute::{Outcome, exit_code, exit_interrupted};

use super::quantity::{duration, number};
use crate::load::objective::Objective;
use crate::load::plan::{
    Arrivals, Auth, IdentitySource, Length, Pace, Plan, Rate, Request, Scenario, Scheme,
};
use crate::report::Outputs;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// More than a machine has ports and memory for.
const CONNECTIONS_MAX: u32 = 1_000_000;
/// More than a generator can time.
const RATE_MAX: f64 = 10e6;
/// The default warm-up: connections and caches are warm by then.
const WARMUP: Duration = Duration::from_secs(1);

/// The flags of `iisplice load`.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// URL to request; with several, connections are assigned to them in turn
    #[arg(value_name = "URL", required = true)]
    urls: Vec<target::Url>,

    /// How connections log in
    #[arg(long, value_name = "SCHEME", default_value = "none", help_heading = "Logins")]
    auth: AuthScheme,
    /// User, as CORP\alice, CORP\alice:secret or alice@corp.example.com; repeatable, or use --users; users are
    /// assigned to connections in turn
    #[arg(long, value_name = "USER", help_heading = "Logins")]
    user: Vec<String>,
    /// Password of every user without one; safer in the environment or a file, because `ps` shows the command line
    #[arg(
        long,
        value_name = "TEXT",
        env = "IISPLICE_PASSWORD",
        hide_env_values = true,
        help_heading = "Logins"
    )]
    password: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE", conflicts_with = "password", help_heading = "Logins")]
    password_file: Option<PathBuf>,
    /// File of users, one per line: CORP\alice:secret
    #[arg(long, value_name = "FILE", help_heading = "Logins")]
    users: Option<PathBuf>,
    /// Replay the logins recorded in this file byte for byte, without passwords; needs a server with a fixed challenge,
    /// such as `iisplice mock --fixed-challenge HEX`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["auth", "user", "users", "password_file", "record"], help_heading = "Logins")]
    replay: Option<PathBuf>,
    /// Check that each reply names the user of its connection, in a JSON body's "user" as the mock's /whoami does; exit
    /// code 3 if one names another user
    #[arg(long, help_heading = "Logins")]
    verify_identity: bool,
    /// Reply header that names the user, instead of the body
    #[arg(long, value_name = "NAME", requires = "verify_identity", help_heading = "Logins")]
    identity_header: Option<String>,

    /// What each connection does
    #[arg(long, value_name = "NAME", default_value = "steady", help_heading = "Requests")]
    scenario: ScenarioName,
    /// Requests per session after its login [default: 10]
    #[arg(long, value_name = "N", help_heading = "Requests", value_parser = number(1..=u32::MAX))]
    requests_per_login: Option<u32>,
    /// HTTP method [default: GET, or POST with a body]
    #[arg(long, value_name = "METHOD", help_heading = "Requests")]
    method: Option<String>,
    /// Request body, or @FILE
    #[arg(long, value_name = "TEXT", help_heading = "Requests")]
    body: Option<String>,
    /// Additional header line, as 'Name: value'; repeatable
    #[arg(long, value_name = "LINE", help_heading = "Requests", value_parser = header_line)]
    header: Vec<(String, String)>,

    /// Accept any certificate
    #[arg(long, help_heading = "TLS")]
    insecure: bool,
    /// Trust the certificates in this PEM file instead of this host's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = "TLS")]
    ca: Option<PathBuf>,

    /// Number of concurrent connections
    #[arg(short, long, value_name = "N", default_value = "64", help_heading = "Load", value_parser = number(1..=CONNECTIONS_MAX))]
    connections: u32,
    /// Threads, each with its own ring and share of the connections [default: one per core]
    #[arg(short, long, value_name = "N", help_heading = "Load", value_parser = number(1..=1024))]
    threads: Option<u32>,
    /// Duration of the measurement
    #[arg(short, long, value_name = "DURATION", default_value = "10s", help_heading = "Load", value_parser = duration(MILLISECOND..=DAY))]
    duration: Duration,
    /// Measure this many requests (logins in the login scenario), however long it takes
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "duration", help_heading = "Load", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Exclude this long at the start from the measurement [default: 1s; 0s with --requests]
    #[arg(long, value_name = "DURATION", help_heading = "Load", value_parser = duration(Duration::ZERO..=DAY))]
    warmup: Option<Duration>,
    /// Open loop: start this many requests (logins in the login scenario) per second, whatever the server does; latency
    /// counts from the scheduled start [default: closed loop]
    #[arg(short, long, value_name = "PER_SECOND", help_heading = "Load", value_parser = rate)]
    rate: Option<f64>,
    /// Open loop with a rate that rises evenly from A to B
    #[arg(long, value_name = "A:B", conflicts_with_all = ["rate", "requests"], help_heading = "Load", value_parser = rate_ramp)]
    rate_ramp: Option<Rate>,
    /// Distribution of an open loop's requests
    #[arg(long, value_name = "HOW", default_value = "constant", help_heading = "Load")]
    arrivals: ArrivalsName,
    /// Local address for connections; repeatable: each allows about 28,000 connections to a server
    #[arg(long, value_name = "IP", help_heading = "Load")]
    source_address: Vec<IpAddr>,
    /// Longest time for a connect, a leg of a login or a request
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = "Load", value_parser = duration(MILLISECOND..=HOUR))]
    timeout: Duration,

    /// Objective, such as 'p99<50ms', for the latency from the intended start, or in a closed loop for the service
    /// time; exit code 4 if missed
    #[arg(long, value_name = "PERCENTILE<TIME", help_heading = "Load")]
    objective: Option<Objective>,
    /// Search for the highest rate that meets the objective: start at --rate (or 100), and measure each rate for
    /// --duration
    #[arg(long, requires = "objective", conflicts_with_all = ["rate_ramp", "requests"], help_heading = "Load")]
    find_rate: bool,

    /// Exit with code 1 if there were any errors
    #[arg(long, help_heading = "Results")]
    fail_on_errors: bool,
    /// Record every login of the run in this new file, byte for byte, for --replay
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    record: Option<PathBuf>,
    #[command(flatten)]
    outputs: OutputArgs,
}

/// A run, and what to do with its results.
#[derive(Debug)]
pub struct Task {
    /// The run.
    pub plan: Plan,
    /// The objective.
    pub objective: Option<Objective>,
    /// The rate at which the search starts; `None` for a single run as planned.
    pub search_from_per_second: Option<f64>,
    /// Where the results go.
    pub outputs: Outputs,
    /// Where the logins go.
    pub record: Option<PathBuf>,
    /// Whether any error makes the run a failure.
    pub fail_on_errors: bool,
}

/// The rate at which a search starts by default.
const SEARCH_FROM_PER_SECOND: f64 = 100.0;

/// Where results go.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Write the result as JSON, for `iisplice report`; - for standard output, instead of the table
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    json: Option<PathBuf>,
    /// Write the percentile distribution of each leg, for HdrHistogram's plotter
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    hgrm: Option<PathBuf>,
    /// Write the histograms of each second as an HdrHistogram interval log
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    hlog: Option<PathBuf>,
    /// Write a self-contained HTML page with tables and charts
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    html: Option<PathBuf>,
}

impl OutputArgs {
    pub(super) fn outputs(self) -> Outputs {
        Outputs { json: self.json, hgrm: self.hgrm, hlog: self.hlog, html: self.html }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AuthScheme {
    /// No login
    None,
    /// NTLM messages
    Ntlm,
    /// NTLM messages inside SPNEGO
    Negotiate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScenarioName {
    /// Connect, log in, close
    Login,
    /// Connect, log in, send --requests-per-login requests, close
    Session,
    /// Log in before the clock starts, then send requests
    Steady,
    /// Like steady, for large bodies
    Bulk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ArrivalsName {
    /// At even intervals
    Constant,
    /// Like independent users
    Poisson,
}

/// A command line that cannot be executed, or a run that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Contradictory flags, or a file or name that is not as required.
    #[error("{0}")]
    Usage(String),
    /// A name or a file that this host does not provide.
    #[error(transparent)]
    Host(crate::cli::Error),
    /// The try before the run failed, for a reason with a remedy.
    #[error("{error}; {remedy}")]
    Target {
        /// What failed.
        error: crate::load::LoadError,
        /// What to do.
        remedy: &'static str,
    },
    /// The run failed.
    #[error(transparent)]
    Load(crate::load::LoadError),
    /// This host provides no ring.
    #[error(transparent)]
    Kernel(#[from] crate::uring::Error),
    /// The results cannot be shown.
    #[error(transparent)]
    Report(#[from] crate::report::ReportError),
    /// A thread or the signal mask of this process.
    #[error("cannot watch for Ctrl-C: {0}")]
    Signals(std::io::Error),
}

impl Error {
    /// 2 if the command line is at fault, 1 otherwise.
    pub fn exit_code(&self) -> std::process::ExitCode {
        match self {
            Self::Usage(_) => std::process::ExitCode::from(2),
            Self::Host(error) => error.exit_code(),
            Self::Target { .. } | Self::Load(_) | Self::Kernel(_) | Self::Report(_) | Self::Signals(_) => {
                std::process::ExitCode::FAILURE
            }
        }
    }
}

fn usage<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Usage(text.into()))
}

/// Reports that the file of `flag` cannot be read; one that is not UTF-8 is of the wrong kind.
fn unreadable<T>(flag: &'static str, path: &Path, source: std::io::Error) -> Result<T, Error> {
    if source.kind() == std::io::ErrorKind::InvalidData {
        return usage(format!(
            "{flag} {}: cannot be read: {source}; give a text file in UTF-8",
            path.display()
        ));
    }
    Err(Error::Host(crate::cli::Error::Unreadable { flag, path: path.to_owned(), source }))
}

impl LoadArgs {
    /// Turns the flags into a task. Resolves names and reads files.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn task(self, command: String) -> Result<Task, Error> {
        let auth = self.auth()?;
        if self.record.is_some() && matches!(auth, Auth::None) {
            return usage("--record needs logins; add --auth ntlm and --users FILE");
        }
        let scenario = self.scenario()?;
        let identity = match (self.verify_identity, &self.identity_header, &auth) {
            (false, ..) => None,
            (true, _, Auth::None) => {
                return usage("--verify-identity needs users; add --auth ntlm and --users FILE");
            }
            (true, None, _) => Some(IdentitySource::Body),
            (true, Some(name), _) => Some(IdentitySource::Header(name.clone())),
        };
        let pace = match (self.rate, self.rate_ramp) {
            (Some(rate), _) => Some(Rate { first_per_second: rate, last_per_second: rate }),
            (None, ramp) => ramp,
        };
        let arrivals = match self.arrivals {
            ArrivalsName::Constant => Arrivals::Constant,
            ArrivalsName::Poisson => Arrivals::Poisson,
        };
        let pace = match pace {
            Some(rate) => Pace::Open { rate, arrivals },
            None if arrivals == Arrivals::Poisson && !self.find_rate => {
                return usage("--arrivals poisson needs an open loop; add --rate PER_SECOND");
            }
            None if self.find_rate => {
                let per_second = SEARCH_FROM_PER_SECOND;
                Pace::Open {
                    rate: Rate { first_per_second: per_second, last_per_second: per_second },
                    arrivals,
                }
            }
            None => Pace::Closed,
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let connections = self.connections as usize;
        let threads = self.threads.map_or(cores.min(connections), |threads| threads as usize);
        if threads > connections {
            return usage(format!(
                "--threads {threads} is more than --connections {connections}; give at most one thread per connection"
            ));
        }
        let request = self.request()?;
        let is_tls = self.urls.iter().any(target::Url::is_https);
        if !is_tls && (self.insecure || self.ca.is_some()) {
            return usage("--insecure and --ca apply to https URLs only; give an https URL, or remove them");
        }
        let tls = if is_tls { Some(tls::config(self.ca.as_deref(), self.insecure)?) } else { None };
        let plan = Plan {
            targets: self.urls.iter().map(|url| url.resolve(tls.as_ref())).collect::<Result<_, _>>()?,
            scenario,
            auth,
            identity,
            request,
            connections,
            threads,
            length: self.requests.map_or(Length::Time(self.duration), Length::Requests),
            warmup: self.warmup.unwrap_or(if self.requests.is_some() { Duration::ZERO } else { WARMUP }),
            pace,
            source_addresses: self.source_address,
            timeout: self.timeout,
            // The file is created once the rest of the command line is valid.
            record: None,
            command,
        };
        Ok(Task {
            plan,
            objective: self.objective,
            search_from_per_second: self.find_rate.then(|| self.rate.unwrap_or(SEARCH_FROM_PER_SECOND)),
            outputs: self.outputs.outputs(),
            record: self.record,
            fail_on_errors: self.fail_on_errors,
        })
    }

    fn auth(&self) -> Result<Auth, Error> {
        if let Some(path) = &self.replay {
            // Not with conflicts_with: a password in the environment may be meant for other runs.
            let from_environment = std::env::var("IISPLICE_PASSWORD").ok();
            if self.password.is_some() && self.password != from_environment {
                return usage(
                    "--password cannot be used with --replay, whose logins are recorded; remove one of them",
                );
            }
            return Ok(Auth::Replay(replay::read(path)?));
        }
        let scheme = match self.auth {
            AuthScheme::None if self.user.is_empty() && self.users.is_none() => return Ok(Auth::None),
            AuthScheme::None => {
                return usage("users need --auth ntlm or --auth negotiate; add one of them");
            }
            AuthScheme::Ntlm => Scheme::Ntlm,
            AuthScheme::Negotiate => Scheme::Negotiate,
        };
        let password = match &self.password_file {
            Some(path) => Some(users::first_line(path)?),
            None => self.password.clone(),
        };
        let mut users = Vec::new();
        for user in &self.user {
            users.push(users::user(user, password.as_deref())?);
        }
        if let Some(path) = &self.users {
            users.extend(users::read(path, password.as_deref())?);
        }
        if users.is_empty() {
            return usage("--auth needs a user; add --user 'CORP\\alice:secret' or --users FILE");
        }
        Ok(Auth::Users { scheme, users })
    }

    fn scenario(&self) -> Result<Scenario, Error> {
        if self.requests_per_login.is_some() && self.scenario != ScenarioName::Session {
            return usage(
                "--requests-per-login applies to --scenario session only; add --scenario session, or remove \
                 --requests-per-login",
            );
        }
        Ok(match self.scenario {
            ScenarioName::Login => Scenario::Login,
            ScenarioName::Session => {
                Scenario::Session { requests_per_login: u64::from(self.requests_per_login.unwrap_or(10)) }
            }
            ScenarioName::Steady => Scenario::Steady,
            ScenarioName::Bulk => Scenario::Bulk,
        })
    }

    fn request(&self) -> Result<Request, Error> {
        let body = match self.body.as_deref().map(|body| (body.strip_prefix('@'), body)) {
            None => None,
            Some((Some(path), _)) => {
                let read = std::fs::read(path);
                Some(
                    read.or_else(|error| unreadable("--body", Path::new(&format!("@{path}")), error))?.into(),
                )
            }
            Some((None, text)) => Some(text.to_owned().into()),
        };
        let method = match &self.method {
            Some(method) if !method.is_empty() && method.bytes().all(is_token_byte) => method.clone(),
            Some(method) => {
                return usage(format!("--method {method}: not an HTTP method; give one such as GET or PUT"));
            }
            None => if body.is_some() { "POST" } else { "GET" }.to_owned(),
        };
        Ok(Request { method, headers: self.header.clone(), body })
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn header_line(text: &str) -> Result<(String, String), String> {
    let wanted = || "give a header line as 'Name: value'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wanted)?;
    let value = value.trim();
    if name.is_empty() || !name.bytes().all(is_token_byte) || value.contains(char::is_control) {
        return Err(wanted());
    }
    let own = ["content-length", "transfer-encoding", "authorization", "connection", "expect"];
    if own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(format!("the load generator sets {name} itself; remove it"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0.0 && *rate <= RATE_MAX);
    rate.ok_or_else(|| format!("give a number of requests per second, up to {RATE_MAX}"))
}

fn rate_ramp(text: &str) -> Result<Rate, String> {
    let wanted = || "give the first and the last rate, such as 100:5000".to_owned();
    let (first, last) = text.split_once(':').ok_or_else(wanted)?;
    match (rate(first), rate(last)) {
        (Ok(first_per_second), Ok(last_per_second)) => Ok(Rate { first_per_second, last_per_second }),
        _ => Err(wanted()),
    }
}

#[cfg(test)]
mod tests;
