//! Connecting to a server. The result belongs to one session.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use super::lease::Lease;
use crate::uring::{Ring, Shortage, Socket, SocketOptions, is_out_of_descriptors};

/// How long connecting pauses without a descriptor.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// A server that has not accepted within this time has failed its client, even if the client does not wait until the
/// time-out: clients that are less patient than that would otherwise hide a server that never answers. A lost packet is
/// sent again within it.
const LONG_ENOUGH: Duration = Duration::from_millis(1500);

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The server refused it or cannot be reached.
    Refused,
    /// The server did not answer within the connect time-out.
    TimedOut,
    /// This host has no descriptor or no port left.
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

/// Connects within `timeout`, including pauses for a descriptor.
///
/// # Errors
/// See [`Failure`]; the cause is logged here.
pub async fn connect(
    ring: &Ring,
    lease: &Lease,
    options: &SocketOptions,
    timeout: Duration,
    waits: &DescriptorWaits,
) -> Result<Socket, Failure> {
    let address = lease.address();
    let deadline = ring.now() + timeout;
    attempt(ring, lease, options, deadline, waits).await.map_err(|error| {
        let (failure, cause) = (failure(&error), cause(&error));
        let name = &**lease.server().name();
        tracing::warn!(upstream = name, %address, cause, %error, "cannot connect to server; trying the next, if any");
        if failure != Failure::LocalLimit {
            lease.note_failure(ring.now());
        }
        failure
    })
}

async fn attempt(
    ring: &Ring,
    lease: &Lease,
    options: &SocketOptions,
    deadline: Instant,
    waits: &DescriptorWaits,
) -> io::Result<Socket> {
    let address = lease.address();
    loop {
        let left = deadline.saturating_duration_since(ring.now());
        // Pauses for a descriptor are no fault of the server.
        let awaited = Awaited { ring, lease, since: ring.now() };
        let connected = ring.timeout(left, Socket::connect(ring, address, lease.sock_addr(), options)).await;
        std::mem::forget(awaited);
        match connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
            Err(error) if is_out_of_descriptors(&error) && ring.now() + DESCRIPTOR_PAUSE < deadline => {
                let _waiting = Waiting::new(waits);
                ring.note_shortage(Shortage::Descriptors);
                ring.sleep(DESCRIPTOR_PAUSE).await;
            }
            connected => return connected,
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

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::TimedOut => Failure::TimedOut,
        io::ErrorKind::AddrNotAvailable => Failure::LocalLimit,
        _ if is_out_of_descriptors(error) => Failure::LocalLimit,
        _ => Failure::Refused,
    }
}

/// A one-word name of the cause.
fn cause(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::TimedOut => "timed-out",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "reset",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            "unreachable"
        }
        io::ErrorKind::NotFound => "missing",
        io::ErrorKind::PermissionDenied => "not-permitted",
        io::ErrorKind::AddrNotAvailable => "no-port",
        _ if is_out_of_descriptors(error) => "no-descriptor",
        _ => "failed",
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
