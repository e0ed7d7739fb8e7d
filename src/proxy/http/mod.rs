//! HTTP/1.1 over a session: heads are parsed and changed, bodies are forwarded as bytes, and one client connection
//! still has an upstream connection of its own, or one for each group that the paths of its requests lead to.
//!
//! ```text
//!   first request -> connect -> requests and replies, one after the other -> close
//!         |             |  ^                 |--101--> a tunnel: both ways, as bytes
//!         |             |  '-----------------'  a request for another group
//!         |             '--> an error page
//!         '--> a redirect to https, in a service that does nothing else
//! ```
//!
//! `request.rs`, `reply.rs` and `exchange.rs` forward messages; `body.rs` finds their end, `clock.rs` holds the
//! time-outs; `refusal.rs` and `to_https.rs` answer in a server's place; `way.rs` chooses a group by host and path,
//! `turn.rs` goes there, and `upstreams.rs` keeps the connections to others; `watch.rs` observes logins, on which only
//! `close_on_identity_change` depends.

mod body;
mod clock;
mod exchange;
mod forwarded;
mod log;
mod refusal;
mod reply;
mod request;
mod to_https;
mod turn;
mod upstreams;
mod watch;
mod way;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use futures_lite::future::or;

use super::client_header::Received;
use super::connection::Connection;
use super::record::End;
use super::relay::Outcome;
use super::relay::Side;
use super::session::close::close;
use super::session::connect::connect;
use super::session::facts::Session;
use super::settings::Http;
use super::settings::timeouts::{FIRST_REQUEST_GRACE, LINGER, LINGER_IDLE, LINGER_IDLE_AFTER_WHOLE};
use crate::upstream::Group;
use crate::uring::{Expect, Ring};
use exchange::{Exchanges, Finish};
use forwarded::ClientFacts;
use log::Log;
use refusal::Refusal;
use reply::Replies;
use request::{Exchange, Next, Requests};
use turn::{run_watched, turn};
use upstreams::{Others, Upstream};
use watch::Watch;
use way::Way;

/// Serves one client until the end. Without a group, the first request chooses one, or requests are redirected to
/// https.
pub(super) async fn serve(
    session: &Session,
    http: &Http,
    client: &Connection,
    group: Option<Rc<Group>>,
    header: Option<&Received>,
) -> End {
    let context = session.context();
    let ring = &context.ring;
    let facts = ClientFacts::new(http, &session.origin_address(), client.has_tls());
    let requests = Requests::new(session, client, http, facts, Way::new(session, client));
    let log = Log::new(session);
    let ends = Ends { session, client, log: &log, request_is_whole: Cell::new(false) };
    let stop = async {
        context.draining().await;
        ring.sleep(FIRST_REQUEST_GRACE).await;
    };
    let timeouts = session.timeouts();
    let patience = timeouts.head.min(timeouts.idle);
    let first = match ring.timeout(patience, requests.next(stop)).await {
        None if patience < timeouts.head => return End::Idle,
        None => return ends.refuse(&Refusal::HeadTimeout(patience), None).await,
        Some(Err(error)) => {
            tracing::debug!(%error, "client connection failed; closing");
            return End::ClientReset;
        }
        Some(Ok(Next::End)) => return End::ClientClose,
        Some(Ok(Next::Stop)) => {
            ends.linger_close().await;
            return End::Drained;
        }
        Some(Ok(Next::Refused(refusal))) => return ends.refuse(&refusal, None).await,
        Some(Ok(Next::Request(request))) => request,
    };
    if http.redirect_to_https.is_some() {
        return to_https::serve(&ends, &requests, first).await;
    }
    log.begin();
    session.set_forwarded(first.source);
    ends.request_is_whole.set(first.body.is_none());
    let group = match &first.group {
        Some(Err(refusal)) => return ends.refuse(&refusal.clone(), Some(first.exchange)).await,
        Some(Ok(group)) => Some(Rc::clone(group)),
        None => group,
    };
    let Some(group) = group else { return End::NoRoute };
    let watch = Watch::new(session, http);
    let mut upstream = match connect(session, client, Rc::clone(&group), header, ends.may_stay(http)).await {
        Ok(connection) => Upstream::new(group, connection, watch),
        Err(End::ClientLeft) => return ends.left_unconnected(first.exchange, &watch),
        Err(end) => return ends.refuse(&Refusal::of_unconnected(end), Some(first.exchange)).await,
    };
    let mut others = Others::default();
    let mut next = Some(first);
    let (finish, unfinished) = loop {
        let (finish, unfinished) = if others.is_empty() {
            let relay = session.relay(client, &upstream.connection);
            let replies = Replies::new(session, http, &upstream, client.has_tls());
            let exchanges = Exchanges::new(&relay, &requests, &replies, &log);
            let ended = exchanges.run(next).await;
            ends.request_is_whole.set(!exchanges.is_within_request());
            ended
        } else {
            // Boxed with all that it needs: most clients have one group.
            Box::pin(run_watched(&ends, &requests, &upstream, &mut others, next)).await
        };
        let Finish::Elsewhere(group, request) = finish else { break (finish, unfinished) };
        // Boxed: most clients have one group.
        let turned = turn(&ends, &requests, (group, request), (upstream, &mut others), header);
        match Box::pin(turned).await {
            Ok(there) => (upstream, next) = there,
            Err(end) => return end,
        }
    };
    let by = finish.by();
    others.end(session, by);
    let Upstream { connection: upstream, watch, .. } = upstream;
    let end = match finish {
        Finish::Tunnel => close(client, &upstream, session.relay(client, &upstream).run().await),
        finish => {
            if !ends.request_is_whole.get() {
                // The upstream has only a part of the request.
                upstream.reset_on_close();
            }
            ends.end(finish, unfinished, upstream, &watch).await
        }
    };
    watch.ended(by);
    end
}

/// Ends a session; holds what that needs.
struct Ends<'a> {
    session: &'a Session,
    client: &'a Connection,
    log: &'a Log<'a>,
    /// Whether nothing more is to come of the last request that was read.
    request_is_whole: Cell<bool>,
}

impl Ends<'_> {
    /// Whether a client that ends its stream while the proxy connects to a server may wait for its reply.
    fn may_stay(&self, http: &Http) -> bool {
        http.ignore_client_close || !self.client.unread().is_empty()
    }

    /// Ends a session whose client has left while the proxy was connecting for its request.
    fn left_unconnected(&self, exchange: Exchange, watch: &Watch<'_>) -> End {
        self.log.end(exchange, watch, End::ClientLeft);
        self.client.reset_on_close();
        End::ClientLeft
    }

    /// Answers a request in the server's place; the client goes on.
    async fn answer(&self, refusal: &Refusal, exchange: Exchange) -> Result<(), End> {
        let reply = self.log.refused(refusal, Some(exchange), true);
        self.send(&reply, false).await
    }

    /// Closes both connections in the way that `finish` demands; the client's last, since the client may still have to
    /// read its reply.
    async fn end(
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
    fn log_cut(&self, exchange: &Exchange, end: End) {
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
    async fn refuse(&self, refusal: &Refusal, exchange: Option<Exchange>) -> End {
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
    async fn send(&self, reply: &str, is_last: bool) -> Result<(), End> {
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
    async fn linger_close(&self) {
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

    fn ring(&self) -> &Ring {
        &self.session.context().ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle client in HTTP mode is this future besides its session's.
    #[test]
    fn a_client_with_one_group_takes_little_memory() {
        fn output_bytes<A, B, C, D, E, F>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = output_bytes(
            |session: &'static Session,
             http: &'static Http,
             client: &'static Connection,
             group: Option<Rc<Group>>,
             header: Option<&'static Received>| serve(session, http, client, group, header),
        );
        assert!(bytes <= 2240, "the future of a client in HTTP mode has grown to {bytes} bytes");
    }
}
