//! The running process's side of a handover: it has its successor started, gives it the sockets, and waits in a thread of its
//! own until that serves or has failed.
//!
//! ```text
//!   begin --thread--> starter, Hello, Sockets.., Ready, Go, Serving --Event::Upgraded--> take
//! ```
//!
//! Until the successor serves, nothing changes here: both may accept from the same queues then, and no client waits longer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use tokio::sync::oneshot;

use super::generations::{Generations, Older, Report, report};
use super::message::{Description, PROTOCOL, ToPredecessor, ToSuccessor};
use super::starter::Starter;
use super::wire;
use crate::control::supervise::Event;
use crate::control::timeouts::UPGRADE;
use crate::proxy::counters::Counters;

/// What a successor has time for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// To serve.
    serve: Duration,
    /// To end, once it has failed, before it is killed.
    end: Duration,
}

const PATIENCE: Patience = Patience { serve: UPGRADE, end: Duration::from_secs(2) };

/// Most sockets in a message: it has a bound in bytes as well.
const SOCKETS_MAX: usize = 32;

/// The way to tell a client of the admin endpoint what became of an upgrade.
pub(in crate::control) type Asker = oneshot::Sender<Result<Done, String>>;

/// What an upgrade did.
#[derive(Debug, Clone, Copy)]
pub(in crate::control) struct Done {
    /// The generation of the new process.
    pub(in crate::control) generation: u64,
    /// Its id.
    pub(in crate::control) pid: u32,
}

/// What a successor gets.
#[derive(Debug)]
pub(in crate::control) struct Estate {
    own: Report,
    sockets: Vec<(Description, Arc<OwnedFd>)>,
    /// Processes that still drain.
    older: Vec<Older>,
}

impl Estate {
    /// `own` is what this process says of itself, `generations` are those before it.
    pub(in crate::control) fn new(
        generations: &Generations,
        own: Report,
        sockets: Vec<(Description, Arc<OwnedFd>)>,
    ) -> Self {
        Self { own, sockets, older: generations.with_sockets() }
    }
}

/// A process that serves in this one's place.
#[derive(Debug)]
pub(in crate::control) struct Successor {
    done: Done,
    /// The sockets that it has taken.
    taken: Vec<Description>,
    socket: Arc<OwnedFd>,
}

impl Successor {
    /// The sockets that it has taken.
    pub(in crate::control) fn taken(&self) -> impl Iterator<Item = &Description> {
        self.taken.iter()
    }

    /// Tells it, until this process ends, what is still served here.
    ///
    /// # Errors
    /// No thread.
    pub(in crate::control) fn report(
        &self,
        generations: &Arc<Generations>,
        counters: Vec<Arc<Counters>>,
        events: Sender<Event>,
    ) -> io::Result<()> {
        generations.leave();
        report(Arc::clone(generations), counters, Arc::clone(&self.socket), events)
    }

    /// Tells those who waited for it.
    pub(in crate::control) fn tell(&self, askers: Vec<Asker>) {
        let Done { generation, pid } = self.done;
        tracing::info!(generation, pid, "the new process serves; draining the connections of this one");
        for asker in askers {
            // It may have left.
            let _ = asker.send(Ok(self.done));
        }
    }

    /// Has it read its settings again.
    pub(in crate::control) fn reload(&self) {
        let _ = wire::send(&self.socket, &ToSuccessor::Reload, &[], Instant::now());
    }
}

/// The upgrades of a process: one at a time.
#[derive(Debug)]
pub(in crate::control) struct Upgrades {
    /// While none runs.
    starter: Option<Starter>,
    running: Option<Running>,
    events: Sender<Event>,
}

#[derive(Debug)]
struct Running {
    thread: JoinHandle<(Starter, Result<Successor, String>)>,
    /// This process's end.
    socket: Arc<OwnedFd>,
    askers: Vec<Asker>,
}

impl Upgrades {
    /// None yet. The process has the rights by now that its threads may have.
    ///
    /// # Errors
    /// No thread.
    pub(in crate::control) fn new(mut starter: Starter, events: Sender<Event>) -> io::Result<Self> {
        starter.watch()?;
        Ok(Self { starter: Some(starter), running: None, events })
    }

    /// Whether one runs.
    pub(in crate::control) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins one, for these; the new process gets what `estate` has.
    pub(in crate::control) fn begin(&mut self, estate: impl FnOnce() -> Estate, askers: Vec<Asker>) {
        if self.is_running() {
            tracing::warn!("an upgrade runs already; ignoring the request for another one");
            for asker in askers {
                let _ = asker.send(Err("an upgrade runs already; wait for its end".to_owned()));
            }
            return;
        }
        match self.try_begin(estate()) {
            Ok(running) => self.running = Some(Running { askers, ..running }),
            Err(error) => refuse(&error, askers),
        }
    }

    fn try_begin(&mut self, estate: Estate) -> Result<Running, String> {
        let no_resource = |error| format!("no descriptor or thread: {error}");
        let (own, other) = wire::pair().map_err(no_resource)?;
        let (own, events) = (Arc::new(own), self.events.clone());
        let Some(mut starter) = self.starter.take() else { return Err("there is no starter".to_owned()) };
        let socket = Arc::clone(&own);
        let work = move || {
            let _finished = Finished(events);
            let taken = hand_over(&mut starter, &socket, other, estate, PATIENCE);
            (starter, taken)
        };
        tracing::info!("upgrade begins; starting the new process");
        let thread = thread::Builder::new().name("upgrade".to_owned()).spawn(work).map_err(no_resource)?;
        Ok(Running { thread, socket: own, askers: Vec::new() })
    }

    /// The process that serves now, and those who wait for it; nothing if the upgrade has failed, which they were told.
    pub(in crate::control) fn take(&mut self) -> Option<(Successor, Vec<Asker>)> {
        let Running { thread, askers, .. } = self.running.take()?;
        let bug = || "the upgrade failed; this is a bug in iisplice".to_owned();
        let outcome = match thread.join() {
            Ok((starter, outcome)) => {
                self.starter = Some(starter);
                outcome
            }
            Err(_panic) => Err(bug()),
        };
        match outcome {
            Ok(successor) => Some((successor, askers)),
            Err(error) => {
                refuse(&error, askers);
                None
            }
        }
    }

    /// Gives up the one that runs: this process was told to stop, and so is its successor.
    pub(in crate::control) fn give_up(&self) {
        if let Some(running) = &self.running {
            let _ = wire::send(&running.socket, &ToSuccessor::Abort, &[], Instant::now());
        }
    }
}

fn refuse(error: &str, askers: Vec<Asker>) {
    tracing::error!(%error, "cannot upgrade; this process goes on serving");
    for asker in askers {
        // It may have left.
        let _ = asker.send(Err(error.to_owned()));
    }
}

/// Says that the thread has finished, however it did.
struct Finished(Sender<Event>);

impl Drop for Finished {
    fn drop(&mut self) {
        // Without a supervisor the process is ending.
        let _ = self.0.send(Event::Upgraded);
    }
}

fn hand_over(
    starter: &mut Starter,
    socket: &Arc<OwnedFd>,
    other: OwnedFd,
    estate: Estate,
    patience: Patience,
) -> Result<Successor, String> {
    if std::process::id() == 1 {
        let why =
            "this is the first process of a container, which ends with it; start a new container instead";
        return Err(why.to_owned());
    }
    let pid = starter.start_successor(&other)?;
    // Its end is to be noticed.
    drop(other);
    let generation = estate.own.generation + 1;
    let deadline = Instant::now() + patience.serve;
    let mut way = Way { starter, socket, patience, deadline };
    match way.go(estate) {
        Ok(taken) => Ok(Successor { done: Done { generation, pid }, taken, socket: Arc::clone(socket) }),
        Err(why) => {
            let how = way.end();
            Err(why.unwrap_or_else(|| match how {
                Some(how) => format!("the new process {how} before it was ready"),
                None => "the new process has closed its connection before it was ready".to_owned(),
            }))
        }
    }
}

/// The way to a successor that serves.
struct Way<'a> {
    starter: &'a mut Starter,
    socket: &'a Arc<OwnedFd>,
    patience: Patience,
    deadline: Instant,
}

/// Why there is none, if it has said so.
type Why = Option<String>;

impl Way<'_> {
    fn go(&mut self, estate: Estate) -> Result<Vec<Description>, Why> {
        let ToPredecessor::Hello { protocol, version, .. } = self.next("does not say anything")? else {
            return unexpected();
        };
        if protocol != PROTOCOL {
            let own = env!("CARGO_PKG_VERSION");
            let why = format!(
                "iisplice {own} hands over by protocol {PROTOCOL} and iisplice {version} by {protocol}; restart \
                 instead"
            );
            self.send(&ToSuccessor::Refused { why: why.clone() }, &[])?;
            return Err(Some(why));
        }
        let given: Vec<_> = estate.sockets.iter().map(|(given, _)| given.clone()).collect();
        self.give(estate)?;
        let ToPredecessor::Ready { taken } = self.next("is not ready")? else { return unexpected() };
        self.send(&ToSuccessor::Go, &[])?;
        let ToPredecessor::Serving = self.next("does not serve")? else { return unexpected() };
        Ok(taken.into_iter().filter_map(|nth| given.get(nth).cloned()).collect())
    }

    fn give(&mut self, estate: Estate) -> Result<(), Why> {
        let Estate { own, sockets, older } = estate;
        self.send(&ToSuccessor::Welcome { from: own }, &[])?;
        for some in sockets.chunks(SOCKETS_MAX) {
            let descriptions = some.iter().map(|(description, _)| description.clone()).collect();
            let descriptors: Vec<_> = some.iter().map(|(_, socket)| &**socket).collect();
            self.send(&ToSuccessor::Sockets { sockets: descriptions }, &descriptors)?;
        }
        for some in older.chunks(SOCKETS_MAX) {
            let reports = some.iter().map(|older| older.report.clone()).collect();
            let descriptors: Vec<_> = some.iter().map(|older| &*older.socket).collect();
            self.send(&ToSuccessor::Older { reports }, &descriptors)?;
        }
        self.send(&ToSuccessor::All, &[])
    }

    fn send(&self, message: &ToSuccessor, descriptors: &[&OwnedFd]) -> Result<(), Why> {
        let descriptors: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        // Why it has ended shows in what it said last.
        wire::send(self.socket, message, &descriptors, self.deadline).map_err(
            |error| match wire::receive_now(self.socket) {
                Ok(Some((ToPredecessor::Failed { why }, _))) => Some(why),
                _ if error.kind() == io::ErrorKind::BrokenPipe => None,
                _ => Some(format!("cannot give the new process what it needs: {error}")),
            },
        )
    }

    /// What it says next; `otherwise` is what it does if it says nothing in time.
    fn next(&self, otherwise: &str) -> Result<ToPredecessor, Why> {
        match wire::receive(self.socket, self.deadline) {
            Ok(Some((ToPredecessor::Failed { why }, _))) => Err(Some(why)),
            Ok(Some((message, _))) => Ok(message),
            Ok(None) => Err(None),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(Some(format!("the new process {otherwise} within {:?}", self.patience.serve)))
            }
            Err(error) => Err(Some(format!("cannot understand the new process: {error}"))),
        }
    }

    /// Has the successor end. Returns how it has.
    fn end(&mut self) -> Option<String> {
        let _ = wire::send(self.socket, &ToSuccessor::Abort, &[], Instant::now());
        for _ in 0..2 {
            let deadline = Instant::now() + self.patience.end;
            let starter = self.starter.socket()?;
            if wire::wait(&[starter.as_fd()], PollFlags::POLLIN, Some(deadline)).is_ok() {
                return self.starter.how_it_ended();
            }
            self.starter.kill_successor();
        }
        None
    }
}

fn unexpected<T>() -> Result<T, Why> {
    Err(Some("the new process says something unexpected; restart instead".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::starter::{Order, Said};
    use super::*;

    const SOON: Patience = Patience { serve: Duration::from_millis(100), end: Duration::from_millis(100) };

    /// Plays a starter whose process says this much, in turn with what it hears, and hangs then: until it is killed.
    fn play(starter: &OwnedFd, says: Vec<ToPredecessor>) {
        let later = || Instant::now() + Duration::from_secs(60);
        let say = |said: &Said| wire::send(starter, said, &[], later()).expect("it fits");
        let order = || wire::receive::<Order>(starter, later()).expect("an order").expect("no end");
        let (Order::Start, sockets) = order() else { panic!("an order to start") };
        say(&Said::Started { pid: 7 });
        for word in says {
            wire::send(&sockets[0], &word, &[], later()).expect("it fits");
        }
        assert!(matches!(order().0, Order::Kill), "it is told to end first, and does not");
        say(&Said::Ended { how: "was ended by SIGKILL".to_owned() });
        let mut heard = Vec::new();
        while let Ok(Some((word, _))) = wire::receive_now::<ToSuccessor>(&sockets[0]) {
            heard.push(word);
        }
        assert!(matches!(heard.last(), Some(ToSuccessor::Abort)), "{heard:?}");
    }

    #[test]
    fn a_successor_that_hangs_is_given_up_and_killed_wherever_it_is() {
        let hello = || ToPredecessor::Hello { protocol: PROTOCOL, version: String::new(), pid: 7 };
        let ready = || ToPredecessor::Ready { taken: vec![0, usize::MAX] };
        for (says, why) in [
            (vec![], "does not say anything within 100ms"),
            (vec![hello()], "is not ready within 100ms"),
            (vec![hello(), ready()], "does not serve within 100ms"),
            (vec![ready()], "something unexpected"),
            (vec![hello(), hello()], "something unexpected"),
            (vec![hello(), ToPredecessor::Failed { why: "no reason".to_owned() }], "no reason"),
        ] {
            let (own, starters) = wire::pair().expect("sockets");
            let playing = thread::spawn(move || play(&starters, says));
            let (socket, other) = wire::pair().expect("sockets");
            let estate = Estate::new(&Generations::default(), Generations::default().own([]), Vec::new());
            let outcome = hand_over(&mut Starter::at(own), &Arc::new(socket), other, estate, SOON);
            let said = outcome.expect_err("it never serves");
            assert!(said.contains(why), "{said}");
            playing.join().expect("no panic");
        }
    }
}
