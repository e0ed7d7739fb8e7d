//! Connecting to a server. The result belongs to one session.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use super::lease::Lease;
use crate::uring::{Ring, Shortage, Socket, SocketOptions, is_out_of_descriptors};

/// How long connecting pauses without a descriptor.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

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
    loop {
        let left = deadline.saturating_duration_since(ring.now());
        let connected = ring.timeout(left, Socket::connect(ring, address, lease.sock_addr(), options)).await;
        match connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
            Ok(socket) => return Ok(socket),
            Err(error) if is_out_of_descriptors(&error) && ring.now() + DESCRIPTOR_PAUSE < deadline => {
                let _waiting = Waiting::new(waits);
                ring.note_shortage(Shortage::Descriptors);
                ring.sleep(DESCRIPTOR_PAUSE).await;
            }
            Err(error) => {
                let (failure, cause) = (failure(&error), cause(&error));
                let name = &**lease.server().name();
                tracing::warn!(upstream = name, %address, cause, %error, "cannot connect to server; trying the next, if any");
                if failure != Failure::LocalLimit {
                    lease.note_failure(ring.now());
                }
                return Err(failure);
            }
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
