//! A client's turn to another group: over its own idle connection to it, or a new one.

use std::rc::Rc;

use super::ends::Ends;
use super::exchange::{Exchanges, Finish};
use super::refusal::Refusal;
use super::reply::Replies;
use super::request::{Exchange, Request, Requests};
use super::upstreams::{Others, Upstream};
use super::watch::Watch;
use crate::protocol::login::Side;
use crate::proxy::client_header::Received;
use crate::proxy::record::End;
use crate::proxy::session::connect::connect;
use crate::upstream::Group;

/// Forwards requests over `upstream` and watches the `others` meanwhile.
pub(super) async fn run_watched(
    ends: &Ends<'_>,
    requests: &Requests<'_>,
    upstream: &Upstream<'_>,
    others: &mut Others<'_>,
    next: Option<Box<Request>>,
) -> (Finish, Option<Exchange>) {
    let (session, client) = (ends.session, ends.client);
    let relay = session.relay(client, &upstream.connection);
    let replies = Replies::new(session, requests.http, upstream, client.has_tls());
    let exchanges = Exchanges::new(&relay, requests, &replies, ends.log);
    let ended = others.watched(session, exchanges.run(next)).await;
    ends.request_is_whole.set(!exchanges.is_within_request());
    ended
}

/// Finds or makes the connection for a `request` to `group`, and puts the one that the client has used aside. Where no
/// server can be reached and the client may go on, the request is answered here, and the connection stays the one before.
///
/// # Errors
/// How the session ends.
pub(super) async fn turn<'a>(
    ends: &Ends<'a>,
    requests: &Requests<'a>,
    (group, request): (Rc<Group>, Box<Request>),
    (from, others): (Upstream<'a>, &mut Others<'a>),
    header: Option<&Received>,
) -> Result<(Upstream<'a>, Option<Box<Request>>), End> {
    let session = ends.session;
    let before = from.idle(session);
    let known = others.take(&group, session).await;
    let upstream = if let Some(known) = known {
        known
    } else {
        ends.request_is_whole.set(request.body.is_none());
        let watch = Watch::new(session, requests.http);
        let may_stay = ends.may_stay(requests.http);
        session.set_named(request.exchange.named(&group));
        match connect(session, ends.client, Rc::clone(&group), header, may_stay).await {
            Ok(connection) => Upstream::new(group, connection, watch),
            Err(End::ClientLeft) => {
                others.add(before);
                others.end(session, Side::Client);
                return Err(ends.left_unconnected(request.exchange, &watch));
            }
            Err(end) => {
                let refusal = Refusal::of_unconnected(end);
                if requests.may_go_on_after(&request) {
                    ends.answer(&refusal, request.exchange).await?;
                    return Ok((before.resume(session), None));
                }
                others.add(before);
                others.end(session, Side::Proxy);
                return Err(ends.refuse(&refusal, Some(request.exchange)).await);
            }
        }
    };
    upstream.begin(&before, others);
    others.add(before);
    Ok((upstream, Some(request)))
}
