//! The way from a plan to a serving proxy, and to its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::certificates::{self, Served};
use super::log_writer::{LogWriter, NoLog};
use super::setting::{self, setting};
use super::signals::Signals;
use super::start_up::{List, StartUp, on_ipv6, servers_named};
use super::supervise::{Command, End, Supervisor};
use super::timeouts::LOG_END;
use super::totals::Totals;
use super::{AccessLog, DESCRIPTORS_A_SESSION, Error, Plan};
use super::{log_limit, logins, own_listener};
use crate::proxy::bind::{self, Bound, SocketFile};
use crate::proxy::counters::Counters;
use crate::proxy::seats::Seats;
use crate::proxy::settings::{Mode, Service, WorkerSettings};
use crate::proxy::stop::Stop;
use crate::proxy::worker;
use crate::upstream::{GroupSettings, Server};
use crate::uring::{self, Address, PipeSet};

/// Serves until it is told to stop; `signals` must be blocked before the process starts a second thread.
///
/// # Errors
/// What this host does not allow, or the first failure of a worker.
pub fn serve(plan: Plan, signals: Signals) -> Result<(), Error> {
    setting::name(plan.named);
    let features = uring::probe().map_err(crate::proxy::Error::from)?;
    let Plan { services, sessions_max, workers, access_log, descriptors_max, descriptors_reserved, .. } =
        plan;
    uring::return_large_allocations();
    let pipes = open_pipes(&workers);
    let cpus: Vec<_> = workers.iter().map(|worker| worker.cpu).collect();
    let (mut services, certificates): (Vec<_>, Vec<_>) =
        services.into_iter().map(|planned| (planned.service, planned.certificates)).unzip();
    let Sockets { listeners, files } = bind_all(&mut services, &cpus)?;
    own_listener::refuse(&services, &files)?;
    let services: Vec<_> = services.into_iter().map(Arc::new).collect();
    let served: Vec<_> = std::iter::zip(&services, certificates)
        .map(|(service, certificates)| Served { service: Arc::clone(service), certificates })
        .collect();
    let log = access_log.map(open_log).transpose()?;
    let tls = certificates::place(&services);
    let start_up = StartUp {
        listeners: addresses(&services).collect(),
        servers: servers(&services),
        tls: tls.as_deref(),
        workers: &workers,
        sessions_max,
        features: &features,
        descriptors_max,
        pipes: pipes.iter().map(PipeSet::granted).sum(),
        pipe_bytes: pipes.iter().map(PipeSet::bytes_min).filter(|bytes| *bytes > 0).min().unwrap_or(0),
    };
    tracing::info!("{start_up}");
    log_each_service(&services);
    log_what_listeners_include(&services);
    warn_if_descriptors_run_out(sessions_max as u64, descriptors_max, descriptors_reserved);
    warn_of_risky_settings(&services);
    certificates::log_checks(&served);

    let Workers { supervisor, stops, counters, seats } =
        start_workers(&services, sessions_max, workers, listeners, pipes, log.as_ref())?;
    let in_http: Vec<_> = services.iter().filter(|service| is_http(service)).map(Arc::clone).collect();
    if !in_http.is_empty() {
        logins::watch(servers(&in_http).into_iter().map(Arc::clone).collect()).map_err(Error::Resource)?;
    }
    signals.forward(supervisor.sender()).map_err(Error::Resource)?;

    certificates::compare(&served);

    let totals =
        || Totals { counters: &counters, has_requests: !in_http.is_empty(), times_full: seats.times_full() };
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
        Command::Reload => certificates::reload(&served),
    });
    drop(files);
    let log_lines_dropped = match (&end, log) {
        (Ok(End::Drained), Some(log)) => log.finish(LOG_END),
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

/// The sockets of all services.
pub(crate) struct Sockets {
    /// For each worker and service those of the service's listeners, in their order.
    pub(crate) listeners: Vec<Vec<Vec<OwnedFd>>>,
    /// The files of Unix sockets, in the order of their listeners.
    files: Vec<SocketFile>,
}

/// Binds every listener of every service, and writes the addresses into them that the kernel chose.
///
/// # Errors
/// The first listener that cannot be bound.
pub(crate) fn bind_all(services: &mut [Service], cpus: &[Option<usize>]) -> Result<Sockets, Error> {
    let mut all = Sockets { listeners: cpus.iter().map(|_| Vec::new()).collect(), files: Vec::new() };
    for service in services {
        for worker in &mut all.listeners {
            worker.push(Vec::new());
        }
        for listener in &mut service.listeners {
            let Bound { address, sockets, file } = bind::bind(listener, &service.tcp, cpus)?;
            listener.address = address;
            all.files.extend(file);
            for (worker, socket) in all.listeners.iter_mut().zip(sockets) {
                worker.last_mut().expect("pushed for this service").push(socket);
            }
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

/// With one service the line at the start says all.
fn log_each_service(services: &[Arc<Service>]) {
    if services.len() < 2 {
        return;
    }
    for service in services.chunks(1) {
        let mode = if is_http(&service[0]) { "http" } else { "stream" };
        let tls = certificates::place(service);
        tracing::info!(
            service = &*service[0].name,
            listeners = %List(&addresses(service).collect::<Vec<_>>()),
            mode,
            upstreams = %servers_named(&servers(service)),
            tls = tls.as_deref().unwrap_or("off"),
            "service ready"
        );
    }
}

fn log_what_listeners_include(services: &[Arc<Service>]) {
    for note in on_ipv6(&addresses(services).cloned().collect::<Vec<_>>()) {
        tracing::info!("{note}");
    }
}

pub(super) fn warn_of_risky_settings(services: &[Arc<Service>]) {
    let any = |is_risky: &dyn Fn(&GroupSettings) -> bool| {
        services.iter().any(|service| service.groups().any(|group| is_risky(group)))
    };
    if any(&|group| group.send_proxy.is_some()) {
        tracing::warn!("{} is set: IIS (HTTP.sys) answers a PROXY header with 400", setting("send-proxy"));
    }
    if any(&|group| group.tls.as_ref().is_some_and(|tls| tls.trusts_any_certificate)) {
        tracing::warn!(
            "{} is set: server certificates are not verified, so anything between this host and the \
             servers can read logins",
            setting("upstream-insecure")
        );
    }
    let groups = || services.iter().flat_map(|service| service.groups());
    for group in groups().filter(|group| group.has_only_backup_servers()) {
        let group = &*group.name;
        tracing::warn!(
            group,
            "every server of the group is a backup server or disabled; backup servers take all connections"
        );
    }
    for warning in groups().filter_map(|group| group.tls.as_ref()).flat_map(|tls| &tls.warnings) {
        tracing::warn!("{warning}");
    }
}

fn is_http(service: &Service) -> bool {
    matches!(service.mode, Mode::Http(_))
}

fn addresses(services: &[Arc<Service>]) -> impl Iterator<Item = &Address> {
    services.iter().flat_map(|service| &service.listeners).map(|listener| &listener.address)
}

/// The servers of all groups, each once.
fn servers(services: &[Arc<Service>]) -> Vec<&Arc<Server>> {
    let mut servers: Vec<&Arc<Server>> = Vec::new();
    for server in services.iter().flat_map(|service| service.groups()).flat_map(|group| &group.servers) {
        if !servers.iter().any(|known| Arc::ptr_eq(known, server)) {
            servers.push(server);
        }
    }
    servers
}

/// Warns only, because accepting pauses when descriptors run out; but this is hardly intended.
fn warn_if_descriptors_run_out(sessions_max: u64, descriptors_max: u64, reserved: u64) {
    let wanted = reserved + sessions_max * DESCRIPTORS_A_SESSION;
    if wanted > descriptors_max {
        let max_connections = setting("max-connections");
        let fitting = descriptors_max.saturating_sub(reserved) / DESCRIPTORS_A_SESSION;
        tracing::warn!(
            "{max_connections} {sessions_max} needs {wanted} descriptors, but the limit of {descriptors_max} allows only \
             {fitting} connections; accepting pauses when it is reached; raise the limit to {wanted} (LimitNOFILE=, \
             ulimit -n), or lower {max_connections}"
        );
    }
}

/// Starts a thread for each of `workers`, with its sockets and pipes; they serve immediately, up to `sessions_max`
/// clients at once. The caller waits for the supervisor and drains the workers by their stops.
///
/// # Errors
/// No descriptor or thread.
pub(crate) fn start_workers(
    services: &[Arc<Service>],
    sessions_max: usize,
    workers: Vec<WorkerSettings>,
    listeners: Vec<Vec<Vec<OwnedFd>>>,
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
            services: services.to_vec(),
            listeners,
            pipes,
            stop,
            log: log.map(LogWriter::sender),
            counters: count,
        };
        supervisor
            .start(move || worker::run(plan).map_err(|error| setting::advised(&error)))
            .map_err(Error::Resource)?;
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
