//! One look at a proxy: asks its admin endpoint for everything that a picture needs.

use std::time::{Duration, Instant, SystemTime};

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::figures::Counts;
use crate::admin_client::{Answer, Client, Error};

/// What a proxy says of itself.
#[derive(Debug, Clone)]
pub(super) struct Scrape {
    /// When the numbers arrived.
    pub(super) at: Instant,
    pub(super) counts: Counts,
    pub(super) services: Vec<Service>,
    /// Addresses of servers.
    pub(super) servers: Vec<Server>,
    pub(super) is_ready: bool,
    /// Why it is not.
    pub(super) reasons: Vec<String>,
    /// For how long the process has been running, if it says so.
    pub(super) uptime: Option<Duration>,
}

/// A service, as the endpoint lists it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) mode: String,
    pub(super) tls: bool,
    pub(super) groups: Vec<String>,
}

/// An address of a server, as the endpoint lists it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Server {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) connections: u64,
}

#[derive(Deserialize)]
struct Services {
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Servers {
    servers: Vec<Server>,
}

#[derive(Deserialize)]
struct Ready {
    ready: bool,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Scrape {
    /// Asks.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn ask(client: &Client) -> Result<Self, Error> {
        let text = client.request(&Method::GET, "/metrics", &[])?;
        let at = Instant::now();
        let counts = Counts::parse(&String::from_utf8_lossy(&text.body));
        let counts = counts.ok_or_else(|| other(client, "/metrics has no numbers of iisplice"))?;
        let Services { services } = get(client, "/v1/services", &[])?;
        let Servers { servers } = get(client, "/v1/servers", &[])?;
        let Ready { ready, reasons } = get(client, "/readyz", &[StatusCode::SERVICE_UNAVAILABLE])?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let uptime = (counts.started > 0.0).then_some(now.as_secs_f64() - counts.started);
        let uptime = uptime.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
        Ok(Self { at, counts, services, servers, is_ready: ready, reasons, uptime })
    }
}

fn get<T: DeserializeOwned>(client: &Client, path: &str, also: &[StatusCode]) -> Result<T, Error> {
    let Answer { body, .. } = client.request(&Method::GET, path, also)?;
    serde_json::from_slice(&body).map_err(|error| other(client, &format!("{path}: {error}")))
}

fn other(client: &Client, why: &str) -> Error {
    Error::Other { address: client.address().clone(), why: why.to_owned() }
}
