//! Requests one way and replies the other, over two connections that live and end together.
//!
//! ```text
//!   requests:  head -> change -> send, with its body -> until the reply is through -> the next head
//!   replies:   head -> change -> send, with its body -> was that the last one?
//! ```
//!
//! Both run at once, since a reply may come before its request is through. A request that waits behind another one
//! (pipelining) stays in the client's socket. Nothing is ever sent a second time.
//!
//! While the worker drains, the present request is the last: its reply says so, and between two requests the connections
//! end. But never within a login, which has to go on where it began.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use futures_lite::future::or;

use super::body::Passed;
use super::clock::{Clock, Over, Phase};
use super::log::Log;
use super::refusal::Refusal;
use super::reply::{Replies, Reply, Then};
use super::request::{Exchange, Next, Request, Requests};
use crate::protocol::http1::forward::TrailerRules;
use crate::protocol::login;
use crate::proxy::direction::{Broken, Direction};
use crate::proxy::meter::Side;
use crate::proxy::record::End;
use crate::proxy::relay::{Relay, Reset};
use crate::uring::Expect;

/// Line ends behind a reply that say nothing.
const SPARE_BYTES_MAX: usize = 16;

/// How the exchanges of a session ended.
pub(super) enum Finish {
    /// The client ended its stream between two requests.
    ClientClosed,
    /// The upstream ended its stream between two requests, or where a client tries again by itself.
    UpstreamClosed,
    /// This side said that the message which is through now was the last.
    Closing { by: Side },
    /// The worker drains, and no request is under way.
    Drained,
    /// Both change to another protocol.
    Tunnel,
    /// An answer of our own is due, and then the end.
    Refused(Refusal),
    /// This side ended its stream, or lost the thread, in the middle of a message.
    CutShort(Side),
    /// This side's connection failed.
    Broken(Side, io::Error),
    /// The client ended its stream while its reply was awaited, or on its way.
    ClientLeft,
    /// Something took longer than a time-out allows, which is named by this word.
    TimedOut(End),
}

impl Finish {
    /// The word in the log, of the session and of a request that was not through.
    pub(super) fn end(&self) -> End {
        match self {
            Self::ClientClosed | Self::Closing { by: Side::Client } => End::ClientClose,
            Self::UpstreamClosed | Self::Closing { by: Side::Upstream } => End::UpstreamClose,
            Self::Drained => End::Drained,
            Self::Tunnel => End::Ok,
            Self::Refused(refusal) => refusal.end(),
            Self::CutShort(Side::Client) | Self::ClientLeft => End::ClientLeft,
            Self::CutShort(Side::Upstream) => End::UpstreamCut,
            Self::Broken(Side::Client, _) => End::ClientReset,
            Self::Broken(Side::Upstream, _) => End::UpstreamReset,
            Self::TimedOut(end) => *end,
        }
    }

    /// Who ended it.
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

/// The two connections of a session in HTTP.
pub(super) struct Exchanges<'a> {
    pub(super) relay: &'a Relay<'a>,
    pub(super) requests: &'a Requests<'a>,
    replies: &'a Replies<'a>,
    log: &'a Log<'a>,
    /// The request whose reply is not through.
    current: RefCell<Option<Exchange>>,
    /// The client was told, by us, that its present request is the last.
    is_last: Cell<bool>,
    /// An interim reply has gone to the client in part, at most.
    is_within_interim: Cell<bool>,
    /// Both change to another protocol as soon as the present request is through.
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
        let clock = Clock::new(relay, requests.http.timeouts);
        let (current, is_last, is_within_interim, becomes_tunnel) = Default::default();
        Self { relay, requests, replies, log, current, is_last, is_within_interim, becomes_tunnel, clock }
    }

    /// Passes `first` and all that follow it. Gives how it ended, and the request whose reply was not through then.
    pub(super) async fn run(&self, first: Box<Request>) -> (Finish, Option<Exchange>) {
        let finish = self.pass(first).await;
        let unfinished = self.current.take();
        let is_unanswered = !self.is_within_interim.get()
            && unfinished.as_ref().is_some_and(|exchange| exchange.reply.is_none());
        let finish = match finish {
            Finish::Broken(Side::Upstream, error) if is_unanswered && is_of_tls(&error) => {
                Finish::Refused(Refusal::UpstreamAlert(error.to_string()))
            }
            // As where it closes: a client cannot know that its first request was seen.
            Finish::Broken(Side::Upstream, error) if is_unanswered && self.log.count() == 1 => {
                Finish::Refused(Refusal::UpstreamReset(error.kind()))
            }
            finish => finish,
        };
        (finish, unfinished)
    }

    /// Some of the present request has not gone to the upstream.
    pub(super) fn is_within_request(&self) -> bool {
        matches!(self.clock.phase(), Phase::Body | Phase::Continue | Phase::Discarding)
    }

    async fn pass(&self, first: Box<Request>) -> Finish {
        self.relay.reset.set(Reset::All);
        let mut replies = pin!(self.pass_replies());
        let mut requests = pin!(self.pass_requests(first));
        let mut over = pin!(self.clock.over(|| self.has_replied()));
        let finish = poll_fn(|cx| {
            // Replies first: the request behind one that is through then goes out in the same turn.
            let ended = match replies.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(ended),
                Poll::Pending => requests.as_mut().poll(cx),
            };
            match ended {
                Poll::Ready(Ok(finish)) => Poll::Ready(finish),
                Poll::Ready(Err((side, error))) => Poll::Ready(Finish::Broken(side, error)),
                // Last, since it looks at what the others wait for.
                Poll::Pending => over.as_mut().poll(cx).map(|over| self.timed_out(over)),
            }
        })
        .await;
        self.relay.reset.set(Reset::Nothing);
        finish
    }

    fn timed_out(&self, over: Over) -> Finish {
        let timeouts = &self.requests.http.timeouts;
        let is_unanswered = !self.has_replied();
        match over {
            Over::Body if is_unanswered => Finish::Refused(Refusal::BodyTimeout(timeouts.body)),
            Over::Reply if is_unanswered => Finish::Refused(Refusal::ReplyTimeout(timeouts.reply)),
            Over::Idle if is_unanswered && matches!(self.clock.phase(), Phase::Reply | Phase::Discarding) => {
                Finish::Refused(Refusal::ReplyTimeout(self.relay.idle_timeout))
            }
            Over::Keepalive => Finish::TimedOut(End::KeepaliveTimeout),
            Over::Body => Finish::TimedOut(End::BodyTimeout),
            Over::Reply => Finish::TimedOut(End::ReplyTimeout),
            Over::Send => Finish::TimedOut(End::SendTimeout),
            Over::Idle => Finish::TimedOut(End::Idle),
        }
    }

    async fn pass_requests(&self, first: Box<Request>) -> Result<Finish, Broken> {
        let (client, upstream) = (self.relay.client, self.relay.upstream);
        let direction = Direction { relay: self.relay, from: Side::Client, to: Side::Upstream };
        let mut request = first;
        loop {
            let Request { mut head, mut body, exchange } = *request;
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
                // It may have answered before it was gone: who reads the replies sees.
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
            self.clock.begin(Phase::Request);
            request = match self.requests.next(self.drained()).await.map_err(|error| (Side::Client, error))? {
                Next::Request(next) => {
                    self.log.begin();
                    match self.admit(next) {
                        Ok(next) => next,
                        Err(refusal) => return Ok(Finish::Refused(refusal)),
                    }
                }
                Next::End => return Ok(Finish::ClientClosed),
                Next::Stop => return Ok(Finish::Drained),
                Next::Refused(refusal) => return Ok(Finish::Refused(refusal)),
            };
        }
    }

    /// A request that may go on, as far as its user is concerned. One that may not is the present one all the same, whose
    /// log line is its own.
    fn admit(&self, request: Box<Request>) -> Result<Box<Request>, Refusal> {
        let admitted =
            request.exchange.asked.as_ref().map_or(Ok(()), |asked| self.replies.watch.admit(asked));
        if let Err(refusal) = admitted {
            // Its body is not read.
            self.clock.begin(Phase::Discarding);
            self.current.replace(Some(request.exchange));
            return Err(refusal);
        }
        Ok(request)
    }

    /// Completes when the worker drains, between two requests which are not those of one login.
    async fn drained(&self) {
        if self.replies.watch.is_within_login() {
            pending::<()>().await;
        }
        self.requests.worker.draining().await;
    }

    /// Completes when no reply is due. Gives how the session ends where it ends with that, or since the client is gone.
    async fn reply_through(&self) -> Result<Option<Finish>, Broken> {
        // `pass` polls this whenever it has polled `pass_replies`, which is who changes it.
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

    /// Completes when the client is gone while its reply is awaited or on its way. One that has ended its stream is gone,
    /// as with nginx, unless requests of it wait behind this one, or the operator has clients that go on listening.
    async fn client_gone(&self) -> Result<Finish, Broken> {
        self.clock.client_unwatched().await;
        let client = self.relay.client;
        let broken = |error| (Side::Client, error);
        if !self.requests.http.ignore_client_close {
            client.socket().peer_closed().await.map_err(broken)?;
            // TLS's word for the end comes as bytes. Of a request that waits, at most a buffer is read ahead.
            while client.unread().is_empty() {
                if client.receive(Expect::Now).await.map_err(broken)?.is_none() {
                    return Ok(Finish::ClientLeft);
                }
            }
        }
        client.socket().dead().await.map_err(broken)?;
        Err(broken(io::ErrorKind::ConnectionReset.into()))
    }

    /// Reads what the client still sends of a request that its upstream takes nothing of any more, so that the client can
    /// come to read the reply.
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
            // Nothing of it has gone to the client.
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
                        tracing::info!(request = self.log.request_id(), %error, "a reply is malformed; it goes no further");
                        return Ok(Finish::CutShort(Side::Upstream));
                    }
                }
            }
            if let Some(exchange) = self.current.take() {
                self.log.end(exchange, self.replies.watch, End::Ok);
            }
            match reply.then {
                Then::Next => {}
                // When its request is through as well.
                Then::End => self.is_last.set(true),
                // Not before the request is through: its bytes go first.
                Then::Tunnel => {
                    self.becomes_tunnel.set(true);
                    return pending().await;
                }
                Then::Close { by } => return Ok(Finish::Closing { by }),
            }
        }
    }

    /// The next reply, when its head is whole; or how it ends without one.
    async fn next_reply(&self) -> io::Result<Result<Reply, Finish>> {
        let upstream = self.relay.upstream;
        let mut spare_bytes = 0;
        loop {
            if !upstream.unread().is_empty() {
                let read = match &mut *self.current.borrow_mut() {
                    Some(exchange) if exchange.reply.is_none() => {
                        self.replies.read(&upstream.unread(), exchange)
                    }
                    // Applications that count wrongly send a line end behind their body.
                    _ if is_line_ends(&upstream.unread()) && spare_bytes < SPARE_BYTES_MAX => {
                        let spare = upstream.unread().len();
                        spare_bytes += spare;
                        upstream.take(spare);
                        Ok(None)
                    }
                    _ => {
                        tracing::debug!("the upstream sent something that nobody had asked for");
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
            self.relay.meter.received(Side::Upstream, self.relay.ring.now());
        }
    }

    /// The upstream's stream has ended. On a connection that was used before, the client is to learn just that: it
    /// cannot know whether its request was seen, and decides for itself whether to send it again (RFC 9112 section
    /// 9.3.1).
    fn upstream_ended(&self) -> Finish {
        match &*self.current.borrow() {
            Some(_) if !self.relay.upstream.unread().is_empty() => {
                Finish::Refused(Refusal::Reply("it ends in the middle of its head".to_owned()))
            }
            Some(_) if self.log.count() == 1 => Finish::Refused(Refusal::NoReply),
            Some(_) | None => Finish::UpstreamClosed,
        }
    }

    /// Is it too late for an answer of our own, since a reply to the present request is on its way to the client? All of it
    /// has gone when none is awaited any more.
    fn has_replied(&self) -> bool {
        self.is_within_interim.get()
            || self.current.borrow().as_ref().is_none_or(|exchange| exchange.reply.is_some())
    }
}

/// A session that is dropped ends since the worker stops.
impl Drop for Exchanges<'_> {
    fn drop(&mut self) {
        if let Some(exchange) = self.current.take() {
            self.log.end(exchange, self.replies.watch, End::Drain);
        }
    }
}

fn is_line_ends(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\r' || byte == b'\n')
}

/// Is it something that TLS has to say, an alert of the far end say, rather than a failure of the connection?
fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}
