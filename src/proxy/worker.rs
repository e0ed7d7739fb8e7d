//! A worker: one thread, one ring, its own listening sockets, and every session that it accepts.
//!
//! Workers share only the settings, which are read-only, the seats, and the numbers of servers.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;

use super::Error;
use super::access_log::LogSender;
use super::context::Context;
use super::counters::Counters;
use super::listener;
use super::seats::Seats;
use super::service::{Listening, services};
use super::settings::{Service, WorkerSettings};
use super::stop::Stop;
use crate::uring::{Listener, PipeSet, Ring, RingOptions};

/// The inputs of a worker's thread.
pub struct Plan {
    /// The worker's number, from 0.
    pub number: usize,
    /// The resources of this worker.
    pub worker: WorkerSettings,
    /// The seats of all workers.
    pub seats: Arc<Seats>,
    /// The services of all workers.
    pub services: Vec<Arc<Service>>,
    /// Its listening sockets: for each service, in the order of `Service::listeners`.
    pub listeners: Vec<Vec<OwnedFd>>,
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
    let Plan { number, worker, seats, services, listeners, pipes, stop, log, counters } = plan;
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
    let open = |socket| Listener::new(&ring, socket);
    let listeners = listeners.into_iter().map(|sockets| sockets.into_iter().map(open).collect()).collect();
    let context = Rc::new(Context::new(ring.clone(), worker.peek_bytes_max, (seats, number), log, counters));
    start(&context, &services, listeners);
    ring.spawn(Rc::clone(&context).watch_seats());
    ring.spawn(stop_when_told(Rc::clone(&context), stop, worker.drain_timeout));
    ring.run().map_err(Error::Ring)?;
    context.failure().map_or(Ok(()), Err)
}

fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    let pinned =
        set.set(cpu).and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        tracing::warn!(cpu, %error, "cannot pin worker to its CPU; running on any");
    }
}

/// Accepts on every listener of every service. `listeners` are in the order of the services and their settings.
pub(super) fn start(context: &Rc<Context>, settings: &[Arc<Service>], listeners: Vec<Vec<Listener>>) {
    for (service, listeners) in std::iter::zip(services(settings, context.number()), listeners) {
        for (listening, listener) in std::iter::zip(service.listening(), listeners) {
            context.accept_begins();
            context.ring.spawn(accept(Rc::clone(context), listening, listener));
        }
    }
}

async fn accept(context: Rc<Context>, listening: Rc<Listening>, listener: Listener) {
    match listener::run(&context, &listening, listener).await {
        Ok(()) => context.accept_ends(),
        Err(source) => context.fail(Error::Listener { listener: listening.name.to_string(), source }),
    }
}

/// Drains at the first request; ends at the second, or when the drain time-out expires.
async fn stop_when_told(context: Rc<Context>, stop: Stop, drain_timeout: Duration) {
    stop.drain_requested(&context.ring).await;
    or(context.drain_and_end(drain_timeout), stop.end_requested(&context.ring)).await;
    context.ring.end_tasks();
}
