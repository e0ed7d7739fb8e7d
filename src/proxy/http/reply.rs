//! Reading replies off an upstream's connection, ready to be passed on.

use super::body::Rest;
use super::refusal::Refusal;
use super::request::{Exchange, ReplyFacts};
use super::watch::Watch;
use crate::protocol::http1::forward;
use crate::protocol::http1::response::{ResponseHead, read_next_head};
use crate::proxy::meter::Side;
use crate::proxy::settings::Http;
use crate::proxy::worker::Worker;

/// A reply that goes on to the client.
pub(super) struct Reply {
    /// Its head, changed as it should be.
    pub(super) head: Vec<u8>,
    pub(super) body: Rest,
    pub(super) is_interim: bool,
    pub(super) then: Then,
}

/// What comes after a reply.
pub(super) enum Then {
    Next,
    Close {
        by: Side,
    },
    /// The end, as soon as the request is through: the worker drains.
    End,
    Tunnel,
}

/// What a head may grow by while it is passed on, at a guess.
const HEAD_GROWTH_BYTES: usize = 128;

/// Reads the replies of one upstream, as far as their heads go.
pub(super) struct Replies<'a> {
    pub(super) worker: &'a Worker,
    pub(super) http: &'a Http,
    pub(super) watch: &'a Watch<'a>,
}

impl Replies<'_> {
    /// From what has come of it; nothing when its head is not whole. Gives how many bytes the head took.
    pub(super) fn read(
        &self,
        input: &[u8],
        exchange: &mut Exchange,
    ) -> Result<Option<(Reply, usize)>, Refusal> {
        let limit_bytes = self.http.head_bytes_max;
        let read = read_next_head(input, exchange.answer_to, |head| {
            if head.length_bytes > limit_bytes {
                return Ok(None);
            }
            self.reply(head, exchange).map(|reply| Some((reply, head.length_bytes)))
        });
        let is_too_long = match read {
            Ok(None) => input.len() > limit_bytes,
            Ok(Some(Ok(None))) => true,
            Ok(Some(reply)) => return reply,
            Err(error) => return Err(Refusal::Reply(error.to_string())),
        };
        if is_too_long {
            return Err(Refusal::Reply(format!("its head is longer than {limit_bytes} bytes")));
        }
        Ok(None)
    }

    /// A whole head, as it goes on.
    fn reply(&self, head: &ResponseHead<'_, '_>, exchange: &mut Exchange) -> Result<Reply, Refusal> {
        let has = |name| head.values(name).next().is_some();
        if has("content-length") && has("transfer-encoding") {
            return Err(Refusal::Reply("it has both Content-Length and Transfer-Encoding".to_owned()));
        }
        if head.status == 101 && !exchange.upgrade {
            return Err(Refusal::Reply("it changes to another protocol unasked".to_owned()));
        }
        let is_interim = head.is_interim();
        let mut then = match (head.status, exchange.keep_alive, head.keep_alive) {
            (101, ..) => Then::Tunnel,
            (_, true, true) => Then::Next,
            (_, _, false) => Then::Close { by: Side::Upstream },
            (_, false, _) => Then::Close { by: Side::Client },
        };
        let came = self.worker.ring.now();
        let asked = if is_interim { None } else { exchange.asked.take() };
        let seen =
            asked.map(|asked| self.watch.answered(asked, head, matches!(then, Then::Close { .. }), came));
        if seen.as_ref().is_some_and(|seen| seen.identity_changed) && self.http.close_on_identity_change {
            return Err(Refusal::IdentityChange);
        }
        if seen.is_some() && matches!(then, Then::Next) && self.is_time_to_end() {
            then = Then::End;
        }
        let goes_on = matches!(then, Then::Next);
        let mut out = Vec::new();
        // HTTP/1.0 knows no interim replies.
        if exchange.is_http11 || !is_interim {
            out.reserve(head.length_bytes + HEAD_GROWTH_BYTES);
            forward::write_reply(head, exchange.is_http11, goes_on, &self.http.reply_edits, &mut out);
        }
        exchange.reply =
            seen.map(|seen| ReplyFacts { status: head.status, head_bytes: out.len() as u64, came, seen });
        Ok(Reply { head: out, body: Rest::of_reply(head.body), is_interim, then })
    }

    fn is_time_to_end(&self) -> bool {
        self.worker.is_draining() && !self.watch.is_within_login()
    }
}
