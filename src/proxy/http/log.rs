//! Access log lines for the requests of a session.

use std::cell::Cell;
use std::sync::Arc;
use std::time::SystemTime;

use super::refusal::Refusal;
use super::request::Exchange;
use super::watch::{Seen, Watch};
use crate::protocol::login::Step;
use crate::proxy::counters::Status;
use crate::proxy::record::{End, RequestRecord};
use crate::proxy::session::facts::Session;

/// The logged status when the client left before the end of its reply; same as nginx.
const CLIENT_LEFT: u16 = 499;

/// Counts the requests of a session and writes their log lines.
pub(super) struct Log<'a> {
    session: &'a Session,
    count: Cell<u64>,
    /// Bytes sent each way before the current request began.
    before: Cell<Bytes>,
}

#[derive(Clone, Copy, Default)]
struct Bytes {
    upstream: u64,
    client: u64,
}

impl<'a> Log<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session, count: Cell::new(0), before: Cell::default() }
    }

    /// Begins the next request.
    pub(super) fn begin(&self) {
        self.count.set(self.count.get() + 1);
        self.before.set(self.bytes());
    }

    fn bytes(&self) -> Bytes {
        let meter = self.session.meter();
        Bytes { upstream: meter.upstream_bytes.get(), client: meter.client_bytes.get() }
    }

    /// The id of the current request in logs.
    pub(super) fn request_id(&self) -> String {
        format!("{:016x}-{}", self.session.id(), self.count.get())
    }

    fn count(&self, status: u16) {
        self.session.context().counters.requests().increase();
        self.session.count(|cells| {
            cells.requests.increase();
            cells.replies(Status::of(status)).increase();
        });
    }

    /// Logs the end of the current request, with as much of its reply as was sent to the client.
    pub(super) fn end(&self, exchange: Exchange, watch: &Watch<'_>, end: End) {
        let status = match (end, &exchange.reply) {
            (End::ClientLeft | End::ClientReset, _) => CLIENT_LEFT,
            (_, Some(reply)) => reply.status,
            (_, None) => 0,
        };
        self.count(status);
        let Some(log) = self.session.context().log() else { return };
        let Exchange { began, words, reply, asked, .. } = exchange;
        let (before, after) = (self.before.get(), self.bytes());
        let seen = reply.as_ref().map(|reply| reply.seen.clone());
        let Seen { step, mechanism, user } = seen.unwrap_or_else(|| Seen {
            step: Step::None,
            mechanism: None,
            user: asked.and_then(|asked| watch.user_of_unanswered(&asked)),
        });
        let total_time = self.session.context().ring.now().duration_since(began);
        log.send_request(RequestRecord {
            started: SystemTime::now() - total_time,
            listener: Arc::clone(self.session.listener_name()),
            client: self.session.origin_address(),
            upstream: self.session.server_name(),
            connect: self.session.connect(),
            id: (self.session.id(), self.count.get()),
            request: words.map(|words| *words),
            status,
            end,
            request_bytes: after.upstream - before.upstream,
            reply_bytes: after.client - before.client,
            reply_head_bytes: reply.as_ref().map_or(0, |reply| reply.head_bytes),
            total_time,
            upstream_time: reply.map(|reply| reply.came.duration_since(began)),
            step,
            mechanism,
            user,
        });
    }

    /// Logs that the proxy answers the current request by itself, and returns the reply. `stays`: whether the client's
    /// connection does. `exchange` is what is known of the request.
    pub(super) fn refused(&self, refusal: &Refusal, exchange: Option<Exchange>, stays: bool) -> String {
        let request_id = self.request_id();
        let (status, _reason) = refusal.status();
        let client = self.session.client_address();
        // That no server is left is said once, by the group, and then counted.
        if *refusal != Refusal::NoServer {
            tracing::warn!(%client, request = request_id, status, "request refused: {refusal}");
        }
        let answer_to = exchange.as_ref().map(|exchange| exchange.answer_to);
        let reply = refusal.reply(&request_id, answer_to.filter(|_| stays));
        self.answered(exchange, status, refusal.end(), &reply);
        reply
    }

    /// Logs that the proxy answered the current request with `status` and `reply`. `exchange` is what is known of the
    /// request.
    pub(super) fn answered(&self, exchange: Option<Exchange>, status: u16, end: End, reply: &str) {
        self.count(status);
        let Some(log) = self.session.context().log() else { return };
        let now = self.session.context().ring.now();
        let (began, words) = exchange.map_or((now, None), |exchange| (exchange.began, exchange.words));
        let total_time = now.duration_since(began);
        log.send_request(RequestRecord {
            started: SystemTime::now() - total_time,
            listener: Arc::clone(self.session.listener_name()),
            client: self.session.origin_address(),
            upstream: self.session.server_name(),
            connect: self.session.connect(),
            id: (self.session.id(), self.count.get()),
            request: words.map(|words| *words),
            status,
            end,
            request_bytes: self.bytes().upstream - self.before.get().upstream,
            reply_bytes: reply.len() as u64,
            reply_head_bytes: reply.split_once("\r\n\r\n").map_or(0, |(head, _)| head.len() as u64 + 4),
            total_time,
            upstream_time: None,
            step: Step::None,
            mechanism: None,
            user: None,
        });
    }
}
