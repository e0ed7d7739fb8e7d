//! The way from a plan to a serving proxy, and to its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::admin::{self, Admin, AdminSettings, Reach};
use super::certificates::{self, Served};
use super::given::Given;
use super::handover::starter::Starter;
use super::handover::{Generations, Inheritance, Predecessor, Upgrades};
use super::health::{self, Checker};
use super::limits::wanted_by;
use super::listeners::{Listeners, Prepared};
use super::logging::Logging;
use super::logins::Watch;
use super::names::{Resolver, change};
use super::privileges::{self, User};
use super::reload::{self, Read, Reading};
use super::running::{Log, Running, Workers, is_http, servers, start_workers};
use super::sandbox::{Needs, Sandbox, SandboxMode};
use super::service_manager::{self, PassedSockets, ServiceManager};
use super::setting::{self, Named};
use super::signals::Signals;
use super::start_up::{self, StartUp};
use super::supervise::{Command, End, Event, Supervisor};
use super::timeouts::{ADDRESS_IN_USE, EXTRA_SOCKETS};
use super::totals::Totals;
use super::{AccessLog, Error, Plan, log_limit, logins, own_listener, sources};
use crate::doctor::host::{Granted, Wanted};
use crate::proxy::bind::SocketFile;
use crate::proxy::orders::Orders;
use crate::proxy::settings::{Service, WorkerSettings};
use crate::uring::{self, FeatureSet, Features, PipeSet};

/// From one try to bind an address that is in use to the next.
const ADDRESS_PAUSE: Duration = Duration::from_millis(50);

/// Serves until it is told to stop; `signals` must be blocked before the process starts a second thread, and `logging` has
/// none yet. `read` reads the settings again. `starter` starts what takes over from this process, which takes over from
/// `predecessor`. `passed` are sockets of the service manager.
///
/// # Errors
/// What this host does not allow, or the first failure of a worker.
pub fn serve(
    plan: Plan,
    read: Read,
    signals: Signals,
    (starter, predecessor): (Starter, Option<&Predecessor>),
    logging: &Logging,
    passed: PassedSockets,
) -> Result<(), Error> {
    setting::name(plan.named);
    let (mut running, supervisor) = start(plan, predecessor, logging, passed)?;
    let mut upgrades = Upgrades::new(starter, supervisor.sender()).map_err(Error::Resource)?;
    let mut postponed = Postponed::default();
    let mut reading = Reading::new(read, supervisor.sender());
    signals.forward(supervisor.sender()).map_err(Error::Resource)?;
    running.manager.serves();
    certificates::compare(&running.served);

    let (mut asked, mut has_left) = (None, false);
    let mut ended_before = String::new();
    let end = supervisor.wait(|command| {
        match command {
            Command::Drain => {
                let is_first = asked.is_none();
                asked = Some(Instant::now());
                if is_first {
                    upgrades.give_up();
                    if announce_stop(&running) {
                        return true;
                    }
                } else {
                    tracing::info!("draining; accepting no more clients");
                }
                running.drain();
                // Clients that are served have their servers.
                running.names = None;
            }
            Command::End => {
                ended_before = running.totals().to_string();
                running.end();
            }
            Command::ReopenLog => {
                running.log.reopen();
                running.generations.reopen_logs();
            }
            Command::Reload | Command::TakeOver if asked.is_some() => {
                tracing::warn!("stopping; settings are not reloaded any more");
                // The clients that asked learn it by that.
                drop(running.board.take_askers());
            }
            // What the new process takes over stays as it is until then.
            Command::Reload if upgrades.is_running() => postponed.reload = true,
            Command::TakeOver if upgrades.is_running() => postponed.take_over = true,
            Command::Reload => read_again(&running, &mut reading),
            Command::TakeOver => take_over(&mut running, &mut reading),
            Command::TakeNames => change::take_over(&mut running),
            Command::Upgrade if asked.is_some() => {
                tracing::warn!("stopping; the proxy is not upgraded any more");
                drop(running.board.take_upgrade_askers());
            }
            Command::Upgrade => {
                let askers = running.board.take_upgrade_askers();
                upgrades.begin(|| running.estate(), askers);
            }
            Command::Upgraded => {
                let taken = upgrades.take();
                if asked.is_some() {
                    // It was told to stop, and so was the new process.
                } else if let Some((successor, askers)) = taken {
                    running.board.stop();
                    asked = Some(Instant::now());
                    running.manager.leaves();
                    running.leave(&successor);
                    running.names = None;
                    if std::mem::take(&mut postponed).any() {
                        successor.reload();
                        drop(running.board.take_askers());
                    }
                    successor.tell(askers);
                    has_left = true;
                    return true;
                } else {
                    std::mem::take(&mut postponed).make_up_for(&mut running, &mut reading);
                }
            }
            Command::CloseExtra if asked.is_some() => {}
            Command::CloseExtra => running.close_extra(),
            Command::AskForPipes => running.orders.iter().for_each(Orders::ask_for_pipes),
            Command::Ended => return running.must_stay(),
        }
        false
    });
    let Running { listeners, log, counters, seats, has_requests, admin, manager, .. } = running;
    close(listeners, admin, has_left, manager.keeps_sockets());
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

/// Says that the proxy stops. Whether it serves for a while yet, so that those who send clients here hear of it first.
fn announce_stop(running: &Running) -> bool {
    running.board.stop();
    let delay = running.drain_delay;
    running.manager.stops(delay.saturating_add(running.drain_timeout()));
    if delay.is_zero() {
        return false;
    }
    if let Err(error) = send_later(running.events.clone(), delay, Event::Waited) {
        tracing::warn!(%error, "cannot wait before the drain; draining now");
        return false;
    }
    tracing::info!(?delay, "stopping; accepting clients until the drain begins");
    true
}

/// Closes the endpoints of a process that serves no more; one before a successor (`has_left`) waits for those whom its admin
/// endpoint answers. Removes the files of Unix sockets, but for those that the service manager keeps.
fn close(listeners: Listeners, admin: Option<Admin>, has_left: bool, are_kept: bool) {
    if are_kept && !has_left {
        listeners.leave_all();
    }
    if let Some(admin) = admin {
        if has_left {
            admin.wait_for_answers();
        }
        admin.finish();
    }
    drop(listeners);
}

/// What waits for the end of an upgrade.
#[derive(Debug, Default, Clone, Copy)]
struct Postponed {
    /// Settings that were read.
    take_over: bool,
    /// Settings that are to be read.
    reload: bool,
}

impl Postponed {
    fn any(self) -> bool {
        self.take_over || self.reload
    }

    fn make_up_for(self, running: &mut Running, reading: &mut Reading) {
        if self.take_over {
            take_over(running, reading);
        }
        if self.reload {
            read_again(running, reading);
        }
    }
}

/// Begins to read the settings again.
fn read_again(running: &Running, reading: &mut Reading) {
    running.manager.reloads();
    if let Err(error) = reading.begin(running.board.take_askers()) {
        running.manager.reloaded(Err(error));
    }
}

fn take_over(running: &mut Running, reading: &mut Reading) {
    if let Some(taken) = reading.take() {
        let outcome = reload::take_over(running, taken);
        if !reading.is_in_progress() {
            running.manager.reloaded(outcome);
        }
    }
}

/// Starts to serve, in the place of `predecessor` if there is one.
fn start(
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

/// Tells the supervisor after this time.
fn send_later(events: Sender<Event>, time: Duration, event: Event) -> std::io::Result<()> {
    thread::Builder::new().name("later".to_owned()).spawn(move || {
        thread::sleep(time);
        // Without a supervisor the process is ending.
        let _ = events.send(event);
    })?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::mpsc::channel;

    use super::super::handover::{At, Description, Role};
    use super::super::running::close_extra;
    use super::super::supervise::Request;
    use super::*;
    use crate::proxy::bind;
    use crate::proxy::routes::Routes;
    use crate::proxy::settings::Listener;
    use crate::upstream::{GroupSettings, Server};
    use crate::uring::{Address, SocketOptions};

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A server that sends each client a byte.
    fn server() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for client in listener.incoming() {
                client.and_then(|mut client| client.write_all(b"x")).expect("a client");
            }
        });
        Server::new(address.to_string(), Address::Ip(address), None).expect("a server")
    }

    /// Sockets of a process with three workers.
    fn given(listener: &Listener, tcp: &SocketOptions) -> (Given, SocketAddr) {
        let bound = bind::bind(listener, tcp, 3, None).expect("a free port");
        bind::listen(&bound.sockets, listener, tcp, &[None; 3], false).expect("a free port");
        let Address::Ip(at) = bound.address else { panic!("an IP address") };
        let mut given = Given::default();
        for (worker, socket) in bound.sockets.iter().enumerate() {
            let (role, service) = (Role::Listener, "a".to_owned());
            let (address, written) = (At::Ip(at), At::Ip(at));
            let description =
                Description { role, address, written, service, worker, file: None, is_of_unit: false };
            given.add(description, socket.try_clone().expect("a descriptor"));
        }
        (given, at)
    }

    /// How many sockets listen at this port.
    fn listening(port: u16) -> usize {
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").expect("it is there");
        let (place, listens) = (format!(":{port:04X}"), "0A");
        let is_it = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1].ends_with(&place) && fields[3] == listens
        };
        sockets.lines().skip(1).filter(is_it).count()
    }

    #[test]
    fn sockets_of_workers_that_are_no_more_are_closed_after_a_while() {
        let tcp = SocketOptions::default();
        let listener = Listener::at(Address::Ip(([127, 0, 0, 1], 0).into()));
        let (mut given, at) = given(&listener, &tcp);
        let group = GroupSettings::new("g", vec![Arc::new(server())]);
        let listener = Listener::at(Address::Ip(at));
        let mut services = [Service::new("a", vec![listener], Routes::all(Arc::new(group)))];
        let mut listeners = Listeners::default();
        let prepared = listeners.prepare(&mut services, 1, &mut given).expect("they are given");
        drop(given);
        prepared.listen(&[None]).expect("they listen");
        let (sockets, _) = listeners.commit(prepared, 1);
        assert!(listeners.has_extra(1));
        let settings =
            [WorkerSettings { buffers: 16, pipes: 0, ring_entries: 64, ..WorkerSettings::default() }];
        let services = services.map(Arc::new);
        let Workers { supervisor, orders, .. } =
            start_workers(&services, 64, &settings, sockets, PipeSet::open(1, 0, 0), None).expect("a worker");
        // It serves all clients, however the kernel would have chosen among the sockets.
        let serves = || {
            for _ in 0..20 {
                let mut client = TcpStream::connect(at).expect("it listens");
                client.set_read_timeout(Some(PATIENCE)).expect("not zero");
                client.read_exact(&mut [0]).expect("it is served");
            }
        };
        serves();
        assert_eq!(listening(at.port()), 3);

        let events = supervisor.sender();
        let (quiet, closed) = channel();
        send_later(events.clone(), Duration::from_millis(50), Event::Quiet).expect("a thread");
        let serving = thread::spawn(move || {
            supervisor.wait(|command| {
                match command {
                    Command::CloseExtra => {
                        close_extra(&orders, &mut listeners);
                        quiet.send(listeners.has_extra(1)).expect("it is waited for");
                    }
                    Command::Drain => orders.iter().for_each(Orders::drain),
                    Command::End => orders.iter().for_each(Orders::end),
                    _ => {}
                }
                false
            })
        });
        assert_eq!(closed.recv_timeout(PATIENCE), Ok(false), "it still knows of them");
        let deadline = Instant::now() + PATIENCE;
        while listening(at.port()) > 1 {
            assert!(Instant::now() < deadline, "they are not closed");
            thread::sleep(Duration::from_millis(1));
        }
        serves();
        events.send(Event::Request(Request::Stop)).expect("it runs");
        serving.join().expect("no panic").expect("no worker fails");
    }
}
