//! The thread that looks names up again while the proxy runs, each when its time has come.
//!
//! ```text
//!   start, reload --names--> Watch --a task for each--> look up --another answer--> Event::Resolved --> change
//! ```

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::resolver::{AT_ONCE_MAX, Resolver};
use crate::control::supervise::Event;
use crate::upstream::GroupSettings;
use crate::upstream::names::{Answer, Name, ResolveInterval};

/// An answer is used for at least this long, however short it says that it is valid.
const VALID_MIN: Duration = Duration::from_secs(5);

/// And for this at most.
const VALID_MAX: Duration = Duration::from_secs(300);

/// How long an answer is used that does not say for how long it is valid.
const VALID_UNKNOWN: Duration = Duration::from_secs(30);

/// Longest time until a name that cannot be looked up is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// A name that is watched. Groups may look up the same one at different intervals.
pub(super) type Key = (Name, ResolveInterval);

/// What a name stands for from now on.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) answer: Answer,
    /// Which names were watched: an answer to earlier settings is too late.
    round: u64,
}

/// See the module docs. The thread ends when this is dropped.
#[derive(Debug)]
pub(in crate::control) struct Watch {
    orders: UnboundedSender<Order>,
    changes: Receiver<Change>,
    round: u64,
}

#[derive(Debug)]
struct Order {
    resolver: Resolver,
    names: BTreeMap<Key, Answer>,
    round: u64,
}

impl Watch {
    /// Starts the thread, which watches no name yet. An [`Event::Resolved`] says when one stands for something else.
    ///
    /// # Errors
    /// No thread, or no descriptor.
    pub(in crate::control) fn start(events: Sender<Event>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (orders, ordered) = unbounded_channel();
        let (sender, changes) = channel();
        let told = Told { changes: sender, events };
        thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || runtime.block_on(run(ordered, told)))?;
        Ok(Self { orders, changes, round: 0 })
    }

    /// Watches the names of these groups from now on, and no others.
    pub(in crate::control) fn replace(&mut self, resolver: &Resolver, groups: &[Arc<GroupSettings>]) {
        self.round += 1;
        let names = watched(groups);
        // It lives as long as this.
        let _ = self.orders.send(Order { resolver: resolver.clone(), names, round: self.round });
    }

    /// The next change that is not taken over yet.
    pub(super) fn next(&self) -> Option<Change> {
        self.changes.try_iter().find(|change| change.round == self.round)
    }
}

/// Whether any name of these groups is to be looked up again.
pub(in crate::control) fn is_needed<'a>(groups: impl IntoIterator<Item = &'a Arc<GroupSettings>>) -> bool {
    groups
        .into_iter()
        .any(|group| group.resolve_interval != ResolveInterval::Off && group.names().next().is_some())
}

fn watched(groups: &[Arc<GroupSettings>]) -> BTreeMap<Key, Answer> {
    let is_watched = |group: &&Arc<GroupSettings>| group.resolve_interval != ResolveInterval::Off;
    let names = |group: &Arc<GroupSettings>| {
        let interval = group.resolve_interval;
        group.names().map(|(name, answer)| ((name.clone(), interval), answer.clone())).collect::<Vec<_>>()
    };
    groups.iter().filter(is_watched).flat_map(names).collect()
}

/// Where changes go.
#[derive(Debug, Clone)]
struct Told {
    changes: Sender<Change>,
    events: Sender<Event>,
}

impl Told {
    fn tell(&self, change: Change) {
        // Without a supervisor the process is ending.
        let _ = self.changes.send(change);
        let _ = self.events.send(Event::Resolved);
    }
}

async fn run(mut orders: UnboundedReceiver<Order>, told: Told) {
    let mut tasks = JoinSet::new();
    while let Some(Order { resolver, names, round }) = orders.recv().await {
        tasks.shutdown().await;
        let at_once = Arc::new(Semaphore::new(AT_ONCE_MAX));
        for (key, answer) in names {
            let (resolver, told) = (resolver.clone(), told.clone());
            let watched = Watched { key, answer, round, failing_since: None };
            tasks.spawn(watched.watch(resolver, Arc::clone(&at_once), told));
        }
    }
}

/// A name, and what is known of it.
struct Watched {
    key: Key,
    answer: Answer,
    round: u64,
    failing_since: Option<Instant>,
}

impl Watched {
    async fn watch(mut self, resolver: Resolver, at_once: Arc<Semaphore>, told: Told) {
        let mut next = Instant::now() + until_next(self.key.1, self.answer.valid_for);
        loop {
            sleep_until(next).await;
            let Ok(_permit) = at_once.acquire().await else { return };
            let interval = self.key.1;
            next = Instant::now()
                + match resolver.look_up(&self.key.0, &self.answer.parts).await {
                    Ok(answer) => {
                        self.note(answer, &told);
                        until_next(interval, self.answer.valid_for)
                    }
                    Err(reason) => {
                        self.note_failure(&reason);
                        until_next(interval, None).min(RETRY)
                    }
                };
        }
    }

    fn note(&mut self, answer: Answer, told: &Told) {
        let name = &self.key.0;
        if let Some(since) = self.failing_since.take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!(%name, seconds, "name resolves again");
        }
        for warning in answer.warnings.iter().filter(|warning| !self.answer.warnings.contains(warning)) {
            tracing::warn!(%name, "{warning}");
        }
        if answer.servers != self.answer.servers {
            told.tell(Change { key: self.key.clone(), answer: answer.clone(), round: self.round });
        }
        self.answer = answer;
    }

    fn note_failure(&mut self, reason: &str) {
        if self.failing_since.is_none() {
            self.failing_since = Some(Instant::now());
            let (name, servers) = (&self.key.0, self.answer.servers.len());
            tracing::warn!(%name, reason, servers, "name does not resolve any more; keeping its servers");
        }
    }
}

/// How long an answer is used.
fn until_next(interval: ResolveInterval, valid_for: Option<Duration>) -> Duration {
    match interval {
        ResolveInterval::Every(interval) => interval,
        ResolveInterval::Auto | ResolveInterval::Off => {
            valid_for.map_or(VALID_UNKNOWN, |valid_for| valid_for.clamp(VALID_MIN, VALID_MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_used_as_long_as_it_is_valid_within_bounds() {
        let until = |seconds| until_next(ResolveInterval::Auto, Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!([0, 4, 60, 299, 86_400, u64::from(u32::MAX)].map(until), [5, 5, 60, 299, 300, 300]);
        assert_eq!(until_next(ResolveInterval::Auto, None), VALID_UNKNOWN);
        let second = Duration::from_secs(1);
        assert_eq!(until_next(ResolveInterval::Every(second), Some(VALID_MAX)), second);
    }
}
