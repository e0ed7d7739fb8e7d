//! A session: one client connection and the upstream connection made for it, from accept to close.
//!
//! ```text
//!   accept -> look (PROXY header, TLS) -> choose and connect -> greet (PROXY header, TLS) -> relay -> close -> record
//! ```
//!
//! Both sockets are locals of [`Session::serve`]. They end with it, and no code path hands either to anybody
//! else: that is the product's promise about identity.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_lite::future::or;
use rustls::ClientConfig;

use super::client_header;
use super::connection::{Connection, cut};
use super::http;
use super::meter::{Meter, Side};
use super::networks;
use super::opening;
use super::record::{End, Record};
use super::relay::{Outcome, Relay, Reset};
use super::routes::Group;
use super::settings::{Mode, Settings};
use super::tls::handshake;
use super::upstream::{self, Candidate};
use super::worker::{Seat, Worker};
use crate::protocol::login::Symptom;
use crate::protocol::proxy_protocol;
use crate::uring::{Address, Socket};

/// Connecting mostly takes far less than this; until then a leaving client goes unwatched, which spares two
/// operations a session.
const UNWATCHED_CONNECT: Duration = Duration::from_millis(20);

/// Serves one client until the end. The seat is free again when this is over or dropped.
pub(super) fn run(
    seat: Seat,
    listener: usize,
    client: Socket,
    client_address: Address,
) -> impl Future<Output = ()> + 'static {
    let worker = Rc::clone(seat.worker());
    let accepted = worker.ring.now();
    let session = Session {
        id: worker.next_id(),
        worker,
        listener: listener as u32,
        client_address,
        meter: Meter::new(accepted),
        proxied: Cell::new(None),
        upstream: Cell::new(None),
        connect_time: Cell::new(None),
        end: Cell::new(End::Drain),
    };
    async move {
        let client = Connection::of_client(client, &session.worker.peek_memory);
        let end = session.serve(&client).await;
        session.end.set(end_within_memory(&client, end));
        drop(client);
        drop(session);
        drop(seat);
    }
}

/// What the record of a session is made of when it is dropped, in whatever way it ended.
pub(super) struct Session {
    id: u64,
    worker: Rc<Worker>,
    /// Index into `Settings::listeners`; narrow, since every idle session carries it.
    listener: u32,
    client_address: Address,
    meter: Meter,
    /// On the heap: most sessions have none.
    proxied: Cell<Option<Box<Address>>>,
    /// Index into `Settings::upstreams`; narrow for the same reason as the listener.
    upstream: Cell<Option<u32>>,
    connect_time: Cell<Option<Duration>>,
    /// Of a session that is dropped before its end it is true that the worker was stopping.
    end: Cell<End>,
}

impl Session {
    async fn serve(&self, client: &Connection) -> End {
        let settings = &self.worker.settings;
        let ring = &self.worker.ring;
        let expects_header = settings.accept_proxy_from.is_empty()
            || networks::cover(&settings.accept_proxy_from, &self.client_address);
        let header = match settings.accept_proxy_timeout.filter(|_| expects_header) {
            None => None,
            Some(timeout) => match Box::pin(client_header::read(ring, client, timeout)).await {
                Ok(header) => Some(header),
                Err(error) => {
                    let (client, cause) = (&self.client_address, error.cause());
                    tracing::warn!(%client, cause, %error, "no valid PROXY header, closing");
                    return End::ProxyHeader;
                }
            },
        };
        self.proxied.set(header.as_deref().and_then(client_header::source).map(Box::new));

        let header = header.as_deref();
        let group = match settings.routes.default {
            Some(group) if !settings.looks_at_clients() => group,
            _ => match Box::pin(opening::choose(&self.worker, client, &self.client_address)).await {
                Ok(group) => group,
                Err(end) => return end,
            },
        };
        match &settings.mode {
            // On the heap, so that sessions of the other mode do not carry its state.
            Mode::Http(http) => Box::pin(http::serve(self, http, client, group, header)).await,
            Mode::Stream => {
                let has_sent = !client.unread().is_empty();
                // On the heap while it lasts: the relay, which lasts longer, needs less.
                match Box::pin(self.connect(client, group, header, has_sent)).await {
                    Ok(upstream) => {
                        let outcome = self.relay(client, &upstream).run().await;
                        close(client, &upstream, outcome)
                    }
                    Err(end @ End::UpstreamReset) => {
                        client.reset_on_close();
                        end
                    }
                    Err(end) => end,
                }
            }
        }
    }

    /// Connects to one of a group of upstreams and tells it who comes. `has_sent`: whether the client has sent anything, so
    /// that it may wait for an answer though it ends its stream.
    pub(super) async fn connect(
        &self,
        client: &Connection,
        group: Group,
        header: Option<&proxy_protocol::Header>,
        has_sent: bool,
    ) -> Result<Connection, End> {
        or(self.connect_in_turn(client, group, header, has_sent), async {
            self.client_left(client, has_sent).await;
            self.set_upstream(None);
            Err(End::ClientLeft)
        })
        .await
    }

    /// Tries one after the other. No byte of the client has gone out before a server has proved who it is, so trying the
    /// next one is safe. When there is none left, the last one says how it ends.
    async fn connect_in_turn(
        &self,
        client: &Connection,
        group: Group,
        header: Option<&proxy_protocol::Header>,
        has_sent: bool,
    ) -> Result<Connection, End> {
        let mut end = End::Refused;
        for candidate in self.worker.upstreams.in_turn(group) {
            self.set_upstream(None);
            self.worker.ring.set_up_turn().await;
            // In a storm many have left by now; a look at each is cheaper than a connect for nothing.
            if self.worker.ring.set_ups_wait() && has_left(client, has_sent) {
                return Err(End::ClientLeft);
            }
            let upstream = match upstream::connect(&self.worker, candidate).await {
                Ok(socket) => Connection::to_server(socket),
                Err(why) => {
                    end = why;
                    continue;
                }
            };
            self.set_upstream(Some(candidate.index));
            let unfinished = Unfinished::new(&upstream);
            if let Some(version) = self.worker.settings.send_proxy {
                let greeted = Box::pin(self.greet(version, header, client, &upstream));
                match self.worker.ring.timeout(self.worker.settings.connect_timeout, greeted).await {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        tracing::debug!(%error, "upstream connection broke");
                        return Err(End::UpstreamReset);
                    }
                    None => {
                        self.set_upstream(None);
                        upstream::note_failure(&self.worker, candidate);
                        end = End::ConnectTimeout;
                        continue;
                    }
                }
            }
            match &self.worker.upstream_tls {
                Some(config) if !Box::pin(self.secure(config, candidate, &upstream)).await => {
                    upstream::note_failure(&self.worker, candidate);
                    end = End::TlsUpstream;
                }
                _ => {
                    unfinished.finish();
                    upstream::note_success(&self.worker, candidate);
                    return Ok(upstream);
                }
            }
            unfinished.finish();
        }
        Err(end)
    }

    /// The two connections, to be relayed between.
    pub(super) fn relay<'a>(&'a self, client: &'a Connection, upstream: &'a Connection) -> Relay<'a> {
        let Settings { splice, idle_timeout, accepts_missing_close_notify, .. } = *self.worker.settings;
        let reset = Cell::new(Reset::Nothing);
        Relay {
            ring: &self.worker.ring,
            client,
            upstream,
            meter: &self.meter,
            splice,
            idle_timeout,
            accepts_missing_close_notify,
            reset,
        }
    }

    pub(super) fn worker(&self) -> &Worker {
        &self.worker
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Index of the listener that accepted the client.
    pub(super) fn listener(&self) -> usize {
        self.listener as usize
    }

    /// Index of the upstream that took the connection.
    pub(super) fn upstream(&self) -> Option<usize> {
        self.upstream.get().map(|index| index as usize)
    }

    /// Something is wrong with a login at this session's upstream.
    pub(super) fn count_symptom(&self, symptom: Symptom) {
        if let Some(upstream) = self.upstream() {
            self.worker.counters.count_symptom(upstream, symptom);
        }
    }

    /// What the log calls it by.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The peer that connected.
    pub(super) fn client_address(&self) -> &Address {
        &self.client_address
    }

    /// Whom the session is for: the source that the peer's PROXY header names, else the peer.
    pub(super) fn origin_address(&self) -> Address {
        let proxied = self.proxied.take();
        self.proxied.set(proxied.clone());
        proxied.map_or_else(|| self.client_address.clone(), |proxied| *proxied)
    }

    /// Completes when the client is gone while nobody reads from it. One that has sent something and then ended
    /// its stream is not: it may well wait for an answer.
    async fn client_left(&self, client: &Connection, has_sent: bool) {
        self.worker.ring.sleep(UNWATCHED_CONNECT).await;
        // An error of poll(2) itself says nothing about the client.
        let _ = client.socket().peer_closed().await;
        if !has_left(client, has_sent) {
            let _ = client.socket().dead().await;
        }
    }

    /// Tells the upstream who the client is, before the first byte of the client.
    async fn greet(
        &self,
        version: proxy_protocol::Version,
        header: Option<&proxy_protocol::Header>,
        client: &Connection,
        upstream: &Connection,
    ) -> io::Result<()> {
        let local = client.socket().local_address()?;
        let addresses = client_header::addresses(header, &self.client_address, local.as_ref());
        let header = proxy_protocol::write(version, addresses);
        upstream.send_all(&header).await
    }

    /// Index of the upstream that takes the connection, from now on.
    fn set_upstream(&self, index: Option<usize>) {
        self.upstream.set(index.map(|index| index as u32));
        self.connect_time.set(index.map(|_taken| self.worker.ring.now().duration_since(self.meter.accepted)));
    }

    /// Shakes hands with an upstream, as far as it proves who it is. False when there can be no TLS with it.
    async fn secure(
        &self,
        config: &Arc<ClientConfig>,
        candidate: Candidate<'_>,
        upstream: &Connection,
    ) -> bool {
        let settings = &self.worker.settings;
        let Some(name) = settings.upstreams[candidate.index].tls_name.clone() else {
            unreachable!("with TLS every upstream has a name to prove")
        };
        let (config, timeout) = (Arc::clone(config), settings.connect_timeout);
        let secured = handshake::connect(&self.worker.ring, upstream, config, name, timeout).await;
        if let Err(error) = &secured {
            let Candidate { name, address, .. } = candidate;
            let cause = error.cause();
            tracing::warn!(upstream = name, %address, cause, %error, "no TLS with an upstream");
        }
        secured.is_ok()
    }
}

/// How a session ends whose client may have been closed for want of memory, which is a failure to all who read from it.
fn end_within_memory(client: &Connection, end: End) -> End {
    if !client.has_exceeded_memory() {
        return end;
    }
    client.reset_on_close();
    End::PeekMemory
}

/// Whether a client is gone while nothing reads from it. See [`Session::client_left`].
fn has_left(client: &Connection, has_sent: bool) -> bool {
    let client = client.socket();
    match client.has_bytes() {
        Ok(true) => !client.is_connected(),
        Ok(false) => !has_sent || !client.is_connected(),
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// A server's connection that no session has yet. Dropped with this, as when the client leaves, it is reset: closed in
/// order it would keep its source port (`TIME_WAIT`).
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

/// Readies both connections to be closed the way the first of them ended: in order, or by a reset.
pub(super) fn close(client: &Connection, upstream: &Connection, outcome: Outcome) -> End {
    match outcome {
        Outcome::Closed { first } => {
            client.end();
            upstream.end();
            match first {
                Side::Client => End::ClientClose,
                Side::Upstream => End::UpstreamClose,
            }
        }
        Outcome::Idle => {
            cut(client, upstream);
            End::Idle
        }
        Outcome::Broken { side, error } => {
            // Both: one that failed for want of memory here is alive at its far end, where nothing may look whole.
            client.reset_on_close();
            upstream.reset_on_close();
            match side {
                Side::Client => {
                    tracing::debug!(%error, "client connection broke");
                    End::ClientReset
                }
                Side::Upstream => {
                    tracing::debug!(%error, "upstream connection broke");
                    End::UpstreamReset
                }
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let counters = &self.worker.counters;
        counters.sessions(self.end.get()).increase();
        counters.upstream_bytes().add(self.meter.upstream_bytes.get());
        counters.client_bytes().add(self.meter.client_bytes.get());
        if matches!(self.worker.settings.mode, Mode::Http(_)) {
            // The log has had a line for each request.
            tracing::debug!(
                client = %self.client_address,
                connection = format_args!("{:016x}", self.id),
                spliced_bytes = self.meter.spliced_bytes.get(),
                end = self.end.get().as_str(),
                "session ended"
            );
            return;
        }
        let Some(log) = &self.worker.log else { return };
        let duration = self.worker.ring.now().duration_since(self.meter.accepted);
        log.send(Record {
            started: SystemTime::now() - duration,
            listener: self.listener(),
            client: std::mem::replace(&mut self.client_address, Address::Unix(std::path::PathBuf::new())),
            proxied: self.proxied.take().map(|proxied| *proxied),
            upstream: self.upstream(),
            connect_time: self.connect_time.get(),
            first_byte_time: self.meter.first_byte.get().map(|at| at.duration_since(self.meter.accepted)),
            duration,
            upstream_bytes: self.meter.upstream_bytes.get(),
            client_bytes: self.meter.client_bytes.get(),
            spliced_bytes: self.meter.spliced_bytes.get(),
            end: self.end.get(),
        });
    }
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
        assert!(bytes <= 1024, "a session's future has grown to {bytes} bytes");
    }
}
