//! Reading requests from a client connection and preparing them for the upstream.

use std::borrow::Cow;
use std::cell::Cell;
use std::future::Future;
use std::hash::RandomState;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use futures_lite::future::or;

use super::affinity::Cookies;
use super::body::Rest;
use super::forwarded::{ClientFacts, request_edits};
use super::refusal::Refusal;
use super::watch::Seen;
use super::way::Way;
use crate::protocol::http1::forward::{self, Edits, Offer, RequestChanges, Scheme, Target, TargetError};
use crate::protocol::http1::request::{
    EMPTY_LINES_MAX, RequestError, RequestHead, Scan, header_slots, resume_head,
};
use crate::protocol::http1::response::AnswerTo;
use crate::protocol::login::Asked;
use crate::proxy::connection::Connection;
use crate::proxy::context::Context;
use crate::proxy::networks;
use crate::proxy::record::RequestWords;
use crate::proxy::session::facts::Session;
use crate::proxy::settings::{Http, Timeouts};
use crate::upstream::{Group, Named};
use crate::uring::Expect;

/// Methods of RPC over HTTP (Outlook) and of the Remote Desktop Gateway, whose messages last as long as the stream they
/// carry (MS-RPCH section 2.1.2, MS-TSGU section 3.1.3).
const LONG_LIVED_METHODS: [&str; 4] = ["RPC_IN_DATA", "RPC_OUT_DATA", "RDG_IN_DATA", "RDG_OUT_DATA"];
/// An estimate of how much a head grows when it is forwarded.
const HEAD_GROWTH_BYTES: usize = 256;

/// A request for the upstream.
pub(super) struct Request {
    /// The head, with all changes made.
    pub(super) head: Vec<u8>,
    pub(super) body: Rest,
    /// The group that it goes to, or why it goes to none although it is sound; nothing where requests do not decide.
    pub(super) group: Option<Result<Rc<Group>, Refusal>>,
    /// The client that the first request of a trusted proxy names.
    pub(super) source: Option<IpAddr>,
    pub(super) exchange: Exchange,
}

/// A request in progress, with what its reply depends on.
pub(super) struct Exchange {
    pub(super) answer_to: AnswerTo,
    pub(super) is_http11: bool,
    /// Whether the client wants to reuse its connection.
    pub(super) keep_alive: bool,
    /// The protocols that the client offers to switch to, as far as the server was told of them.
    pub(super) offer: Option<Box<Offer>>,
    pub(super) manner: Manner,
    /// What only some services need. Boxed, since in most there is nothing.
    pub(super) aside: Option<Box<Aside>>,
    /// When the head was complete.
    pub(super) began: Instant,
    /// What it contributes to the login; taken when the reply arrives.
    pub(super) asked: Option<Asked>,
    /// For the access log, if there is one.
    pub(super) words: Option<Box<RequestWords>>,
    /// What is known of the reply, once its head has arrived.
    pub(super) reply: Option<ReplyFacts>,
}

/// What only some services need to know of a request.
pub(super) struct Aside {
    /// For references to the server in its reply, if they are rewritten.
    hosts: Option<Hosts>,
    /// The cookies by which groups know their clients, if any does.
    cookies: Option<Cookies>,
    /// Where the client is redirected to, if all requests are.
    redirect: Option<Redirect>,
}

impl Exchange {
    /// See [`Aside`].
    pub(super) fn hosts(&self) -> Option<&Hosts> {
        self.aside.as_ref()?.hosts.as_ref()
    }

    /// See [`Aside`].
    pub(super) fn cookies(&self) -> Option<&Cookies> {
        self.aside.as_ref()?.cookies.as_ref()
    }

    /// See [`Aside`].
    pub(super) fn redirect(&self) -> Option<&Redirect> {
        self.aside.as_ref()?.redirect.as_ref()
    }

    /// Whether a 101 reply with these `Upgrade` values switches to an offered protocol.
    pub(super) fn is_changed_by<'v>(&self, upgrade: impl Iterator<Item = &'v [u8]>) -> bool {
        self.offer.as_ref().is_some_and(|offer| offer.is_taken_by(upgrade))
    }

    /// The servers of the group that the client wants, if it wants any.
    pub(super) fn named(&self, group: &Group) -> Option<Named> {
        self.cookies().map(|cookies| cookies.of(group).collect())
    }
}

/// A redirect in place of a server's reply.
pub(super) struct Redirect {
    /// Status and reason.
    pub(super) status: (u16, &'static str),
    pub(super) location: String,
}

/// What a request calls the place that it goes to.
pub(super) struct Hosts {
    /// How the client asked, and for which host; empty if it named none.
    pub(super) client_scheme: Scheme,
    pub(super) client: Box<[u8]>,
    /// The `Host` that the server gets; empty if none.
    pub(super) sent: Box<[u8]>,
}

/// How a request and its reply proceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Without pauses.
    Usual,
    /// The client may wait for `100 Continue` before it sends the body.
    Waiting,
    /// With long pauses either way: the messages stand for a connection of their own.
    Long,
}

impl Manner {
    fn of(request: &RequestHead<'_, '_>) -> Self {
        if LONG_LIVED_METHODS.contains(&request.method) {
            Self::Long
        } else if request.values("expect").next().is_some() {
            Self::Waiting
        } else {
            Self::Usual
        }
    }
}

/// The facts of a final reply that its head tells.
pub(super) struct ReplyFacts {
    pub(super) status: u16,
    pub(super) head_bytes: u64,
    pub(super) came: Instant,
    pub(super) seen: Seen,
}

/// What a client sends next.
pub(super) enum Next {
    Request(Box<Request>),
    /// The end of its stream, between two requests.
    End,
    /// Nothing of a request before it was time to stop.
    Stop,
    /// Something that is not forwarded.
    Refused(Refusal),
}

/// Reads the requests of one client.
pub(super) struct Requests<'a> {
    pub(super) context: &'a Context,
    pub(super) client: &'a Connection,
    pub(super) http: &'a Http,
    timeouts: &'a Timeouts,
    facts: Option<ClientFacts>,
    edits: Cow<'a, Edits>,
    /// The names of cookies that are the proxy's own.
    own_cookies: &'a [Arc<str>],
    /// Where requests go, if they decide. Boxed, since in most services they do not.
    way: Option<Box<Way<'a>>>,
    /// Whether a request has told what it knows of the client's address.
    has_told_source: Cell<bool>,
    /// Whether the log has reported that fields with underscores are dropped.
    has_logged_underscores: Cell<bool>,
    place_keys: RandomState,
}

impl<'a> Requests<'a> {
    pub(super) fn new(
        session: &'a Session,
        client: &'a Connection,
        http: &'a Http,
        facts: Option<ClientFacts>,
        way: Option<Box<Way<'a>>>,
    ) -> Self {
        let (has_told_source, has_logged_underscores) = Default::default();
        let (context, timeouts) = (session.context(), session.timeouts());
        let (edits, place_keys) = (request_edits(http, client), RandomState::new());
        let own_cookies = &*session.service().own_cookies;
        Self {
            context,
            client,
            http,
            timeouts,
            facts,
            edits,
            own_cookies,
            way,
            has_told_source,
            has_logged_underscores,
            place_keys,
        }
    }

    /// Whether the client may send another request after an answer by the proxy, which has not read more of this one.
    pub(super) fn may_go_on_after(&self, request: &Request) -> bool {
        let Exchange { is_http11, keep_alive, .. } = request.exchange;
        request.body.is_none() && is_http11 && keep_alive && !self.context.is_draining()
    }

    /// Reads the next request up to the end of its head; what follows the head stays unread. `stop` completes when no
    /// more requests are wanted; one that has begun to arrive is still read.
    pub(super) async fn next(&self, stop: impl Future<Output = ()>) -> io::Result<Next> {
        let mut stop = pin!(stop);
        let mut empty_lines = 0;
        loop {
            if let Err(error) = self.skip_empty_lines(&mut empty_lines) {
                return Ok(Next::Refused(error.into()));
            }
            if self.client.unread().is_empty() {
                let arrived = or(async { Some(self.client.receive(Expect::Later).await) }, async {
                    stop.as_mut().await;
                    None
                });
                match arrived.await.transpose()? {
                    None => return Ok(Next::Stop),
                    Some(None) => return Ok(Next::End),
                    // An empty line does not begin a request: the client may send nothing more.
                    Some(Some(_arrived)) => continue,
                }
            }
            let mut scan = Scan::default();
            if let Some(next) = self.parse(&mut scan) {
                return Ok(next);
            }
            let timeout = self.timeouts.head;
            // Boxed: nearly all heads arrive in one piece.
            match Box::pin(self.context.ring.timeout(timeout, self.rest_of_head(scan))).await {
                None => return Ok(Next::Refused(Refusal::HeadTimeout(timeout))),
                Some(Ok(None)) => {}
                Some(Ok(Some(next))) => return Ok(next),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// Takes empty lines, which some clients send after a body (RFC 9112 section 2.2).
    fn skip_empty_lines(&self, count: &mut usize) -> Result<(), RequestError> {
        while self.client.unread().starts_with(b"\r\n") {
            if *count == EMPTY_LINES_MAX {
                return Err(RequestError::EmptyLines);
            }
            *count += 1;
            self.client.take(2);
        }
        Ok(())
    }

    /// Reads the rest of a head; nothing when the first bytes were an empty line.
    async fn rest_of_head(&self, mut scan: Scan) -> io::Result<Option<Next>> {
        loop {
            if self.client.receive(Expect::Later).await?.is_none() {
                return Ok(Some(Next::End));
            }
            if self.client.unread().starts_with(b"\r\n") {
                return Ok(None);
            }
            if let Some(next) = self.parse(&mut scan) {
                return Ok(Some(next));
            }
        }
    }

    /// Parses the unread bytes, of which `scan` tells how far they were scanned; nothing while the head is incomplete.
    fn parse(&self, scan: &mut Scan) -> Option<Next> {
        let read = self.read(&self.client.unread(), scan);
        match read {
            Ok(None) => None,
            Ok(Some((request, taken))) => {
                self.client.take(taken);
                Some(Next::Request(Box::new(request)))
            }
            Err(refusal) => Some(Next::Refused(refusal)),
        }
    }

    fn read(&self, input: &[u8], scan: &mut Scan) -> Result<Option<(Request, usize)>, Refusal> {
        let now = self.context.ring.now();
        let mut slots = header_slots();
        let Some(request) = resume_head(input, self.http.head_bytes_max, scan, &mut slots)? else {
            return Ok(None);
        };
        if forward::is_trace(request.method) && !self.http.trace {
            return Err(TargetError::Trace.into());
        }
        let offer = Offer::of(&request, &self.http.upgrades);
        let changes = RequestChanges {
            target: forward::target(request.method, request.target)?,
            host: self.http.host.as_deref(),
            forwarded: self.facts.as_ref().map(ClientFacts::forwarded),
            offer: offer.as_ref(),
            underscores: self.http.underscores,
            own_cookies: self.own_cookies,
            edits: &self.edits,
        };
        let redirect = self.http.redirect_to_https.map(|port| redirect(&request, &changes.target, port));
        let redirect = redirect.transpose()?;
        let mut head = Vec::with_capacity(request.length_bytes + HEAD_GROWTH_BYTES);
        forward::write_request(&request, &changes, &mut head);
        self.log_underscores(&request);
        let hosts = self.http.rewrite_redirects.then(|| self.hosts(&request, &changes));
        let cookies = (!self.own_cookies.is_empty()).then(|| self.cookies(&request, &changes));
        let has_aside = hosts.is_some() || cookies.is_some() || redirect.is_some();
        let aside = has_aside.then(|| Box::new(Aside { hosts, cookies, redirect }));
        let host = forward::asked_host(&request, &changes.target);
        let group = self.way.as_ref().map(|way| way.lead(host, &changes.target));
        let source = self.source(&request);
        let exchange = Exchange {
            answer_to: if request.method == "HEAD" { AnswerTo::Head } else { AnswerTo::Usual },
            is_http11: request.is_http11,
            keep_alive: request.keep_alive,
            offer: offer.map(Box::new),
            manner: Manner::of(&request),
            aside,
            began: now,
            asked: Some(self.asked(&request, now)),
            words: self.context.log().is_some().then(|| Box::new(words(&request))),
            reply: None,
        };
        let body = Rest::of_request(request.body);
        Ok(Some((Request { head, body, group, source, exchange }, request.length_bytes)))
    }

    fn hosts(&self, request: &RequestHead<'_, '_>, changes: &RequestChanges<'_>) -> Hosts {
        let scheme = Scheme::of_tls(self.client.has_tls());
        let (client_scheme, client) = changes.client_origin(request, scheme);
        Hosts { client_scheme, client: client.into(), sent: changes.sent_host(request).into() }
    }

    fn cookies(&self, request: &RequestHead<'_, '_>, changes: &RequestChanges<'_>) -> Cookies {
        let scheme = Scheme::of_tls(self.client.has_tls());
        let (client_scheme, _host) = changes.client_origin(request, scheme);
        Cookies::read(request, self.own_cookies, client_scheme == Scheme::Https)
    }

    /// The client that the connection is for, as a trusted proxy names it with its first request.
    fn source(&self, request: &RequestHead<'_, '_>) -> Option<IpAddr> {
        let are_trusted = self.facts.as_ref().is_some_and(ClientFacts::are_trusted);
        if !are_trusted || self.has_told_source.replace(true) {
            return None;
        }
        let is_trusted = |address| networks::have(&self.http.trust, address);
        forward::forwarded_client(request.values("x-forwarded-for"), is_trusted)
    }

    fn asked(&self, request: &RequestHead<'_, '_>, now: Instant) -> Asked {
        let host = request.values("host").next();
        let asked = Asked::new(request.values("authorization"), now);
        asked.for_place(&self.place_keys, host, request.target)
    }

    /// Logs, once per connection, that fields are dropped: otherwise an operator would search for them in vain.
    fn log_underscores(&self, request: &RequestHead<'_, '_>) {
        if self.http.underscores || self.has_logged_underscores.get() {
            return;
        }
        if let Some(header) = request.underscored() {
            self.has_logged_underscores.set(true);
            tracing::info!(
                field = header.name,
                "request has a header field with an underscore in its name; dropping it (setting underscore-headers)"
            );
        }
    }
}

fn redirect(request: &RequestHead<'_, '_>, target: &Target<'_>, port: u16) -> Result<Redirect, Refusal> {
    let host = forward::asked_host(request, target);
    let location = forward::https_location(host, target, port).ok_or(Refusal::NoHost)?;
    Ok(Redirect { status: forward::moved(request.method), location })
}

fn words(request: &RequestHead<'_, '_>) -> RequestWords {
    let text = |name| request.values(name).next().map(Box::from);
    RequestWords {
        method: request.method.into(),
        target: request.target.into(),
        is_http11: request.is_http11,
        referer: text("referer"),
        user_agent: text("user-agent"),
    }
}
