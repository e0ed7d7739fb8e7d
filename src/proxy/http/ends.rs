//! The end of a session in HTTP mode: how both connections are closed, and an answer in a server's place.

use std::cell::Cell;
use std::future::pending;

use futures_lite::future::or;

use super::exchange::Finish;
use super::log::Log;
use super::refusal::Refusal;
use super::request::Exchange;
use super::watch::Watch;
use crate::proxy::connection::Connection;
use crate::proxy::record::End;
use crate::proxy::relay::{Outcome, Side};
use crate::proxy::session::close::close;
use crate::proxy::session::facts::Session;
use crate::proxy::settings::Http;
use crate::proxy::settings::timeouts::{LINGER, LINGER_IDLE, LINGER_IDLE_AFTER_WHOLE};
use crate::uring::{Expect, Ring};

/// Ends a session; holds what that needs.
pub(super) struct Ends<'a> {
    pub(super) session: &'a Session,
    pub(super) client: &'a Connection,
    pub(super) log: &'a Log<'a>,
    /// Whether nothing more is to come of the last request that was read.
    pub(super) request_is_whole: Cell<bool>,
}

impl Ends<'_> {
    /// Whether a client that ends its stream while the proxy connects to a server may wait for its reply.
    pub(super) fn may_stay(&self, http: &Http) -> bool {
        http.ignore_client_close || !self.client.unread().is_empty()
    }

    /// Ends a session whose client has left while the proxy was connecting for its request.
    pub(super) fn left_unconnected(&self, exchange: Exchange, watch: &Watch<'_>) -> End {
        self.log.end(exchange, watch, End::ClientLeft);
        self.client.reset_on_close();
        End::ClientLeft
    }

    /// Answers a request in the server's place; the client goes on.
    pub(super) async fn answer(&self, refusal: &Refusal, exchange: Exchange) -> Result<(), End> {
        let reply = self.log.refused(refusal, Some(exchange), true);
        self.send(&reply, false).await
    }

    /// Closes both connections in the way that `finish` demands; the client's last, since the client may still have to
    /// read its reply.
    pub(super) async fn end(
        &self,
        finish: Finish,
        unfinished: Option<Exchange>,
        upstream: Connection,
        watch: &Watch<'_>,
    ) -> End {
        let end = finish.end();
        if let Finish::Refused(refusal) = finish {
            upstream.reset_on_close();
            drop(upstream);
            self.session.end_lease();
            return self.refuse(&refusal, unfinished).await;
        }
        if let Some(exchange) = unfinished {
            if let Finish::Broken(side, error) = &finish {
                tracing::debug!(?side, %error, "connection failed; closing");
            }
            self.log_cut(&exchange, end);
            self.log.end(exchange, watch, end);
            if end != End::UpstreamClose {
                // Both sides have only a part of this exchange.
                upstream.reset_on_close();
                self.client.reset_on_close();
                return end;
            }
        }
        match finish {
            Finish::ClientClosed => close(self.client, &upstream, Outcome::Closed { first: Side::Client }),
            Finish::Broken(side, error) => close(self.client, &upstream, Outcome::Broken { side, error }),
            Finish::CutShort(_) | Finish::ClientLeft | Finish::TimedOut(End::SendTimeout) => {
                upstream.reset_on_close();
                self.client.reset_on_close();
                end
            }
            _ => {
                upstream.end();
                drop(upstream);
                self.session.end_lease();
                self.linger_close().await;
                end
            }
        }
    }

    /// Logs that a reply was cut short, unless the client left by itself.
    pub(super) fn log_cut(&self, exchange: &Exchange, end: End) {
        if exchange.reply.is_none() || matches!(end, End::ClientLeft | End::ClientReset) {
            return;
        }
        tracing::info!(
            client = %self.session.client_address(),
            request = self.log.request_id(),
            end = end.as_str(),
            "reply cut short; resetting the client connection"
        );
    }

    /// Answers a request in the server's place and ends the connection. `exchange` is what is known of the request, if
    /// it has begun.
    pub(super) async fn refuse(&self, refusal: &Refusal, exchange: Option<Exchange>) -> End {
        if exchange.is_none() {
            // The rest of an unparsable request may be of any length.
            self.request_is_whole.set(false);
            self.log.begin();
        }
        let reply = self.log.refused(refusal, exchange, false);
        if self.send(&reply, true).await.is_ok() {
            self.linger_close().await;
        }
        refusal.end()
    }

    /// Sends a reply of the proxy. If it is the last one, the rest of the request is read meanwhile: its client may read
    /// nothing before it has sent everything.
    pub(super) async fn send(&self, reply: &str, is_last: bool) -> Result<(), End> {
        let sent = or(self.client.send_all(reply.as_bytes()), async {
            if is_last {
                let _ = self.client.discard().await;
            }
            pending().await
        });
        let sent = self.ring().timeout(self.session.timeouts().send, sent).await;
        if !matches!(sent, Some(Ok(()))) {
            // The client must not take half a page for a whole one.
            self.client.reset_on_close();
            return Err(if sent.is_none() { End::SendTimeout } else { End::ClientReset });
        }
        self.session.meter().sent(Side::Client, reply.len(), self.ring().now());
        Ok(())
    }

    /// Ends our stream to the client, then reads and drops what it still sends.
    pub(super) async fn linger_close(&self) {
        let (ring, client) = (self.ring(), self.client);
        match ring.timeout(self.session.timeouts().send, client.end_stream()).await {
            Some(Ok(())) => {}
            Some(Err(_)) => return,
            None => return client.reset_on_close(),
        }
        let idle_timeout = if self.request_is_whole.get() { LINGER_IDLE_AFTER_WHOLE } else { LINGER_IDLE };
        let lingered = async {
            loop {
                let unread = client.unread().len();
                client.take(unread);
                let received = ring.timeout(idle_timeout, client.receive(Expect::Now)).await;
                if !matches!(received, Some(Ok(Some(_more)))) {
                    return;
                }
            }
        };
        // After this time the connection closes even if the client still sends.
        let _ = ring.timeout(LINGER, lingered).await;
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.session.context().ring
    }
}
