//! A worker: one thread, one ring, its own listening sockets, and every session that it accepts.
//!
//! Nothing here is shared with another worker but the settings, which are only read, and the few numbers in `shared.rs`.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use futures_lite::future::or;
use rustls::ClientConfig;
use rustls::client::Resumption;

use super::Error;
use super::access_log::LogSender;
use super::counters::Counters;
use super::drain::{Begun, Drain};
use super::listener;
use super::peek_memory::PeekMemory;
use super::settings::{Settings, WorkerSettings};
use super::shared::Shared;
use super::stop::Stop;
use super::upstream::Upstreams;
use crate::uring::{Listener, Notify, PipeSet, Ring, RingOptions, SocketOptions};

/// Upstreams whose TLS sessions a worker remembers.
const TLS_SESSIONS_MAX: usize = 256;

/// What a worker's thread is started with.
pub struct Plan {
    /// Which one it is, from 0.
    pub number: usize,
    /// What it gets to work with.
    pub worker: WorkerSettings,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// What all workers do.
    pub settings: Arc<Settings>,
    /// Its listening sockets, in the order of `Settings::listeners`.
    pub listeners: Vec<OwnedFd>,
    /// Its pipes.
    pub pipes: PipeSet,
    /// How it is told to stop.
    pub stop: Stop,
    /// Where records go, if anybody wants them.
    pub log: Option<LogSender>,
    /// What it counts, for whoever reads it.
    pub counters: Arc<Counters>,
}

/// Serves until it is told to stop and its sessions have ended, or been ended. Runs on the calling thread.
///
/// # Errors
/// No ring, or one that fails; a listener that fails for good.
pub fn run(plan: Plan) -> Result<(), Error> {
    let Plan { number, worker, shared, settings, listeners, pipes, stop, log, counters } = plan;
    if let Some(cpu) = worker.cpu {
        pin(cpu);
    }
    let options = RingOptions {
        entries: worker.ring_entries,
        buffers: worker.buffers,
        buffer_bytes: worker.buffer_bytes,
        spin: worker.spin,
    };
    let ring = Ring::open(&options, pipes)?;
    let listeners = listeners.into_iter().map(|socket| Listener::new(&ring, socket)).collect();
    let worker = Rc::new(Worker::new(ring.clone(), settings, (shared, number), log, counters)?);
    worker.start(listeners);
    ring.spawn(Rc::clone(&worker).hear_of_seats());
    ring.spawn(stop_when_told(Rc::clone(&worker), stop));
    ring.run().map_err(Error::Ring)?;
    worker.failure.take().map_or(Ok(()), Err)
}

fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    let pinned =
        set.set(cpu).and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        tracing::warn!(cpu, %error, "a worker could not be pinned to its CPU and runs on any");
    }
}

/// Drains at the first word, ends at the second or when the time is over.
async fn stop_when_told(worker: Rc<Worker>, stop: Stop) {
    stop.drain_requested(&worker.ring).await;
    or(worker.drain_and_end(), stop.end_requested(&worker.ring)).await;
    worker.ring.end_tasks();
}

/// What the sessions and listeners of a worker share.
pub(super) struct Worker {
    pub(super) ring: Ring,
    pub(super) settings: Arc<Settings>,
    pub(super) upstreams: Upstreams,
    pub(super) socket_options: SocketOptions,
    pub(super) upstream_tls: Option<Arc<ClientConfig>>,
    pub(super) log: Option<LogSender>,
    pub(super) counters: Arc<Counters>,
    pub(super) peek_memory: Rc<PeekMemory>,
    next_id: Cell<u64>,
    sessions: Cell<usize>,
    pub(super) shared: Arc<Shared>,
    number: usize,
    drain: Drain,
    /// Sessions that have no descriptor for their upstream, and wait for one.
    pub(super) descriptors_wanted: Cell<usize>,
    /// Listeners that still accept.
    accepting: Cell<usize>,
    changed: Notify,
    /// Why it cannot go on.
    failure: RefCell<Option<Error>>,
}

impl Worker {
    /// `shared` is what it shares with the others, and its number among them.
    pub(super) fn new(
        ring: Ring,
        settings: Arc<Settings>,
        (shared, number): (Arc<Shared>, usize),
        log: Option<LogSender>,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        Ok(Self {
            ring,
            upstreams: Upstreams::new(&settings.upstreams).map_err(Error::Address)?,
            socket_options: SocketOptions {
                keepalive: settings.tcp.keepalive,
                user_timeout: settings.tcp.user_timeout,
            },
            upstream_tls: settings.upstream_tls.as_ref().map(|tls| with_own_sessions(&tls.config)),
            peek_memory: PeekMemory::new(settings.peek_bytes_max),
            settings,
            log,
            counters,
            // Each worker counts from somewhere else, as does each run.
            next_id: Cell::new(fastrand::u64(..)),
            sessions: Cell::new(0),
            shared,
            number,
            drain: Drain::default(),
            descriptors_wanted: Cell::new(0),
            accepting: Cell::new(0),
            changed: Notify::default(),
            failure: RefCell::default(),
        })
    }

    /// Accepts on every listener.
    pub(super) fn start(self: &Rc<Self>, listeners: Vec<Listener>) {
        self.accepting.set(listeners.len());
        for (index, listener) in listeners.into_iter().enumerate() {
            let worker = Rc::clone(self);
            self.ring.spawn(async move {
                if let Err(source) = listener::run(&worker, index, listener).await {
                    let address = worker.settings.listeners[index].clone();
                    return worker.fail(Error::Listener { address, source });
                }
                worker.accepting.set(worker.accepting.get() - 1);
                worker.changed.notify();
            });
        }
    }

    /// Accepts whoever waits already, and nobody after that; ends everything when that is through, or when the time
    /// for it is over. What of a session is on its way then is reset, see `relay.rs`.
    pub(super) async fn drain_and_end(&self) {
        self.drain.begin();
        or(self.all_ended(), self.ring.sleep(self.settings.drain_timeout)).await;
        self.ring.end_tasks();
    }

    /// A number for a session, which no other one of this host is likely to have.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get().wrapping_add(1))
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.has_begun()
    }

    /// Completes when draining has begun.
    pub(super) fn draining(&self) -> Begun<'_> {
        self.drain.begun()
    }

    /// Completes when nobody is served or accepted any more.
    async fn all_ended(&self) {
        self.changed.until(|| self.accepting.get() == 0 && self.sessions.get() == 0).await;
    }

    /// Ends everything at once: the worker cannot go on.
    fn fail(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
        self.ring.end_tasks();
    }

    /// Waits until one more session may begin. For when a client waits: it is counted that there was no seat for it.
    pub(super) async fn room(&self) {
        let seats = &self.shared.seats;
        if seats.has_room(self.number) {
            return;
        }
        if !self.is_draining() {
            seats.note_full();
        }
        self.changed.until(|| seats.has_room(self.number)).await;
    }

    /// Passes on that another worker has given a seat back, to those who wait for room.
    async fn hear_of_seats(self: Rc<Self>) {
        loop {
            if let Err(error) = self.shared.seats.bell(self.number).heard(&self.ring).await {
                return self.fail(Error::Ring(error));
            }
            self.changed.notify();
        }
    }

    /// Does a session of this worker wait for a descriptor? Those come before new clients.
    pub(super) fn wants_descriptors(&self) -> bool {
        self.descriptors_wanted.get() > 0
    }

    /// A place for one more session, if there is one.
    pub(super) fn seat(self: &Rc<Self>) -> Option<Seat> {
        if !self.shared.seats.take(self.number) {
            return None;
        }
        self.sessions.set(self.sessions.get() + 1);
        Some(Seat(Rc::clone(self)))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.seats.leave(self.number);
    }
}

/// A worker resumes the TLS sessions that it began: what is shared by all has a lock.
fn with_own_sessions(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS_MAX);
    Arc::new(config)
}

/// A session's place among those served at once; free again when it is dropped.
pub(super) struct Seat(Rc<Worker>);

impl Seat {
    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Self(worker) = self;
        worker.sessions.set(worker.sessions.get() - 1);
        worker.shared.seats.give_back(worker.number);
        if worker.shared.seats.is_called(worker.number) || worker.is_draining() {
            worker.changed.notify();
        }
    }
}
