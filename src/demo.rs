//! A mock site, a proxy in front of it and a load generator in one process on loopback: a demonstration of the whole.
//!
//! Owns only how the three are combined. It must never measure or verify by itself: the mock verifies logins, `load`
//! measures and checks identities, and neither knows whether the proxy is between them.
//!
//! ```text
//! direct()    load ----------------------> mock      127.0.0.1, free ports
//! proxied()   load ------> workers ------> mock
//! ```
//!
//! Start with [`Demo::start`].

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::control::supervise::{Event, Request, Supervisor};
use crate::control::{self, Listeners, Workers, start_workers};
use crate::load::plan::{self, Auth, IdentitySource, Length, Pace, Scenario, Scheme, Target};
use crate::load::summary::Part;
use crate::load::{self, LoadError, Summary};
use crate::mock::{self, Mock};
use crate::protocol::ntlm::Credentials;
use crate::proxy::orders::Orders;
use crate::proxy::routes::Routes;
use crate::proxy::settings::{Listener, Service, Timeouts, WorkerSettings};
use crate::upstream::{GroupSettings, Server};
use crate::uring::{self, Address, FeatureSet, PipeSet, SocketOptions};

/// Loopback, any free port.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const DOMAIN: &str = "CORP";
/// The users that log in; connections use them in turn, so that neighbouring connections are different users.
const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// The password of all accounts, which exist in the mock only, for the seconds that the demo runs.
const PASSWORD: &str = "demo";
/// What each connection does: some requests after each login, as for a page in a browser.
pub const SCENARIO: Scenario = Scenario::Session { requests_per_login: 10 };
/// The warm-up is this part of each run.
const WARMUP_PART: u32 = 10;
/// Threads for each of mock, proxy and load; a demonstration needs no more.
const THREADS_MAX: usize = 4;
/// More than the load of a demo leaves unfinished.
const PEEK_BYTES: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pipes of each worker; replies are small, so few are in use.
const PIPES: u16 = 8;
const PIPE_BYTES: u32 = 64 * 1024;
/// Time for the load's connections to close; they are closed before the drain starts.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This host does not let the mock serve.
    #[error(transparent)]
    Mock(#[from] mock::Error),
    /// This host does not let the proxy serve, or a worker failed.
    #[error(transparent)]
    Proxy(#[from] control::Error),
    /// This host does not let the load generator run.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A running mock and a running proxy.
#[derive(Debug)]
pub struct Demo {
    mock: Mock,
    site: SocketAddr,
    proxy: SocketAddr,
    supervisor: Supervisor,
    orders: Vec<Orders>,
    threads: usize,
    connections: usize,
}

/// The warm-up of a run of this duration, and the measured time after it.
pub fn parts(duration: Duration) -> (Duration, Duration) {
    let warmup = duration / WARMUP_PART;
    (warmup, duration.saturating_sub(warmup))
}

impl Demo {
    /// Starts both for loads of up to `connections` connections; both serve when this returns.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn start(connections: usize) -> Result<Self, Error> {
        // Before the mock, which needs io_uring as well but explains less about what is missing.
        uring::probe(FeatureSet::NONE).map_err(proxy_error)?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX);
        let mut accounts = mock::settings::Accounts::default();
        for user in USERS {
            accounts.add(DOMAIN, user, PASSWORD);
        }
        let settings =
            mock::settings::Settings { threads, ..mock::settings::Settings::new(vec![LOOPBACK], accounts) };
        let mock = mock::start(settings)?;
        let site = mock.addresses().first().copied().unwrap_or(LOOPBACK);

        let mut service = service(site)?;
        let workers = vec![worker_settings(); threads];
        let sockets = Listeners::default().open(std::slice::from_mut(&mut service), &vec![None; threads])?;
        let proxy = match &service.listeners[..] {
            [Listener { address: Address::Ip(address), .. }] => *address,
            _ => LOOPBACK,
        };
        let pipes = PipeSet::open(threads, PIPES.into(), PIPE_BYTES as usize);
        // New connections open while the last ones are still closing.
        let sessions_max = 2 * connections;
        let Workers { supervisor, orders, .. } =
            start_workers(&[Arc::new(service)], sessions_max, &workers, sockets, pipes, None)?;
        Ok(Self { mock, site, proxy, supervisor, orders, threads, connections })
    }

    /// Runs the load against the mock itself. Calls `watch` with the figures of each second.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn direct(&self, duration: Duration, watch: impl FnMut(&Part)) -> Result<Summary, Error> {
        tracing::info!("running load against the mock IIS at {}", self.site);
        self.load(self.site, "iisplice demo: without the proxy", duration, watch)
    }

    /// Runs the load against the proxy in front of the mock. Calls `watch` with the figures of each second.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn proxied(&self, duration: Duration, watch: impl FnMut(&Part)) -> Result<Summary, Error> {
        tracing::info!("running load against the proxy at {}, which forwards to {}", self.proxy, self.site);
        self.load(self.proxy, "iisplice demo: through the proxy", duration, watch)
    }

    /// Stops both.
    ///
    /// # Errors
    /// A worker of the proxy that failed, now or earlier.
    pub fn stop(self) -> Result<(), Error> {
        let Self { mock, supervisor, orders, .. } = self;
        // The supervisor holds the receiver, so sending cannot fail.
        let _ = supervisor.sender().send(Event::Request(Request::Stop));
        let end = supervisor.wait(|_drain| {
            orders.iter().for_each(Orders::drain);
            false
        });
        mock.stop();
        end.map_err(control::Error::from)?;
        Ok(())
    }

    fn load(
        &self,
        to: SocketAddr,
        command: &str,
        duration: Duration,
        watch: impl FnMut(&Part),
    ) -> Result<Summary, Error> {
        let users = USERS.iter().map(|user| Credentials::new(DOMAIN, user, PASSWORD)).collect();
        let (warmup, measured) = parts(duration);
        let plan = load::Plan {
            targets: vec![Target {
                url: format!("http://{to}/whoami"),
                host: to.ip().to_string(),
                authority: to.to_string(),
                path: "/whoami".to_owned(),
                addresses: vec![to],
                tls: None,
            }],
            scenario: SCENARIO,
            auth: Auth::Users { scheme: Scheme::Ntlm, users },
            identity: Some(IdentitySource::Body),
            request: plan::Request { method: "GET".to_owned(), headers: vec![], body: None },
            connections: self.connections,
            threads: self.threads.min(self.connections),
            length: Length::Time(measured),
            warmup,
            pace: Pace::Closed,
            source_addresses: vec![],
            timeout: TIMEOUT,
            record: None,
            command: command.to_owned(),
        };
        // Ctrl-C ends the whole process; a single run is never interrupted.
        let never = Arc::new(AtomicBool::new(false));
        Ok(load::run(&plan, &never, watch)?)
    }
}

/// The service in front of `site`.
fn service(site: SocketAddr) -> Result<Service, Error> {
    let server = Server::new(site.to_string(), Address::Ip(site), None).map_err(control::Error::Resource)?;
    let group = GroupSettings {
        connect_timeout: TIMEOUT,
        connect_budget: TIMEOUT,
        ..GroupSettings::new("mock", vec![Arc::new(server)])
    };
    let listener = Listener::at(Address::Ip(LOOPBACK));
    let tcp = SocketOptions::default();
    let routes = Routes::all(Arc::new(group));
    Ok(Service {
        timeouts: Timeouts { idle: TIMEOUT, ..Timeouts::default() },
        tcp,
        ..Service::new("demo", vec![listener], routes)
    })
}

fn worker_settings() -> WorkerSettings {
    WorkerSettings {
        buffers: 256,
        pipes: PIPES,
        pipe_bytes: PIPE_BYTES,
        ring_entries: 1024,
        peek_bytes_max: PEEK_BYTES,
        drain_timeout: DRAIN_TIMEOUT,
        ..WorkerSettings::default()
    }
}

fn proxy_error(error: uring::Error) -> control::Error {
    crate::proxy::Error::from(error).into()
}
