//! Requests one way and replies the other, over a client's connection and one of its upstream connections, of which nearly
//! all clients have one.
//!
//! ```text
//!   requests:  head -> change -> send, with its body -> until the reply is complete -> the next head
//!   replies:   head -> change -> send, with its body -> the next head, or close
//! ```
//!
//! Both run at once, since a reply may arrive before its request is complete. A request that waits behind another one
//! (pipelining) stays in the client's socket. Nothing is ever sent twice.
//!
//! While the worker or the server drains, the current request is the last: its reply says so, and the connections end between two
//! requests, when one that was under way would have come. They never end within a login, which must continue on its connection.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use futures_lite::future::or;

use super::body::Passed;
use super::clock::{Clock, Over, Phase};
use super::log::Log;
use super::refusal::Refusal;
use super::reply::{Replies, Reply, Then};
use super::request::{Exchange, Next, Request, Requests};
use super::upstreams::{SPARE_BYTES_MAX, is_line_ends};
use crate::protocol::http1::forward::TrailerRules;
use crate::protocol::login;
use crate::proxy::record::End;
use crate::proxy::relay::Side;
use crate::proxy::relay::{Broken, Direction};
use crate::proxy::relay::{Relay, Reset};
use crate::proxy::settings::timeouts::REQUEST_GRACE;
use crate::upstream::Group;
use crate::uring::Expect;

/// How the exchanges of a session ended.
pub(super) enum Finish {
    /// The client ended its stream between two requests.
    ClientClosed,
    /// The upstream ended its stream between two requests, or where a client retries by itself.
    UpstreamClosed,
    /// This side announced that the message now complete was the last.
    Closing { by: Side },
    /// The worker drains, and no request is in progress.
    Drained,
    /// The next request goes to another group, which is none of the session's ends.
    Elsewhere(Rc<Group>, Box<Request>),
    /// Both sides switch to another protocol.
    Tunnel,
    /// The proxy must answer by itself, and then close.
    Refused(Refusal),
    /// This side ended its stream, or broke the framing, in the middle of a message.
    CutShort(Side),
    /// This side's connection failed.
    Broken(Side, io::Error),
    /// The client ended its stream while its reply was awaited or being sent.
    ClientLeft,
    /// A time-out expired; the end names which.
    TimedOut(End),
}

impl Finish {
    /// The word in the log, for the session and for an incomplete request.
    pub(super) fn end(&self) -> End {
        match self {
            Self::ClientClosed | Self::Closing { by: Side::Client } => End::ClientClose,
            Self::UpstreamClosed | Self::Closing { by: Side::Upstream } => End::UpstreamClose,
            Self::Drained => End::Drained,
            Self::Elsewhere(..) | Self::Tunnel => End::Ok,
            Self::Refused(refusal) => refusal.end(),
            Self::CutShort(Side::Client) | Self::ClientLeft => End::ClientLeft,
            Self::CutShort(Side::Upstream) => End::UpstreamCut,
            Self::Broken(Side::Client, _) => End::ClientReset,
            Self::Broken(Side::Upstream, _) => End::UpstreamReset,
            Self::TimedOut(end) => *end,
        }
    }

    /// The side that ended it.
    pub(super) fn by(&self) -> login::Side {
        match self.end() {
            End::ClientClose | End::ClientLeft | End::ClientReset => login::Side::Client,
            End::UpstreamClose | End::UpstreamCut | End::UpstreamReset | End::BadReply | End::TlsUpstream => {
                login::Side::Upstream
            }
            _ => login::Side::Proxy,
        }
    }
}

/// The client's connection and one of its upstream connections.
pub(super) struct Exchanges<'a> {
    pub(super) relay: &'a Relay<'a>,
    pub(super) requests: &'a Requests<'a>,
    replies: &'a Replies<'a>,
    log: &'a Log<'a>,
    /// The request whose reply is not complete.
    current: RefCell<Option<Exchange>>,
    /// Whether the proxy told the client that its current request is the last.
    is_last: Cell<bool>,
    /// Whether at most a part of an interim reply has been sent to the client.
    is_within_interim: Cell<bool>,
    /// Whether both sides switch to another protocol as soon as the current request is complete.
    becomes_tunnel: Cell<bool>,
    clock: Clock<'a>,
}

impl<'a> Exchanges<'a> {
    pub(super) fn new(
        relay: &'a Relay<'a>,
        requests: &'a Requests<'a>,
        replies: &'a Replies<'a>,
        log: &'a Log<'a>,
    ) -> Self {
        let clock = Clock::new(relay);
        let (current, is_last, is_within_interim, becomes_tunnel) = Default::default();
        Self { relay, requests, replies, log, current, is_last, is_within_interim, becomes_tunnel, clock }
    }

    /// Forwards `first`, if there is one, and all requests that follow it. Returns how it ended, and the request whose
    /// reply was not complete then.
    pub(super) async fn run(&self, first: Option<Box<Request>>) -> (Finish, Option<Exchange>) {
        let finish = self.pass(first).await;
        let unfinished = self.current.take();
        let is_unanswered = !self.is_within_interim.get()
            && unfinished.as_ref().is_some_and(|exchange| exchange.reply.is_none());
        let finish = match finish {
            Finish::Broken(Side::Upstream, error) if is_unanswered && is_of_tls(&error) => {
                Finish::Refused(Refusal::UpstreamAlert(error.to_string()))
            }
            // Same as for a close: a client cannot know that its first request was seen.
            Finish::Broken(Side::Upstream, error) if is_unanswered && self.replies.upstream.is_new.get() => {
                Finish::Refused(Refusal::UpstreamReset(error.kind()))
            }
            finish => finish,
        };
        (finish, unfinished)
    }

    /// Whether some of the current request has not been sent upstream.
    pub(super) fn is_within_request(&self) -> bool {
        matches!(self.clock.phase(), Phase::Body | Phase::Continue | Phase::Discarding)
    }

    async fn pass(&self, first: Option<Box<Request>>) -> Finish {
        self.relay.reset.set(Reset::All);
        let mut replies = pin!(self.pass_replies());
        let mut requests = pin!(self.pass_requests(first));
        let mut over = pin!(self.clock.over(|| self.has_replied()));
        let finish = poll_fn(|cx| {
            // Replies first: the request behind a complete one is then sent in the same turn.
            let ended = match replies.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(ended),
                Poll::Pending => requests.as_mut().poll(cx),
            };
            match ended {
                Poll::Ready(Ok(finish)) => Poll::Ready(finish),
                Poll::Ready(Err((side, error))) => Poll::Ready(Finish::Broken(side, error)),
                // Last, since it checks what the others wait for.
                Poll::Pending => over.as_mut().poll(cx).map(|over| self.timed_out(over)),
            }
        })
        .await;
        self.relay.reset.set(Reset::Nothing);
        finish
    }

    fn timed_out(&self, over: Over) -> Finish {
        let timeouts = self.relay.timeouts;
        let is_unanswered = !self.has_replied();
        match over {
            Over::Body if is_unanswered => Finish::Refused(Refusal::BodyTimeout(timeouts.body)),
            Over::Reply if is_unanswered => Finish::Refused(Refusal::ReplyTimeout(timeouts.reply)),
            Over::Idle if is_unanswered && matches!(self.clock.phase(), Phase::Reply | Phase::Discarding) => {
                Finish::Refused(Refusal::ReplyTimeout(timeouts.idle))
            }
            Over::Keepalive => Finish::TimedOut(End::KeepaliveTimeout),
            Over::Body => Finish::TimedOut(End::BodyTimeout),
            Over::Reply => Finish::TimedOut(End::ReplyTimeout),
            Over::Send => Finish::TimedOut(End::SendTimeout),
            Over::Idle => Finish::TimedOut(End::Idle),
        }
    }

    async fn pass_requests(&self, first: Option<Box<Request>>) -> Result<Finish, Broken> {
        let (client, upstream) = (self.relay.client, self.relay.upstream);
        let direction = Direction { relay: self.relay, from: Side::Client, to: Side::Upstream };
        let mut request = match first {
            Some(first) => first,
            // Boxed, and not in the loop, so that most idle clients do not carry it.
            None => match Box::pin(self.next_request()).await? {
                Ok(next) => next,
                Err(finish) => return Ok(finish),
            },
        };
        loop {
            let Request { mut head, mut body, exchange, .. } = *request;
            self.clock.begin_request(exchange.manner);
            self.current.replace(Some(exchange));
            let http = self.requests.http;
            let trailers = TrailerRules { underscores: http.underscores, edits: &http.request_edits };
            if let Err(error) = body.append_arrived(client, trailers, &mut head) {
                return Ok(Finish::Refused(error.into()));
            }
            let sent = upstream.send_all(&head).await;
            if sent.is_ok() {
                self.relay.meter.sent(Side::Upstream, head.len(), self.relay.ring.now());
            }
            let passed = match sent {
                Ok(()) if body.is_none() => Ok(Passed::Whole),
                Ok(()) => Box::pin(body.pass(direction, trailers)).await,
                Err(error) => Err((Side::Upstream, error)),
            };
            drop(head);
            match passed {
                Ok(Passed::Whole) => {}
                Ok(Passed::Malformed(error)) if !self.has_replied() => {
                    return Ok(Finish::Refused(error.into()));
                }
                Ok(Passed::Malformed(_) | Passed::CutShort) => return Ok(Finish::CutShort(Side::Client)),
                // The upstream may have answered before it left: the task that reads replies finds out.
                Err((Side::Upstream, _))
                    if !upstream.socket().is_connected() && !self.becomes_tunnel.get() =>
                {
                    self.clock.begin(Phase::Discarding);
                    return self.discard().await;
                }
                Err(broken) => return Err(broken),
            }
            self.clock.begin(Phase::Reply);
            if let Some(finish) = self.reply_through().await? {
                return Ok(finish);
            }
            request = match self.next_request().await? {
                Ok(next) => next,
                Err(finish) => return Ok(finish),
            };
        }
    }

    /// The next request for this upstream connection, or how it ends without one.
    async fn next_request(&self) -> Result<Result<Box<Request>, Finish>, Broken> {
        loop {
            self.clock.begin(Phase::Request);
            let next = self.requests.next(self.drained()).await.map_err(|error| (Side::Client, error))?;
            let request = match next {
                Next::Request(request) => request,
                Next::End => return Ok(Err(Finish::ClientClosed)),
                Next::Stop => return Ok(Err(Finish::Drained)),
                Next::Refused(refusal) => return Ok(Err(Finish::Refused(refusal))),
            };
            self.log.begin();
            if let Err(refusal) = self.admit(&request) {
                if matches!(refusal, Refusal::NoPath(_)) && self.requests.may_go_on_after(&request) {
                    Box::pin(self.answer(refusal, request)).await?;
                    continue;
                }
                // The body of the request is not read. It still becomes the current one, so that its log line is its own.
                self.clock.begin(Phase::Discarding);
                self.current.replace(Some(request.exchange));
                return Ok(Err(Finish::Refused(refusal)));
            }
            if let Some(Ok(group)) = &request.group
                && !Rc::ptr_eq(group, &self.replies.upstream.group)
            {
                return Ok(Err(Finish::Elsewhere(Rc::clone(group), request)));
            }
            self.replies.upstream.is_new.set(false);
            return Ok(Ok(request));
        }
    }

    /// Admits a request if there is a group for it and its user may use the client's connection.
    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        match (&request.group, &request.exchange.asked) {
            (Some(Err(refusal)), _) => Err(refusal.clone()),
            (_, Some(asked)) => self.replies.upstream.watch.admit(asked),
            (_, None) => Ok(()),
        }
    }

    /// Answers a request in the server's place; the client goes on.
    async fn answer(&self, refusal: Refusal, request: Box<Request>) -> Result<(), Broken> {
        let reply = self.log.refused(&refusal, Some(request.exchange), true);
        let Relay { client, meter, ring, .. } = self.relay;
        client.send_all(reply.as_bytes()).await.map_err(|error| (Side::Client, error))?;
        meter.sent(Side::Client, reply.len(), ring.now());
        Ok(())
    }

    /// Completes when the worker or the session's server drains, between two requests that do not belong to one login, and
    /// a request that was under way would have come.
    async fn drained(&self) {
        if self.replies.upstream.is_within_login() {
            pending::<()>().await;
        }
        let Replies { session, .. } = self.replies;
        loop {
            session.context().draining_or(|| session.server_drains()).await;
            // Boxed: all idle clients carry the rest.
            Box::pin(session.context().ring.sleep(REQUEST_GRACE)).await;
            // An operator may want the server back.
            if self.replies.is_time_to_end() {
                return;
            }
        }
    }

    /// Completes when no reply is due. Returns how the session ends if it ends here, or because the client has left.
    async fn reply_through(&self) -> Result<Option<Finish>, Broken> {
        // `pass` polls this whenever it has polled `pass_replies`, which changes the state checked here.
        let through = poll_fn(|_cx| {
            if self.current.borrow().is_some() {
                return Poll::Pending;
            }
            Poll::Ready(if self.becomes_tunnel.get() {
                Some(Finish::Tunnel)
            } else {
                self.is_last.get().then_some(Finish::Drained)
            })
        });
        let through = async { Ok(through.await) };
        or(through, async { self.client_gone().await.map(Some) }).await
    }

    /// Completes when the client has left while its reply is awaited or being sent. A client that has ended its stream
    /// counts as gone, as in nginx, unless more of its requests wait behind this one, or the settings say that clients
    /// continue to read.
    async fn client_gone(&self) -> Result<Finish, Broken> {
        self.clock.client_unwatched().await;
        let client = self.relay.client;
        let broken = |error| (Side::Client, error);
        if !self.requests.http.ignore_client_close {
            client.socket().peer_closed().await.map_err(broken)?;
            // `close_notify` arrives as bytes. Of a waiting request at most one buffer is read ahead.
            while client.unread().is_empty() {
                if client.receive(Expect::Now).await.map_err(broken)?.is_none() {
                    return Ok(Finish::ClientLeft);
                }
            }
        }
        client.socket().dead().await.map_err(broken)?;
        Err(broken(io::ErrorKind::ConnectionReset.into()))
    }

    /// Reads the rest of a request that the upstream no longer accepts, so that the client gets to read the reply.
    async fn discard(&self) -> Result<Finish, Broken> {
        self.relay.client.discard().await.map_err(|error| (Side::Client, error))?;
        pending().await
    }

    async fn pass_replies(&self) -> Result<Finish, Broken> {
        let (client, upstream) = (self.relay.client, self.relay.upstream);
        let direction = Direction { relay: self.relay, from: Side::Upstream, to: Side::Client };
        loop {
            let mut reply = match self.next_reply().await.map_err(|error| (Side::Upstream, error))? {
                Ok(reply) => reply,
                Err(finish) => return Ok(finish),
            };
            let trailers = TrailerRules { underscores: true, edits: &self.replies.http.reply_edits };
            // Nothing of it has been sent to the client.
            if let Err(error) = reply.body.append_arrived(upstream, trailers, &mut reply.head) {
                return Ok(Finish::Refused(Refusal::Reply(error.to_string())));
            }
            self.is_within_interim.set(reply.is_interim);
            client.send_all(&reply.head).await.map_err(|error| (Side::Client, error))?;
            self.is_within_interim.set(false);
            self.relay.meter.sent(Side::Client, reply.head.len(), self.relay.ring.now());
            if reply.is_interim {
                if self.clock.phase() == Phase::Continue {
                    self.clock.begin(Phase::Body);
                }
                continue;
            }
            if !reply.body.is_none() {
                match Box::pin(reply.body.pass(direction, trailers)).await? {
                    Passed::Whole => {}
                    Passed::CutShort => return Ok(Finish::CutShort(Side::Upstream)),
                    Passed::Malformed(error) => {
                        tracing::info!(request = self.log.request_id(), %error, "reply body is malformed; cutting the reply short");
                        return Ok(Finish::CutShort(Side::Upstream));
                    }
                }
            }
            if let Some(exchange) = self.current.take() {
                self.log.end(exchange, &self.replies.upstream.watch, End::Ok);
            }
            match reply.then {
                Then::Next => {}
                // The session ends when the request is complete as well.
                Then::End => self.is_last.set(true),
                // Not before the request is complete: its bytes go first.
                Then::Tunnel => {
                    self.becomes_tunnel.set(true);
                    return pending().await;
                }
                Then::Close { by } => return Ok(Finish::Closing { by }),
            }
        }
    }

    /// The next reply when its head is complete, or how the session ends without one.
    async fn next_reply(&self) -> io::Result<Result<Reply, Finish>> {
        let upstream = self.relay.upstream;
        let mut spare_bytes = 0;
        loop {
            if !upstream.unread().is_empty() {
                let read = match &mut *self.current.borrow_mut() {
                    Some(exchange) if exchange.reply.is_none() => {
                        self.replies.read(&upstream.unread(), exchange)
                    }
                    // Applications that miscount send a line end behind their body.
                    _ if is_line_ends(&upstream.unread()) && spare_bytes < SPARE_BYTES_MAX => {
                        let spare = upstream.unread().len();
                        spare_bytes += spare;
                        upstream.take(spare);
                        Ok(None)
                    }
                    _ => {
                        tracing::debug!("server sent bytes without a request; closing");
                        return Ok(Err(Finish::UpstreamClosed));
                    }
                };
                match read {
                    Ok(None) => {}
                    Ok(Some((reply, taken))) => {
                        upstream.take(taken);
                        return Ok(Ok(reply));
                    }
                    Err(refusal) => return Ok(Err(Finish::Refused(refusal))),
                }
            }
            if upstream.receive(Expect::Later).await?.is_none() {
                return Ok(Err(self.upstream_ended()));
            }
            self.relay.received(Side::Upstream, self.relay.ring.now());
        }
    }

    /// The end of a session whose upstream has ended its stream. On a connection used before, the client must see
    /// exactly that: it cannot know whether its request was seen, and decides itself whether to send it again (RFC 9112
    /// section 9.3.1).
    fn upstream_ended(&self) -> Finish {
        match &*self.current.borrow() {
            Some(_) if !self.relay.upstream.unread().is_empty() => {
                Finish::Refused(Refusal::Reply("it ended within its head".to_owned()))
            }
            Some(_) if self.replies.upstream.is_new.get() => Finish::Refused(Refusal::NoReply),
            Some(_) | None => Finish::UpstreamClosed,
        }
    }

    /// Whether it is too late for an answer by the proxy, because a reply to the current request is being sent to the
    /// client, or has been sent completely.
    fn has_replied(&self) -> bool {
        self.is_within_interim.get()
            || self.current.borrow().as_ref().is_none_or(|exchange| exchange.reply.is_some())
    }
}

/// A session that is dropped ends because the worker stops, or an operator closes it.
impl Drop for Exchanges<'_> {
    fn drop(&mut self) {
        if let Some(exchange) = self.current.take() {
            let end = self.replies.session.end();
            self.log.end(exchange, &self.replies.upstream.watch, end);
        }
    }
}

/// Whether the error comes from TLS, such as an alert from the peer, and not from the connection.
fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}
