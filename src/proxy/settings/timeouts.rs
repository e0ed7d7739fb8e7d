//! The time-outs of a service: those that an operator sets, with their defaults, and those that are fixed.
//!
//! How long a server may take to accept a connection belongs to its group; how long sessions may continue when the
//! process stops belongs to the worker.

use std::time::Duration;

/// How long a session waits for what. In HTTP mode, the idle time-out bounds all that follow it, and is the only one for
/// what may rightly be silent for long: tunnels, RPC over HTTP, and replies that have begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a client's PROXY header, where one is expected.
    pub accept_proxy: Duration,
    /// For a client's TLS hello, where routes depend on it.
    pub peek: Duration,
    /// For a client's TLS handshake, where TLS ends here.
    pub client_tls: Duration,
    /// For the next byte in either direction.
    pub idle: Duration,
    /// For the head of the first request, from accepting on, and for the rest of a later head that has begun.
    pub head: Duration,
    /// For the next request.
    pub keepalive: Duration,
    /// For the next bytes of a request body.
    pub body: Duration,
    /// For the upstream to reply once it has the request, and to accept more of a request.
    pub reply: Duration,
    /// For the client to accept more bytes.
    pub send: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            accept_proxy: Duration::from_secs(3),
            peek: Duration::from_secs(3),
            client_tls: Duration::from_secs(10),
            idle: Duration::from_secs(3 * 3600),
            head: Duration::from_secs(60),
            keepalive: Duration::from_secs(180),
            body: Duration::from_secs(60),
            reply: Duration::from_secs(20 * 60),
            send: Duration::from_secs(60),
        }
    }
}

/// How long input of a client is read and dropped after the last reply: closing over unread bytes would reset the
/// connection and could destroy the reply (nginx: `lingering_time`).
pub(in crate::proxy) const LINGER: Duration = Duration::from_secs(30);
/// The same between two receives (nginx: `lingering_timeout`).
pub(in crate::proxy) const LINGER_IDLE: Duration = Duration::from_secs(5);
/// The same when the request was complete: only another request can follow.
pub(in crate::proxy) const LINGER_IDLE_AFTER_WHOLE: Duration = Duration::from_secs(1);

/// How long a peer that still sends may take to read a TLS alert. An immediate close would become a reset (RFC 2525
/// section 2.17), and the peer would not learn the reason.
pub(in crate::proxy) const ALERT_LINGER: Duration = Duration::from_secs(1);

/// How long a client without a request may still send one when its connection is to end: it may be under way, and the
/// client does not send all requests again. Its reply says that the connection ends. A lost packet is retransmitted within
/// this time.
pub(in crate::proxy) const REQUEST_GRACE: Duration = Duration::from_secs(3);
