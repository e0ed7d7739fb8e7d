//! A session: one client connection and the upstream connection made for it, from accept to close.
//!
//! ```text
//!   accept -> read (PROXY header, TLS) -> route and connect -> greet (PROXY header, TLS) -> relay -> close -> record
//! ```
//!
//! Both sockets are locals of [`run`] and [`serve`]. They end with it, and no code path hands either to anything else:
//! this is the product's promise about identity.

pub(super) mod close;
pub(super) mod connect;
pub(super) mod facts;

use std::future::Future;
use std::rc::Rc;

use super::client_header::{self, Received};
use super::clients::Excess;
use super::connection::Connection;
use super::context::Seat;
use super::http;
use super::networks;
use super::opening;
use super::record::End;
use super::service::Listening;
use super::settings::{Admission, Http, Mode, Service};
use crate::upstream::Group;
use crate::uring::{Address, Socket};

use close::close;
use connect::connect;
use facts::Session;

/// Serves one client until the end. Its seat is free again when this future completes or is dropped.
pub(super) fn run(
    seat: Seat,
    listening: Rc<Listening>,
    client: Socket,
    client_address: Address,
) -> impl Future<Output = ()> + 'static {
    let session = Session::begin(seat, listening, client_address);
    // One block, in which every value is once: idle sessions are little more than it. What is awaited is boxed but for the
    // relay, which lasts longest.
    async move {
        session.set_task();
        let client = Connection::of_client(client, &session.context().peek_memory);
        let end = {
            let reached = Box::pin(reach(&session, &client)).await;
            match &reached {
                Ok(upstream) => {
                    let relay = session.relay(&client, upstream);
                    let outcome = relay.run().await;
                    close(relay.client, relay.upstream, outcome)
                }
                Err(end) => *end,
            }
        };
        session.judge_server(end);
        session.set_end(end_within_memory(&client, end));
        session.give_back();
        drop(client);
        drop(session);
    }
}

/// Connects to the client's server. In HTTP mode it serves the client, whose requests decide when to connect, and
/// returns how that ended: it is small itself, because it lasts as long.
async fn reach(session: &Session, client: &Connection) -> Result<Connection, End> {
    let header = read_header(session, client).await?;
    let header = header.as_deref();
    let settings = &session.service().settings;
    if let Some(admission) = &settings.admission {
        admit(session, admission)?;
    }
    if let Mode::Http(http) = &settings.mode
        && settings.routes_by_request()
    {
        return Err(Box::pin(serve_by_request(session, http, client, header)).await);
    }
    let group = route(session, client).await?;
    match &settings.mode {
        Mode::Http(http) => Err(Box::pin(http::serve(session, http, client, Some(group), header)).await),
        Mode::Stream => {
            let has_sent = !client.unread().is_empty();
            Box::pin(connect(session, client, group, header, has_sent)).await.inspect_err(|end| {
                if *end == End::UpstreamReset {
                    client.reset_on_close();
                }
            })
        }
    }
}

/// Serves a client whose requests decide where they go.
async fn serve_by_request(
    session: &Session,
    http: &Http,
    client: &Connection,
    header: Option<&Received>,
) -> End {
    let (ring, address) = (&session.context().ring, session.client_address());
    // Boxed for its duration: it needs more than what follows.
    match Box::pin(opening::secure(ring, session.service(), client, address)).await {
        Ok(()) => http::serve(session, http, client, None, header).await,
        Err(end) => end,
    }
}

/// Reads the client's PROXY header, if the service expects one from it.
async fn read_header(session: &Session, client: &Connection) -> Result<Option<Box<Received>>, End> {
    let Service { accept_proxy, accept_proxy_from, timeouts, .. } = &*session.service().settings;
    let address = session.client_address();
    if !accept_proxy || !accept_proxy_from.is_empty() && !networks::cover(accept_proxy_from, address) {
        return Ok(None);
    }
    match Box::pin(client_header::read(&session.context().ring, client, timeouts.accept_proxy)).await {
        Ok(header) => {
            session.set_proxied(client_header::source(&header.header));
            Ok(Some(header))
        }
        Err(error) => {
            let cause = error.cause();
            tracing::warn!(client = %address, cause, %error, "no valid PROXY header received; closing");
            Err(End::ProxyHeader)
        }
    }
}

/// Admits the client and counts it, or says how the session ends.
fn admit(session: &Session, admission: &Admission) -> Result<(), End> {
    let client = session.origin_address();
    let service = &*session.service().settings.name;
    if !admission.admits(&client) {
        tracing::warn!(service, %client, "client is not allowed to connect; closing");
        return Err(End::Denied);
    }
    let (Some(limits), Some(source)) = (&admission.limits, session.source()) else { return Ok(()) };
    let taken = limits.take(source, session.context().ring.now()).map_err(|excess| {
        let (cause, end) = match excess {
            Excess::Connections => ("connections", End::ClientConnections),
            Excess::Rate => ("rate", End::ClientRate),
        };
        tracing::warn!(service, %client, cause, "client has reached a limit for one client; closing");
        end
    })?;
    session.set_taken(Some(taken));
    Ok(())
}

/// Chooses the group, by the client's first bytes where the routes depend on them.
async fn route(session: &Session, client: &Connection) -> Result<Rc<Group>, End> {
    let service = session.service();
    match &service.routes.default {
        Some(group) if !service.settings.needs_client_bytes() => Ok(Rc::clone(group)),
        _ => {
            let ring = &session.context().ring;
            Box::pin(opening::choose(ring, service, client, session.client_address())).await
        }
    }
}

/// The end of a session whose client may have been closed for lack of memory, which every reader sees as a failure.
fn end_within_memory(client: &Connection, end: End) -> End {
    if !client.has_exceeded_memory() {
        return end;
    }
    client.reset_on_close();
    End::PeekMemory
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle session is this future, two operations and two descriptors: 9,000 of them must stay cheap.
    #[test]
    fn a_session_takes_little_memory() {
        fn output_bytes<A, B, C, D, F>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = output_bytes(run);
        assert!(bytes <= 408, "the future of a session has grown to {bytes} bytes");
    }
}
