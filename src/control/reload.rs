//! Settings that are read again while the proxy serves: all of them are taken over, or none.
//!
//! ```text
//!   SIGHUP --> Reading (a thread: names are looked up, files read) --Plan--> take_over
//!   take_over: everything that can fail | what cannot: listeners, log, workers, then the lines about it
//! ```
//!
//! Connections that are established go on with what they began with. This must never touch them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::admin::{Admin, Asker, NextToken};
use super::certificates::{self, Served};
use super::given::Given;
use super::limits::wanted_by;
use super::listeners::{Difference, Prepared};
use super::logins::Watch;
use super::names::Resolver;
use super::running::{Log, Running, is_http};
use super::supervise::Event;
use super::tls::Terminated;
use super::{Error, Outline, Plan, changes, own_listener, sandbox, sources, start_up};
use crate::proxy::settings::{Service, WorkerSettings};
use crate::upstream::GroupSettings;
use crate::uring::Address;

/// Reads the settings again: the plan, or why there is none in one line.
pub type Read = Box<dyn Fn() -> Result<Plan, String> + Send + Sync>;

/// The thread that reads settings. There is one at a time.
pub(super) struct Reading {
    read: Arc<Read>,
    events: Sender<Event>,
    thread: Option<JoinHandle<Result<Plan, String>>>,
    /// Those who wait for what becomes of it.
    askers: Vec<Asker>,
    /// Whether to read again afterwards, and for whom: what changed meanwhile may have been read already.
    again: Option<Vec<Asker>>,
}

/// What was read, and who waits for what becomes of it.
pub(super) type Taken = (Result<Plan, String>, Vec<Asker>);

impl Reading {
    /// Nothing is read yet. An [`Event::Read`] will say when something was.
    pub(super) fn new(read: Read, events: Sender<Event>) -> Self {
        Self { read: Arc::new(read), events, thread: None, askers: Vec::new(), again: None }
    }

    /// Begins to read, now or when the current reading has ended, for these.
    ///
    /// # Errors
    /// No thread; it has been said.
    pub(super) fn begin(&mut self, askers: Vec<Asker>) -> Result<(), String> {
        if self.thread.is_some() {
            self.again.get_or_insert_default().extend(askers);
            return Ok(());
        }
        let (read, finished) = (Arc::clone(&self.read), Finished(self.events.clone()));
        let thread = thread::Builder::new().name("reload".to_owned()).spawn(move || {
            let _finished = finished;
            read()
        });
        match thread {
            Ok(thread) => {
                self.thread = Some(thread);
                self.askers = askers;
                Ok(())
            }
            Err(error) => {
                let error = Error::Resource(error).to_string();
                refuse(&error);
                for asker in askers {
                    asker.answer(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// What was read, and those who wait for what becomes of it.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let read = self.thread.take()?.join();
        let askers = std::mem::take(&mut self.askers);
        if let Some(askers) = self.again.take() {
            // Without a thread it has been said; what was read before is taken over.
            let _ = self.begin(askers);
        }
        let read = read.unwrap_or_else(|_| Err("reading failed; this is a bug in iisplice".to_owned()));
        Some((read, askers))
    }

    /// Whether settings are being read.
    pub(super) fn is_in_progress(&self) -> bool {
        self.thread.is_some()
    }
}

/// Says that the thread has finished, however it did.
struct Finished(Sender<Event>);

impl Drop for Finished {
    fn drop(&mut self) {
        // Without a supervisor the process is ending.
        let _ = self.0.send(Event::Read);
    }
}

/// What a reload did.
#[derive(Debug, Clone)]
pub(super) struct Done {
    /// What has changed.
    pub(super) changed: Vec<String>,
    /// Settings that keep their values until a restart.
    pub(super) need_restart: Vec<String>,
}

/// Serves by what was read from now on, or says why not. If anything of it cannot be used, nothing changes.
///
/// # Errors
/// Why not, which has been said.
pub(super) fn take_over(running: &mut Running, (read, askers): Taken) -> Result<(), String> {
    let taken = read.and_then(|plan| {
        let places = plan.places.clone();
        let mut needing_restart = changes::needing_restart(&running.workers, &plan.workers);
        let admin = running.admin.as_ref().map(Admin::settings);
        needing_restart.extend(changes::needing_restart_of_admin(admin, plan.admin.as_ref()));
        needing_restart.extend(changes::needing_restart_of_sandbox(running.sandbox, plan.sandbox));
        needing_restart.extend(changes::needing_restart_of_user(running.user.as_ref(), plan.user.as_ref()));
        replace(running, plan).map_err(|error| places.describe(&error)).map(|said| (said, needing_restart))
    });
    match taken {
        Ok((said, needing_restart)) => {
            tracing::info!("{said}");
            if !needing_restart.is_empty() {
                let settings = needing_restart.join(", ");
                tracing::warn!("settings that need a restart keep their values: {settings}");
            }
            log_state(running, said.descriptors);
            let done = Done { changed: said.changes, need_restart: needing_restart };
            for asker in askers {
                asker.answer(Ok(done.clone()));
            }
            Ok(())
        }
        Err(error) => {
            refuse(&error);
            for asker in askers {
                asker.answer(Err(error.clone()));
            }
            Err(error)
        }
    }
}

fn refuse(error: &dyn fmt::Display) {
    tracing::error!(%error, "cannot reload settings; keeping those in force");
}

/// What is said of the settings in force, as at start. `descriptors`: how many there are at most, and how many connections
/// cannot use.
fn log_state(running: &Running, descriptors: (u64, u64)) {
    let services = running.services();
    start_up::log_what_listeners_include(&services, &running.listeners);
    let of_services: Vec<_> = services.iter().map(Arc::as_ref).collect();
    let connections = Some(running.sessions_max as u64);
    start_up::warn_if_descriptors_run_out(&wanted_by(
        &of_services,
        &running.workers,
        connections,
        descriptors,
    ));
    start_up::warn_of_risky_settings(&services);
    sources::log_what_clients_need(&services);
    certificates::log_checks(&running.served);
    certificates::compare(&running.served);
}

/// Returns what has changed.
fn replace(running: &mut Running, plan: Plan) -> Result<Reloaded, Error> {
    let descriptors = (plan.descriptors_max, plan.descriptors_reserved);
    let next = prepare(running, plan)?;
    let (before, outline_before) = (running.services(), running.outline.clone());
    let (served_before, listeners) = commit(running, next);
    let mut changes = outline_before.changes(&running.outline);
    changes.extend(of_listeners(&listeners));
    changes.extend(of_servers(&before, &running.services()));
    changes.extend(of_certificates(&served_before, &running.served));
    let has_certificates = running.served.iter().any(|one| one.terminated.is_some());
    Ok(Reloaded { changes, has_certificates, descriptors })
}

/// What is to be served next: everything that could fail has not.
struct Next {
    services: Vec<Service>,
    terminated: Vec<Option<Terminated>>,
    listeners: Prepared,
    /// If it is another one.
    log: Option<Log>,
    sessions_max: usize,
    workers: Vec<WorkerSettings>,
    outline: Outline,
    admin_token: Option<NextToken>,
    resolver: Resolver,
    drain_delay: Duration,
}

/// Everything that can fail. Changes nothing but the options of listeners that stay, which comes last.
fn prepare(running: &mut Running, plan: Plan) -> Result<Next, Error> {
    let Plan { services, sessions_max, workers, access_log, outline, resolver, drain_delay, .. } = plan;
    let (mut services, terminated): (Vec<_>, Vec<_>) =
        services.into_iter().map(|planned| (planned.service, planned.terminated)).unzip();
    inherit(&mut services, &running.services());
    let cpus = running.cpus();
    let listeners = running.listeners.prepare(&mut services, cpus.len(), &mut Given::default())?;
    let admin = running.admin.as_ref().map(Admin::address);
    own_listener::refuse(&services, &running.listeners.with_files(&listeners), admin)?;
    sources::check(&services)?;
    sandbox::first_denied(&services, &resolver).map_or(Ok(()), |port| Err(Error::Port(port)))?;
    if running.logins.is_none() && services.iter().any(is_http) {
        running.logins = Some(Watch::start().map_err(Error::Resource)?);
    }
    running.prepare_checks(&services).map_err(Error::Resource)?;
    running.prepare_names(&services).map_err(Error::Resource)?;
    let log = (access_log != running.log.settings).then(|| Log::open(access_log)).transpose()?;
    let admin_token = running.admin.as_ref().map(Admin::read_token).transpose()?.flatten();
    // From here on new ones have clients, who would be reset if anything failed.
    listeners.listen(&cpus)?;
    running.listeners.tune(&listeners, &cpus)?;
    Ok(Next {
        services,
        terminated,
        listeners,
        log,
        sessions_max,
        workers,
        outline,
        admin_token,
        resolver,
        drain_delay,
    })
}

/// Serves what was prepared. Returns what was served before, and which listeners came and went.
fn commit(running: &mut Running, next: Next) -> (Vec<Served>, Difference) {
    let Next {
        services,
        terminated,
        listeners,
        log,
        sessions_max,
        workers,
        outline,
        admin_token,
        resolver,
        drain_delay,
    } = next;
    let (sockets, listeners) = running.listeners.commit(listeners, running.workers.len());
    let old_log = log.and_then(|log| running.log.replace(log));
    running.set_limits(sessions_max, &workers);
    let served = std::iter::zip(services, terminated)
        .map(|(service, terminated)| Served { service: Arc::new(service), terminated })
        .collect();
    let before = std::mem::replace(&mut running.served, served);
    running.outline = outline.with_those_at_start_of(&running.outline);
    running.tell_workers(sockets);
    running.log.retire(old_log);
    running.watch_logins();
    running.check_servers();
    running.show();
    running.keep_sockets();
    if let Some(admin) = &running.admin {
        admin.set_token(admin_token);
    }
    running.resolver = resolver;
    running.drain_delay = drain_delay;
    running.watch_names();
    (before, listeners)
}

/// Has servers go on with the states of those that the same groups had before, and services with what they know of clients.
fn inherit(services: &mut [Service], before: &[Arc<Service>]) {
    let known: BTreeMap<_, _> =
        before.iter().flat_map(|service| service.groups()).map(|group| (&*group.name, group)).collect();
    let mut made: Vec<(Arc<GroupSettings>, Arc<GroupSettings>)> = Vec::new();
    let mut heir = |group: &Arc<GroupSettings>| {
        if let Some((_, heir)) = made.iter().find(|(read, _)| Arc::ptr_eq(read, group)) {
            return Arc::clone(heir);
        }
        let heir = match known.get(&*group.name) {
            Some(known) => Arc::new(group.inherit(known)),
            None => Arc::clone(group),
        };
        made.push((Arc::clone(group), Arc::clone(&heir)));
        heir
    };
    for service in services {
        service.routes = service.routes.map(&mut heir);
        if let Some(known) = before.iter().find(|known| known.name == service.name) {
            service.inherit(known);
        }
    }
}

/// What a reload has done.
#[derive(Debug)]
struct Reloaded {
    changes: Vec<String>,
    has_certificates: bool,
    descriptors: (u64, u64),
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = changes::in_a_line(&self.changes);
        if self.has_certificates {
            write!(f, "settings and certificates reloaded; used for new connections; changed: {changes}")
        } else {
            write!(f, "settings reloaded; used for new connections; changed: {changes}")
        }
    }
}

fn of_listeners(Difference { added, removed }: &Difference) -> Vec<String> {
    let words = |word: &'static str| move |address: &Address| format!("listener {address} {word}");
    added.iter().map(words("added")).chain(removed.iter().map(words("removed"))).collect()
}

/// Servers are the same if their groups and names are, whatever addresses their names have.
fn of_servers(before: &[Arc<Service>], after: &[Arc<Service>]) -> Vec<String> {
    let [before, after] = [before, after].map(|services| {
        let groups = services.iter().flat_map(|service| service.groups());
        let servers = groups.flat_map(|group| group.servers.iter().map(move |server| (group, server)));
        let mut addresses: BTreeMap<_, Vec<Address>> = BTreeMap::new();
        for (group, server) in servers {
            let name = (Arc::clone(&group.name), Arc::clone(server.name()));
            let known = addresses.entry(name).or_default();
            // Several services can name a group.
            if !known.contains(server.address()) {
                known.push(server.address().clone());
            }
        }
        addresses
    });
    let words = |(group, name): &(Arc<str>, Arc<str>), word| format!("server {name} of {group} {word}");
    let removed = before.keys().filter(|name| !after.contains_key(*name)).map(|name| words(name, "removed"));
    let others = after.iter().filter_map(|(name, addresses)| match before.get(name) {
        None => Some(words(name, "added")),
        Some(known) if known != addresses => Some(words(name, "has other addresses")),
        Some(_) => None,
    });
    removed.chain(others).collect()
}

fn of_certificates(before: &[Served], after: &[Served]) -> Vec<String> {
    let has_others = |one: &&Served| {
        let known = before.iter().find(|known| known.service.name == one.service.name);
        let leaves = |one: &Served| one.terminated.as_ref().map(|terminated| terminated.leaves.clone());
        known.is_some_and(|known| leaves(known) != leaves(one))
    };
    after.iter().filter(has_others).map(|one| format!("certificates of {}", one.service.name)).collect()
}
