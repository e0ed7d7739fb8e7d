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

/// Longest wait for one server's connection, and then for its handshake, when certificates are compared.
pub(super) const COMPARISON: Duration = Duration::from_secs(3);
