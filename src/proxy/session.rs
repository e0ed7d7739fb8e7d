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
use std::time::{Duration, Instant, SystemTime};

use futures_lite::future::or;
use rustls::ClientConfig;

use super::client_header;
use super::connection::Connection;
use super::meter::{Meter, Side};
use super::opening;
use super::record::{End, Record};
use super::relay::{Outcome, Relay};
use super::tls::handshake;
use super::upstream::{self, Unconnected};
use super::worker::{Seat, Worker};
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
        worker,
        listener,
        client_address,
        accepted,
        meter: Meter::new(accepted),
        proxied: Cell::new(None),
        upstream: Cell::new(None),
        connect_time: Cell::new(None),
        end: Cell::new(End::Drain),
    };
    async move {
        let client = Connection::new(client);
        session.end.set(session.serve(&client).await);
        drop(client);
        drop(session);
        drop(seat);
    }
}

/// What the record of a session is made of when it is dropped, in whatever way it ended.
struct Session {
    worker: Rc<Worker>,
    listener: usize,
    client_address: Address,
    accepted: Instant,
    meter: Meter,
    proxied: Cell<Option<Address>>,
    upstream: Cell<Option<usize>>,
    connect_time: Cell<Option<Duration>>,
    /// Of a session that is dropped before its end it is true that the worker was stopping.
    end: Cell<End>,
}

impl Session {
    async fn serve(&self, client: &Connection) -> End {
        let settings = &self.worker.settings;
        let ring = &self.worker.ring;
        let header = match settings.accept_proxy_timeout {
            None => None,
            Some(timeout) => match client_header::read(ring, client, timeout).await {
                Ok(header) => Some(header),
                Err(error) => {
                    tracing::warn!(client = %self.client_address, %error, "no valid PROXY header, closing");
                    return End::ProxyHeader;
                }
            },
        };
        self.proxied.set(header.as_deref().and_then(client_header::source));

        let group = match settings.routes.default {
            Some(group) if !settings.looks_at_clients() => group,
            _ => match Box::pin(opening::choose(&self.worker, client, &self.client_address)).await {
                Ok(group) => group,
                Err(end) => return end,
            },
        };
        let connected = or(async { Some(upstream::connect(&self.worker, group).await) }, async {
            self.client_left(client).await;
            None
        })
        .await;
        let upstream = match connected {
            None => return End::ClientLeft,
            Some(Err(Unconnected::Refused)) => return End::Refused,
            Some(Err(Unconnected::TimedOut)) => return End::ConnectTimeout,
            Some(Err(Unconnected::LocalLimit)) => return End::LocalLimit,
            Some(Ok((index, upstream))) => {
                self.upstream.set(Some(index));
                self.connect_time.set(Some(ring.now().duration_since(self.accepted)));
                Connection::new(upstream)
            }
        };

        if let Some(version) = settings.send_proxy
            && let Err(error) = Box::pin(self.greet(version, header.as_deref(), client, &upstream)).await
        {
            return close(client, &upstream, Outcome::Broken { side: Side::Upstream, error });
        }
        if let Some(config) = &self.worker.upstream_tls
            && !Box::pin(self.secure(config, &upstream)).await
        {
            return End::TlsUpstream;
        }
        let relay = Relay {
            ring,
            client,
            upstream: &upstream,
            meter: &self.meter,
            splice: settings.splice,
            idle_timeout: settings.idle_timeout,
        };
        let outcome = relay.run().await;
        close(client, &upstream, outcome)
    }

    /// Completes when the client is gone while nobody reads from it. One that has sent something and then ended
    /// its stream is not: it may well wait for an answer.
    async fn client_left(&self, client: &Connection) {
        let has_sent = !client.unread().is_empty();
        let client = client.socket();
        self.worker.ring.sleep(UNWATCHED_CONNECT).await;
        // An error of poll(2) itself says nothing about the client.
        let _ = client.peer_closed().await;
        let silent_end = matches!(client.has_bytes(), Ok(false)) && !has_sent;
        if silent_end || client.has_bytes().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            return;
        }
        let _ = client.dead().await;
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

    /// Shakes hands with the upstream, as far as it proves who it is. False when there can be no TLS with it.
    async fn secure(&self, config: &Arc<ClientConfig>, upstream: &Connection) -> bool {
        let settings = &self.worker.settings;
        let server = self.upstream.get().map(|index| &settings.upstreams[index]);
        let Some((server, name)) = server.and_then(|server| Some((server, server.tls_name.clone()?))) else {
            unreachable!("with TLS every upstream has a name to prove")
        };
        let (config, timeout) = (Arc::clone(config), settings.connect_timeout);
        let secured = handshake::connect(&self.worker.ring, upstream, config, name, timeout).await;
        if let Err(error) = &secured {
            tracing::warn!(upstream = server.name, %error, "no TLS with an upstream, closing");
        }
        secured.is_ok()
    }
}

/// Readies both connections to be closed the way the first of them ended: in order, or by a reset.
fn close(client: &Connection, upstream: &Connection, outcome: Outcome) -> End {
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
            client.end();
            upstream.end();
            End::Idle
        }
        Outcome::Broken { side: Side::Client, error } => {
            tracing::debug!(%error, "client connection broke");
            upstream.reset_on_close();
            End::ClientReset
        }
        Outcome::Broken { side: Side::Upstream, error } => {
            tracing::debug!(%error, "upstream connection broke");
            client.reset_on_close();
            End::UpstreamReset
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(log) = &self.worker.log else { return };
        let duration = self.worker.ring.now().duration_since(self.accepted);
        log.send(Record {
            started: SystemTime::now() - duration,
            listener: self.listener,
            client: std::mem::replace(&mut self.client_address, Address::Unix(std::path::PathBuf::new())),
            proxied: self.proxied.take(),
            upstream: self.upstream.get(),
            connect_time: self.connect_time.get(),
            first_byte_time: self.meter.first_byte.get().map(|at| at.duration_since(self.accepted)),
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
