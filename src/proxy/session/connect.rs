//! Connecting a session to a server of its group: one server after the other, while watching for a client that leaves.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;
use rustls::ClientConfig;

use super::facts::Session;
use crate::protocol::proxy_protocol::{self, Version};
use crate::proxy::client_header::{self, Received};
use crate::proxy::connection::Connection;
use crate::proxy::counters::Unconnected;
use crate::proxy::record::End;
use crate::proxy::tls::{Tls, handshake};
use crate::proxy::warm::stock::Hand;
use crate::upstream::{self, Failure, Group, Lease, Origin, Pick, Supply};

/// Connecting usually takes far less than this; until then the client is not watched for leaving, which saves two
/// operations per session.
const UNWATCHED_CONNECT: Duration = Duration::from_millis(20);

/// Connections that wait for other clients are closed within this time when a client waits for their places: as soon as
/// their workers have heard of it.
const WARM_CLOSES: Duration = Duration::from_secs(1);

/// Connects to a server of the group and sends it the PROXY header. `has_sent`: whether the client has sent
/// anything, so that it may wait for an answer even if it ends its stream.
///
/// # Errors
/// How the session ends; the cause is logged here.
pub(in crate::proxy) async fn connect(
    session: &Session,
    client: &Connection,
    group: Rc<Group>,
    header: Option<&Received>,
    has_sent: bool,
) -> Result<Connection, End> {
    or(connect_in_turn(session, client, &group, header, has_sent), async {
        client_left(session, client, has_sent).await;
        forget(session, &group);
        Err(End::ClientLeft)
    })
    .await
}

/// Tries one server after the other within the group's budget. No byte of the client is sent before a server has proved
/// its identity, so trying the next one is safe. The last failure decides the end.
async fn connect_in_turn(
    session: &Session,
    client: &Connection,
    group: &Group,
    header: Option<&Received>,
    has_sent: bool,
) -> Result<Connection, End> {
    let ring = &session.context().ring;
    let budget_ends = Cell::new(ring.now() + group.settings().connect_budget);
    let time_left = || {
        let left = budget_ends.get().saturating_duration_since(ring.now());
        left.min(group.settings().connect_timeout)
    };
    session.count_for(&group.settings().name);
    let mut end = End::NoServer;
    let origin = group.origin(session.source());
    let hand = hand(session, group);
    let mut pick = session.pick(group).supplied(hand.as_ref().map(|hand| hand as &dyn Supply));
    let mut patience = group.settings().queue_timeout;
    loop {
        let lease = match pick.next() {
            Some(lease) => lease,
            None if !pick.is_held_up() => {
                return Err(if end == End::NoServer { without_server(session, group) } else { end });
            }
            None => {
                forget(session, group);
                let began = ring.now();
                let waited = Box::pin(wait(session, group, &mut pick, patience)).await;
                let took = ring.now().saturating_duration_since(began);
                patience = patience.saturating_sub(took);
                session.count(|cells| cells.queue_time.record(took));
                // The budget is for servers that take their time.
                budget_ends.set(budget_ends.get() + took);
                match waited {
                    Some(lease) => lease,
                    None if pick.is_held_up() => return Err(End::Full),
                    // No server is left that would be worth waiting for.
                    None => continue,
                }
            }
        };
        forget(session, group);
        let cells = session.cells_of(lease.server().name());
        let opened = match hand.as_ref().and_then(Hand::take_connection) {
            Some(connection) => Ok(connection),
            None => open(session, client, (&lease, origin), time_left, has_sent).await,
        };
        let upstream = match opened {
            Ok(connection) => connection,
            Err(Unopened::ClientLeft) => return Err(End::ClientLeft),
            Err(Unopened::BudgetOver) => {
                let budget = group.settings().connect_budget;
                let client = session.client_address();
                tracing::warn!(%client, ?budget, "no server was ready within the connect budget; not trying the others");
                return Err(if end == End::NoServer { End::ConnectTimeout } else { end });
            }
            Err(Unopened::Failed(failure)) => {
                cells.unconnected(cause_of(failure)).increase();
                end = end_of(failure);
                continue;
            }
        };
        if upstream.has_tls() {
            cells.handshakes(handshake::kind(&upstream)).increase();
        }
        session.set_lease(Some(lease));
        let unfinished = Unfinished::new(&upstream);
        if let Some(version) = group.settings().send_proxy {
            let greeted = Box::pin(greet(session, version, header, client, &upstream));
            match ring.timeout(time_left(), greeted).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "upstream connection failed; closing");
                    cells.unconnected(Unconnected::Reset).increase();
                    session.with_lease(|lease| lease.note_failure(ring.now()));
                    return Err(End::UpstreamReset);
                }
                None => {
                    session.with_lease(|lease| lease.note_failure(ring.now()));
                    cells.unconnected(Unconnected::TimedOut).increase();
                    forget(session, group);
                    end = End::ConnectTimeout;
                    continue;
                }
            }
        }
        match group.tls().filter(|_| !upstream.has_tls()) {
            Some(config) if !Box::pin(secure(session, config, time_left(), &upstream)).await => {
                session.with_lease(|lease| lease.note_failure(ring.now()));
                cells.unconnected(Unconnected::Tls).increase();
                end = End::TlsUpstream;
            }
            _ => {
                unfinished.finish();
                cells.connected.increase();
                if session.with_lease(Lease::is_warm) == Some(true) {
                    cells.warm.increase();
                }
                session.with_lease(|lease| lease.note_success(ring.now()));
                return Ok(upstream);
            }
        }
        unfinished.finish();
        drop(upstream);
        session.end_lease();
    }
}

/// Why there is no connection to a server.
enum Unopened {
    ClientLeft,
    BudgetOver,
    Failed(Failure),
}

/// Connects to the server of a lease, within the time that is left when its turn has come.
async fn open(
    session: &Session,
    client: &Connection,
    (lease, origin): (&Lease, Origin<'_>),
    time_left: impl Fn() -> Duration,
    has_sent: bool,
) -> Result<Connection, Unopened> {
    let context = session.context();
    let ring = &context.ring;
    ring.set_up_turn().await;
    // In a storm many clients have left by now; checking each is cheaper than a useless connect.
    if ring.set_ups_wait() && has_left(client, has_sent) {
        return Err(Unopened::ClientLeft);
    }
    let timeout = time_left();
    if timeout.is_zero() {
        return Err(Unopened::BudgetOver);
    }
    let (options, began) = (session.service().settings.tcp, ring.now());
    let connected = upstream::connect(ring, lease, origin, &options, timeout, &context.descriptor_waits);
    let socket = connected.await.map_err(Unopened::Failed)?;
    let took = ring.now().saturating_duration_since(began);
    session.cells_of(lease.server().name()).connect_time.record(took);
    Ok(Connection::to_server(socket))
}

/// Ends the lease of the server that was tried before, whose connection is gone.
fn forget(session: &Session, group: &Group) {
    session.set_lease(None);
    session.count_for(&group.settings().name);
}

/// What takes connections that were opened ahead for the group, if any are.
fn hand(session: &Session, group: &Group) -> Option<Hand> {
    if !group.settings().opens_ahead() {
        return None;
    }
    let stocks = &session.context().stocks;
    stocks.of(group, &session.service().settings.tcp).map(Hand::new)
}

/// Waits in the group's queue for a place at a server. None when the client is refused; the cause is logged here.
async fn wait(session: &Session, group: &Group, pick: &mut Pick<'_>, patience: Duration) -> Option<Lease> {
    let (client, group) = (session.client_address(), &*group.settings().name);
    let timeout = if pick.is_held_up_by_warm() { patience.max(WARM_CLOSES) } else { patience };
    let context = session.context();
    if timeout.is_zero() {
        let lease = pick.unwanted(&context.pager, context.ring.now());
        if lease.is_none() {
            tracing::warn!(%client, group, "every server has as many connections as it may have; refusing the client");
        }
        return lease;
    }
    tracing::info!(%client, group, ?timeout, "every server has as many connections as it may have; the client waits");
    let lease = pick.wait(&context.ring, &context.pager, timeout).await;
    if lease.is_none() && pick.is_held_up() {
        tracing::warn!(%client, group, "the client got no place at a server within its time, or too many wait; refusing it");
    }
    lease
}

fn cause_of(failure: Failure) -> Unconnected {
    match failure {
        Failure::Refused => Unconnected::Refused,
        Failure::TimedOut => Unconnected::TimedOut,
        Failure::LocalLimit => Unconnected::LocalLimit,
    }
}

/// The end where there was no server to try. The cause is logged here, or by the group.
fn without_server(session: &Session, group: &Group) -> End {
    let source = session.source();
    if group.suits(source) {
        group.settings().note_refused();
        return End::NoServer;
    }
    // Servers are to know clients by their addresses: it must not be the proxy's.
    let (client, group) = (session.client_address(), &*group.settings().name);
    match source {
        Some(source) => {
            tracing::warn!(%client, group, %source, "no server of the group can be connected to from the client's address, which servers are to see; refusing the client");
        }
        None => {
            tracing::warn!(%client, group, "the client has no IP address, which servers are to see; refusing it");
        }
    }
    End::NoSource
}

fn end_of(failure: Failure) -> End {
    match failure {
        Failure::Refused => End::Refused,
        Failure::TimedOut => End::ConnectTimeout,
        Failure::LocalLimit => End::LocalLimit,
    }
}

/// Sends the PROXY header upstream, ahead of the client's first byte.
async fn greet(
    session: &Session,
    version: Version,
    header: Option<&Received>,
    client: &Connection,
    upstream: &Connection,
) -> io::Result<()> {
    let local = client.socket().local_address()?;
    let own = header.map(|received| &received.header);
    let addresses = client_header::addresses(own, session.client_address(), local.as_ref());
    match version {
        Version::V1 => upstream.send_all(&proxy_protocol::write(version, addresses)).await,
        Version::V2 => {
            let received = header.map_or(&[][..], |received| &received.tlvs);
            let tls = client.tls().map(Tls::for_proxy_header);
            upstream.send_all(&proxy_protocol::write_with(addresses, received, tls.as_ref())).await
        }
    }
}

/// Performs the TLS handshake with the session's server, which proves its identity. False when the handshake fails.
async fn secure(
    session: &Session,
    config: &Arc<ClientConfig>,
    timeout: Duration,
    upstream: &Connection,
) -> bool {
    let name = session.with_lease(|lease| lease.server().tls_name().cloned());
    let Some(Some(name)) = name else { unreachable!("with TLS every server has a name to prove") };
    let secured =
        handshake::connect(&session.context().ring, upstream, Arc::clone(config), name, timeout).await;
    let handshake = secured.as_ref().map_or_else(handshake::Error::outcome, |()| handshake::kind(upstream));
    session.count(|cells| cells.handshakes(handshake).increase());
    if let Err(error) = &secured {
        session.with_lease(|lease| {
            let (name, address, cause) = (&**lease.server().name(), lease.address(), error.cause());
            tracing::warn!(upstream = name, %address, cause, %error, "server TLS handshake failed; trying the next server, if any");
        });
    }
    secured.is_ok()
}

/// Completes when the client has left while nothing reads from it. A client that has sent something and then ended
/// its stream has not left: it may wait for an answer.
async fn client_left(session: &Session, client: &Connection, has_sent: bool) {
    session.context().ring.sleep(UNWATCHED_CONNECT).await;
    // An error of poll(2) itself says nothing about the client.
    let _ = client.socket().peer_closed().await;
    if !has_left(client, has_sent) {
        let _ = client.socket().dead().await;
    }
}

/// Whether a client has left while nothing reads from it. See [`client_left`].
fn has_left(client: &Connection, has_sent: bool) -> bool {
    let client = client.socket();
    match client.has_bytes() {
        Ok(true) => !client.is_connected(),
        Ok(false) => !has_sent || !client.is_connected(),
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// A connection to a server that is not in use yet. Dropping this, for instance when the client leaves, resets the
/// connection: an orderly close would keep its source port (`TIME_WAIT`).
struct Unfinished<'a>(&'a Connection);

impl<'a> Unfinished<'a> {
    fn new(upstream: &'a Connection) -> Self {
        Self(upstream)
    }

    fn finish(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.reset_on_close();
    }
}
