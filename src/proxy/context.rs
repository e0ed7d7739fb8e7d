//! What the sessions and listeners of a worker share.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::access_log::LogSender;
use super::counters::Counters;
use super::desks::Given;
use super::drain::{Begun, Drain};
use super::peek_memory::PeekMemory;
use super::seats::Seats;
use super::survey::Living;
use super::warm::stock::Stocks;
use crate::upstream::DescriptorWaits;
use crate::uring::{NewClient, Notify, Pager, Ring};

/// See the module docs.
pub(super) struct Context {
    pub(super) ring: Ring,
    pub(super) counters: Arc<Counters>,
    pub(super) peek_memory: Rc<PeekMemory>,
    pub(super) descriptor_waits: DescriptorWaits,
    /// Wakes sessions that wait for a server.
    pub(super) pager: Arc<Pager>,
    /// Connections that were opened ahead.
    pub(super) stocks: Stocks,
    /// The sessions, for those who ask.
    pub(super) living: Living,
    log: RefCell<Option<LogSender>>,
    next_id: Cell<u64>,
    sessions: Cell<usize>,
    seats: Arc<Seats>,
    /// The worker's number.
    number: usize,
    /// The number of its settings: how often it was told what to serve.
    settings: Cell<u64>,
    drain: Drain,
    /// Listeners that still accept.
    accepting: Cell<usize>,
    changed: Notify,
    /// Why the worker cannot continue.
    failure: RefCell<Option<Error>>,
}

impl Context {
    /// `seats` are those of all workers, of which this one is `number`.
    pub(super) fn new(
        ring: Ring,
        peek_bytes_max: usize,
        (seats, number): (Arc<Seats>, usize),
        log: Option<LogSender>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            ring,
            counters,
            peek_memory: PeekMemory::new(peek_bytes_max),
            descriptor_waits: DescriptorWaits::default(),
            pager: Pager::new(seats.bell(number).clone()),
            stocks: Stocks::default(),
            living: Living::default(),
            log: RefCell::new(log),
            // Random, so that ids differ between workers and between runs.
            next_id: Cell::new(fastrand::u64(..)),
            sessions: Cell::new(0),
            seats,
            number,
            settings: Cell::new(0),
            drain: Drain::default(),
            accepting: Cell::new(0),
            changed: Notify::default(),
            failure: RefCell::default(),
        }
    }

    /// The worker's number, from 0.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.seats.workers()
    }

    /// Where records go, if there is an access log now.
    pub(super) fn log(&self) -> Option<Ref<'_, LogSender>> {
        Ref::filter_map(self.log.borrow(), Option::as_ref).ok()
    }

    /// Sets where records go from now on.
    pub(super) fn set_log(&self, log: Option<LogSender>) {
        self.log.replace(log);
    }

    /// One more listener accepts.
    pub(super) fn accept_begins(&self) {
        self.accepting.set(self.accepting.get() + 1);
    }

    /// One less does.
    pub(super) fn accept_ends(&self) {
        self.accepting.set(self.accepting.get() - 1);
        self.changed.notify();
    }

    /// Has listeners accept the clients that already wait, and none after them; ends everything when all sessions have
    /// ended or `timeout` expires. Sessions with bytes on the way are reset then, see `relay.rs`.
    pub(super) async fn drain_and_end(&self, timeout: Duration) {
        self.drain.begin();
        let _ = self.ring.timeout(timeout, self.all_ended()).await;
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
    pub(super) fn draining(&self) -> Begun<'_, fn() -> bool> {
        self.drain.begun()
    }

    /// Completes when draining has begun, or `also` holds, which is looked at when orders for servers have changed.
    pub(super) fn draining_or<F: Fn() -> bool + Unpin>(&self, also: F) -> Begun<'_, F> {
        self.drain.begun_or(also)
    }

    /// Has sessions look at what is ordered for their servers.
    pub(super) fn look_at_servers(&self) {
        self.drain.look();
    }

    /// Completes when no session is left and no listener accepts.
    async fn all_ended(&self) {
        self.changed.until(|| self.accepting.get() == 0 && self.sessions.get() == 0).await;
    }

    /// Ends everything immediately: the worker cannot continue.
    pub(super) fn fail(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
        self.ring.end_tasks();
    }

    /// The error that ended the worker.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.take()
    }

    /// Waits until one more session may begin. Call it when a client waits: it counts that no seat was free.
    pub(super) async fn room(&self) {
        if self.seats.has_room(self.number) {
            return;
        }
        if !self.is_draining() {
            self.seats.note_full();
        }
        self.changed.until(|| self.seats.has_room(self.number)).await;
    }

    /// Wakes tasks that wait for room when another worker has returned a seat, or for clients when one was given, and those
    /// that wait for a server when another worker has lent them one.
    pub(super) async fn watch_seats(self: Rc<Self>) {
        let hearing = match self.seats.bell(self.number).listen(&self.ring) {
            Ok(hearing) => hearing,
            Err(error) => return self.fail(Error::Ring(error)),
        };
        loop {
            if let Err(error) = hearing.rung().await {
                return self.fail(Error::Ring(error));
            }
            self.changed.notify();
            self.pager.deliver();
        }
    }

    /// A seat for the next client, if one is free.
    pub(super) fn seat(self: &Rc<Self>) -> Option<FreeSeat<'_>> {
        self.seats.take(self.number).then(|| FreeSeat(self))
    }

    fn give_back_seat(&self) {
        self.seats.give_back(self.number);
        if self.seats.is_called(self.number) || self.is_draining() {
            self.changed.notify();
        }
    }

    fn set_sessions(&self, sessions: usize) {
        self.sessions.set(sessions);
        self.seats.desks().set_sessions(self.number, sessions);
    }

    /// The worker that is to get the next client, if it is not this one.
    pub(super) fn receiver(&self) -> Option<usize> {
        self.seats.desks().receiver(self.number)
    }

    /// Gives a client of this listener to another worker. Returns it if that does not take it.
    pub(super) fn give(&self, client: NewClient, listener: &Arc<str>, worker: usize) -> Option<NewClient> {
        let given = Given { client: client.leave(), listener: Arc::clone(listener) };
        if let Err(given) = self.seats.desks().give(worker, self.settings.get(), given) {
            return Some(given.client.on(&self.ring));
        }
        self.counters.given().increase();
        self.seats.bell(worker).ring();
        None
    }

    /// Whether other workers may give clients to this one.
    pub(super) fn may_be_given(&self) -> bool {
        self.seats.desks().any()
    }

    /// Completes when there are clients that other workers have given to this one.
    pub(super) async fn given(&self) {
        self.changed.until(|| self.seats.desks().has_clients(self.number)).await;
    }

    /// The first client that another worker has given to this one, with its seat.
    pub(super) fn take_given(self: &Rc<Self>) -> Option<(Seat, Given)> {
        self.seats.desks().take(self.number).map(|given| (Seat::new(self), given))
    }

    /// The worker serves something else from now on: it is given clients of workers that serve the same. Returns those that
    /// it was given before.
    pub(super) fn next_settings(self: &Rc<Self>) -> impl Iterator<Item = (Seat, Given)> {
        self.settings.set(self.settings.get() + 1);
        self.open_desk(Some(self.settings.get()))
    }

    /// The worker is given no clients any more. Returns those that it was given before.
    pub(super) fn close_desk(self: &Rc<Self>) -> impl Iterator<Item = (Seat, Given)> {
        self.open_desk(None)
    }

    fn open_desk(self: &Rc<Self>, settings: Option<u64>) -> impl Iterator<Item = (Seat, Given)> {
        let given = self.seats.desks().open_for(self.number, settings);
        given.into_iter().map(|given| (Seat::new(self), given))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        for _given in self.seats.desks().open_for(self.number, None) {
            self.seats.give_back(self.number);
        }
        self.seats.leave(self.number);
    }
}

/// A seat that no session has yet; free again when it is dropped.
pub(super) struct FreeSeat<'a>(&'a Rc<Context>);

impl FreeSeat<'_> {
    /// Lets a session of this worker have it.
    pub(super) fn take(self) -> Seat {
        let seat = Seat::new(self.0);
        self.leave();
        seat
    }

    /// Leaves it to a client that another worker was given.
    pub(super) fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for FreeSeat<'_> {
    fn drop(&mut self) {
        self.0.give_back_seat();
    }
}

/// A session's seat; free again when it is dropped.
pub(super) struct Seat(Rc<Context>);

impl Seat {
    /// A seat that was taken, for a session of this worker.
    fn new(context: &Rc<Context>) -> Self {
        context.set_sessions(context.sessions.get() + 1);
        Self(Rc::clone(context))
    }

    pub(super) fn context(&self) -> &Rc<Context> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Self(context) = self;
        context.set_sessions(context.sessions.get() - 1);
        context.give_back_seat();
    }
}
