//! The connections of clients: asked of every worker, which answers on its own turn.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use ipnet::IpNet;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Reach;
use super::answer::{Answer, Refusal, json};
use crate::protocol::login::Mechanism;
use crate::proxy::orders::{Orders, Reply};
use crate::proxy::survey::{Sight, Wanted};

/// How many are listed unless the request says so.
const LIMIT: usize = 100;

/// Most that one request lists.
const LIMIT_MAX: usize = 1000;

/// How long workers may take to answer; they need far less.
const WORKERS_ANSWER: Duration = Duration::from_secs(5);

/// Requests that ask workers at once: each costs them turns.
const AT_ONCE_MAX: usize = 1;

/// Has requests ask workers one after the other.
#[derive(Debug)]
pub(super) struct Turn(Semaphore);

impl Default for Turn {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE_MAX))
    }
}

/// A connection.
#[derive(Debug, Serialize)]
struct ConnectionRow {
    id: String,
    client: String,
    service: String,
    group: Option<String>,
    server: Option<String>,
    address: Option<String>,
    since: String,
    age_seconds: f64,
    idle_seconds: f64,
    to_upstream_bytes: u64,
    to_client_bytes: u64,
    login: Option<&'static str>,
    mechanism: Option<&'static str>,
    user: Option<String>,
}

impl ConnectionRow {
    fn of(sight: Sight) -> Self {
        let Sight { id, address, client, service, group, server, accepted, idle, login, user, .. } = sight;
        let age = accepted.elapsed();
        let words = |text: std::sync::Arc<str>| text.to_string();
        let (server, at) = server.unzip();
        Self {
            id: format!("{id:016x}"),
            client: client.map_or_else(|| address.to_string(), |client| client.to_string()),
            service: words(service),
            group: group.map(words),
            server: server.map(words),
            address: at.map(|at| at.to_string()),
            since: humantime::format_rfc3339_millis(SystemTime::now() - age).to_string(),
            age_seconds: age.as_secs_f64(),
            idle_seconds: idle.as_secs_f64(),
            to_upstream_bytes: sight.upstream_bytes,
            to_client_bytes: sight.client_bytes,
            login: login.map(|(state, _)| state.as_str()),
            mechanism: login.and_then(|(_, mechanism)| mechanism).map(Mechanism::as_str),
            user: user.map(String::from),
        }
    }
}

#[derive(Serialize)]
struct Connections {
    connections: Vec<ConnectionRow>,
    /// Whether there are more than these.
    more: bool,
}

/// What a query asks for.
///
/// # Errors
/// A value that is none.
pub(super) fn wanted([limit, server, client]: [Option<String>; 3]) -> Result<Wanted, Refusal> {
    let limit = match limit {
        None => LIMIT,
        Some(text) => text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
            Refusal::bad_request(format!("limit is no number from 1 to {LIMIT_MAX}; give one"))
        })?,
    };
    let network = |text: String| {
        let address = || text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
        text.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
            Refusal::bad_request(
                "client is neither an address nor a network; give one, such as 10.0.0.7 or 10.0.0.0/8",
            )
        })
    };
    Ok(Wanted { limit, server, client: client.map(network).transpose()? })
}

/// Lists connections, those that began first before the others.
pub(super) async fn list(reach: &Reach, turn: &Turn, wanted: Wanted) -> Result<Answer, Refusal> {
    // One more, to know whether there are more.
    let asked = Wanted { limit: wanted.limit + 1, ..wanted.clone() };
    let answers = ask_all(reach, turn, |orders, reply| orders.look_at_sessions(asked.clone(), reply)).await?;
    let mut sights: Vec<_> = answers.into_iter().flatten().collect();
    sights.sort_by_key(|sight| (sight.accepted, sight.id));
    let more = sights.len() > wanted.limit;
    sights.truncate(wanted.limit);
    let connections = sights.into_iter().map(ConnectionRow::of).collect();
    Ok(json(StatusCode::OK, &Connections { connections, more }))
}

#[derive(Serialize)]
struct Closed {
    closed: bool,
}

/// Closes the connection with this id.
pub(super) async fn close(reach: &Reach, turn: &Turn, id: &str) -> Result<Answer, Refusal> {
    let none = || Refusal::new(StatusCode::NOT_FOUND, format!("there is no connection {id}"));
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(id, 16).ok().filter(|_| is_id).ok_or_else(none)?;
    let answers = ask_all(reach, turn, |orders, reply| orders.end_session(number, reply)).await?;
    if !answers.contains(&true) {
        return Err(none());
    }
    tracing::info!(connection = id, "an operator closes the connection");
    Ok(json(StatusCode::OK, &Closed { closed: true }))
}

/// Asks every worker, and waits for all answers.
async fn ask_all<T: Send + 'static>(
    reach: &Reach,
    turn: &Turn,
    ask: impl Fn(&Orders, Reply<T>),
) -> Result<Vec<T>, Refusal> {
    let ends = Instant::now() + WORKERS_ANSWER;
    let silent = |worker: Option<usize>| {
        let who = worker.map_or_else(|| "the workers".to_owned(), |worker| format!("worker {worker}"));
        let why = format!("{who} did not answer within {WORKERS_ANSWER:?}; try again");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
    };
    let _turn = timeout_at(ends, turn.0.acquire()).await.map_err(|_elapsed| silent(None))?;
    let mut waiting = Vec::new();
    for orders in &reach.workers {
        let (sender, answer) = oneshot::channel();
        ask(
            orders,
            Reply::new(move |answer| {
                // The client may have left.
                let _ = sender.send(answer);
            }),
        );
        waiting.push(answer);
    }
    let mut answers = Vec::new();
    for (worker, answer) in waiting.into_iter().enumerate() {
        match timeout_at(ends, answer).await {
            Ok(Ok(answer)) => answers.push(answer),
            // It has ended, and its connections with it.
            Ok(Err(_gone)) => {}
            Err(_elapsed) => return Err(silent(Some(worker))),
        }
    }
    Ok(answers)
}
