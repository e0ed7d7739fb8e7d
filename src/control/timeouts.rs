//! The time-outs of the slow path. Those of a service are in `proxy/settings/timeouts.rs`.

use std::time::Duration;

/// Longest wait for workers in an immediate stop; they need far less to close their connections.
pub(super) const WORKERS_END: Duration = Duration::from_secs(1);

/// Longest wait at the end of an access log for lines that are not written yet.
pub(super) const LOG_END: Duration = Duration::from_secs(1);

/// Longest wait for workers to take over what they are to serve; they need far less.
pub(super) const WORKERS_CHANGE: Duration = Duration::from_secs(10);

/// How long a client of the admin endpoint waits for what becomes of a reload; reading may resolve many names.
pub(super) const ADMIN_RELOAD: Duration = Duration::from_secs(45);

/// How long a new process may take until it serves in the place of this one.
pub(super) const UPGRADE: Duration = Duration::from_secs(40);

/// How long a client of the admin endpoint, and the new process, wait for what becomes of an upgrade.
pub(super) const ADMIN_UPGRADE: Duration = Duration::from_secs(45);

/// How long the end of a process that was taken over from waits for its last answers at the admin endpoint, whose thread comes
/// last where CPU time is short.
pub(super) const ADMIN_ANSWERS: Duration = Duration::from_secs(10);

/// How long a new process waits for the first check of each server.
pub(super) const FIRST_CHECKS: Duration = Duration::from_secs(10);

/// How long a start waits for an address that a process that was killed may still have.
pub(super) const ADDRESS_IN_USE: Duration = Duration::from_secs(1);

/// How long a socket that gets no more clients is held for those whose connections are not complete: longer than the kernel
/// repeats its part of them (`net.ipv4.tcp_synack_retries`, tcp(7)).
pub(super) const EXTRA_SOCKETS: Duration = Duration::from_secs(75);

/// Longest wait for one server's connection, and then for its handshake, when certificates are compared.
pub(super) const COMPARISON: Duration = Duration::from_secs(3);
