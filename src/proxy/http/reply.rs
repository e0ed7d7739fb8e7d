//! Reading replies from an upstream connection and preparing them for the client.

use std::cell::Cell;

use super::body::Rest;
use super::refusal::Refusal;
use super::request::{Exchange, ReplyFacts};
use super::upstreams::Upstream;
use crate::protocol::http1::cookie::SetCookie;
use crate::protocol::http1::forward::{self, Origins, OwnCookie, ReplyChanges, Scheme};
use crate::protocol::http1::response::{Body, ResponseHead, Scan, resume_next_head};
use crate::proxy::relay::Side;
use crate::proxy::session::facts::Session;
use crate::proxy::settings::Http;
use crate::upstream::Token;

/// A reply for the client.
pub(super) struct Reply {
    /// The head, with all changes made.
    pub(super) head: Vec<u8>,
    pub(super) body: Rest,
    pub(super) is_interim: bool,
    pub(super) then: Then,
}

/// What follows a reply.
pub(super) enum Then {
    Next,
    Close {
        by: Side,
    },
    /// The end, as soon as the request is complete: the worker drains.
    End,
    Tunnel,
}

/// An estimate of how much a head grows when it is forwarded.
const HEAD_GROWTH_BYTES: usize = 128;
/// How many bytes of a line the log shows.
const SHOWN_BYTES_MAX: usize = 100;

/// Reads the heads of one upstream's replies.
pub(super) struct Replies<'a> {
    pub(super) session: &'a Session,
    pub(super) http: &'a Http,
    pub(super) upstream: &'a Upstream<'a>,
    /// How the server is asked.
    scheme: Scheme,
    secure_cookies: bool,
    /// How far the incoming head was scanned.
    scan: Cell<Scan>,
    /// Whether a reply had a header line that is not a field.
    has_dropped: Cell<bool>,
}

impl<'a> Replies<'a> {
    pub(super) fn new(
        session: &'a Session,
        http: &'a Http,
        upstream: &'a Upstream<'a>,
        client_has_tls: bool,
    ) -> Self {
        let scheme = Scheme::of_tls(upstream.connection.has_tls());
        let secure_cookies = http.secure_cookies && client_has_tls;
        let (scan, has_dropped) = Default::default();
        Self { session, http, upstream, scheme, secure_cookies, scan, has_dropped }
    }

    /// Reads a reply from `input`; nothing while its head is incomplete. Returns also how many bytes the head took.
    pub(super) fn read(
        &self,
        input: &[u8],
        exchange: &mut Exchange,
    ) -> Result<Option<(Reply, usize)>, Refusal> {
        let limit_bytes = self.http.head_bytes_max;
        let mut scan = self.scan.take();
        let read = resume_next_head(input, &mut scan, exchange.answer_to, |head| {
            if head.length_bytes > limit_bytes {
                return Ok(None);
            }
            self.reply(head, exchange).map(|reply| Some((reply, head.length_bytes)))
        });
        let is_too_long = match read {
            Ok(None) => {
                self.scan.set(scan);
                input.len() > limit_bytes
            }
            Ok(Some(Ok(None))) => true,
            Ok(Some(reply)) => return reply,
            Err(error) => return Err(Refusal::Reply(error.to_string())),
        };
        if is_too_long {
            return Err(Refusal::Reply(format!("its head is longer than {limit_bytes} bytes")));
        }
        Ok(None)
    }

    /// Prepares a reply with a complete head.
    fn reply(&self, head: &ResponseHead<'_, '_>, exchange: &mut Exchange) -> Result<Reply, Refusal> {
        head.check_framing().map_err(|error| Refusal::Reply(error.to_string()))?;
        if head.status == 101 && !exchange.is_changed_by(head.values("upgrade")) {
            return Err(Refusal::Reply("it switches to a protocol that the client did not offer".to_owned()));
        }
        if let Some(line) = head.dropped {
            self.log_dropped(line);
        }
        let is_interim = head.is_interim();
        // HTTP/1.0 has no chunks: the body ends with the connection.
        let unchunked = !exchange.is_http11 && matches!(head.body, Body::Chunked(_));
        let mut then = match (head.status, exchange.keep_alive && !unchunked, head.keep_alive) {
            (101, ..) => Then::Tunnel,
            (_, true, true) => Then::Next,
            (_, _, false) => Then::Close { by: Side::Upstream },
            (_, false, _) => Then::Close { by: Side::Client },
        };
        let came = self.session.context().ring.now();
        let asked = if is_interim { None } else { exchange.asked.take() };
        let seen = asked
            .map(|asked| self.upstream.watch.answered(asked, head, matches!(then, Then::Close { .. }), came));
        if seen.is_some() && matches!(then, Then::Next) && self.is_time_to_end() {
            then = Then::End;
        }
        let goes_on = matches!(then, Then::Next);
        let mut out = Vec::new();
        // HTTP/1.0 has no interim replies.
        if exchange.is_http11 || !is_interim {
            out.reserve(head.length_bytes + HEAD_GROWTH_BYTES);
            let hosts = exchange.hosts();
            let server = hosts.and_then(|_wanted| self.session.server_name());
            let origins = hosts.map(|hosts| Origins {
                server_scheme: self.scheme,
                server: server.as_deref().map(str::as_bytes),
                sent_host: &hosts.sent,
                client_scheme: hosts.client_scheme,
                client_host: &hosts.client,
            });
            let untold = self.untold(exchange).filter(|_| !is_interim);
            let changes = ReplyChanges {
                // The reply announces the close, since the close ends the body.
                to_http11: exchange.is_http11 || unchunked,
                keep_alive: goes_on,
                // Applies to replies without a body as well, such as those to `HEAD`.
                unchunked: !exchange.is_http11,
                origins: origins.as_ref(),
                secure_cookies: self.secure_cookies,
                own_cookie: self.own_cookie(exchange, untold.as_ref()),
                edits: &self.http.reply_edits,
            };
            forward::write_reply(head, &changes, &mut out);
        }
        if seen.is_some() {
            let took = came.saturating_duration_since(exchange.began);
            self.session.count(|cells| cells.reply_head_time.record(took));
        }
        exchange.reply =
            seen.map(|seen| ReplyFacts { status: head.status, head_bytes: out.len() as u64, came, seen });
        let body = Rest::of_reply(head.body);
        let body = if unchunked { body.without_chunks() } else { body };
        Ok(Reply { head: out, body, is_interim, then })
    }

    /// What the client has to learn of its server for its next connections.
    fn untold(&self, exchange: &Exchange) -> Option<Token> {
        exchange.cookies()?.untold(self.session, self.upstream)
    }

    fn own_cookie<'s>(&'s self, exchange: &Exchange, untold: Option<&'s Token>) -> Option<OwnCookie<'s>> {
        let affinity = self.upstream.group.settings().affinity.as_ref()?;
        let is_secure = exchange.cookies().is_some_and(|cookies| cookies.is_secure);
        let name = &**affinity.cookie();
        let same_site = affinity.same_site();
        let set = untold.map(|token| SetCookie { name, value: token.as_str(), same_site, is_secure });
        Some(OwnCookie { name, set })
    }

    /// Logs a dropped line, once per session: an application that sends one does so every time.
    fn log_dropped(&self, line: &[u8]) {
        if !self.has_dropped.replace(true) {
            tracing::warn!(
                client = %self.session.client_address(),
                connection = format_args!("{:016x}", self.session.id()),
                line = %line[..line.len().min(SHOWN_BYTES_MAX)].escape_ascii(),
                "reply has a header line that is not a field; dropping the line"
            );
        }
    }

    /// Whether the current reply, or the one before, is the last.
    pub(super) fn is_time_to_end(&self) -> bool {
        let drains = self.session.context().is_draining() || self.session.server_drains();
        drains && !self.upstream.is_within_login()
    }
}
