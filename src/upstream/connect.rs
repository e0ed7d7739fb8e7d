//! Connecting to a server. The result belongs to one session.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use super::lease::Lease;
use super::server::Server;
use super::sources::Origin;
use crate::uring::{
    Address, LocalEnd, NewSocket, Ring, Shortage, Socket, SocketOptions, is_out_of_descriptors,
};

/// How long connecting pauses without a descriptor.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// A server that has not accepted within this time has failed its client, even if the client does not wait until the
/// time-out: clients that are less patient than that would otherwise hide a server that never answers. A lost packet is
/// sent again within it.
const LONG_ENOUGH: Duration = Duration::from_millis(1500);

/// Names of causes with log lines of their own.
const NO_PORT: &str = "no-port";
const TIMED_OUT: &str = "timed-out";

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The server refused it or cannot be reached.
    Refused,
    /// The server did not answer within the connect time-out.
    TimedOut,
    /// This host has no descriptor or no port left, or cannot use the source address.
    LocalLimit,
}

/// How many sessions of a worker wait for a descriptor for their upstream side.
#[derive(Debug, Default)]
pub struct DescriptorWaits(Cell<usize>);

impl DescriptorWaits {
    /// Whether any session waits.
    pub fn any(&self) -> bool {
        self.0.get() > 0
    }
}

/// Why an attempt to connect failed.
enum Error {
    Connect(io::Error),
    /// What this host, and not the server, finds wrong with the source address.
    Source(io::Error),
}

/// Connects within `timeout`, including pauses for a descriptor, from the first source address that has a free port.
///
/// # Errors
/// See [`Failure`]; the cause is logged here.
pub async fn connect(
    ring: &Ring,
    lease: &Lease,
    origin: Origin<'_>,
    options: &SocketOptions,
    timeout: Duration,
    waits: &DescriptorWaits,
) -> Result<Socket, Failure> {
    let deadline = ring.now() + timeout;
    let mut attempts = origin.attempts(lease.address());
    let mut failure = Failure::LocalLimit;
    while let Some(from) = attempts.next(ring.now()) {
        let error = match attempt(ring, lease, from, options, deadline, waits).await {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        log(lease, origin, from, &error);
        failure = error.failure();
        if !error.is_of_source() {
            break;
        }
        attempts.note_spent(ring.now());
    }
    if failure != Failure::LocalLimit {
        lease.note_failure(ring.now());
    }
    Err(failure)
}

/// Connects within `timeout`, for no client in particular. It takes what is free and pauses for nothing.
///
/// # Errors
/// See [`Failure`], with the cause.
pub async fn connect_ahead(
    ring: &Ring,
    server: &Server,
    origin: Origin<'_>,
    options: &SocketOptions,
    timeout: Duration,
) -> Result<Socket, (Failure, io::Error)> {
    let deadline = ring.now() + timeout;
    let mut attempts = origin.attempts(server.address());
    let mut failed = Error::Connect(io::ErrorKind::AddrNotAvailable.into());
    while let Some(from) = attempts.next(ring.now()) {
        let left = deadline.saturating_duration_since(ring.now());
        let connected = ring.timeout(left, open(ring, server, from, options)).await;
        failed = match connected.unwrap_or_else(|| Err(Error::Connect(io::ErrorKind::TimedOut.into()))) {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        if !failed.is_of_source() {
            break;
        }
        attempts.note_spent(ring.now());
    }
    let failure = failed.failure();
    let (Error::Connect(error) | Error::Source(error)) = failed;
    Err((failure, error))
}

async fn attempt(
    ring: &Ring,
    lease: &Lease,
    from: Option<LocalEnd>,
    options: &SocketOptions,
    deadline: Instant,
    waits: &DescriptorWaits,
) -> Result<Socket, Error> {
    loop {
        let left = deadline.saturating_duration_since(ring.now());
        // Pauses for a descriptor are no fault of the server.
        let awaited = Awaited { ring, lease, since: ring.now() };
        let connected = ring.timeout(left, open(ring, lease.server(), from, options)).await;
        std::mem::forget(awaited);
        match connected.unwrap_or_else(|| Err(Error::Connect(io::ErrorKind::TimedOut.into()))) {
            Err(error) if error.is_out_of_descriptors() && ring.now() + DESCRIPTOR_PAUSE < deadline => {
                let _waiting = Waiting::new(waits);
                ring.note_shortage(Shortage::Descriptors);
                ring.sleep(DESCRIPTOR_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

async fn open(
    ring: &Ring,
    server: &Server,
    from: Option<LocalEnd>,
    options: &SocketOptions,
) -> Result<Socket, Error> {
    let socket = NewSocket::open(ring, server.address(), options).map_err(Error::Connect)?;
    if let Some(from) = from {
        socket.bind(from).map_err(Error::Source)?;
    }
    let socket = socket.connect(server.sock_addr()).await.map_err(|error| match error.raw_os_error() {
        // There is no way from that address to the server, as from 127.0.0.1 to another host.
        Some(libc::EINVAL) if from.is_some() => Error::Source(error),
        _ => Error::Connect(error),
    })?;
    if let Some(from) = from.filter(|from| from.is_foreign) {
        expect_source(&socket, from).map_err(Error::Source)?;
    }
    Ok(socket)
}

/// Checks that a connection comes from the client's address: in place of the broadcast address of a network the kernel
/// uses one of this host's (`__inet_bind`), which must not be taken for a client's.
fn expect_source(socket: &Socket, from: LocalEnd) -> io::Result<()> {
    match socket.local_address()? {
        Some(Address::Ip(local)) if local.ip() == from.address => Ok(()),
        _ => {
            socket.reset_on_close();
            Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))
        }
    }
}

/// One call site for each kind of cause: what clients cause is limited by it.
fn log(lease: &Lease, origin: Origin<'_>, from: Option<LocalEnd>, error: &Error) {
    let (name, address, cause) = (&**lease.server().name(), lease.address(), error.cause());
    let source = from.map(|from| tracing::field::display(from.address));
    match error {
        Error::Source(error) => {
            tracing::warn!(upstream = name, %address, source, cause, %error, "cannot connect from the source address; trying another, or the next server, if any");
        }
        Error::Connect(_) if cause == NO_PORT => tracing::warn!(
            upstream = name, %address, source, cause,
            "no source port left towards the server; trying another address, or the next server, if any; set more \
             addresses (source-address) or ports (net.ipv4.ip_local_port_range)"
        ),
        Error::Connect(error) if cause == TIMED_OUT && origin.is_client() => tracing::warn!(
            upstream = name, %address, source, cause, %error,
            "server does not answer connections from the client's address; trying the next, if any; where its checks \
             succeed, route its replies to the proxy (ip rule, ip route)"
        ),
        Error::Connect(error) => {
            tracing::warn!(upstream = name, %address, source, cause, %error, "cannot connect to server; trying the next, if any");
        }
    }
}

/// A connect whose client may leave before its end: then dropping this notes a failure if the server had enough time.
struct Awaited<'a> {
    ring: &'a Ring,
    lease: &'a Lease,
    since: Instant,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let now = self.ring.now();
        if now.saturating_duration_since(self.since) >= LONG_ENOUGH {
            self.lease.note_failure(now);
        }
    }
}

impl Error {
    fn failure(&self) -> Failure {
        let Self::Connect(error) = self else { return Failure::LocalLimit };
        match error.kind() {
            io::ErrorKind::TimedOut => Failure::TimedOut,
            io::ErrorKind::AddrNotAvailable => Failure::LocalLimit,
            _ if is_out_of_descriptors(error) => Failure::LocalLimit,
            _ => Failure::Refused,
        }
    }

    /// Whether another source address may do better.
    fn is_of_source(&self) -> bool {
        match self {
            Self::Connect(error) => error.kind() == io::ErrorKind::AddrNotAvailable,
            Self::Source(_) => true,
        }
    }

    fn is_out_of_descriptors(&self) -> bool {
        matches!(self, Self::Connect(error) if is_out_of_descriptors(error))
    }

    /// A one-word name of the cause.
    fn cause(&self) -> &'static str {
        let Self::Connect(error) = self else { return "source-address" };
        match error.kind() {
            io::ErrorKind::ConnectionRefused => "refused",
            io::ErrorKind::TimedOut => TIMED_OUT,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "reset",
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => "unreachable",
            io::ErrorKind::NotFound => "missing",
            io::ErrorKind::PermissionDenied => "not-permitted",
            io::ErrorKind::AddrNotAvailable => NO_PORT,
            _ if is_out_of_descriptors(error) => "no-descriptor",
            _ => "failed",
        }
    }
}

/// Counts a session as waiting until this is dropped.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(DescriptorWaits(count): &'a DescriptorWaits) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
