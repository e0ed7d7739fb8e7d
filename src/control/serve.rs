//! From a plan to a proxy that serves, and to its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log_writer::LogWriter;
use super::logins;
use super::signals::Signals;
use super::start_up::StartUp;
use super::supervise::{Command, End, Supervisor};
use super::{Error, Plan};
use crate::proxy::access_log::Names;
use crate::proxy::bind::{self, Bound};
use crate::proxy::counters::Counters;
use crate::proxy::settings::{Mode, Settings, WorkerSettings};
use crate::proxy::stop::Stop;
use crate::proxy::worker;
use crate::uring::{self, Address, PipeSet};

/// How long the end waits for lines of the access log that are not written yet.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Serves until it is told to stop; `signals` were blocked before the process had a second thread.
///
/// # Errors
/// What this host does not allow, or the first failure of a worker.
pub fn serve(plan: Plan, signals: Signals) -> Result<(), Error> {
    let features = uring::probe().map_err(crate::proxy::Error::from)?;
    let Plan { settings, workers, access_log, descriptors_max } = plan;
    let settings = Arc::new(settings);
    let pipes = open_pipes(&workers);
    let cpus: Vec<_> = workers.iter().map(|worker| worker.cpu).collect();
    let Bound { addresses, sockets } = bind::bind(&settings.listeners, &settings.tcp, &cpus)?;
    let bound = UntilDropped(addresses);
    let addresses = &bound.0;
    let log = access_log
        .map(|log| {
            let names = Names::new(addresses, &settings.upstreams);
            LogWriter::start(&log, names).map_err(|source| {
                if uring::is_out_of_descriptors(&source) {
                    Error::Resource(source)
                } else {
                    Error::AccessLog { target: log.target, source }
                }
            })
        })
        .transpose()?;
    let start_up = StartUp {
        listeners: addresses,
        upstreams: &settings.upstreams,
        workers: &workers,
        features: &features,
        descriptors_max,
        pipes: pipes.iter().map(PipeSet::granted).sum(),
        pipe_bytes: pipes.iter().map(PipeSet::bytes_min).filter(|bytes| *bytes > 0).min().unwrap_or(0),
    };
    tracing::info!("{start_up}");
    if settings.send_proxy.is_some() {
        tracing::warn!("--send-proxy is set: IIS (HTTP.sys) answers a PROXY header with 400");
    }

    let Workers { supervisor, stops, counters } =
        start_workers(&settings, workers, sockets, pipes, log.as_ref())?;
    if matches!(settings.mode, Mode::Http(_)) {
        let upstreams = settings.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        logins::watch(counters.clone(), upstreams).map_err(Error::Resource)?;
    }
    signals.forward(supervisor.sender()).map_err(Error::Resource)?;

    let mut asked = None;
    let end = supervisor.wait(|command| match command {
        Command::Drain => {
            asked = Some(Instant::now());
            stops.iter().for_each(Stop::drain);
        }
        Command::ReopenLog => {
            if let Some(log) = &log {
                log.reopen();
            }
        }
    });
    drop(bound);
    let log_lines_dropped = match (&end, log) {
        (Ok(End::Drained), Some(log)) => log.finish(LOG_PATIENCE),
        _ => 0,
    };
    if let Some(summary) = logins::summary(&counters) {
        tracing::info!("logins seen: {summary}");
    }
    let drained_ms = asked.map_or(0, |asked| asked.elapsed().as_millis());
    match end? {
        End::Drained => tracing::info!(drained_ms, log_lines_dropped, "stopped: every connection has ended"),
        End::AtOnce => tracing::info!(drained_ms, "stopped at once"),
    }
    Ok(())
}

/// Starts a thread for each of `workers`, with its sockets and pipes; they serve from then on. Whoever waits for the
/// supervisor drains them by their stops.
///
/// # Errors
/// No descriptor or thread.
pub(crate) fn start_workers(
    settings: &Arc<Settings>,
    workers: Vec<WorkerSettings>,
    sockets: Vec<Vec<OwnedFd>>,
    pipes: Vec<PipeSet>,
    log: Option<&LogWriter>,
) -> Result<Workers, Error> {
    let mut supervisor = Supervisor::default();
    let mut stops = Vec::with_capacity(workers.len());
    let mut counters = Vec::with_capacity(workers.len());
    for ((worker, listeners), pipes) in workers.into_iter().zip(sockets).zip(pipes) {
        let stop = Stop::new().map_err(Error::Resource)?;
        stops.push(stop.clone());
        let count = Arc::new(Counters::new(settings.upstreams.len()));
        counters.push(Arc::clone(&count));
        let plan = worker::Plan {
            worker,
            settings: Arc::clone(settings),
            listeners,
            pipes,
            stop,
            log: log.map(LogWriter::sender),
            counters: count,
        };
        supervisor.start(move || worker::run(plan)).map_err(Error::Resource)?;
    }
    Ok(Workers { supervisor, stops, counters })
}

/// Workers that serve.
pub(crate) struct Workers {
    /// Waits for their end.
    pub(crate) supervisor: Supervisor,
    /// One for each.
    pub(crate) stops: Vec<Stop>,
    /// What each counts.
    counters: Vec<Arc<Counters>>,
}

/// Addresses that are bound; Unix sockets leave the file system with it.
struct UntilDropped(Vec<Address>);

impl Drop for UntilDropped {
    fn drop(&mut self) {
        bind::unbind(&self.0);
    }
}

fn open_pipes(workers: &[WorkerSettings]) -> Vec<PipeSet> {
    let (wanted, bytes) =
        workers.first().map_or((0, 0), |worker| (usize::from(worker.pipes), worker.pipe_bytes as usize));
    PipeSet::open(workers.len(), wanted, bytes)
}
