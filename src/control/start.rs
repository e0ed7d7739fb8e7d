//! The way from a plan to a serving proxy: what is bound, opened, given up and started, in that order.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::admin::{self, Admin, AdminSettings, Reach};
use super::certificates::{self, Served};
use super::given::Given;
use super::handover::{Generations, Inheritance, Predecessor};
use super::health::{self, Checker};
use super::limits::wanted_by;
use super::listeners::{Listeners, Prepared};
use super::logging::Logging;
use super::logins::Watch;
use super::names::Resolver;
use super::privileges::{self, User};
use super::running::{Log, Running, Workers, is_http, servers, start_workers};
use super::sandbox::{Needs, Sandbox, SandboxMode};
use super::service_manager::{self, PassedSockets, ServiceManager};
use super::setting::Named;
use super::start_up::{self, StartUp};
use super::supervise::{Event, Supervisor, send_later};
use super::timeouts::{ADDRESS_IN_USE, EXTRA_SOCKETS};
use super::{AccessLog, Error, Plan, own_listener, sources};
use crate::doctor::host::{Granted, Wanted};
use crate::proxy::bind::SocketFile;
use crate::proxy::settings::{Service, WorkerSettings};
use crate::uring::{self, FeatureSet, Features, PipeSet};

/// From one try to bind an address that is in use to the next.
const ADDRESS_PAUSE: Duration = Duration::from_millis(50);

/// Starts to serve, in the place of `predecessor` if there is one.
pub(super) fn start(
    plan: Plan,
    predecessor: Option<&Predecessor>,
    logging: &Logging,
    passed: PassedSockets,
) -> Result<(Running, Supervisor), Error> {
    let started = SystemTime::now();
    let (user, without, mut features) = look(&plan)?;
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
        drain_delay,
        named,
        user: written_user,
        sandbox: mode,
        files,
        ..
    } = plan;
    uring::return_large_allocations();
    let pipes = open_pipes(&workers);
    let cpus: Vec<_> = workers.iter().map(|worker| worker.cpu).collect();
    let (mut services, terminated): (Vec<_>, Vec<_>) =
        services.into_iter().map(|planned| (planned.service, planned.terminated)).unzip();
    let mut listeners = Listeners::default();
    let (mut given, generations, stored) = inherit(predecessor, passed, &services, admin.as_ref())?;
    let patience = if given.is_empty() { ADDRESS_IN_USE } else { Duration::ZERO };
    let prepared = in_time(patience, || listeners.prepare(&mut services, workers.len(), &mut given))?;
    own_listener::refuse(&services, &listeners.with_files(&prepared), admin::address(admin.as_ref()))?;
    sources::check(&services)?;
    let open = |admin: AdminSettings| in_time(patience, || Admin::open(admin.clone(), &mut given));
    let admin = admin.map(open).transpose()?;
    let log_opened = Log::open_for(access_log.as_ref(), user.as_ref())?;
    if let Some(user) = &user {
        let settings = (services.as_slice(), files.as_slice(), access_log.as_ref());
        features = go_on_as(user, settings, (named, without), (&listeners, &prepared), admin.as_ref())?;
    }
    let services: Vec<_> = services.into_iter().map(Arc::new).collect();
    let served = Served::all(&services, terminated);
    let sockets = socket_files(&listeners, &prepared, admin.as_ref());
    let needs = needs(&services, (&files, access_log.as_ref()), &sockets, (named, mode), &resolver);
    let sandbox = Sandbox::enter(mode, &features, &needs);
    let log = Log::start(access_log, log_opened)?;
    logging.start_thread();
    let checker = predecessor.map(|one| be_ready(one, &services, &given)).transpose()?.flatten();
    // What was given and nothing wants is the predecessor's to serve.
    drop(given);
    prepared.listen(&cpus)?;
    admin.as_ref().map(Admin::listen).transpose()?;
    let (sockets, _all_new) = listeners.commit(prepared, workers.len());
    let (tls, granted) = (certificates::place(&services), granted(&pipes));
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
        sandbox: sandbox.to_string(),
    };
    let all: Vec<_> = services.iter().map(Arc::as_ref).collect();
    let connections = sessions_are_asked.then_some(sessions_max as u64);
    let wanted = wanted_by(&all, &workers, connections, (descriptors_max, descriptors_reserved));
    log_start(&line, (&served, &listeners), &Wanted { stays_root: Some(user.is_none()), ..wanted }, granted);

    let rings = with_rings(&workers, without);
    let Workers { supervisor, orders, counters, seats } =
        start_workers(&services, sessions_max, &rings, sockets, pipes, log.writer.as_ref())?;
    let board = Arc::default();
    let mut running = Running {
        served,
        listeners,
        outline,
        workers,
        sessions_max,
        log,
        logins: watch_logins(&services)?,
        manager: ServiceManager::start(&board, (&orders, &counters), stored).map_err(Error::Resource)?,
        orders,
        counters,
        seats,
        started,
        has_requests: false,
        checker,
        admin,
        board,
        resolver,
        drain_delay,
        generations: Arc::new(generations),
        names: None,
        user: written_user,
        sandbox: mode,
        events: supervisor.sender(),
    };
    start_rest(&mut running)?;
    sandbox.close_rings_after(&running.counters).map_err(Error::Resource)?;
    come_to_serve(&running, predecessor)?;
    Ok((running, supervisor))
}

/// The user to go on as, what rings do without, and what they can do then. The process creates nothing before.
fn look(plan: &Plan) -> Result<(Option<User>, FeatureSet, Features), Error> {
    let user = plan.user.as_ref().map(User::of).transpose()?;
    let without = plan.without();
    let features = uring::probe(without).map_err(crate::proxy::Error::from)?;
    if user.is_some() {
        privileges::prepare();
    }
    Ok((user, without, features))
}

/// The settings with which workers open their rings.
fn with_rings(workers: &[WorkerSettings], without: FeatureSet) -> Vec<WorkerSettings> {
    workers.iter().map(|worker| WorkerSettings { without, ..*worker }).collect()
}

/// Gives up root, and leaves to the user what was bound and opened so far. Returns what rings can do from now on.
fn go_on_as(
    user: &User,
    (services, files, log): (&[Service], &[PathBuf], Option<&AccessLog>),
    (named, without): (Named, FeatureSet),
    (listeners, prepared): (&Listeners, &Prepared),
    admin: Option<&Admin>,
) -> Result<Features, Error> {
    let kept = privileges::needed(services, named);
    let socket_files = socket_files(listeners, prepared, admin);
    let sockets: Vec<_> = prepared.sockets().chain(admin.map(Admin::socket)).collect();
    let log = log.map(|log| &log.target);
    privileges::go_on_as(user, kept, files, log, &sockets, &socket_files)?;
    // Rings of the user may be denied where root's are not.
    Ok(uring::probe(without).map_err(crate::proxy::Error::from)?)
}

/// The files of all Unix sockets that are served.
fn socket_files<'a>(
    listeners: &'a Listeners,
    prepared: &'a Prepared,
    admin: Option<&'a Admin>,
) -> Vec<&'a SocketFile> {
    let with_files = listeners.with_files(prepared);
    with_files.iter().filter_map(|(_, file)| *file).chain(admin.and_then(Admin::file)).collect()
}

/// What the process still has to reach once it serves.
fn needs(
    services: &[Arc<Service>],
    (files, log): (&[PathBuf], Option<&AccessLog>),
    socket_files: &[&SocketFile],
    (named, mode): (Named, SandboxMode),
    resolver: &Resolver,
) -> Needs {
    let mut needs = Needs::of_this_host();
    needs.files(files);
    if let Some(log) = log {
        needs.log(&log.target);
    }
    needs.sockets(socket_files.iter().map(|file| file.path()));
    // A file can be changed and read again, flags cannot.
    if named == Named::Flags || mode == SandboxMode::Strict {
        needs.ports(services, resolver);
    }
    needs
}

/// The sockets that this process does not have to bind, the generations of the proxy, and the names of what the service
/// manager keeps for it.
fn inherit(
    predecessor: Option<&Predecessor>,
    passed: PassedSockets,
    services: &[Service],
    admin: Option<&AdminSettings>,
) -> Result<(Given, Generations, Vec<String>), Error> {
    let inherited = predecessor.map(Predecessor::meet).transpose().map_err(Error::Predecessor)?;
    let Inheritance { mut given, generations } = inherited.unwrap_or_default();
    let stored = passed.give_to(&mut given, services, admin)?;
    Ok((given, generations, stored))
}

/// Watches the logins at servers, if any service reads requests.
fn watch_logins(services: &[Arc<Service>]) -> Result<Option<Watch>, Error> {
    let watch = services.iter().any(|service| is_http(service)).then(Watch::start);
    watch.transpose().map_err(Error::Resource)
}

/// Logs what is served, and what is to be known of it.
fn log_start(
    line: &StartUp<'_>,
    (served, listeners): (&[Served], &Listeners),
    wanted: &Wanted,
    granted: Granted,
) {
    let services: Vec<_> = served.iter().map(|one| Arc::clone(&one.service)).collect();
    tracing::info!("{line}");
    start_up::warn_of_open_rings(line.features);
    start_up::log_each_service(&services);
    start_up::log_what_listeners_include(&services, listeners);
    start_up::warn_of_this_host(wanted, granted);
    start_up::warn_of_risky_settings(&services);
    sources::log_what_clients_need(&services);
    certificates::log_checks(served);
}

/// Starts what is not a worker: checks, the admin endpoint, lookups of names.
fn start_rest(running: &mut Running) -> Result<(), Error> {
    running.watch_logins();
    let services = running.services();
    running.prepare_checks(services.iter().map(|service| &**service)).map_err(Error::Resource)?;
    running.check_servers();
    running.show();
    running.keep_sockets();
    open_admin(running)?;
    running.prepare_names(services.iter().map(|service| &**service)).map_err(Error::Resource)?;
    running.watch_names();
    Ok(())
}

/// Waits for the first check of each server, and for the word of the process before this one.
fn be_ready(
    predecessor: &Predecessor,
    services: &[Arc<Service>],
    given: &Given,
) -> Result<Option<Checker>, Error> {
    let checker = Checker::of(services).map_err(Error::Resource)?;
    health::wait_for_first(services);
    predecessor.ready(given.taken()).map_err(Error::Predecessor)?;
    Ok(checker)
}

/// What is left to do where another process served before.
fn come_to_serve(running: &Running, predecessor: Option<&Predecessor>) -> Result<(), Error> {
    running.generations.listen(running.events.clone()).map_err(Error::Resource)?;
    if running.listeners.has_extra(running.workers.len()) {
        send_later(running.events.clone(), EXTRA_SOCKETS, Event::Quiet).map_err(Error::Resource)?;
    }
    if let Some(predecessor) = predecessor {
        service_manager::say_main_process();
        predecessor.serving();
        let generation = running.generations.number();
        tracing::info!(generation, "this process serves in the place of the one before it");
    }
    Ok(())
}

/// Binds again for a while where an address is in use: a process that was killed has it until the kernel has closed all
/// that it had.
fn in_time<T>(patience: Duration, mut bind: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let deadline = Instant::now() + patience;
    loop {
        match bind() {
            Err(Error::Proxy(crate::proxy::Error::Bind { source, .. }))
                if source.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline =>
            {
                thread::sleep(ADDRESS_PAUSE);
            }
            bound => return bound,
        }
    }
}

/// Has the admin endpoint answer.
fn open_admin(running: &mut Running) -> Result<(), Error> {
    let reach = Reach {
        board: Arc::clone(&running.board),
        workers: running.orders.clone(),
        events: running.events.clone(),
    };
    running.admin.as_mut().map_or(Ok(()), |admin| admin.start(reach)).map_err(Error::Resource)
}

/// What this host gives of the pipes that are wanted.
fn granted(pipes: &[PipeSet]) -> Granted {
    Granted {
        pipes: pipes.iter().map(PipeSet::granted).sum(),
        bytes: pipes.iter().map(PipeSet::bytes_min).filter(|bytes| *bytes > 0).min().unwrap_or(0),
    }
}

fn open_pipes(workers: &[WorkerSettings]) -> Vec<PipeSet> {
    let (wanted, bytes) =
        workers.first().map_or((0, 0), |worker| (usize::from(worker.pipes), worker.pipe_bytes as usize));
    PipeSet::open(workers.len(), wanted, bytes)
}
