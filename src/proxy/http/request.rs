//! Reading requests off a client's connection, ready to be passed on.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use futures_lite::future::or;

use super::body::Rest;
use super::forwarded::ClientFacts;
use super::refusal::Refusal;
use super::watch::Seen;
use crate::protocol::http1::forward::{self, RequestChanges};
use crate::protocol::http1::request::{RequestHead, header_slots, read_head};
use crate::protocol::http1::response::AnswerTo;
use crate::protocol::login::Asked;
use crate::proxy::connection::Connection;
use crate::proxy::record::RequestWords;
use crate::proxy::settings::Http;
use crate::proxy::worker::Worker;
use crate::uring::Expect;

/// How long a client may take for the rest of a head that it has begun (nginx: `client_header_timeout`).
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// What a head may grow by while it is passed on, at a guess.
const HEAD_GROWTH_BYTES: usize = 256;

/// A request that goes on to the upstream.
pub(super) struct Request {
    /// Its head, changed as it should be.
    pub(super) head: Vec<u8>,
    pub(super) body: Rest,
    pub(super) exchange: Exchange,
}

/// A request on its way, and what of it matters to its reply.
pub(super) struct Exchange {
    pub(super) answer_to: AnswerTo,
    pub(super) is_http11: bool,
    /// The client wants to use its connection again.
    pub(super) keep_alive: bool,
    /// The client offers to change to another protocol.
    pub(super) upgrade: bool,
    /// When its head was whole.
    pub(super) began: Instant,
    /// What it brings to the login; until the reply is there.
    pub(super) asked: Option<Asked>,
    /// For the log, if there is one.
    pub(super) words: Option<Box<RequestWords>>,
    /// What is known of the reply, once its head has come.
    pub(super) reply: Option<ReplyFacts>,
}

/// What is known of a final reply by its head.
pub(super) struct ReplyFacts {
    pub(super) status: u16,
    pub(super) head_bytes: u64,
    pub(super) came: Instant,
    pub(super) seen: Seen,
}

/// What comes next from a client.
pub(super) enum Next {
    Request(Box<Request>),
    /// It has ended its stream between two requests.
    End,
    /// Nothing of a request had come when it was time to stop.
    Stop,
    /// Something that is not passed on.
    Refused(Refusal),
}

/// Reads the requests of one client.
pub(super) struct Requests<'a> {
    pub(super) worker: &'a Worker,
    pub(super) client: &'a Connection,
    pub(super) http: &'a Http,
    pub(super) facts: Option<ClientFacts>,
}

impl Requests<'_> {
    /// The next request, when its head is whole. What comes behind the head stays unread. `stop` completes when no more
    /// are wanted; one that has begun to come still is.
    pub(super) async fn next(&self, stop: impl Future<Output = ()>) -> io::Result<Next> {
        if self.client.unread().is_empty() {
            let arrived = or(async { Some(self.client.receive(Expect::Later).await) }, async {
                stop.await;
                None
            });
            match arrived.await.transpose()? {
                None => return Ok(Next::Stop),
                Some(None) => return Ok(Next::End),
                Some(Some(_arrived)) => {}
            }
        }
        if let Some(next) = self.parse() {
            return Ok(next);
        }
        let ring = &self.worker.ring;
        let deadline = ring.now() + HEAD_TIMEOUT;
        // On the heap: nearly all heads come in one piece.
        Box::pin(or(self.rest_of_head(), async {
            ring.sleep_until(deadline).await;
            Ok(Next::Refused(Refusal::HeadTimeout(HEAD_TIMEOUT)))
        }))
        .await
    }

    async fn rest_of_head(&self) -> io::Result<Next> {
        loop {
            if self.client.receive(Expect::Later).await?.is_none() {
                return Ok(Next::End);
            }
            if let Some(next) = self.parse() {
                return Ok(next);
            }
        }
    }

    /// From what is unread; nothing when the head is not whole.
    fn parse(&self) -> Option<Next> {
        let read = self.read(&self.client.unread());
        match read {
            Ok(None) => None,
            Ok(Some((request, taken))) => {
                self.client.take(taken);
                Some(Next::Request(Box::new(request)))
            }
            Err(refusal) => Some(Next::Refused(refusal)),
        }
    }

    fn read(&self, input: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
        let now = self.worker.ring.now();
        let mut slots = header_slots();
        let Some(request) = read_head(input, self.http.head_bytes_max, &mut slots)? else { return Ok(None) };
        let changes = RequestChanges {
            target: forward::target(request.method, request.target)?,
            host: self.http.host.as_deref(),
            forwarded: self.facts.as_ref().map(ClientFacts::forwarded),
            edits: &self.http.request_edits,
        };
        let mut head = Vec::with_capacity(request.length_bytes + HEAD_GROWTH_BYTES);
        forward::write_request(&request, &changes, &mut head);
        let exchange = Exchange {
            answer_to: if request.method == "HEAD" { AnswerTo::Head } else { AnswerTo::Usual },
            is_http11: request.is_http11,
            keep_alive: request.keep_alive,
            upgrade: request.is_http11 && request.has_item("connection", "upgrade"),
            began: now,
            asked: Some(Asked::new(request.values("authorization"), now)),
            words: self.worker.log.is_some().then(|| Box::new(words(&request))),
            reply: None,
        };
        let body = Rest::of_request(request.body);
        Ok(Some((Request { head, body, exchange }, request.length_bytes)))
    }
}

fn words(request: &RequestHead<'_, '_>) -> RequestWords {
    let text = |name| request.values(name).next().map(|value| String::from_utf8_lossy(value).into());
    RequestWords {
        method: request.method.into(),
        target: request.target.into(),
        is_http11: request.is_http11,
        referer: text("referer"),
        user_agent: text("user-agent"),
    }
}
