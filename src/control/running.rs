//! A proxy that serves: its workers, and what they serve now.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime};

use super::admin::{Admin, Board, View, config};
use super::certificates::{self, Served};
use super::handover::{Description, Estate, Generations, Role, Successor};
use super::health::{self, Checker};
use super::listeners::{Listeners, Sockets};
use super::log_writer::{LogWriter, NoLog, Opened};
use super::logins::Watch;
use super::metrics::{DroppedLines, Sources};
use super::names::{self, Resolver};
use super::privileges::{User, WrittenUser, give_log};
use super::service_manager::ServiceManager;
use super::supervise::{Event, Supervisor};
use super::timeouts::{LOG_END, WORKERS_CHANGE};
use super::tls::Expiry;
use super::totals::Totals;
use super::{AccessLog, Error, Outline, SandboxMode, setting};
use crate::proxy::counters::Counters;
use crate::proxy::orders::{Change, Orders};
use crate::proxy::seats::Seats;
use crate::proxy::settings::{Mode, Service, WorkerSettings};
use crate::proxy::worker;
use crate::upstream::{GroupSettings, Server};
use crate::uring::{self, Address, PipeSet};

/// See the module docs.
pub(super) struct Running {
    pub(super) served: Vec<Served>,
    pub(super) listeners: Listeners,
    pub(super) outline: Outline,
    pub(super) workers: Vec<WorkerSettings>,
    pub(super) sessions_max: usize,
    pub(super) log: Log,
    pub(super) logins: Option<Watch>,
    pub(super) orders: Vec<Orders>,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) seats: Arc<Seats>,
    /// When the process started.
    pub(super) started: SystemTime,
    /// Whether any service has ever read requests.
    pub(super) has_requests: bool,
    /// Checks servers, since any group has had checks.
    pub(super) checker: Option<Checker>,
    pub(super) admin: Option<Admin>,
    /// What the admin endpoint shows.
    pub(super) board: Arc<Board>,
    /// Told what happens, if there is one.
    pub(super) manager: ServiceManager,
    /// How names are looked up.
    pub(super) resolver: Resolver,
    /// How long clients are still accepted after a request to stop.
    pub(super) drain_delay: Duration,
    /// This process and those before it.
    pub(super) generations: Arc<Generations>,
    /// Looks names up again, since any group has had one.
    pub(super) names: Option<names::Watch>,
    /// The user that it runs as, if it gave up root for it.
    pub(super) user: Option<WrittenUser>,
    /// The sandbox that it is in.
    pub(super) sandbox: SandboxMode,
    /// To the supervisor.
    pub(super) events: Sender<Event>,
}

impl Running {
    pub(super) fn services(&self) -> Vec<Arc<Service>> {
        self.served.iter().map(|one| Arc::clone(&one.service)).collect()
    }

    /// The CPU of each worker, if it is pinned.
    pub(super) fn cpus(&self) -> Vec<Option<usize>> {
        self.workers.iter().map(|worker| worker.cpu).collect()
    }

    /// Workers that accept no more clients, and end when their sessions have ended.
    pub(super) fn drain(&self) {
        self.orders.iter().for_each(Orders::drain);
    }

    /// How long connections may go on after a request to stop.
    pub(super) fn drain_timeout(&self) -> Duration {
        self.workers.iter().map(|worker| worker.drain_timeout).max().unwrap_or_default()
    }

    /// Workers that end immediately.
    pub(super) fn end(&self) {
        self.orders.iter().for_each(Orders::end);
    }

    pub(super) fn totals(&self) -> Totals<'_> {
        let Self { counters, has_requests, seats, .. } = self;
        Totals { counters, has_requests: *has_requests, times_full: seats.times_full() }
    }

    /// Sets what workers may take in sum; `read` are the workers that the settings ask for, each with its share.
    pub(super) fn set_limits(&mut self, sessions_max: usize, read: &[WorkerSettings]) {
        self.seats.set_max(sessions_max);
        self.sessions_max = sessions_max;
        let peek_bytes_max =
            read.iter().map(|worker| worker.peek_bytes_max).sum::<usize>() / self.workers.len();
        for worker in &mut self.workers {
            worker.peek_bytes_max = peek_bytes_max;
            worker.drain_timeout = read.first().map_or(worker.drain_timeout, |read| read.drain_timeout);
        }
    }

    /// Has the workers serve what is served now, on these new sockets as well, and waits until they do.
    pub(super) fn tell_workers(&self, sockets: Vec<Sockets>) {
        let (done, all_done) = channel();
        let services = self.services();
        for ((worker, orders), sockets) in self.workers.iter().zip(&self.orders).zip(sockets) {
            let change = change(&services, worker, sockets, self.log.writer.as_ref());
            orders.change(change, done.clone());
        }
        drop(done);
        wait_for(&all_done);
    }

    /// Has the admin endpoint show what is served now.
    pub(super) fn show(&self) {
        let certificates = certificates::own(&self.served);
        let config = config::text(&self.outline, self.workers.len(), self.sessions_max);
        let metrics = Some(self.metrics());
        self.board.show(View { services: self.services(), certificates, config, metrics });
    }

    /// Has the service manager keep the sockets of listeners, if it does.
    pub(super) fn keep_sockets(&self) {
        if self.manager.keeps_sockets() {
            self.manager.keep(self.listeners.to_keep(self.workers.len()));
        }
    }

    fn metrics(&self) -> Sources {
        let own = certificates::own(&self.served).into_iter();
        let certificates = own.filter_map(|(owner, own)| Some((owner, Expiry::of(&own.leaf)?)));
        Sources {
            counters: self.counters.clone(),
            seats: Arc::clone(&self.seats),
            stuck: Arc::clone(&self.board.stuck),
            sessions_max: self.sessions_max,
            log: self.log.dropped_lines(),
            services: self.services(),
            certificates: certificates.collect(),
            started: self.started,
            generations: Arc::clone(&self.generations),
        }
    }

    /// What a successor gets.
    pub(super) fn estate(&self) -> Estate {
        let mut sockets = self.listeners.to_hand_over();
        sockets.extend(self.admin.as_ref().map(Admin::to_hand_over));
        Estate::new(&self.generations, self.generations.own(&self.counters), sockets)
    }

    /// Leaves to a process that serves in this one's place what it has taken, and reports to it until the end. `sockets` are
    /// those that it was given.
    pub(super) fn leave(&mut self, successor: &Successor) {
        let of_listener = |description: &Description| match description.role {
            Role::Listener => Some(Address::from(description.address.clone())),
            Role::Admin => None,
        };
        let mut addresses: Vec<_> = successor.taken().filter_map(of_listener).collect();
        addresses.dedup();
        let takes_admin = successor.taken().any(|description| description.role == Role::Admin);
        self.listeners.leave(&addresses);
        self.orders.iter().for_each(|orders| orders.leave(addresses.clone()));
        self.drain();
        if let Some(admin) = &self.admin {
            admin.leave(takes_admin);
        }
        if let Err(error) = successor.report(&self.generations, self.counters.clone(), self.events.clone()) {
            tracing::warn!(%error, "cannot tell the new process of the connections here");
        }
    }

    /// Whether processes before this one still serve connections: a service manager ends them once the one that it takes for the
    /// main process has ended.
    pub(super) fn must_stay(&self) -> bool {
        let processes = self.generations.older().len();
        if processes > 0 {
            tracing::info!(
                processes,
                "all connections of this process have ended; waiting for those before it"
            );
        }
        processes > 0
    }

    /// Closes sockets on which nothing arrives any more.
    pub(super) fn close_extra(&mut self) {
        close_extra(&self.orders, &mut self.listeners);
    }

    /// Starts the checker, if these services need it and there is none yet.
    ///
    /// # Errors
    /// No thread, or no descriptor.
    pub(super) fn prepare_checks<'a>(
        &mut self,
        services: impl IntoIterator<Item = &'a Service>,
    ) -> io::Result<()> {
        let mut groups = services.into_iter().flat_map(Service::groups);
        if self.checker.is_none() && groups.any(|group| group.checks.is_some()) {
            self.checker = Some(Checker::start()?);
        }
        Ok(())
    }

    /// Checks the servers of the groups that have checks now.
    pub(super) fn check_servers(&self) {
        if let Some(checker) = &self.checker {
            checker.replace(health::groups(&self.services()));
        }
    }

    /// Starts to look names up again, if these services have any and nothing does yet.
    ///
    /// # Errors
    /// No thread, or no descriptor.
    pub(super) fn prepare_names<'a>(
        &mut self,
        services: impl IntoIterator<Item = &'a Service>,
    ) -> io::Result<()> {
        if self.names.is_none() && names::is_needed(services.into_iter().flat_map(Service::groups)) {
            self.names = Some(names::Watch::start(self.events.clone())?);
        }
        Ok(())
    }

    /// Looks up the names of the groups again from now on.
    pub(super) fn watch_names(&mut self) {
        let groups = health::groups(&self.services());
        if let Some(names) = &mut self.names {
            names.replace(&self.resolver, &groups);
        }
    }

    /// Has new connections go to what `next` makes of some of the groups. Listeners and all other settings stay.
    pub(super) fn replace_groups(&mut self, mut next: impl FnMut(&GroupSettings) -> Option<GroupSettings>) {
        let mut made = Vec::new();
        let mut heir = |group: &Arc<GroupSettings>| {
            if let Some((_, heir)) = made.iter().find(|(known, _)| Arc::ptr_eq(known, group)) {
                return Arc::clone(heir);
            }
            let heir = next(group).map_or_else(|| Arc::clone(group), Arc::new);
            made.push((Arc::clone(group), Arc::clone(&heir)));
            heir
        };
        for one in &mut self.served {
            let routes = one.service.routes.map(&mut heir);
            one.service = Arc::new(Service { routes, ..Service::clone(&one.service) });
        }
        self.tell_workers(vec![Sockets::new(); self.workers.len()]);
        self.watch_logins();
        self.check_servers();
        self.show();
    }

    /// Watches the logins at the servers of services that read requests.
    pub(super) fn watch_logins(&mut self) {
        let in_http: Vec<_> = self.services().into_iter().filter(|service| is_http(service)).collect();
        self.has_requests |= !in_http.is_empty();
        if let Some(watch) = &self.logins {
            watch.set(servers(&in_http).into_iter().map(Arc::clone).collect());
        }
    }
}

/// Has the workers close the sockets that they have besides their own, and forgets them.
pub(super) fn close_extra(orders: &[Orders], listeners: &mut Listeners) {
    let (done, all_done) = channel();
    for orders in orders {
        orders.close_extra(done.clone());
    }
    drop(done);
    wait_for(&all_done);
    listeners.forget_extra(orders.len());
}

fn wait_for(all_done: &Receiver<()>) {
    // Nothing is sent: it ends when the last worker has dropped its sender.
    if let Err(RecvTimeoutError::Timeout) = all_done.recv_timeout(WORKERS_CHANGE) {
        tracing::warn!(
            "a worker has not taken over the new settings within {WORKERS_CHANGE:?}; it does as soon as it can"
        );
    }
}

/// The access log, if there is one now.
pub(super) struct Log {
    pub(super) settings: Option<AccessLog>,
    pub(super) writer: Option<LogWriter>,
    /// Lines that earlier logs lost.
    lines_dropped: u64,
}

impl Log {
    /// Opens the log of these settings.
    ///
    /// # Errors
    /// It cannot be opened, or there is no thread.
    pub(super) fn open(settings: Option<AccessLog>) -> Result<Self, Error> {
        let opened = Self::open_for(settings.as_ref(), None)?;
        Self::start(settings, opened)
    }

    /// Opens the target, which the user gets if there is one. Nothing is written, and no thread started.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open_for(
        settings: Option<&AccessLog>,
        user: Option<&User>,
    ) -> Result<Option<Opened>, Error> {
        let Some(log) = settings else { return Ok(None) };
        let opened = Opened::open(log, |file, path| user.map_or(Ok(()), |user| give_log(user, file, path)));
        opened.map(Some).map_err(|why| no_log(log, why))
    }

    /// Starts to write to what was opened for these settings.
    ///
    /// # Errors
    /// No thread.
    pub(super) fn start(settings: Option<AccessLog>, opened: Option<Opened>) -> Result<Self, Error> {
        let writer = opened.map(Opened::start).transpose().map_err(Error::Resource)?;
        Ok(Self { settings, writer, lines_dropped: 0 })
    }

    /// Replaces it by one that is open, which workers must not use yet. Returns the old one, to be ended when they use the
    /// new one.
    pub(super) fn replace(&mut self, next: Self) -> Option<LogWriter> {
        self.settings = next.settings;
        std::mem::replace(&mut self.writer, next.writer)
    }

    /// Ends a log that no worker uses any more.
    pub(super) fn retire(&mut self, old: Option<LogWriter>) {
        self.lines_dropped += old.map_or(0, |old| old.finish(LOG_END));
    }

    /// Ends the log. Returns the number of lines that were never written.
    pub(super) fn finish(mut self) -> u64 {
        let last = self.writer.take();
        self.retire(last);
        self.lines_dropped
    }

    /// How many lines it has lost, and loses from now on.
    fn dropped_lines(&self) -> DroppedLines {
        let current = self.writer.as_ref().map(LogWriter::dropped_lines);
        DroppedLines { earlier: self.lines_dropped, current }
    }

    /// Opens the log's file again.
    pub(super) fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }
}

fn no_log(log: &AccessLog, why: NoLog) -> Error {
    match why {
        NoLog::Unread => Error::UnreadAccessLog(log.target.clone()),
        NoLog::Failed(error) if uring::is_out_of_descriptors(&error) => Error::Resource(error),
        NoLog::Failed(source) => Error::AccessLog { target: log.target.clone(), source },
    }
}

/// Running workers.
pub(crate) struct Workers {
    /// Waits for them to end.
    pub(crate) supervisor: Supervisor,
    /// One for each worker.
    pub(crate) orders: Vec<Orders>,
    /// The counters of each worker.
    pub(super) counters: Vec<Arc<Counters>>,
    /// The seats of all of them.
    pub(super) seats: Arc<Seats>,
}

/// Starts a thread for each of `workers`, with its sockets and pipes; they serve immediately, up to `sessions_max`
/// clients at once. The caller waits for the supervisor and drains the workers by their orders.
///
/// # Errors
/// No descriptor or thread.
pub(crate) fn start_workers(
    services: &[Arc<Service>],
    sessions_max: usize,
    workers: &[WorkerSettings],
    sockets: Vec<Sockets>,
    pipes: Vec<PipeSet>,
    log: Option<&LogWriter>,
) -> Result<Workers, Error> {
    let mut supervisor = Supervisor::default();
    let mut all_orders = Vec::with_capacity(workers.len());
    let mut counters = Vec::with_capacity(workers.len());
    let seats = Arc::new(Seats::new(sessions_max, workers.len()).map_err(Error::Resource)?);
    for (number, ((worker, sockets), pipes)) in workers.iter().zip(sockets).zip(pipes).enumerate() {
        let orders = Orders::new().map_err(Error::Resource)?;
        all_orders.push(orders.clone());
        let count = Arc::new(Counters::default());
        counters.push(Arc::clone(&count));
        let plan = worker::Plan {
            number,
            worker: *worker,
            seats: Arc::clone(&seats),
            first: change(services, worker, sockets, log),
            pipes,
            orders,
            counters: count,
        };
        supervisor
            .start(move || worker::run(plan).map_err(|error| setting::advised(&error)))
            .map_err(Error::Resource)?;
    }
    Ok(Workers { supervisor, orders: all_orders, counters, seats })
}

/// What one worker is to serve.
fn change(
    services: &[Arc<Service>],
    worker: &WorkerSettings,
    sockets: Sockets,
    log: Option<&LogWriter>,
) -> Change {
    Change {
        services: services.to_vec(),
        sockets,
        log: log.map(LogWriter::sender),
        peek_bytes_max: worker.peek_bytes_max,
        drain_timeout: worker.drain_timeout,
    }
}

pub(super) fn is_http(service: &Service) -> bool {
    matches!(service.mode, Mode::Http(_))
}

/// The servers of all groups, each once.
pub(super) fn servers(services: &[Arc<Service>]) -> Vec<&Arc<Server>> {
    let mut servers: Vec<&Arc<Server>> = Vec::new();
    for server in services.iter().flat_map(|service| service.groups()).flat_map(|group| &group.servers) {
        if !servers.iter().any(|known| Arc::ptr_eq(known, server)) {
            servers.push(server);
        }
    }
    servers
}
