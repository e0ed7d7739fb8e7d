//! HTTP/1.1 over a session: heads are read and changed, bodies pass as bytes, and still one client connection has
//! one upstream connection of its own.
//!
//! ```text
//!   first request -> connect -> requests and replies, one after the other -> close
//!                       |                    '--101--> a tunnel: both ways, as bytes
//!                       '--> a page that says why not
//! ```
//!
//! `request.rs`, `reply.rs` and `exchange.rs` are the way of a message; `body.rs` knows where it ends; `refusal.rs` is what we say
//! ourselves; `watch.rs` looks at logins, which nothing depends on but `--on-identity-change`.

mod body;
mod exchange;
mod forwarded;
mod log;
mod refusal;
mod reply;
mod request;
mod watch;

use std::cell::Cell;
use std::time::Duration;

use futures_lite::future::or;

use super::connection::Connection;
use super::meter::Side;
use super::record::End;
use super::relay::{Outcome, Relay};
use super::routes::Group;
use super::session::{Session, close};
use super::settings::Http;
use crate::protocol::login;
use crate::protocol::proxy_protocol::Header;
use crate::uring::Expect;
use exchange::{Exchanges, Finish};
use forwarded::ClientFacts;
use log::Log;
use refusal::Refusal;
use reply::Replies;
use request::{Exchange, Next, Requests};
use watch::Watch;

/// How long, and for how many bytes, a client is heard out after the last reply: closing over unread bytes would
/// reset the connection, and could take the reply with it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// How long a client that has not asked for anything may still do so when the worker drains: it has connected to a
/// server that took it, and has no reason to try again elsewhere. A lost packet comes again in this time.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(3);

/// Serves one client to the end.
pub(super) async fn serve(
    session: &Session,
    http: &Http,
    client: &Connection,
    group: Group,
    header: Option<&Header>,
) -> End {
    let worker = session.worker();
    let ring = &worker.ring;
    let facts = ClientFacts::new(http, &session.origin_address(), client.has_tls());
    let requests = Requests::new(worker, client, http, facts);
    let log = Log::new(session);
    let stop = async {
        worker.draining().await;
        ring.sleep(FIRST_REQUEST_GRACE).await;
    };
    let first = or(async { Some(requests.next(stop).await) }, async {
        ring.sleep(worker.settings.idle_timeout).await;
        None
    });
    let first = match first.await {
        None => return End::Idle,
        Some(Err(error)) => {
            tracing::debug!(%error, "client connection broke");
            return End::ClientReset;
        }
        Some(Ok(Next::End)) => return End::ClientClose,
        Some(Ok(Next::Stop)) => {
            part(ring, client).await;
            return End::Drained;
        }
        Some(Ok(Next::Refused(refusal))) => return refuse(session, client, &refusal, &log, None).await,
        Some(Ok(Next::Request(request))) => request,
    };
    let upstream = match session.connect(client, group, header, true).await {
        Ok(upstream) => upstream,
        Err(End::ClientLeft) => return End::ClientLeft,
        Err(end) => {
            let refusal = Refusal::of_unconnected(end);
            return refuse(session, client, &refusal, &log, Some(first.exchange)).await;
        }
    };
    let relay = session.relay(client, &upstream);
    let watch = Watch::new(session, http);
    let replies = Replies { session, http, watch: &watch, has_dropped: Cell::new(false) };
    let exchanges = Exchanges::new(&relay, &requests, &replies, &log);
    let finish = exchanges.run(first).await;
    let unfinished = exchanges.into_unfinished();
    let unfinished = match (&finish, unfinished) {
        (Finish::Refused(_), unfinished) => unfinished,
        (_, Some(exchange)) => {
            log.end(exchange, &watch);
            None
        }
        (_, None) => None,
    };
    watch.ended(match &finish {
        Finish::UpstreamClosed
        | Finish::Closing { by: Side::Upstream }
        | Finish::CutShort(Side::Upstream)
        | Finish::Broken(Side::Upstream, _) => login::Side::Upstream,
        _ => login::Side::Client,
    });
    finished(session, &relay, finish, &log, unfinished).await
}

async fn finished(
    session: &Session,
    relay: &Relay<'_>,
    finish: Finish,
    log: &Log<'_>,
    unfinished: Option<Exchange>,
) -> End {
    let Relay { client, upstream, .. } = *relay;
    match finish {
        Finish::Tunnel => close(client, upstream, relay.run().await),
        Finish::Idle => close(client, upstream, Outcome::Idle),
        Finish::Broken(side, error) => close(client, upstream, Outcome::Broken { side, error }),
        Finish::CutShort(Side::Client) => {
            tracing::debug!("the client ended its stream within a request");
            upstream.reset_on_close();
            End::ClientReset
        }
        Finish::CutShort(Side::Upstream) => {
            tracing::debug!("the upstream ended its stream within a reply");
            client.reset_on_close();
            End::UpstreamReset
        }
        Finish::ClientClosed => close(client, upstream, Outcome::Closed { first: Side::Client }),
        Finish::UpstreamClosed => {
            upstream.end();
            part(relay.ring, client).await;
            End::UpstreamClose
        }
        Finish::Closing { by } => {
            upstream.end();
            part(relay.ring, client).await;
            match by {
                Side::Client => End::ClientClose,
                Side::Upstream => End::UpstreamClose,
            }
        }
        Finish::Drained => {
            upstream.end();
            part(relay.ring, client).await;
            End::Drained
        }
        Finish::Refused(refusal) => {
            // Whatever it has of the request is not the whole.
            upstream.socket().reset_on_close();
            refuse(session, client, &refusal, log, unfinished).await
        }
    }
}

/// Answers the present request ourselves, and ends the connection.
async fn refuse(
    session: &Session,
    client: &Connection,
    refusal: &Refusal,
    log: &Log<'_>,
    exchange: Option<Exchange>,
) -> End {
    let request_id = format!("{:016x}-{}", session.id(), log.count().max(1));
    let (status, _reason) = refusal.status();
    tracing::warn!(client = %session.client_address(), request = request_id, status, "request refused: {refusal}");
    let reply = refusal.reply(&request_id);
    log.refused(exchange, status, &reply);
    if client.send_all(reply.as_bytes()).await.is_ok() {
        session.meter().sent(Side::Client, reply.len(), session.worker().ring.now());
        part(&session.worker().ring, client).await;
    }
    refusal.end()
}

/// Ends our stream to a client and hears it out.
async fn part(ring: &crate::uring::Ring, client: &Connection) {
    if client.end_stream().await.is_err() {
        return;
    }
    let heard_out = async {
        let mut bytes = 0;
        while bytes <= LINGER_BYTES_MAX {
            let unread = client.unread().len();
            client.take(unread);
            bytes += unread;
            match client.receive(Expect::Now).await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    };
    or(heard_out, ring.sleep(LINGER_TIMEOUT)).await;
}
