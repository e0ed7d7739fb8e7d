//! The checker: one thread checks the servers of all groups that have checks, and writes what it finds into their states,
//! which sessions read.
//!
//! ```text
//!   start, reload --groups--> checker --a task for each server--> check --rise, fall--> up, down
//! ```
//!
//! A server counts as up until its first check, which decides alone. It must never touch a session: what is established
//! goes on.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::timeouts::FIRST_CHECKS;
use crate::proxy::settings::Service;
use crate::upstream::check::{Checks, Target, check};
use crate::upstream::{GroupSettings, Server};

/// Most checks at once; each has a descriptor.
const AT_ONCE_MAX: usize = 64;

/// From the first check of one server to that of the next.
const SPREAD: Duration = Duration::from_millis(10);

/// From one look whether servers were checked to the next.
const LOOK: Duration = Duration::from_millis(5);

/// Intervals differ by up to this part, so that checks of many servers, and of several proxies, do not march in step.
const JITTER: f64 = 0.1;

/// See the module docs. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Checker(UnboundedSender<Vec<Arc<GroupSettings>>>);

impl Checker {
    /// Starts the thread, which checks nothing yet.
    ///
    /// # Errors
    /// No thread, or no descriptor.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (sender, groups) = unbounded_channel();
        thread::Builder::new().name("health".to_owned()).spawn(move || runtime.block_on(run(groups)))?;
        Ok(Self(sender))
    }

    /// Starts the thread and checks these services' servers, if any have checks.
    ///
    /// # Errors
    /// No thread, or no descriptor.
    pub(super) fn of(services: &[Arc<Service>]) -> io::Result<Option<Self>> {
        let groups = groups(services);
        if !groups.iter().any(|group| group.checks.is_some()) {
            return Ok(None);
        }
        let checker = Self::start()?;
        checker.replace(groups);
        Ok(Some(checker))
    }

    /// Checks the servers of these groups from now on, and no others.
    pub(super) fn replace(&self, groups: Vec<Arc<GroupSettings>>) {
        // It lives as long as this.
        let _ = self.0.send(groups);
    }
}

/// The groups of all services, each once.
pub(super) fn groups(services: &[Arc<Service>]) -> Vec<Arc<GroupSettings>> {
    let mut groups: Vec<Arc<GroupSettings>> = Vec::new();
    for group in services.iter().flat_map(|service| service.groups()) {
        if !groups.iter().any(|known| Arc::ptr_eq(known, group)) {
            groups.push(Arc::clone(group));
        }
    }
    groups
}

/// Waits until each server that has checks was checked once, but not for ever.
pub(super) fn wait_for_first(services: &[Arc<Service>]) {
    let groups = groups(services);
    let with_checks = groups.iter().filter(|group| group.checks.is_some());
    let servers: Vec<_> = with_checks.flat_map(|group| &group.servers).collect();
    let is_due = |server: &&Arc<Server>| !server.options().disabled && !server.is_checked();
    let deadline = Instant::now() + FIRST_CHECKS;
    while servers.iter().any(&is_due) {
        if Instant::now() >= deadline {
            tracing::warn!("servers are not checked within {FIRST_CHECKS:?}; serving without");
            return;
        }
        thread::sleep(LOOK);
    }
}

async fn run(mut sets: UnboundedReceiver<Vec<Arc<GroupSettings>>>) {
    let (mut tasks, mut known) = (JoinSet::new(), Vec::new());
    let at_once = Arc::new(Semaphore::new(AT_ONCE_MAX));
    while let Some(groups) = sets.recv().await {
        known = replace(&groups, known, &mut tasks, &at_once);
        // What a task has not written by now is not written any more: none runs until this one waits.
        while tasks.try_join_next().is_some() {}
    }
}

/// A server that is checked by a task.
struct Task {
    /// What it checks, which changes with the settings.
    subject: Arc<Mutex<Subject>>,
    abort: AbortHandle,
}

/// A server and its group as they are now.
#[derive(Clone)]
struct Subject {
    server: Arc<Server>,
    group: Arc<GroupSettings>,
}

/// Checks the servers of these groups. A server that was checked in the same way before goes on with its task, which knows
/// how its last checks went.
fn replace(
    groups: &[Arc<GroupSettings>],
    mut known: Vec<Task>,
    tasks: &mut JoinSet<()>,
    at_once: &Arc<Semaphore>,
) -> Vec<Task> {
    let mut first = Instant::now();
    let mut next = Vec::new();
    for group in groups {
        for server in &group.servers {
            let Some(checks) = group.checks.clone().filter(|_| !server.options().disabled) else {
                server.forget_checks();
                continue;
            };
            let subject = Subject { server: Arc::clone(server), group: Arc::clone(group) };
            if let Some(nth) = known.iter().position(|task| task.is_for(&subject, &checks)) {
                let task = known.swap_remove(nth);
                *task.subject.lock().unwrap_or_else(PoisonError::into_inner) = subject;
                next.push(task);
                continue;
            }
            let subject = Arc::new(Mutex::new(subject));
            let abort = tasks.spawn(watch(Arc::clone(&subject), checks, first, Arc::clone(at_once)));
            next.push(Task { subject, abort });
            first += SPREAD;
        }
        group.note_servers();
    }
    for task in known {
        task.abort.abort();
    }
    next
}

impl Task {
    /// Whether it checks this server in this way.
    fn is_for(&self, subject: &Subject, checks: &Arc<Checks>) -> bool {
        let own = self.subject.lock().unwrap_or_else(PoisonError::into_inner);
        let own_checks = own.group.checks.as_ref();
        own.server.is_same(&subject.server) && own_checks.is_some_and(|own| Arc::ptr_eq(own, checks))
    }
}

async fn watch(subject: Arc<Mutex<Subject>>, checks: Arc<Checks>, first: Instant, at_once: Arc<Semaphore>) {
    let mut next = first;
    let mut row = Row::default();
    loop {
        sleep_until(next).await;
        let Ok(_permit) = at_once.acquire().await else { return };
        next = Instant::now() + jittered(checks.interval);
        let Subject { server, group } = subject.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tls = group.tls.as_ref().map(|tls| &tls.config);
        let GroupSettings { sources, send_proxy, .. } = &*group;
        let target = Target { server: &server, sources, send_proxy: *send_proxy, tls };
        let found = check(target, &checks).await;
        // The group may have changed meanwhile.
        let Subject { server, group } = subject.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (name, address, check_type) = (&**server.name(), server.address(), checks.check.name());
        let group_name = &*group.name;
        match found {
            Ok(()) => {
                if row.succeeds(server.is_down(), &checks) && server.note_check(true) {
                    let successes = checks.rise;
                    tracing::info!(group = group_name, upstream = name, %address, check = check_type, successes, "server is healthy again; using it");
                    group.note_servers();
                }
            }
            Err(why) if why.is_local() => {
                tracing::debug!(upstream = name, %address, %why, "cannot check server for lack of a local resource");
            }
            Err(why) => {
                let failures = row.failures + 1;
                if row.fails(server.is_checked(), &checks) && server.note_check(false) {
                    tracing::warn!(group = group_name, upstream = name, %address, check = check_type, failures, reason = %why, "server is unhealthy; not using it");
                    group.note_servers();
                }
            }
        }
        next = next.max(Instant::now());
    }
}

/// Results in a row.
#[derive(Debug, Default)]
struct Row {
    successes: u32,
    failures: u32,
}

impl Row {
    /// Counts a success. Whether it makes the server one that is up.
    fn succeeds(&mut self, is_down: bool, checks: &Checks) -> bool {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        !is_down || self.successes >= checks.rise
    }

    /// Counts a failure. Whether it makes the server one that is down; the first check of all decides alone.
    fn fails(&mut self, is_known: bool, checks: &Checks) -> bool {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        !is_known || self.failures >= checks.fall
    }
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::check::Check;

    #[test]
    fn the_first_check_decides_alone_and_later_ones_in_a_row() {
        let checks = Checks { rise: 2, fall: 3, ..Checks::new(Check::named("tcp").expect("a check")) };
        let mut row = Row::default();
        assert!(row.fails(false, &checks), "the first");
        assert_eq!((row.succeeds(true, &checks), row.fails(true, &checks)), (false, false));
        assert_eq!([row.succeeds(true, &checks), row.succeeds(true, &checks)], [false, true]);
        assert_eq!([row.fails(true, &checks), row.fails(true, &checks)], [false, false]);
        row.succeeds(false, &checks);
        assert_eq!([(); 3].map(|()| row.fails(true, &checks)), [false, false, true]);
        assert!(Row::default().succeeds(false, &checks));
    }

    #[test]
    fn intervals_differ_a_little() {
        let interval = Duration::from_secs(10);
        let all: Vec<_> = (0..100).map(|_| jittered(interval)).collect();
        assert!(all.iter().all(|one| (Duration::from_secs(9)..=Duration::from_secs(11)).contains(one)));
        assert!(all.iter().any(|one| *one != all[0]));
    }
}
