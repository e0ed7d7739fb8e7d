//! The upstream connections of one client: the one that carries its requests now, and those to groups that earlier ones
//! went to. There is at most one for each group, all of them are made for this client, and all end with its session.
//!
//! Nothing is in progress on an idle one, since a client has one request at a time in progress. Its server may close it
//! meanwhile, and with it a login: the next request of its group then goes out on a new connection, where the server asks
//! the client to log in again. The client's connection stays, because a login at another group lives on.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future::or;

use super::watch::Watch;
use crate::protocol::login::Side;
use crate::proxy::connection::Connection;
use crate::proxy::session::facts::{Held, Session};
use crate::upstream::Group;
use crate::uring::Expect;

/// The most bytes of meaningless line ends behind a reply.
pub(super) const SPARE_BYTES_MAX: usize = 16;

/// How long idle connections are not watched after a request has begun: a client that turns to and fro is spared the
/// operations.
const UNWATCHED: Duration = Duration::from_secs(1);

/// An upstream connection, and what is known of it.
pub(super) struct Upstream<'a> {
    pub(super) group: Rc<Group>,
    pub(super) connection: Connection,
    pub(super) watch: Watch<'a>,
    /// Whether at most one request was sent on it.
    pub(super) is_new: Cell<bool>,
    /// Whether the client logs in on another connection of its own.
    logs_in_elsewhere: Cell<bool>,
}

/// An upstream connection that carries nothing now, with the lease of its server.
pub(super) struct Idle<'a> {
    upstream: Upstream<'a>,
    held: Held,
}

/// The idle connections of a client. Boxed, since most clients have none.
#[allow(clippy::box_collection, reason = "one word in a client that has none")]
#[derive(Default)]
pub(super) struct Others<'a>(Option<Box<Vec<Idle<'a>>>>);

impl<'a> Upstream<'a> {
    /// A connection that was made just now.
    pub(super) fn new(group: Rc<Group>, connection: Connection, watch: Watch<'a>) -> Self {
        let (is_new, logs_in_elsewhere) = (Cell::new(true), Cell::new(false));
        Self { group, connection, watch, is_new, logs_in_elsewhere }
    }

    /// Begins to carry the client's requests, after the connection `before` it.
    pub(super) fn begin(&self, before: &Idle<'_>, others: &Others<'_>) {
        self.watch.learn_user(&before.upstream.watch);
        self.logs_in_elsewhere.set(before.is_within_login() || others.is_within_login());
    }

    /// Whether the client has yet to answer a login message, here or on another connection of its own.
    pub(super) fn is_within_login(&self) -> bool {
        self.logs_in_elsewhere.get() || self.watch.is_within_login()
    }

    /// Puts it aside, with its lease, which the session holds.
    pub(super) fn idle(self, session: &Session) -> Idle<'a> {
        Idle { upstream: self, held: session.take_lease() }
    }

    /// Whether it can carry another request: its server has neither closed it nor sent anything but line ends, which
    /// applications that miscount send behind a body.
    async fn is_usable(&self) -> bool {
        let Self { connection, .. } = self;
        let mut spare_bytes = 0;
        loop {
            let spare = connection.unread().len();
            spare_bytes += spare;
            if !is_line_ends(&connection.unread()) || spare_bytes > SPARE_BYTES_MAX {
                return false;
            }
            connection.take(spare);
            match connection.socket().has_bytes() {
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                // Between two replies TLS has nothing to send but the announcement of its end.
                Ok(true) if !connection.has_tls() => {
                    if !matches!(connection.receive(Expect::Now).await, Ok(Some(_))) {
                        return false;
                    }
                }
                Ok(_) => return false,
            }
        }
    }
}

impl<'a> Idle<'a> {
    /// Takes it up again: the session holds its lease from now on.
    pub(super) fn resume(self, session: &Session) -> Upstream<'a> {
        session.resume_lease(self.held);
        self.upstream
    }

    /// Whether the client has yet to answer a login message on it.
    fn is_within_login(&self) -> bool {
        self.upstream.watch.is_within_login()
    }

    /// Whether its server drains and no login depends on it.
    fn should_end(&self) -> bool {
        self.held.server_drains() && !self.is_within_login()
    }

    /// Closes it; `by` has ended it, or the whole session.
    fn close(self, session: &Session, by: Side) {
        let in_use = session.take_lease();
        let Upstream { connection, watch, .. } = self.resume(session);
        watch.ended(by);
        connection.end();
        session.resume_lease(in_use);
    }
}

impl<'a> Others<'a> {
    /// Adds a connection.
    pub(super) fn add(&mut self, idle: Idle<'a>) {
        self.0.get_or_insert_default().push(idle);
    }

    /// Takes out the connection to this group, unless there is none, or its server has ended it or drains.
    pub(super) async fn take(&mut self, group: &Rc<Group>, session: &Session) -> Option<Upstream<'a>> {
        let all = self.0.as_mut()?;
        let at = all.iter().position(|idle| Rc::ptr_eq(&idle.upstream.group, group))?;
        let idle = all.swap_remove(at);
        if idle.should_end() {
            idle.close(session, Side::Proxy);
            return None;
        }
        if idle.upstream.is_usable().await {
            idle.upstream.is_new.set(false);
            return Some(idle.resume(session));
        }
        idle.close(session, Side::Upstream);
        None
    }

    /// Whether the client has yet to answer a login message on one of them.
    fn is_within_login(&self) -> bool {
        self.0.iter().flat_map(|all| all.iter()).any(Idle::is_within_login)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|all| all.is_empty())
    }

    /// Completes `work`, and meanwhile closes each connection whose server ends it or drains, so that none holds a lease
    /// and a descriptor for nothing.
    pub(super) async fn watched<T>(&mut self, session: &Session, work: impl Future<Output = T>) -> T {
        or(work, async {
            self.watch(session).await;
            pending().await
        })
        .await
    }

    async fn watch(&mut self, session: &Session) {
        session.context().ring.sleep(UNWATCHED).await;
        while !self.is_empty() {
            let (nth, by) = {
                let idle = || self.0.iter().flat_map(|all| all.iter());
                let ended = idle().map(|idle| Box::pin(idle.upstream.connection.socket().peer_closed()));
                let mut ended: Vec<_> = ended.collect();
                let drained = || idle().position(Idle::should_end);
                let mut changed = pin!(session.context().draining_or(|| drained().is_some()));
                poll_fn(|cx| {
                    if let Some(nth) = ended.iter_mut().position(|ended| ended.as_mut().poll(cx).is_ready()) {
                        return Poll::Ready((nth, Side::Upstream));
                    }
                    // It also completes when the worker drains, which ends the whole session.
                    match changed.as_mut().poll(cx) {
                        Poll::Ready(()) => {
                            drained().map_or(Poll::Pending, |nth| Poll::Ready((nth, Side::Proxy)))
                        }
                        Poll::Pending => Poll::Pending,
                    }
                })
                .await
            };
            if let Some(all) = &mut self.0 {
                all.swap_remove(nth).close(session, by);
            }
        }
    }

    /// Closes all of them.
    pub(super) fn end(&mut self, session: &Session, by: Side) {
        self.0.take().into_iter().flat_map(|all| *all).for_each(|idle| idle.close(session, by));
    }
}

/// Whether these are nothing but line ends.
pub(super) fn is_line_ends(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\r' || byte == b'\n')
}
