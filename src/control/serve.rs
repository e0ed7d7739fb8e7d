//! The way from a plan to a serving proxy, and to its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::ServerCertVerifier;

use super::log_writer::{LogWriter, NoLog};
use super::signals::Signals;
use super::start_up::{StartUp, on_ipv6};
use super::supervise::{Command, End, Supervisor};
use super::tls::{Comparison, Terminated, Termination};
use super::totals::Totals;
use super::{AccessLog, DESCRIPTORS_A_SESSION, Error, Plan};
use super::{log_limit, logins, own_listener};
use crate::proxy::access_log::Names;
use crate::proxy::bind::{self, Bound};
use crate::proxy::counters::Counters;
use crate::proxy::settings::{ClientTls, Mode, Settings, WorkerSettings};
use crate::proxy::shared::Shared;
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
        mut settings,
        unix_mode,
        sessions_max,
        workers,
        access_log,
        certificates,
        upstream_verifier,
        descriptors_max,
        descriptors_reserved,
    } = plan;
    uring::return_large_allocations();
    let pipes = open_pipes(&workers);
    let cpus: Vec<_> = workers.iter().map(|worker| worker.cpu).collect();
    let Bound { addresses, sockets, files } =
        bind::bind(&settings.listeners, &settings.tcp, unix_mode, &cpus)?;
    own_listener::refuse(&settings.upstreams, &addresses, &files)?;
    settings.listeners = addresses;
    let settings = Arc::new(settings);
    let log = access_log.map(|log| open_log(log, &settings)).transpose()?;
    let start_up = StartUp {
        listeners: &settings.listeners,
        upstreams: &settings.upstreams,
        tls: where_tls_is(&settings),
        workers: &workers,
        sessions_max,
        features: &features,
        descriptors_max,
        pipes: pipes.iter().map(PipeSet::granted).sum(),
        pipe_bytes: pipes.iter().map(PipeSet::bytes_min).filter(|bytes| *bytes > 0).min().unwrap_or(0),
    };
    tracing::info!("{start_up}");
    say_what_listeners_include(&settings);
    say_if_descriptors_run_out(sessions_max as u64, descriptors_max, descriptors_reserved);
    say_what_is_risky(&settings);
    if let Some((_, terminated)) = &certificates {
        say(terminated, &settings);
    }

    let Workers { supervisor, stops, counters, shared } =
        start_workers(&settings, sessions_max, workers, sockets, pipes, log.as_ref())?;
    if matches!(settings.mode, Mode::Http(_)) {
        let upstreams = settings.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        logins::watch(counters.clone(), upstreams).map_err(Error::Resource)?;
    }
    signals.forward(supervisor.sender()).map_err(Error::Resource)?;

    if let Some((_, terminated)) = &certificates {
        compare(terminated, &settings, upstream_verifier.as_ref());
    }

    let totals = || Totals {
        counters: &counters,
        has_requests: matches!(settings.mode, Mode::Http(_)),
        times_full: shared.seats.times_full(),
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
            if let (Some((files, _)), Some(tls)) = (&certificates, &settings.client_tls) {
                reload(files, tls, &settings, upstream_verifier.as_ref());
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

fn open_log(log: AccessLog, settings: &Settings) -> Result<LogWriter, Error> {
    LogWriter::start(&log, Names::new(&settings.listeners, &settings.upstreams)).map_err(|why| match why {
        NoLog::Unread => Error::UnreadAccessLog(log.target),
        NoLog::Failed(error) if uring::is_out_of_descriptors(&error) => Error::Resource(error),
        NoLog::Failed(source) => Error::AccessLog { target: log.target, source },
    })
}

fn say_what_listeners_include(settings: &Settings) {
    for note in on_ipv6(&settings.listeners) {
        tracing::info!("{note}");
    }
}

fn say_what_is_risky(settings: &Settings) {
    if settings.send_proxy.is_some() {
        tracing::warn!("--send-proxy is set: IIS (HTTP.sys) answers a PROXY header with 400");
    }
    if settings.upstream_tls.as_ref().is_some_and(|tls| tls.trusts_any_certificate) {
        tracing::warn!(
            "--upstream-insecure is set: servers are not verified, so anything between this host and them can \
             read logins"
        );
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
fn reload(
    files: &Termination,
    tls: &ClientTls,
    settings: &Settings,
    upstream_verifier: Option<&Arc<dyn ServerCertVerifier>>,
) {
    match files.read() {
        Ok(terminated) => {
            tls.config.store(Arc::clone(&terminated.config));
            tracing::info!("certificates reloaded; used for new connections");
            say(&terminated, settings);
            compare(&terminated, settings, upstream_verifier);
        }
        Err(error) => tracing::error!(%error, "cannot reload certificates; keeping the old ones"),
    }
}

fn where_tls_is(settings: &Settings) -> Option<&'static str> {
    match (&settings.client_tls, &settings.upstream_tls) {
        (Some(_), Some(_)) => Some("clients,upstreams"),
        (Some(_), None) => Some("clients"),
        (None, Some(_)) => Some("upstreams"),
        (None, None) => settings.routes.depend_on_hello().then_some("passed-through"),
    }
}

/// Logs what an operator should know about certificates before clients notice.
fn say(terminated: &Terminated, settings: &Settings) {
    for warning in &terminated.warnings {
        tracing::warn!("{warning}");
    }
    if settings.upstream_tls.is_none() {
        tracing::info!(
            "TLS ends here and the servers get plain HTTP: where IIS requires Extended Protection, logins will fail; \
             pass TLS through with --sni-route, or add --upstream-tls and use the servers' certificate for clients"
        );
    }
}

/// If both sides use TLS, checks whether they use the same certificate.
fn compare(
    terminated: &Terminated,
    settings: &Settings,
    upstream_verifier: Option<&Arc<dyn ServerCertVerifier>>,
) {
    let Some(verifier) = upstream_verifier.cloned() else { return };
    let comparison = Comparison {
        shown: terminated.leaves.clone(),
        upstreams: settings.upstreams.clone(),
        send_proxy: settings.send_proxy,
        verifier,
    };
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
    settings: &Arc<Settings>,
    sessions_max: usize,
    workers: Vec<WorkerSettings>,
    sockets: Vec<Vec<OwnedFd>>,
    pipes: Vec<PipeSet>,
    log: Option<&LogWriter>,
) -> Result<Workers, Error> {
    let mut supervisor = Supervisor::default();
    let mut stops = Vec::with_capacity(workers.len());
    let mut counters = Vec::with_capacity(workers.len());
    let shared = Shared::new(sessions_max, workers.len(), &settings.upstreams).map_err(Error::Resource)?;
    let shared = Arc::new(shared);
    for (number, ((worker, listeners), pipes)) in workers.into_iter().zip(sockets).zip(pipes).enumerate() {
        let stop = Stop::new().map_err(Error::Resource)?;
        stops.push(stop.clone());
        let count = Arc::new(Counters::new(settings.upstreams.len()));
        counters.push(Arc::clone(&count));
        let plan = worker::Plan {
            number,
            worker,
            shared: Arc::clone(&shared),
            settings: Arc::clone(settings),
            listeners,
            pipes,
            stop,
            log: log.map(LogWriter::sender),
            counters: count,
        };
        supervisor.start(move || worker::run(plan)).map_err(Error::Resource)?;
    }
    Ok(Workers { supervisor, stops, counters, shared })
}

/// Running workers.
pub(crate) struct Workers {
    /// Waits for them to end.
    pub(crate) supervisor: Supervisor,
    /// One for each worker.
    pub(crate) stops: Vec<Stop>,
    /// The counters of each worker.
    counters: Vec<Arc<Counters>>,
    /// The state they share.
    shared: Arc<Shared>,
}

fn open_pipes(workers: &[WorkerSettings]) -> Vec<PipeSet> {
    let (wanted, bytes) =
        workers.first().map_or((0, 0), |worker| (usize::from(worker.pipes), worker.pipe_bytes as usize));
    PipeSet::open(workers.len(), wanted, bytes)
}
