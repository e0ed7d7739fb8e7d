//! A session: one client connection and the upstream connection made for it, from accept to close.
//!
//! ```text
//!   accept -> read (PROXY header, TLS) -> route and connect -> greet (PROXY header, TLS) -> relay -> close -> record
//! ```
//!
//! Both sockets are locals of [`Session::serve`]. They end with it, and no code path hands either to anything else:
//! this is the product's promise about identity.

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

/// Connecting usually takes far less than this; until then the client is not watched for leaving, which saves two
/// operations per session.
const UNWATCHED_CONNECT: Duration = Duration::from_millis(20);

/// Serves one client until the end. The seat is free again when this future completes or is dropped.
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

/// The state behind a session's record, which is written on drop, however the session ended.
pub(super) struct Session {
    id: u64,
    worker: Rc<Worker>,
    /// Index into `Settings::listeners`; narrow, to keep idle sessions small.
    listener: u32,
    client_address: Address,
    meter: Meter,
    /// Boxed: most sessions have none.
    proxied: Cell<Option<Box<Address>>>,
    /// Index into `Settings::upstreams`; narrow for the same reason.
    upstream: Cell<Option<u32>>,
    connect_time: Cell<Option<Duration>>,
    /// Initially `Drain`: a session dropped before its end means that the worker was stopping.
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
                    tracing::warn!(%client, cause, %error, "no valid PROXY header received; closing");
                    return End::ProxyHeader;
                }
            },
        };
        self.proxied.set(header.as_deref().and_then(client_header::source).map(Box::new));

        let header = header.as_deref();
        let group = match settings.routes.default {
            Some(group) if !settings.needs_client_bytes() => group,
            _ => match Box::pin(opening::choose(&self.worker, client, &self.client_address)).await {
                Ok(group) => group,
                Err(end) => return end,
            },
        };
        match &settings.mode {
            // Boxed, so that sessions of the other mode do not carry its state.
            Mode::Http(http) => Box::pin(http::serve(self, http, client, group, header)).await,
            Mode::Stream => {
                let has_sent = !client.unread().is_empty();
                // Boxed for its duration: the relay, which lasts longer, needs less.
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

    /// Connects to a server of the group and sends it the PROXY header. `has_sent`: whether the client has sent
    /// anything, so that it may wait for an answer even if it ends its stream.
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

    /// Tries one server after the other. No byte of the client is sent before a server has proved its identity, so
    /// trying the next one is safe. The last failure decides the end.
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
            // In a storm many clients have left by now; checking each is cheaper than a useless connect.
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
                        tracing::debug!(%error, "upstream connection failed; closing");
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

    /// A relay between the two connections.
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

    /// Index of the server that accepted the connection.
    pub(super) fn upstream(&self) -> Option<usize> {
        self.upstream.get().map(|index| index as usize)
    }

    /// Counts a symptom of a failing login at this session's server.
    pub(super) fn count_symptom(&self, symptom: Symptom) {
        if let Some(upstream) = self.upstream() {
            self.worker.counters.count_symptom(upstream, symptom);
        }
    }

    /// The id of the session in logs.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The address that connected.
    pub(super) fn client_address(&self) -> &Address {
        &self.client_address
    }

    /// The client that the session is for: the source in the PROXY header, otherwise the address that connected.
    pub(super) fn origin_address(&self) -> Address {
        let proxied = self.proxied.take();
        self.proxied.set(proxied.clone());
        proxied.map_or_else(|| self.client_address.clone(), |proxied| *proxied)
    }

    /// Completes when the client has left while nothing reads from it. A client that has sent something and then ended
    /// its stream has not left: it may wait for an answer.
    async fn client_left(&self, client: &Connection, has_sent: bool) {
        self.worker.ring.sleep(UNWATCHED_CONNECT).await;
        // An error of poll(2) itself says nothing about the client.
        let _ = client.socket().peer_closed().await;
        if !has_left(client, has_sent) {
            let _ = client.socket().dead().await;
        }
    }

    /// Sends the PROXY header upstream, ahead of the client's first byte.
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

    /// Sets the index of the server that has accepted the connection.
    fn set_upstream(&self, index: Option<usize>) {
        self.upstream.set(index.map(|index| index as u32));
        self.connect_time.set(index.map(|_taken| self.worker.ring.now().duration_since(self.meter.accepted)));
    }

    /// Performs the TLS handshake with a server, which proves its identity. False when the handshake fails.
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
            tracing::warn!(upstream = name, %address, cause, %error, "server TLS handshake failed; trying the next server, if any");
        }
        secured.is_ok()
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

/// Whether a client has left while nothing reads from it. See [`Session::client_left`].
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

/// Prepares both connections to be closed the way the first of them ended: in order, or by a reset.
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
            // Both: a connection that failed here for lack of memory is alive at its far end, where no stream may look
            // complete.
            client.reset_on_close();
            upstream.reset_on_close();
            match side {
                Side::Client => {
                    tracing::debug!(%error, "client connection failed; closing");
                    End::ClientReset
                }
                Side::Upstream => {
                    tracing::debug!(%error, "upstream connection failed; closing");
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
            // The access log has a line for each request already.
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
        assert!(bytes <= 1024, "the future of a session has grown to {bytes} bytes");
    }
}
