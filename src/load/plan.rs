//! The plan of a run. `cli` builds and validates it; the rest of the room does not validate it again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};

use super::identity::UserName;
use super::recording::Recorded;
use crate::protocol::ntlm::Credentials;

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The targets; connections use them in turn. Not empty.
    pub targets: Vec<Target>,
    /// What a connection does.
    pub scenario: Scenario,
    /// The users and the scheme of the logins.
    pub auth: Auth,
    /// Checks that each reply names the user whose connection it came on.
    pub identity: Option<IdentitySource>,
    /// The request: method, header lines and body, the same for every target.
    pub request: Request,
    /// Connections over all threads; at least one for each thread.
    pub connections: usize,
    /// Threads, each with a ring of its own; at least 1.
    pub threads: usize,
    /// When to stop.
    pub length: Length,
    /// Time after the start that is left out of the results.
    pub warmup: Duration,
    /// When requests are sent.
    pub pace: Pace,
    /// Local addresses that connections use in turn; empty: the kernel chooses.
    pub source_addresses: Vec<IpAddr>,
    /// How long a connect, a leg of the login or a request may take; not 0.
    pub timeout: Duration,
    /// Receives each accepted login, if the run records logins.
    pub record: Option<Sender<Recorded>>,
    /// The command as it was typed, for the report.
    pub command: String,
}

/// The users and the scheme of the logins.
#[derive(Debug, Clone)]
pub enum Auth {
    /// No login.
    None,
    /// Each connection logs in as one of these users, in turn; not empty.
    Users {
        /// The scheme.
        scheme: Scheme,
        /// The users.
        users: Vec<Credentials>,
    },
    /// Each login replays one of these; not empty.
    Replay(Arc<[Recorded]>),
}

impl Auth {
    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Users { scheme: Scheme::Ntlm, .. } => "ntlm",
            Self::Users { scheme: Scheme::Negotiate, .. } => "negotiate",
            Self::Replay(_) => "replay",
        }
    }
}

/// How a login answers the challenge.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// It computes the answer to the server's challenge.
    Computed {
        /// The scheme.
        scheme: Scheme,
        /// Who logs in.
        user: &'a Credentials,
    },
    /// It sends an answer that was recorded.
    Recorded(&'a Recorded),
}

impl<'a> Proof<'a> {
    /// The scheme of the login.
    pub fn scheme(self) -> Scheme {
        match self {
            Self::Computed { scheme, .. } => scheme,
            Self::Recorded(recorded) => recorded.scheme,
        }
    }

    /// Who logs in.
    pub fn user(self) -> UserName<'a> {
        match self {
            Self::Computed { user, .. } => user.into(),
            Self::Recorded(recorded) => UserName::parse(&recorded.user),
        }
    }
}

/// An HTTP authentication scheme that carries NTLM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Plain NTLM messages.
    #[serde(rename = "NTLM")]
    Ntlm,
    /// NTLM messages in SPNEGO tokens (RFC 4559).
    Negotiate,
}

impl Scheme {
    /// Its name in `WWW-Authenticate` and `Authorization`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ntlm => "NTLM",
            Self::Negotiate => "Negotiate",
        }
    }
}

/// Where a reply names its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// The member `user` of a JSON body.
    Body,
    /// The header line of this name.
    Header(String),
}

/// A URL, parsed and resolved.
#[derive(Debug, Clone)]
pub struct Target {
    /// The URL as it was given.
    pub url: String,
    /// The host alone, as in the service name `HTTP/host`.
    pub host: String,
    /// `host` or `host:port` for the `Host` line.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The resolved addresses; connections use them in turn. Not empty.
    pub addresses: Vec<SocketAddr>,
    /// For `https`.
    pub tls: Option<Tls>,
}

/// TLS to a target.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The trusted authorities and the offered protocols.
    pub config: Arc<ClientConfig>,
    /// The expected name of the server.
    pub server_name: ServerName<'static>,
}

/// The request as sent over the wire, without target and authentication.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, ...
    pub method: String,
    /// Further header lines, names and values checked.
    pub headers: Vec<(String, String)>,
    /// The body, if the request has one.
    pub body: Option<Bytes>,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Connect, log in, close. Without authentication: connect, one request, close.
    Login,
    /// Connect, log in, send a number of requests, close.
    Session {
        /// Requests after the login; at least 1.
        requests_per_login: u64,
    },
    /// Log in before the clock starts, then send requests on the same connection.
    Steady,
    /// As `Steady`, with buffers for large bodies.
    Bulk,
}

impl Scenario {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Session { .. } => "session",
            Self::Steady => "steady",
            Self::Bulk => "bulk",
        }
    }

    /// Whether connections are made and logged in before the clock starts.
    pub fn prepares(self) -> bool {
        matches!(self, Self::Steady | Self::Bulk)
    }
}

/// When a run ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After this time, which begins at the end of the warm-up.
    Time(Duration),
    /// After this number of requests (logins in [`Scenario::Login`]), without those of the warm-up.
    Requests(u64),
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each connection sends its next request when it has the last reply. A slow server then slows the load down,
    /// which hides how long other requests would have waited.
    Closed,
    /// Requests are due at fixed times, whatever the server does.
    Open {
        /// Requests due per second.
        rate: Rate,
        /// How they are spread.
        arrivals: Arrivals,
    },
}

/// Arrivals per second over all threads, positive and finite: constant, or changing linearly over the measured time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// In the warm-up and at its end.
    pub first_per_second: f64,
    /// At the end of the run.
    pub last_per_second: f64,
}

/// How the arrivals of an open loop are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// With exponentially distributed gaps, like many independent users.
    Poisson,
}

impl Plan {
    /// The connections of one thread, as global numbers.
    pub fn connections_of(&self, thread: usize) -> impl Iterator<Item = usize> + use<> {
        (thread..self.connections).step_by(self.threads)
    }

    /// What a connection logs in with, for each of its logins; `None`: no login. A connection always has the same user;
    /// recorded logins are used in turn over all connections.
    pub fn proof_of(&self, connection: usize, nth_login: usize) -> Option<Proof<'_>> {
        match &self.auth {
            Auth::None => None,
            Auth::Users { scheme, users } => {
                Some(Proof::Computed { scheme: *scheme, user: &users[connection % users.len()] })
            }
            Auth::Replay(logins) => {
                let turn = nth_login.wrapping_mul(self.connections).wrapping_add(connection);
                Some(Proof::Recorded(&logins[turn % logins.len()]))
            }
        }
    }

    /// The local address of a connection.
    pub fn source_of(&self, connection: usize) -> Option<IpAddr> {
        let addresses = &self.source_addresses;
        addresses.get(connection % addresses.len().max(1)).copied()
    }

    /// The target of a connection.
    pub fn target_of(&self, connection: usize) -> usize {
        connection % self.targets.len()
    }
}

impl Target {
    /// The address that a connection uses.
    pub fn address_of(&self, connection: usize) -> SocketAddr {
        self.addresses[connection % self.addresses.len()]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plan for tests: one connection, one request, no authentication.
    pub(crate) fn plan(url: &str) -> Plan {
        let parsed = url::Url::parse(url).unwrap();
        let target = Target {
            url: url.to_owned(),
            host: parsed.host_str().unwrap().to_owned(),
            authority: parsed[url::Position::BeforeHost..url::Position::AfterPort].to_owned(),
            path: parsed[url::Position::BeforePath..].to_owned(),
            addresses: parsed.socket_addrs(|| None).unwrap(),
            tls: None,
        };
        Plan {
            targets: vec![target],
            scenario: Scenario::Steady,
            auth: Auth::None,
            identity: None,
            request: Request { method: "GET".into(), headers: vec![], body: None },
            connections: 1,
            threads: 1,
            length: Length::Requests(1),
            warmup: Duration::ZERO,
            pace: Pace::Closed,
            source_addresses: vec![],
            timeout: Duration::from_secs(5),
            record: None,
            command: String::new(),
        }
    }

    #[test]
    fn connections_are_dealt_out_to_threads_users_and_targets() {
        let mut plan = plan("http://127.0.0.1:1/");
        (plan.connections, plan.threads) = (5, 2);
        assert_eq!(plan.connections_of(0).collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(plan.connections_of(1).collect::<Vec<_>>(), [1, 3]);
        let users = ["a", "b"].map(|name| Credentials::new("", name, "x")).to_vec();
        plan.auth = Auth::Users { scheme: Scheme::Ntlm, users };
        assert_eq!(plan.proof_of(3, 7).unwrap().user(), UserName::parse("b"));
    }

    #[test]
    fn recorded_logins_are_taken_in_turn_over_all_connections() {
        let mut plan = plan("http://127.0.0.1:1/");
        plan.connections = 2;
        let logins = ["a", "b", "c"].map(|user| Recorded {
            user: user.into(),
            scheme: Scheme::Ntlm,
            type1: vec![],
            type2: vec![],
            type3: vec![],
            final_token: None,
        });
        plan.auth = Auth::Replay(logins.into());
        let turns = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)];
        let users = turns.map(|(connection, nth)| plan.proof_of(connection, nth).unwrap().user().to_string());
        assert_eq!(users, ["a", "b", "c", "a", "b"]);
    }
}
