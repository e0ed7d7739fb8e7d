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
//! `turn.rs` goes there, and `upstreams.rs` keeps the connections to others; `affinity.rs` reads
//! and sets the proxy's own cookies; `watch.rs` observes logins, on which only `close_on_identity_change` depends.

mod affinity;
mod body;
mod clock;
mod ends;
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
use std::rc::Rc;

use super::client_header::Received;
use super::connection::Connection;
use super::record::End;
use super::session::close::close;
use super::session::connect::connect;
use super::session::facts::Session;
use super::settings::Http;
use super::settings::timeouts::REQUEST_GRACE;
use crate::upstream::Group;
use ends::Ends;
use exchange::{Exchanges, Finish};
use forwarded::ClientFacts;
use log::Log;
use refusal::Refusal;
use reply::Replies;
use request::{Next, Requests};
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
        ring.sleep(REQUEST_GRACE).await;
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
        // Boxed: other services have none of it.
        return Box::pin(to_https::serve(&ends, &requests, first)).await;
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
    session.set_named(first.exchange.named(&group));
    // Boxed for its duration: the exchanges, which last longer, need less.
    let connecting = Box::pin(connect(session, client, Rc::clone(&group), header, ends.may_stay(http)));
    let mut upstream = match connecting.await {
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
