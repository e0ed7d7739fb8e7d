//! HTTP/1.1 over a session: heads are read and changed, bodies pass as bytes, and still one client connection has
//! one upstream connection of its own.
//!
//! ```text
//!   first request -> connect -> requests and replies, one after the other -> close
//!                       |                    '--101--> a tunnel: both ways, as bytes
//!                       '--> a page that says why not
//! ```
//!
//! `request.rs` and `exchange.rs` are the way of a message; `body.rs` knows where it ends; `refusal.rs` is what we say
//! ourselves.

mod body;
mod exchange;
mod forwarded;
mod refusal;
mod request;

use std::cell::Cell;
use std::time::Duration;

use futures_lite::future::or;

use super::connection::Connection;
use super::meter::Side;
use super::record::End;
use super::relay::{Outcome, Relay};
use super::session::{Session, close};
use super::settings::Http;
use crate::protocol::proxy_protocol::Header;
use crate::uring::Expect;
use exchange::{Exchanges, Finish};
use forwarded::ClientFacts;
use refusal::Refusal;
use request::{Next, Requests};

/// How long, and for how many bytes, a client is heard out after the last reply: closing over unread bytes would
/// reset the connection, and could take the reply with it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Serves one client to the end.
pub(super) async fn serve(
    session: &Session,
    http: &Http,
    client: &Connection,
    header: Option<&Header>,
) -> End {
    let count = Cell::new(0);
    let worker = session.worker();
    let ring = &worker.ring;
    let facts = ClientFacts::new(http, session.client_address(), &session.origin_address(), client.has_tls());
    let requests = Requests { ring, client, http, facts };
    let first = or(async { Some(requests.next().await) }, async {
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
        Some(Ok(Next::Refused(refusal))) => return refuse(session, client, &refusal, 1).await,
        Some(Ok(Next::Request(request))) => request,
    };
    let upstream = match session.connect(client, header, true).await {
        Ok(upstream) => upstream,
        Err(End::ClientLeft) => return End::ClientLeft,
        Err(end) => return refuse(session, client, &Refusal::of_unconnected(end), 1).await,
    };
    let relay = session.relay(client, &upstream);
    let finish = Exchanges::new(&relay, &requests, &count).run(first).await;
    finished(session, &relay, finish, count.get()).await
}

async fn finished(session: &Session, relay: &Relay<'_>, finish: Finish, count: u64) -> End {
    let Relay { client, upstream, .. } = *relay;
    match finish {
        Finish::Tunnel => close(client, upstream, relay.run().await),
        Finish::Idle => close(client, upstream, Outcome::Idle),
        Finish::Broken(side, error) => close(client, upstream, Outcome::Broken { side, error }),
        Finish::CutShort(side) => {
            let error = std::io::ErrorKind::UnexpectedEof.into();
            close(client, upstream, Outcome::Broken { side, error })
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
        Finish::Refused(refusal) => {
            // Whatever it has of the request is not the whole.
            upstream.socket().reset_on_close();
            refuse(session, client, &refusal, count).await
        }
    }
}

/// Answers the request `number` ourselves, and ends the connection.
async fn refuse(session: &Session, client: &Connection, refusal: &Refusal, number: u64) -> End {
    let request_id = format!("{:016x}-{number}", session.id());
    let (status, _reason) = refusal.status();
    tracing::warn!(client = %session.client_address(), request = request_id, status, "request refused: {refusal}");
    if client.send_all(refusal.reply(&request_id).as_bytes()).await.is_ok() {
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
