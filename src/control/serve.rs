//! The way from a plan to a serving proxy, and to its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log_writer::{LogWriter, NoLog};
use super::signals::Signals;
use super::start_up::{StartUp, on_ipv6};
use super::supervise::{Command, End, Supervisor};
use super::tls::{Comparison, Terminated, Termination};
use super::totals::Totals;
use super::{AccessLog, DESCRIPTORS_A_SESSION, Error, Plan};
use super::{log_limit, logins, own_listener};
use crate::proxy::bind::{self, Bound, SocketFile};
use crate::proxy::counters::Counters;
use crate::proxy::seats::Seats;
use crate::proxy::settings::{ClientTls, Mode, Service, WorkerSettings};
use crate::proxy::stop::Stop;
use crate::proxy::worker;
use crate::uring::{self, PipeSet};

/// Longest wait at the end for access log lines that are not written yet.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Serves until it is told to stop; `signals` must be blocked before the process starts a second thread.
///
/// # Errors
/// What this host does not allow, or the first failure of a worker.
pub fn serve(plan: Plan, signals: Signals) -> Result<(), Error> {
    let features = uring::probe().map_err(crate::proxy::Error::from)?;
    let Plan {
        mut service,
        sessions_max,
        workers,
        access_log,
        certificates,
        descriptors_max,
        descriptors_reserved,
    } = plan;
    uring::return_large_allocations();
    let pipes = open_pipes(&workers);
    let cpus: Vec<_> = workers.iter().map(|worker| worker.cpu).collect();
    let Sockets { listeners, files } = bind_all(&mut service, &cpus)?;
    own_listener::refuse(&service, &files)?;
    let service = Arc::new(service);
    let log = access_log.map(open_log).transpose()?;
    let start_up = StartUp {
        listeners: service.listeners.iter().map(|listener| &listener.address).collect(),
        servers: service.groups().flat_map(|group| &group.servers).map(|server| &**server).collect(),
        tls: where_tls_is(&service),
        workers: &workers,
        sessions_max,
        features: &features,
        descriptors_max,
        pipes: pipes.iter().map(PipeSet::granted).sum(),
        pipe_bytes: pipes.iter().map(PipeSet::bytes_min).filter(|bytes| *bytes > 0).min().unwrap_or(0),
    };
    tracing::info!("{start_up}");
    say_what_listeners_include(&service);
    say_if_descriptors_run_out(sessions_max as u64, descriptors_max, descriptors_reserved);
    say_what_is_risky(&service);
    if let Some((_, terminated)) = &certificates {
        say(terminated, &service);
    }

    let Workers { supervisor, stops, counters, seats } =
        start_workers(&service, sessions_max, workers, listeners, pipes, log.as_ref())?;
    if matches!(service.mode, Mode::Http(_)) {
        let servers = service.groups().flat_map(|group| group.servers.clone()).collect();
        logins::watch(servers).map_err(Error::Resource)?;
    }
    signals.forward(supervisor.sender()).map_err(Error::Resource)?;

    if let Some((_, terminated)) = &certificates {
        compare(terminated, &service);
    }

    let totals = || Totals {
        counters: &counters,
        has_requests: matches!(service.mode, Mode::Http(_)),
        times_full: seats.times_full(),
    };
    let mut asked = None;
    let mut ended_before = String::new();
    let end = supervisor.wait(|command| match command {
        Command::Drain => {
            asked = Some(Instant::now());
            stops.iter().for_each(Stop::drain);
        }
        Command::End => {
            ended_before = totals().to_string();
            stops.iter().for_each(Stop::end);
        }
        Command::ReopenLog => {
            if let Some(log) = &log {
                log.reopen();
            }
        }
        Command::Reload => {
            if let (Some((files, _)), Some(tls)) = (&certificates, &service.client_tls) {
                reload(files, tls, &service);
            } else {
                tracing::warn!("nothing to reload; settings are flags, restart to change them");
            }
        }
    });
    drop(files);
    let log_lines_dropped = match (&end, log) {
        (Ok(End::Drained), Some(log)) => log.finish(LOG_PATIENCE),
        _ => 0,
    };
    log_limit::flush();
    if let Some(summary) = logins::summary(&counters) {
        tracing::info!("login totals: {summary}");
    }
    let totals = totals();
    let drained_ms = asked.map_or(0, |asked| asked.elapsed().as_millis());
    match end? {
        End::Drained => {
            tracing::info!(drained_ms, log_lines_dropped, "stopped; all connections have ended: {totals}");
        }
        End::AtOnce => tracing::info!(
            drained_ms,
            "stopped immediately; totals for connections already closed: {ended_before}"
        ),
    }
    Ok(())
}

/// The sockets of a service.
pub(crate) struct Sockets {
    /// For each worker those of the service's listeners, in their order.
    pub(crate) listeners: Vec<Vec<OwnedFd>>,
    /// The files of Unix sockets, with the address of each.
    files: Vec<SocketFile>,
}

/// Binds every listener of the service, and writes the addresses into it that the kernel chose.
///
/// # Errors
/// The first listener that cannot be bound.
pub(crate) fn bind_all(service: &mut Service, cpus: &[Option<usize>]) -> Result<Sockets, Error> {
    let mut all = Sockets { listeners: cpus.iter().map(|_| Vec::new()).collect(), files: Vec::new() };
    for listener in &mut service.listeners {
        let Bound { address, sockets, file } = bind::bind(listener, &service.tcp, cpus)?;
        listener.address = address;
        all.files.extend(file);
        for (worker, socket) in all.listeners.iter_mut().zip(sockets) {
            worker.push(socket);
        }
    }
    Ok(all)
}

fn open_log(log: AccessLog) -> Result<LogWriter, Error> {
    LogWriter::start(&log).map_err(|why| match why {
        NoLog::Unread => Error::UnreadAccessLog(log.target),
        NoLog::Failed(error) if uring::is_out_of_descriptors(&error) => Error::Resource(error),
        NoLog::Failed(source) => Error::AccessLog { target: log.target, source },
    })
}

fn say_what_listeners_include(service: &Service) {
    let listeners: Vec<_> = service.listeners.iter().map(|listener| listener.address.clone()).collect();
    for note in on_ipv6(&listeners) {
        tracing::info!("{note}");
    }
}

fn say_what_is_risky(service: &Service) {
    if service.groups().any(|group| group.send_proxy.is_some()) {
        tracing::warn!("--send-proxy is set: IIS (HTTP.sys) answers a PROXY header with 400");
    }
    if service.groups().any(|group| group.tls.as_ref().is_some_and(|tls| tls.trusts_any_certificate)) {
        tracing::warn!(
            "--upstream-insecure is set: servers are not verified, so anything between this host and them can \
             read logins"
        );
    }
    for warning in service.groups().filter_map(|group| group.tls.as_ref()).flat_map(|tls| &tls.warnings) {
        tracing::warn!("{warning}");
    }
}

/// Warns only, because accepting pauses when descriptors run out; but this is hardly intended.
fn say_if_descriptors_run_out(sessions_max: u64, descriptors_max: u64, reserved: u64) {
    let wanted = reserved + sessions_max * DESCRIPTORS_A_SESSION;
    if wanted > descriptors_max {
        let fitting = descriptors_max.saturating_sub(reserved) / DESCRIPTORS_A_SESSION;
        tracing::warn!(
            "--max-connections {sessions_max} needs {wanted} descriptors, but the limit of {descriptors_max} allows only \
             {fitting} connections; accepting pauses when it is reached; raise the limit to {wanted} (LimitNOFILE=, \
             ulimit -n), or lower --max-connections"
        );
    }
}

/// Reloads certificates and keys for new connections. If they cannot be used, nothing changes.
fn reload(files: &Termination, tls: &ClientTls, service: &Service) {
    match files.read() {
        Ok(terminated) => {
            tls.config.store(Arc::clone(&terminated.config));
            tracing::info!("certificates reloaded; used for new connections");
            say(&terminated, service);
            compare(&terminated, service);
        }
        Err(error) => tracing::error!(%error, "cannot reload certificates; keeping the old ones"),
    }
}

fn where_tls_is(service: &Service) -> Option<&'static str> {
    match (&service.client_tls, speaks_tls(service)) {
        (Some(_), true) => Some("clients,upstreams"),
        (Some(_), false) => Some("clients"),
        (None, true) => Some("upstreams"),
        (None, false) => service.routes.depend_on_hello().then_some("passed-through"),
    }
}

/// Whether any group of the service speaks TLS with its servers.
fn speaks_tls(service: &Service) -> bool {
    service.groups().any(|group| group.tls.is_some())
}

/// Logs what an operator should know about certificates before clients notice.
fn say(terminated: &Terminated, service: &Service) {
    for warning in &terminated.warnings {
        tracing::warn!("{warning}");
    }
    if !speaks_tls(service) {
        tracing::info!(
            "TLS ends here and the servers get plain HTTP: where IIS requires Extended Protection, logins will fail; \
             pass TLS through with --sni-route, or add --upstream-tls and use the servers' certificate for clients"
        );
    }
}

/// If both sides use TLS, checks whether they use the same certificate.
fn compare(terminated: &Terminated, service: &Service) {
    if !speaks_tls(service) {
        return;
    }
    let comparison =
        Comparison { shown: terminated.leaves.clone(), groups: service.groups().map(Arc::clone).collect() };
    if let Err(error) = comparison.start() {
        tracing::warn!(%error, "cannot start a thread to check the servers' certificates; skipping the check");
    }
}

/// Starts a thread for each of `workers`, with its sockets and pipes; they serve immediately, up to `sessions_max`
/// clients at once. The caller waits for the supervisor and drains the workers by their stops.
///
/// # Errors
/// No descriptor or thread.
pub(crate) fn start_workers(
    service: &Arc<Service>,
    sessions_max: usize,
    workers: Vec<WorkerSettings>,
    listeners: Vec<Vec<OwnedFd>>,
    pipes: Vec<PipeSet>,
    log: Option<&LogWriter>,
) -> Result<Workers, Error> {
    let mut supervisor = Supervisor::default();
    let mut stops = Vec::with_capacity(workers.len());
    let mut counters = Vec::with_capacity(workers.len());
    let seats = Arc::new(Seats::new(sessions_max, workers.len()).map_err(Error::Resource)?);
    for (number, ((worker, listeners), pipes)) in workers.into_iter().zip(listeners).zip(pipes).enumerate() {
        let stop = Stop::new().map_err(Error::Resource)?;
        stops.push(stop.clone());
        let count = Arc::new(Counters::default());
        counters.push(Arc::clone(&count));
        let plan = worker::Plan {
            number,
            worker,
            seats: Arc::clone(&seats),
            services: vec![Arc::clone(service)],
            listeners: vec![listeners],
            pipes,
            stop,
            log: log.map(LogWriter::sender),
            counters: count,
        };
        supervisor.start(move || worker::run(plan)).map_err(Error::Resource)?;
    }
    Ok(Workers { supervisor, stops, counters, seats })
}

/// Running workers.
pub(crate) struct Workers {
    /// Waits for them to end.
    pub(crate) supervisor: Supervisor,
    /// One for each worker.
    pub(crate) stops: Vec<Stop>,
    /// The counters of each worker.
    counters: Vec<Arc<Counters>>,
    /// The seats of all of them.
    seats: Arc<Seats>,
}

fn open_pipes(workers: &[WorkerSettings]) -> Vec<PipeSet> {
    let (wanted, bytes) =
        workers.first().map_or((0, 0), |worker| (usize::from(worker.pipes), worker.pipe_bytes as usize));
    PipeSet::open(workers.len(), wanted, bytes)
}
