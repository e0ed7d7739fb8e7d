//! What a worker serves: its services, and the listeners whose clients they get.
//!
//! ```text
//!   change(services, new listeners) --> new: accept | kept: its next clients get the new service | left out: close
//! ```
//!
//! A change happens between two accepts: a session has the service that its listener had when it accepted the client,
//! for its whole life. This must never touch a session.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;

use super::Error;
use super::context::{Context, Seat};
use super::desks::Given;
use super::listener::{self, Open};
use super::service::{Listening, services};
use super::session;
use super::settings;
use super::warm::keeper;
use crate::uring::{Address, Listener};

/// How long a client may take from its first packet to the queue of a listener that is replaced by another: a packet that is
/// lost is sent again after a second (RFC 6298), and as long is one held back that sends nothing (`defer-accept`).
const CONNECTING: Duration = Duration::from_secs(2);

/// See the module docs.
pub(super) struct Serving {
    context: Rc<Context>,
    /// The listeners by the address that they are bound to; not those that close.
    open: RefCell<Vec<(Address, Rc<Open>)>>,
    /// More sockets at these addresses, which a process with more workers had: they get no more clients.
    extra: RefCell<Vec<(Address, Rc<Open>)>>,
}

impl Serving {
    /// Nothing is served yet.
    pub(super) fn new(context: Rc<Context>) -> Self {
        Self { context, open: RefCell::default(), extra: RefCell::default() }
    }

    /// Serves these services from now on. `new` are listeners at addresses that it does not listen on yet, or listens
    /// on with a socket that is to be replaced; it goes on with its own for every other listener of the services. What
    /// is no listener of theirs accepts the clients that wait, and closes; where others go on for its clients, not before those that
    /// are connecting to it are there.
    pub(super) fn change(&self, settings: &[Arc<settings::Service>], mut new: Vec<(Address, Listener)>) {
        self.serve_given(self.context.next_settings());
        let mut before = self.open.take();
        let known: Vec<_> = before.iter().map(|(_, open)| Rc::clone(&open.listening().service)).collect();
        let mut after = Vec::new();
        let (mut extra_before, mut extra) = (self.extra.take(), Vec::new());
        let services = services(settings, self.context.number(), &known, &self.context.counters);
        keeper::keep(&self.context, &services);
        for service in services {
            for (address, listening) in service.listening() {
                while let Some((_, open)) = take(&mut extra_before, address) {
                    open.serve(Rc::clone(&listening));
                    extra.push((address.clone(), open));
                }
                let open = if let Some((_, listener)) = take(&mut new, address) {
                    while let Some((_, more)) = take(&mut new, address) {
                        extra.push((address.clone(), self.accept(Rc::clone(&listening), more)));
                    }
                    self.accept(listening, listener)
                } else if let Some((_, open)) = take(&mut before, address) {
                    open.serve(listening);
                    open
                } else {
                    unreachable!("a listener at {address} without a socket")
                };
                after.push((address.clone(), open));
            }
        }
        for (address, open) in before.into_iter().chain(extra_before) {
            // A second socket at the same address is in the same group: the kernel gives clients to either.
            let takes_its_place = |(other, _): &(Address, _)| *other != address && other.overlaps(&address);
            open.close(after.iter().any(takes_its_place).then(|| self.end_of_connecting()));
        }
        self.open.replace(after);
        self.extra.replace(extra);
    }

    /// Leaves the listeners at these addresses to another process, with the clients that wait there. It may have listeners for
    /// the clients of the others.
    pub(super) fn leave(&self, addresses: &[Address]) {
        let (open, extra) = (self.open.borrow(), self.extra.borrow());
        for (address, open) in open.iter().chain(&*extra) {
            if addresses.contains(address) {
                open.leave();
            } else {
                open.close(Some(self.end_of_connecting()));
            }
        }
    }

    /// Closes the sockets that get no more clients.
    pub(super) fn close_extra(&self) {
        for (_, open) in self.extra.take() {
            open.close(None);
        }
    }

    /// Serves the clients that other workers give to this one, for as long as it is polled.
    pub(super) async fn receive(self: Rc<Self>) {
        let context = &self.context;
        loop {
            context.given().await;
            listener::descriptors(context).await;
            context.ring.set_up_turn().await;
            self.serve_given(context.take_given());
            // As after an accept: the session takes its descriptor first.
            yield_now().await;
        }
    }

    /// Serves the clients that other workers have given to this one, and is given no more.
    pub(super) fn cease_to_receive(&self) {
        self.serve_given(self.context.close_desk());
    }

    /// Begins their sessions. The workers that gave them serve the same as this one does now.
    fn serve_given(&self, given: impl IntoIterator<Item = (Seat, Given)>) {
        for (seat, Given { client, listener }) in given {
            let open = self.open.borrow();
            let listening = open.iter().map(|(_, open)| open.listening());
            let Some(listening) = listening.into_iter().find(|listening| listening.name == listener) else {
                unreachable!("a client of {listener}, which no worker has that serves the same")
            };
            let (client, address) = client.on(&self.context.ring).stay();
            self.context.ring.spawn(session::run(seat, listening, client, address));
        }
    }

    /// Until when clients are waited for that have begun to connect.
    fn end_of_connecting(&self) -> Instant {
        self.context.ring.now() + CONNECTING
    }

    fn accept(&self, listening: Rc<Listening>, listener: Listener) -> Rc<Open> {
        let open = Rc::new(Open::new(listening));
        self.context.accept_begins();
        self.context.ring.spawn(accept(Rc::clone(&self.context), Rc::clone(&open), listener));
        open
    }
}

/// Takes the first that stands at an address.
fn take<T>(all: &mut Vec<(Address, T)>, address: &Address) -> Option<(Address, T)> {
    all.iter().position(|(at, _)| at == address).map(|nth| all.remove(nth))
}

async fn accept(context: Rc<Context>, open: Rc<Open>, listener: Listener) {
    match listener::run(&context, &open, listener).await {
        Ok(()) => context.accept_ends(),
        Err(source) => context.fail(Error::Listener { listener: open.listening().name.to_string(), source }),
    }
}
