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
use std::time::Duration;

use futures_lite::future::or;

use super::body::Passed;
use super::log::Log;
use super::refusal::Refusal;
use super::reply::{Replies, Reply, Then};
use super::request::{Exchange, Next, Request, Requests};
use crate::proxy::direction::{Broken, Direction};
use crate::proxy::meter::Side;
use crate::proxy::relay::Relay;
use crate::uring::Expect;

/// Most replies take far less than this; until then nobody looks whether the client is still alive, which spares an
/// operation a request.
const UNWATCHED_WAIT: Duration = Duration::from_secs(1);

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
    /// Nothing moved for the idle time-out.
    Idle,
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
}

impl<'a> Exchanges<'a> {
    pub(super) fn new(
        relay: &'a Relay<'a>,
        requests: &'a Requests<'a>,
        replies: &'a Replies<'a>,
        log: &'a Log<'a>,
    ) -> Self {
        Self { relay, requests, replies, log, current: RefCell::new(None), is_last: Cell::new(false) }
    }

    /// The request whose reply was not through when [`run`](Self::run) ended.
    pub(super) fn into_unfinished(self) -> Option<Exchange> {
        self.current.into_inner()
    }

    /// Passes `first` and all that follow it.
    pub(super) async fn run(&self, first: Box<Request>) -> Finish {
        let mut replies = pin!(self.pass_replies());
        let mut requests = pin!(self.pass_requests(first));
        let mut idle = pin!(self.relay.idle());
        poll_fn(|cx| {
            // Replies first: the request behind one that is through then goes out in the same turn.
            let ended = match replies.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(ended),
                Poll::Pending => requests.as_mut().poll(cx),
            };
            match ended {
                Poll::Ready(Ok(finish)) => Poll::Ready(finish),
                Poll::Ready(Err((side, error))) => Poll::Ready(Finish::Broken(side, error)),
                Poll::Pending => idle.as_mut().poll(cx).map(|()| Finish::Idle),
            }
        })
        .await
    }

    async fn pass_requests(&self, first: Box<Request>) -> Result<Finish, Broken> {
        let (client, upstream) = (self.relay.client, self.relay.upstream);
        let direction = Direction { relay: self.relay, from: Side::Client, to: Side::Upstream };
        let mut request = first;
        loop {
            let Request { mut head, mut body, exchange } = *request;
            self.log.begin();
            self.current.replace(Some(exchange));
            let edits = &self.requests.http.request_edits;
            if let Err(error) = body.append_arrived(client, edits, &mut head) {
                return Ok(Finish::Refused(error.into()));
            }
            let sent = upstream.send_all(&head).await;
            if sent.is_ok() {
                self.relay.meter.sent(Side::Upstream, head.len(), self.relay.ring.now());
            }
            let passed = match sent {
                Ok(()) if body.is_none() => Ok(Passed::Whole),
                Ok(()) => Box::pin(body.pass(direction, edits)).await,
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
                Err((Side::Upstream, _)) if !upstream.socket().is_connected() => return pending().await,
                Err(broken) => return Err(broken),
            }
            self.reply_through().await?;
            if self.is_last.get() {
                return Ok(Finish::Drained);
            }
            request = match self.requests.next(self.drained()).await.map_err(|error| (Side::Client, error))? {
                Next::Request(next) => match self.admit(next) {
                    Ok(next) => next,
                    Err(refusal) => return Ok(Finish::Refused(refusal)),
                },
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
            self.log.begin();
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

    /// Completes when no reply is due; fails when the client dies meanwhile.
    async fn reply_through(&self) -> Result<(), Broken> {
        // `run` polls this whenever it has polled `pass_replies`, which is who changes it.
        let through =
            poll_fn(|_cx| if self.current.borrow().is_none() { Poll::Ready(()) } else { Poll::Pending });
        let through = async {
            through.await;
            Ok(())
        };
        or(through, async {
            self.relay.ring.sleep(UNWATCHED_WAIT).await;
            self.relay.client.socket().dead().await.map_err(|error| (Side::Client, error))?;
            Err((Side::Client, io::ErrorKind::ConnectionReset.into()))
        })
        .await
    }

    async fn pass_replies(&self) -> Result<Finish, Broken> {
        let (client, upstream) = (self.relay.client, self.relay.upstream);
        let direction = Direction { relay: self.relay, from: Side::Upstream, to: Side::Client };
        loop {
            let mut reply = match self.next_reply().await.map_err(|error| (Side::Upstream, error))? {
                Ok(reply) => reply,
                Err(finish) => return Ok(finish),
            };
            let edits = &self.replies.http.reply_edits;
            // Nothing of it has gone to the client.
            if let Err(error) = reply.body.append_arrived(upstream, edits, &mut reply.head) {
                return Ok(Finish::Refused(Refusal::Reply(error.to_string())));
            }
            client.send_all(&reply.head).await.map_err(|error| (Side::Client, error))?;
            self.relay.meter.sent(Side::Client, reply.head.len(), self.relay.ring.now());
            if reply.is_interim {
                continue;
            }
            if !reply.body.is_none() && Box::pin(reply.body.pass(direction, edits)).await? != Passed::Whole {
                return Ok(Finish::CutShort(Side::Upstream));
            }
            if let Some(exchange) = self.current.take() {
                self.log.end(exchange, self.replies.watch);
            }
            match reply.then {
                Then::Next => {}
                // When its request is through as well.
                Then::End => self.is_last.set(true),
                Then::Tunnel => return Ok(Finish::Tunnel),
                Then::Close { by } => return Ok(Finish::Closing { by }),
            }
        }
    }

    /// The next reply, when its head is whole; or how it ends without one.
    async fn next_reply(&self) -> io::Result<Result<Reply, Finish>> {
        let upstream = self.relay.upstream;
        loop {
            if !upstream.unread().is_empty() {
                let read = match &mut *self.current.borrow_mut() {
                    Some(exchange) if exchange.reply.is_none() => {
                        self.replies.read(&upstream.unread(), exchange)
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

    /// Has any of the present request's reply gone to the client? All of it has when nothing is awaited any more.
    fn has_replied(&self) -> bool {
        self.current.borrow().as_ref().is_none_or(|exchange| exchange.reply.is_some())
    }
}
