//! The warm connections of one group, by its servers.
//!
//! It never opens a connection and waits for nothing: the keeper does. A session takes a connection out by a [`Hand`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::demand::Demand;
use crate::proxy::connection::Connection;
use crate::proxy::drain::{Begun, Drain};
use crate::upstream::{Group, Lease, Supply, WarmPlace};
use crate::uring::{Expect, Ring, SocketOptions};

/// Most connections of a worker to a group that are being opened at once.
const OPENING_MAX: usize = 16;

/// The stocks of a worker.
#[derive(Default)]
pub(in crate::proxy) struct Stocks(RefCell<Vec<Rc<Stock>>>);

impl Stocks {
    /// The stock of a group, for sessions whose sockets have these options. None where nothing is opened ahead, and for
    /// groups of earlier settings.
    pub(in crate::proxy) fn of(&self, group: &Group, options: &SocketOptions) -> Option<Rc<Stock>> {
        self.0.borrow().iter().find(|stock| stock.is_for(group, options)).map(Rc::clone)
    }

    /// Puts other stocks in place of all, and closes those that are not among them.
    pub(super) fn replace(&self, new: Vec<Rc<Stock>>) {
        for stock in self.0.replace(new) {
            if !self.0.borrow().iter().any(|now| Rc::ptr_eq(now, &stock)) {
                stock.close();
            }
        }
    }

    /// The one that a stock of the same group of later settings goes on from.
    pub(super) fn before(&self, group: &Group) -> Option<Rc<Stock>> {
        let is_same = |stock: &&Rc<Stock>| stock.group.settings().name == group.settings().name;
        self.0.borrow().iter().find(is_same).map(Rc::clone)
    }

    /// Closes all connections, because sessions need their descriptors.
    pub(in crate::proxy) fn make_room(&self) {
        self.0.borrow().iter().for_each(|stock| stock.make_room());
    }
}

/// See the module docs.
pub(in crate::proxy) struct Stock {
    ring: Ring,
    pub(super) group: Rc<Group>,
    /// The options of the sockets.
    pub(super) options: SocketOptions,
    /// Most connections, open or being opened.
    most: usize,
    servers: Box<[RefCell<Kept>]>,
    closing: Drain,
    keeper: Cell<Option<Waker>>,
    /// How many it has had.
    count: Cell<u32>,
}

/// What concerns one server.
struct Kept {
    demand: Demand,
    opening: usize,
    /// The youngest last.
    waiting: Vec<Warm>,
}

/// A connection that no client has.
struct Warm {
    watch: Rc<Watch>,
    connection: Rc<Connection>,
    place: WarmPlace,
}

/// A receive on a warm connection, which completes when its server acts. The session that takes the connection drops it.
pub(super) struct Watch {
    receive: RefCell<Option<Pin<Box<dyn Future<Output = News>>>>>,
    task: Cell<Option<Waker>>,
}

/// What became of a warm connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It was taken out of the stock.
    Taken,
    /// Its server closed it, or it broke.
    Closed,
    /// Its server sent something, although no client asked.
    Spoke,
}

impl Stock {
    /// Without connections; so many of them are wanted of each server.
    pub(super) fn new(
        ring: &Ring,
        group: Rc<Group>,
        options: SocketOptions,
        most: usize,
        wanted: &[usize],
    ) -> Self {
        let kept = |wanted: &usize| {
            RefCell::new(Kept { demand: Demand::new(*wanted), opening: 0, waiting: Vec::new() })
        };
        Self {
            ring: ring.clone(),
            group,
            options,
            most,
            servers: wanted.iter().map(kept).collect(),
            closing: Drain::default(),
            keeper: Cell::new(None),
            count: Cell::new(0),
        }
    }

    pub(super) fn is_for(&self, group: &Group, options: &SocketOptions) -> bool {
        std::ptr::eq(&raw const *self.group, group) && self.options == *options
    }

    /// How many are wanted of each server.
    pub(super) fn wanted(&self) -> Vec<usize> {
        self.servers.iter().map(|kept| kept.borrow().demand.wanted()).collect()
    }

    fn now(&self) -> Instant {
        self.ring.now()
    }

    /// Takes places for connections to open now. The caller calls [`opened`](Self::opened) or
    /// [`not_opened`](Self::not_opened) for each.
    pub(super) fn places(&self) -> Vec<(usize, WarmPlace)> {
        let (now, group) = (self.now(), self.group.settings());
        let mut all_opening: usize = self.servers.iter().map(|kept| kept.borrow().opening).sum();
        let mut places = Vec::new();
        for (nth, kept) in self.servers.iter().enumerate() {
            let Kept { demand, opening, waiting } = &mut *kept.borrow_mut();
            while !demand.pauses(now)
                && waiting.len() + *opening < demand.wanted()
                && all_opening < OPENING_MAX
                && let Some(place) = WarmPlace::take(group, nth, now)
            {
                *opening += 1;
                all_opening += 1;
                places.push((nth, place));
            }
        }
        places
    }

    /// Keeps a connection that was opened just now, to the server at this place. None if the stock is closed.
    pub(super) fn opened(&self, nth: usize, connection: Connection, place: WarmPlace) -> Option<Rc<Watch>> {
        let kept = &mut *self.servers[nth].borrow_mut();
        kept.opening -= 1;
        if self.closing.has_begun() || place.is_over(self.group.settings(), self.now()) {
            connection.end();
            drop(connection);
            return None;
        }
        let connection = Rc::new(connection);
        let watch = Rc::new(Watch::of(&connection));
        kept.waiting.push(Warm { watch: Rc::clone(&watch), connection, place });
        Some(watch)
    }

    /// A connection could not be opened, and whether its server is at fault. True if nothing like that happened lately.
    pub(super) fn not_opened(&self, nth: usize) -> bool {
        let kept = &mut *self.servers[nth].borrow_mut();
        kept.opening -= 1;
        kept.demand.failed(self.now())
    }

    /// Calls `change` with the demand for connections to the server at this place.
    pub(super) fn with_demand<T>(&self, nth: usize, change: impl FnOnce(&mut Demand) -> T) -> T {
        change(&mut self.servers[nth].borrow_mut().demand)
    }

    /// Closes the connection that this watches, if it is still in the stock.
    pub(super) fn close_one(&self, nth: usize, watch: &Rc<Watch>) {
        let warm = {
            let waiting = &mut self.servers[nth].borrow_mut().waiting;
            let at = waiting.iter().position(|warm| Rc::ptr_eq(&warm.watch, watch));
            at.map(|at| waiting.remove(at))
        };
        if let Some(warm) = warm {
            warm.close();
        }
    }

    /// A number from 0 to 1, far from those before: what begins together is not to end together.
    pub(super) fn spread(&self) -> f64 {
        const GOLDEN: f64 = 0.618_033_988_749_895;
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        (f64::from(count) * GOLDEN).fract()
    }

    /// Closes the connections to servers that are not in use any more, and those whose places clients wait for.
    pub(super) fn give_up(&self) {
        let (now, group) = (self.now(), self.group.settings());
        for kept in &self.servers {
            let mut kept = kept.borrow_mut();
            let is_over = |warm: &Warm| warm.place.is_over(group, now);
            let over: Vec<_> = kept.waiting.extract_if(.., |warm| is_over(warm)).collect();
            let is_left_out = |warm: &Warm| warm.place.server().is_none_or(|server| !server.is_in_use(now));
            if over.iter().any(is_left_out) {
                kept.demand.forget();
            }
            drop(kept);
            over.into_iter().for_each(Warm::close);
        }
    }

    fn make_room(&self) {
        let now = self.now();
        for kept in &self.servers {
            let waiting = {
                let kept = &mut *kept.borrow_mut();
                kept.demand.failed(now);
                std::mem::take(&mut kept.waiting)
            };
            waiting.into_iter().for_each(Warm::close);
        }
    }

    /// Closes all connections; no more are kept.
    pub(super) fn close(&self) {
        self.closing.begin();
        for kept in &self.servers {
            let waiting = std::mem::take(&mut kept.borrow_mut().waiting);
            waiting.into_iter().for_each(Warm::close);
        }
    }

    /// Completes when the stock is closed.
    pub(super) fn closed(&self) -> Begun<'_, fn() -> bool> {
        self.closing.begun()
    }

    /// Whether there is something to look after that gives no notice.
    pub(super) fn is_in_use(&self) -> bool {
        self.servers.iter().any(|kept| {
            let kept = kept.borrow();
            kept.demand.wanted() > 0 || !kept.waiting.is_empty()
        })
    }

    /// Completes when the task has been called, or woken by anything else.
    pub(super) async fn called(&self) {
        let mut sleeps = false;
        poll_fn(|cx| {
            self.keeper.set(Some(cx.waker().clone()));
            if std::mem::replace(&mut sleeps, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Has the keeper look what is to be opened.
    pub(super) fn call_keeper(&self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.wake();
        }
    }

    /// Takes out the youngest connection to the server at this place that is alive, and notes that a client came.
    fn take(&self, nth: usize) -> Option<(Connection, Lease)> {
        let (now, group) = (self.now(), self.group.settings());
        let mut lent = None;
        while lent.is_none()
            && let Some(warm) = { self.servers[nth].borrow_mut().waiting.pop() }
        {
            lent = if warm.place.is_over(group, now) {
                warm.close();
                None
            } else {
                warm.lend()
            };
        }
        let may_grow = lent.is_none() && self.wanted().into_iter().sum::<usize>() < self.most;
        self.with_demand(nth, |demand| demand.client_came(lent.is_some(), may_grow, now));
        self.call_keeper();
        lent
    }
}

impl Warm {
    /// Gives the connection to a session, unless its server has closed it or sent something.
    fn lend(self) -> Option<(Connection, Lease)> {
        let Self { watch, connection, place } = self;
        let is_silent = watch.is_silent();
        watch.end();
        let connection = Rc::into_inner(connection)?;
        let socket = connection.socket();
        // What arrived after the watch looked: TLS may have sent a ticket, but also its end.
        let has_nothing =
            matches!(socket.has_bytes(), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        if !is_silent || !has_nothing || !socket.is_connected() {
            return None;
        }
        Some((connection, place.lend()?))
    }

    /// Closes it in order, and only then gives its place back.
    fn close(self) {
        let Self { watch, connection, place } = self;
        watch.end();
        connection.end();
        drop(connection);
        drop(place);
    }
}

impl Watch {
    fn of(connection: &Rc<Connection>) -> Self {
        let connection = Rc::clone(connection);
        let receive = async move {
            match connection.receive(Expect::Later).await {
                Ok(Some(_)) => News::Spoke,
                Ok(None) | Err(_) => News::Closed,
            }
        };
        Self { receive: RefCell::new(Some(Box::pin(receive))), task: Cell::new(None) }
    }

    /// Whether the server has done nothing yet.
    fn is_silent(&self) -> bool {
        let mut receive = self.receive.borrow_mut();
        let look = &mut Context::from_waker(Waker::noop());
        receive.as_mut().is_some_and(|receive| receive.as_mut().poll(look).is_pending())
    }

    /// Drops the receive: the connection is not in the stock any more.
    fn end(&self) {
        drop(self.receive.take());
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Completes when the server acts, or the connection is taken out of the stock.
    pub(super) async fn news(&self) -> News {
        poll_fn(|cx| {
            self.task.set(Some(cx.waker().clone()));
            match &mut *self.receive.borrow_mut() {
                Some(receive) => receive.as_mut().poll(cx),
                None => Poll::Ready(News::Taken),
            }
        })
        .await
    }
}

/// A session's way to take connections out of a stock. The last one that it has taken is in it.
pub(in crate::proxy) struct Hand {
    stock: Rc<Stock>,
    taken: Cell<Option<Connection>>,
}

impl Hand {
    /// It is empty.
    pub(in crate::proxy) fn new(stock: Rc<Stock>) -> Self {
        Self { stock, taken: Cell::new(None) }
    }

    /// The connection of the lease that was taken last; none if that lease has no connection yet.
    pub(in crate::proxy) fn take_connection(&self) -> Option<Connection> {
        self.taken.take()
    }
}

impl Supply for Hand {
    fn has(&self, nth: usize) -> bool {
        !self.stock.servers[nth].borrow().waiting.is_empty()
    }

    fn take(&self, nth: usize) -> Option<Lease> {
        let (connection, lease) = self.stock.take(nth)?;
        self.taken.set(Some(connection));
        Some(lease)
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hand({})", self.stock.group.settings().name)
    }
}
