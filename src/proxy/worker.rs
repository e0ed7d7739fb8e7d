//! A worker: one thread, one ring, its own listening sockets, and every session that it accepts.
//!
//! Workers share only the settings, which are read-only, the seats, the desks where they leave clients for each other, and the
//! numbers of servers and clients.

use std::rc::Rc;
use std::sync::Arc;

use futures_lite::future::or;

use super::Error;
use super::context::Context;
use super::counters::Counters;
use super::orders::{Change, Inbox, Order, Orders, Question};
use super::seats::Seats;
use super::serving::Serving;
use super::settings::WorkerSettings;
use crate::uring::{Listener, PipeSet, Ring, RingOptions};

/// The inputs of a worker's thread.
pub struct Plan {
    /// The worker's number, from 0.
    pub number: usize,
    /// The resources of this worker.
    pub worker: WorkerSettings,
    /// The seats of all workers.
    pub seats: Arc<Seats>,
    /// What it serves first.
    pub first: Change,
    /// Its pipes.
    pub pipes: PipeSet,
    /// What it is told later.
    pub orders: Orders,
    /// The counters that it writes, for readers in other threads.
    pub counters: Arc<Counters>,
}

/// Serves until it is asked to stop and its sessions have ended. Runs on the calling thread.
///
/// # Errors
/// The ring cannot be created or fails; a listener fails permanently.
pub fn run(plan: Plan) -> Result<(), Error> {
    let Plan { number, worker, seats, first, pipes, orders, counters } = plan;
    if let Some(cpu) = worker.cpu {
        pin(cpu);
    }
    let options = RingOptions {
        entries: worker.ring_entries,
        buffers: worker.buffers,
        buffer_bytes: worker.buffer_bytes,
        spin: worker.spin,
        without: worker.without,
    };
    let ring = Ring::open(&options, pipes)?;
    counters.set_ring(ring.counters());
    let inbox = orders.listen(&ring).map_err(Error::Ring)?;
    let context = Rc::new(Context::new(ring.clone(), first.peek_bytes_max, (seats, number), None, counters));
    ring.spawn(Rc::clone(&context).watch_seats());
    ring.spawn(obey(Rc::clone(&context), first, inbox));
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

/// Makes the first change and does what it is told to. Ends when it is told to, or when the drain time-out expires.
async fn obey(context: Rc<Context>, first: Change, inbox: Inbox) {
    let serving = Rc::new(Serving::new(Rc::clone(&context)));
    let mut drain_timeout = first.drain_timeout;
    change(&context, &serving, first);
    if context.may_be_given() {
        context.ring.spawn(Rc::clone(&serving).receive());
    }
    loop {
        match inbox.next(false).await {
            Order::Change(next, done) => {
                drain_timeout = next.drain_timeout;
                change(&context, &serving, next);
                drop(done);
            }
            Order::Look => context.look_at_servers(),
            Order::Ask(question) => answer(&context, question).await,
            Order::Leave(addresses) => serving.leave(&addresses),
            Order::CloseExtra(done) => {
                serving.close_extra();
                drop(done);
            }
            Order::AskForPipes => ask_for_pipes(&context),
            Order::Drain | Order::End => break,
        }
    }
    serving.cease_to_receive();
    let told_to_end = async {
        loop {
            match inbox.next(true).await {
                // It serves no one any more to whom a change could matter.
                Order::Change(..)
                | Order::Leave(_)
                | Order::CloseExtra(_)
                | Order::AskForPipes
                | Order::Drain => {}
                Order::Look => context.look_at_servers(),
                Order::Ask(question) => answer(&context, question).await,
                Order::End => return,
            }
        }
    };
    or(context.drain_and_end(drain_timeout), told_to_end).await;
    context.ring.end_tasks();
}

fn ask_for_pipes(context: &Context) {
    let granted = context.ring.ask_for_pipes();
    if granted > 0 {
        let worker = context.number();
        tracing::info!(worker, granted, "pipes are granted that were not at start; using them");
    }
}

async fn answer(context: &Context, question: Question) {
    let (ring, living) = (&context.ring, &context.living);
    match question {
        Question::Sessions(wanted, reply) => reply.send(living.sights(ring, &wanted).await),
        Question::End(id, reply) => reply.send(living.end(ring, id).await),
    }
}

fn change(context: &Context, serving: &Serving, change: Change) {
    let Change { services, sockets, log, peek_bytes_max, drain_timeout: _ } = change;
    let open = |(address, socket)| (address, Listener::new(&context.ring, socket));
    context.set_log(log);
    context.peek_memory.set_bytes_max(peek_bytes_max);
    serving.change(&services, sockets.into_iter().map(open).collect());
}
