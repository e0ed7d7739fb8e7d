//! Checks of servers: what is asked, and which answer is that of a healthy server. A file each, and a line in the table
//! below.
//!
//! A check connects anew, as a session would: with the group's PROXY header and TLS. It runs on a tokio runtime, apart
//! from the workers. It must never send credentials, nor look at a connection of a session.

mod connection;
mod http;
mod http_auth;
mod tcp;

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::server::Server;
use super::sources::Sources;
use crate::protocol::proxy_protocol;

/// A type of check, by its name in the settings.
#[derive(Clone, Copy)]
pub struct Check {
    name: &'static str,
    run: for<'a> fn(&'a Probe<'a>) -> Checking<'a>,
    /// Statuses of a healthy server, where the settings name none; a check without a request has none.
    expect: &'static [RangeInclusive<u16>],
}

/// A check in progress.
type Checking<'a> = Pin<Box<dyn Future<Output = Result<(), Unhealthy>> + Send + 'a>>;

impl Check {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self { name: "tcp", run: |probe| Box::pin(tcp::run(probe)), expect: &[] },
        Self { name: "http", run: |probe| Box::pin(http::run(probe)), expect: &[200..=399] },
        Self {
            name: "http-auth",
            run: |probe| Box::pin(http_auth::run(probe)),
            expect: &[200..=399, 401..=401],
        },
    ];

    /// The check of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.name == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The statuses of a healthy server, where the settings name none. Empty where a check sends no request.
    pub fn expects(self) -> &'static [RangeInclusive<u16>] {
        self.expect
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Check {}

/// How the servers of a group are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    /// What is asked.
    pub check: Check,
    /// From one check of a server to the next.
    pub interval: Duration,
    /// How long one may take in all.
    pub timeout: Duration,
    /// Successes in a row after which a server that is down is up.
    pub rise: u32,
    /// Failures in a row after which a server that is up is down.
    pub fall: u32,
    /// The target of requests.
    pub path: String,
    /// The host of requests; the server's name without it.
    pub host: Option<String>,
    /// The statuses of a healthy server.
    pub expect: Vec<RangeInclusive<u16>>,
}

impl Checks {
    /// Checks with the default settings.
    pub fn new(check: Check) -> Self {
        Self {
            check,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            path: "/".to_owned(),
            host: None,
            expect: check.expects().to_vec(),
        }
    }
}

/// Checks a server once.
///
/// # Errors
/// Why it is not healthy, or could not be checked.
pub async fn check(target: Target<'_>, checks: &Checks) -> Result<(), Unhealthy> {
    let probe = Probe { target, checks };
    let checked = tokio::time::timeout(checks.timeout, (checks.check.run)(&probe)).await;
    checked.unwrap_or(Err(Unhealthy::TimedOut(checks.timeout)))
}

/// A server, and how sessions of its group begin with it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The server.
    pub server: &'a Server,
    /// Where connections to it come from.
    pub sources: &'a Sources,
    /// The PROXY header that it is sent, if any.
    pub send_proxy: Option<proxy_protocol::Version>,
    /// The TLS that it speaks, if any.
    pub tls: Option<&'a Arc<ClientConfig>>,
}

/// What a check is about.
struct Probe<'a> {
    target: Target<'a>,
    checks: &'a Checks,
}

impl Probe<'_> {
    /// Whether a server is healthy that answers a request with this status.
    fn expects(&self, status: u16) -> bool {
        self.checks.expect.iter().any(|range| range.contains(&status))
    }
}

/// Why a server is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// It cannot be connected to.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] rustls::Error),
    /// The connection broke.
    #[error("connection failed: {0}")]
    Broken(#[source] io::Error),
    /// It closed the connection without a reply.
    #[error("closed the connection without a reply")]
    Closed,
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It answered something else than HTTP.
    #[error("the reply is not HTTP: {0}")]
    NotHttp(httparse::Error),
    /// The head of its reply is longer than a check reads.
    #[error("the head of the reply is longer than {0} bytes")]
    LongHead(usize),
    /// The status is not one of a healthy server.
    #[error("status {0}")]
    Status(u16),
    /// It asks for a login, but offers no Windows Authentication.
    #[error("status 401 that offers neither NTLM nor Negotiate")]
    NoWindowsLogin,
}

impl Unhealthy {
    /// Whether this host is the reason: then it says nothing of the server.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Connect(error) => {
                error.kind() == io::ErrorKind::AddrNotAvailable || crate::uring::is_out_of_descriptors(error)
            }
            _ => false,
        }
    }
}
