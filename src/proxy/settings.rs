//! What an operator can set, validated: behind this type there are no more strings to check.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::routes::Routes;
use crate::protocol::http1::forward::Edits;
use crate::protocol::proxy_protocol;
use crate::uring::Address;

pub use super::networks::Network;

/// Everything a worker needs to know; the same for all workers, read only.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients connect to; never empty.
    pub listeners: Vec<Address>,
    /// Every server there is; never empty.
    pub upstreams: Vec<Upstream>,
    /// Which of them a connection goes to.
    pub routes: Routes,
    /// How long a client may take to send its TLS hello, where routes depend on it.
    pub peek_timeout: Duration,
    /// Bytes that heads, hellos and handshakes which clients have not finished may take in one worker.
    pub peek_bytes_max: usize,
    /// TLS that ends here, if it does.
    pub client_tls: Option<ClientTls>,
    /// TLS with every upstream: each has a name to prove then.
    pub upstream_tls: Option<UpstreamTls>,
    /// Is the end of a TLS connection without `close_notify` the end of its stream, and not a cut?
    pub accepts_missing_close_notify: bool,
    /// How long one upstream may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a session may go without a byte in either direction.
    pub idle_timeout: Duration,
    /// The PROXY header that upstreams are sent, if any.
    pub send_proxy: Option<proxy_protocol::Version>,
    /// How long a client may take to send its PROXY header; without one, none is expected.
    pub accept_proxy_timeout: Option<Duration>,
    /// Peers that one is expected from, and believed of; empty: all of them.
    pub accept_proxy_from: Vec<Network>,
    /// When bulk goes through a pipe.
    pub splice: Splice,
    /// What is set on every TCP socket.
    pub tcp: Tcp,
    /// Whether sessions look at what they carry.
    pub mode: Mode,
    /// How long sessions may go on after a request to stop.
    pub drain_timeout: Duration,
}

/// What a session takes its bytes for.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Bytes.
    Stream,
    /// HTTP/1.1 requests and replies.
    Http(Box<Http>),
}

/// How requests and replies are passed on.
#[allow(clippy::struct_excessive_bools, reason = "what an operator can switch, each by itself")]
#[derive(Debug, Clone)]
pub struct Http {
    /// How long a session waits for what.
    pub timeouts: Timeouts,
    /// Whether a client that has ended its stream still gets its reply.
    pub ignore_client_close: bool,
    /// Bytes that the head of a request or of a reply may have.
    pub head_bytes_max: usize,
    /// Whether upstreams are told of the client.
    pub forwarded: ForwardedFor,
    /// Clients whose own X-Forwarded-For and the like are believed. Empty: of none, but X-Forwarded-For is added to.
    pub trust: Vec<Network>,
    /// `Host` in place of the client's.
    pub host: Option<String>,
    /// Whether fields with an underscore in their name are passed on.
    pub underscores: bool,
    /// Whether TRACE is passed on.
    pub trace: bool,
    /// Protocols that requests may ask to change to, beside `websocket`.
    pub upgrades: Vec<String>,
    /// Changes to the heads of requests.
    pub request_edits: Edits,
    /// Changes to the heads of replies.
    pub reply_edits: Edits,
    /// Whether the access log names the users who are logged in.
    pub log_user: bool,
    /// Whether a connection ends on which a second user logs in.
    pub close_on_identity_change: bool,
}

/// How long a session in HTTP mode waits for what. The idle time-out bounds all of them, and is the only one for what may
/// rightly be silent for long: tunnels, RPC over HTTP, and replies that have begun.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the head of the first request, from accepting on, and for the rest of a later one that has begun.
    pub head: Duration,
    /// For the next request.
    pub keepalive: Duration,
    /// For the next bytes of a request's body.
    pub body: Duration,
    /// For the upstream to reply once it has the request, and to take more of a request.
    pub reply: Duration,
    /// For the client to take more of what it is sent.
    pub send: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(60),
            keepalive: Duration::from_secs(180),
            body: Duration::from_secs(60),
            reply: Duration::from_secs(20 * 60),
            send: Duration::from_secs(60),
        }
    }
}

/// X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and X-Real-IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedFor {
    /// Not added; the client's pass.
    Off,
    /// In place of the client's.
    Replace,
    /// Added to those of clients that are trusted.
    Append,
}

impl Settings {
    /// Is a client to say something before an upstream is chosen, beside its PROXY header?
    pub(super) fn looks_at_clients(&self) -> bool {
        self.client_tls.is_some() || self.routes.depend_on_hello()
    }
}

/// A server as the operator named it, and where that is.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// As written on the command line; the name in logs.
    pub name: String,
    /// What the name resolved to at start, tried in this order; never empty.
    pub addresses: Vec<Address>,
    /// With TLS: who it has to prove to be.
    pub tls_name: Option<ServerName<'static>>,
}

/// TLS with upstreams.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    /// Without sessions to resume; every worker has its own.
    pub config: Arc<ClientConfig>,
    /// Certificates prove nothing.
    pub trusts_everybody: bool,
}

/// TLS with clients.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// Certificates and all else; may be swapped at any time for connections to come.
    pub config: Arc<ArcSwap<ServerConfig>>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// When a direction moves bytes with splice(2) instead of receive and send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splice {
    /// When it carries bulk, back when it thins out.
    Auto,
    /// Never.
    Never,
    /// From the first byte, as long as there is a pipe.
    Always,
}

/// TCP options (tcp(7)), for both sides. `TCP_NODELAY` is always set.
#[derive(Debug, Clone, Copy)]
pub struct Tcp {
    /// Idle time before the first keep-alive probe (`SO_KEEPALIVE`, `TCP_KEEPIDLE`); a peer that answers none is dead after
    /// about twice as long.
    pub keepalive: Option<Duration>,
    /// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`).
    pub user_timeout: Option<Duration>,
    /// Listeners only: length of the queue of fast opens (`TCP_FASTOPEN`).
    pub fastopen_queue: Option<u32>,
    /// Listeners only: accept when the first bytes are there (`TCP_DEFER_ACCEPT`).
    pub defer_accept: bool,
    /// Listeners only: connections that may wait to be accepted.
    pub backlog: u32,
    /// Listeners only: a connection goes to the worker on the CPU that took its first packet
    /// (`SO_ATTACH_REUSEPORT_CBPF`); without it the kernel picks by hash.
    pub steer_by_cpu: bool,
}

/// What one worker gets to work with.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// The CPU it is pinned to, if it is.
    pub cpu: Option<usize>,
    /// Receive buffers: their number, a power of two or not, 1 to 32768.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: u32,
    /// Pipes it may lend to directions in bulk; none with [`Splice::Never`].
    pub pipes: u16,
    /// Bytes that each of them is to hold (`F_SETPIPE_SZ`); the kernel may grant less.
    pub pipe_bytes: u32,
    /// Entries of the submission queue; a power of two.
    pub ring_entries: u32,
    /// How long to poll for completions before sleeping.
    pub spin: Duration,
}
