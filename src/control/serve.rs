//! The way from a plan to a serving proxy, and to its end.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::admin::{Admin, Reach};
use super::certificates::{self, Served};
use super::handover::starter::Starter;
use super::limits::wanted_by;
use super::listeners::Listeners;
use super::logging::Logging;
use super::logins::Watch;
use super::names::change;
use super::privileges::{self, User};
use super::reload::{self, Read, Reading};
use super::running::{Log, Running, Workers, is_http, servers, start_workers};
use super::service_manager::ServiceManager;
use super::setting;
use super::signals::Signals;
use super::start_up::{self, StartUp};
use super::supervise::{Command, End, Supervisor};
use super::totals::Totals;
use super::{Error, Plan, log_limit, logins, own_listener, sources};
use crate::doctor::host::{Granted, Wanted};
use crate::proxy::settings::WorkerSettings;
use crate::uring::{self, PipeSet};

/// Serves until it is told to stop; `signals` must be blocked before the process starts a second thread, and `logging` has
/// none yet. `read` reads the settings again.
///
/// # Errors
/// What this host does not allow, or the first failure of a worker.
pub fn serve(
    plan: Plan,
    read: Read,
    signals: Signals,
    starter: Starter,
    logging: &Logging,
) -> Result<(), Error> {
    // It ends when this is dropped.
    let _starter = starter;
    setting::name(plan.named);
    let (mut running, supervisor) = start(plan, logging)?;
    let mut reading = Reading::new(read, supervisor.sender());
    signals.forward(supervisor.sender()).map_err(Error::Resource)?;
    let manager = ServiceManager::start(&running.board, &running.orders, &running.counters);
    let manager = manager.map_err(Error::Resource)?;
    manager.serves();
    certificates::compare(&running.served);

    let mut asked = None;
    let mut ended_before = String::new();
    let end = supervisor.wait(|command| match command {
        Command::Drain => {
            running.board.stop();
            manager.stops(running.drain_timeout());
            asked = Some(Instant::now());
            running.drain();
            // Clients that are served have their servers.
            running.names = None;
        }
        Command::End => {
            ended_before = running.totals().to_string();
            running.end();
        }
        Command::ReopenLog => running.log.reopen(),
        Command::Reload | Command::TakeOver if asked.is_some() => {
            tracing::warn!("stopping; settings are not reloaded any more");
            // Who asked learns it by that.
            drop(running.board.take_askers());
        }
        Command::Reload => {
            manager.reloads();
            if let Err(error) = reading.begin(running.board.take_askers()) {
                manager.reloaded(Err(error));
            }
        }
        Command::TakeOver => {
            if let Some(taken) = reading.take() {
                let outcome = reload::take_over(&mut running, taken);
                if !reading.is_in_progress() {
                    manager.reloaded(outcome);
                }
            }
        }
        Command::TakeNames => change::take_over(&mut running),
    });
    let Running { listeners, log, counters, seats, has_requests, admin, .. } = running;
    if let Some(admin) = admin {
        admin.finish();
    }
    // Removes the files of Unix sockets.
    drop(listeners);
    let log_lines_dropped = match &end {
        Ok(End::Drained) => log.finish(),
        _ => 0,
    };
    log_limit::flush();
    if let Some(summary) = logins::summary(&counters) {
        tracing::info!("login totals: {summary}");
    }
    let totals = Totals { counters: &counters, has_requests, times_full: seats.times_full() };
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

/// Starts to serve.
fn start(plan: Plan, logging: &Logging) -> Result<(Running, Supervisor), Error> {
    let started = SystemTime::now();
    let user = plan.user.as_ref().map(User::of).transpose()?;
    let without = plan.workers[0].without;
    let mut features = uring::probe(without).map_err(crate::proxy::Error::from)?;
    if user.is_some() {
        privileges::prepare();
    }
    let Plan {
        services,
        sessions_max,
        sessions_are_asked,
        workers,
        access_log,
        admin,
        descriptors_max,
        descriptors_reserved,
        outline,
        resolver,
        named,
        user: written_user,
        files,
        ..
    } = plan;
    uring::return_large_allocations();
    let pipes = open_pipes(&workers);
    let cpus: Vec<_> = workers.iter().map(|worker| worker.cpu).collect();
    let (mut services, terminated): (Vec<_>, Vec<_>) =
        services.into_iter().map(|planned| (planned.service, planned.terminated)).unzip();
    let mut listeners = Listeners::default();
    let prepared = listeners.prepare(&mut services, &cpus)?;
    own_listener::refuse(&services, &listeners.with_files(&prepared))?;
    sources::check(&services)?;
    let admin = admin.map(Admin::open).transpose()?;
    let log_opened = Log::open_for(access_log.as_ref(), user.as_ref())?;
    if let Some(user) = &user {
        let with_files = listeners.with_files(&prepared);
        let of_admin = admin.as_ref().and_then(Admin::file);
        let sockets: Vec<_> = with_files.iter().filter_map(|(_, file)| *file).chain(of_admin).collect();
        let log = access_log.as_ref().map(|log| &log.target);
        privileges::go_on_as(user, privileges::needed(&services, named), &files, log, &sockets)?;
        // Rings of the user may be denied where root's are not.
        features = uring::probe(without).map_err(crate::proxy::Error::from)?;
    }
    let (sockets, _all_new) = listeners.commit(prepared, workers.len());
    let services: Vec<_> = services.into_iter().map(Arc::new).collect();
    let served: Vec<_> = std::iter::zip(&services, terminated)
        .map(|(service, terminated)| Served { service: Arc::clone(service), terminated })
        .collect();
    let log = Log::start(access_log, log_opened)?;
    logging.start_thread();
    let tls = certificates::place(&services);
    let granted = Granted {
        pipes: pipes.iter().map(PipeSet::granted).sum(),
        bytes: pipes.iter().map(PipeSet::bytes_min).filter(|bytes| *bytes > 0).min().unwrap_or(0),
    };
    let line = StartUp {
        listeners: start_up::addresses(&services).collect(),
        servers: servers(&services),
        tls: tls.as_deref(),
        workers: &workers,
        sessions_max,
        features: &features,
        descriptors_max,
        pipes: granted.pipes,
        pipe_bytes: granted.bytes,
    };
    let of_services: Vec<_> = services.iter().map(Arc::as_ref).collect();
    let connections = sessions_are_asked.then_some(sessions_max as u64);
    let wanted = wanted_by(&of_services, &workers, connections, (descriptors_max, descriptors_reserved));
    log_start(&line, &served, &Wanted { stays_root: Some(user.is_none()), ..wanted }, granted);

    let Workers { supervisor, orders, counters, seats } =
        start_workers(&services, sessions_max, &workers, sockets, pipes, log.writer.as_ref())?;
    let watch = services.iter().any(|service| is_http(service)).then(Watch::start);
    let mut running = Running {
        served,
        listeners,
        outline,
        workers,
        sessions_max,
        log,
        logins: watch.transpose().map_err(Error::Resource)?,
        orders,
        counters,
        seats,
        started,
        has_requests: false,
        checker: None,
        admin,
        board: Arc::default(),
        resolver,
        names: None,
        user: written_user,
        events: supervisor.sender(),
    };
    start_rest(&mut running, &supervisor)?;
    Ok((running, supervisor))
}

/// Logs what is served, and what is to be known of it.
fn log_start(line: &StartUp<'_>, served: &[Served], wanted: &Wanted, granted: Granted) {
    let services: Vec<_> = served.iter().map(|one| Arc::clone(&one.service)).collect();
    tracing::info!("{line}");
    start_up::warn_of_open_rings(line.features);
    start_up::log_each_service(&services);
    start_up::log_what_listeners_include(&services);
    start_up::warn_of_this_host(wanted, granted);
    start_up::warn_of_risky_settings(&services);
    sources::log_what_clients_need(&services);
    certificates::log_checks(served);
}

/// Starts what is not a worker: checks, the admin endpoint, lookups of names.
fn start_rest(running: &mut Running, supervisor: &Supervisor) -> Result<(), Error> {
    running.watch_logins();
    let services = running.services();
    running.prepare_checks(services.iter().map(|service| &**service)).map_err(Error::Resource)?;
    running.check_servers();
    running.show();
    if let Some(admin) = &mut running.admin {
        let reach = Reach {
            board: Arc::clone(&running.board),
            workers: running.orders.clone(),
            events: supervisor.sender(),
        };
        admin.start(reach).map_err(Error::Resource)?;
    }
    running.prepare_names(services.iter().map(|service| &**service)).map_err(Error::Resource)?;
    running.watch_names();
    Ok(())
}

fn open_pipes(workers: &[WorkerSettings]) -> Vec<PipeSet> {
    let (wanted, bytes) =
        workers.first().map_or((0, 0), |worker| (usize::from(worker.pipes), worker.pipe_bytes as usize));
    PipeSet::open(workers.len(), wanted, bytes)
}
