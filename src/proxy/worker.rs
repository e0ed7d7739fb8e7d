//! A worker: one thread, one ring, its own listening sockets, and every session that it accepts.
//!
//! Workers share only the settings, which are read-only, and the few numbers in `shared.rs`.

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

/// Number of servers whose TLS sessions a worker remembers.
const TLS_SESSIONS_MAX: usize = 256;

/// The inputs of a worker's thread.
pub struct Plan {
    /// The worker's number, from 0.
    pub number: usize,
    /// The resources of this worker.
    pub worker: WorkerSettings,
    /// What it shares with the other workers.
    pub shared: Arc<Shared>,
    /// The settings of all workers.
    pub settings: Arc<Settings>,
    /// Its listening sockets, in the order of `Settings::listeners`.
    pub listeners: Vec<OwnedFd>,
    /// Its pipes.
    pub pipes: PipeSet,
    /// The request to stop.
    pub stop: Stop,
    /// Where records go, if there is an access log.
    pub log: Option<LogSender>,
    /// The counters that it writes, for readers in other threads.
    pub counters: Arc<Counters>,
}

/// Serves until it is asked to stop and its sessions have ended. Runs on the calling thread.
///
/// # Errors
/// The ring cannot be created or fails; a listener fails permanently.
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
    ring.spawn(Rc::clone(&worker).watch_seats());
    ring.spawn(stop_when_told(Rc::clone(&worker), stop));
    ring.run().map_err(Error::Ring)?;
    worker.failure.take().map_or(Ok(()), Err)
}

fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    let pinned =
        set.set(cpu).and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        tracing::warn!(cpu, %error, "cannot pin worker to its CPU; running on any");
    }
}

/// Drains at the first request; ends at the second, or when the drain time-out expires.
async fn stop_when_told(worker: Rc<Worker>, stop: Stop) {
    stop.drain_requested(&worker.ring).await;
    or(worker.drain_and_end(), stop.end_requested(&worker.ring)).await;
    worker.ring.end_tasks();
}

/// The state that the sessions and listeners of a worker share.
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
    /// Sessions that wait for a descriptor for their upstream side.
    pub(super) descriptors_wanted: Cell<usize>,
    /// Listeners that still accept.
    accepting: Cell<usize>,
    changed: Notify,
    /// The error that stops it.
    failure: RefCell<Option<Error>>,
}

impl Worker {
    /// Creates a worker. `shared` is the state shared with the other workers, with this worker's number.
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
            // Random, so that ids differ between workers and between runs.
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

    /// Accepts the clients that already wait, and none after them; ends everything when all sessions have ended or the
    /// drain time-out expires. Sessions with bytes on the way are reset then, see `relay.rs`.
    pub(super) async fn drain_and_end(&self) {
        self.drain.begin();
        or(self.all_ended(), self.ring.sleep(self.settings.drain_timeout)).await;
        self.ring.end_tasks();
    }

    /// An id for a session, which no other session on this host is likely to have.
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

    /// Completes when no session is left and no listener accepts.
    async fn all_ended(&self) {
        self.changed.until(|| self.accepting.get() == 0 && self.sessions.get() == 0).await;
    }

    /// Ends everything immediately: the worker cannot continue.
    fn fail(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
        self.ring.end_tasks();
    }

    /// Waits until one more session may begin. Call it when a client waits: it counts that no seat was free.
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

    /// Wakes tasks that wait for room when another worker has returned a seat.
    async fn watch_seats(self: Rc<Self>) {
        loop {
            if let Err(error) = self.shared.seats.bell(self.number).rung(&self.ring).await {
                return self.fail(Error::Ring(error));
            }
            self.changed.notify();
        }
    }

    /// Whether a session of this worker waits for a descriptor. Such sessions come before new clients.
    pub(super) fn wants_descriptors(&self) -> bool {
        self.descriptors_wanted.get() > 0
    }

    /// A seat for one more session, if one is free.
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

/// Gives a worker a TLS session store of its own: a shared one has a lock.
fn with_own_sessions(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS_MAX);
    Arc::new(config)
}

/// A session's seat; free again when it is dropped.
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
