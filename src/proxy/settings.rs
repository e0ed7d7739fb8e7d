//! The operator's settings, validated: these types contain no strings that still need checking.

pub(super) mod timeouts;

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use super::routes::Routes;
use crate::protocol::http1::forward::Edits;
use crate::upstream::GroupSettings;
use crate::uring::{Address, FeatureSet, SocketOptions, Spin};

pub use super::admission::Admission;
pub use super::clients::{ClientLimits, Rate};
pub use super::networks::Network;
pub use timeouts::Timeouts;

/// A service: where clients connect to, how their connections are served, and which servers they go to. The same for all
/// workers, read-only.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name in the settings.
    pub name: Arc<str>,
    /// Where clients connect to; never empty.
    pub listeners: Vec<Listener>,
    /// Which group a connection goes to.
    pub routes: Routes<Arc<GroupSettings>>,
    /// TLS with clients, if it ends here.
    pub client_tls: Option<ClientTls>,
    /// Whether a TLS connection may end without `close_notify`; otherwise such a stream counts as cut off.
    pub accepts_missing_close_notify: bool,
    /// How long sessions wait for what.
    pub timeouts: Timeouts,
    /// Whether clients send a PROXY header.
    pub accept_proxy: bool,
    /// Clients that must send a PROXY header, and whose header is trusted; empty: all.
    pub accept_proxy_from: Vec<Network>,
    /// Who may connect, if not everybody.
    pub admission: Option<Box<Admission>>,
    /// When bulk goes through a pipe.
    pub splice: Splice,
    /// Options of the TCP sockets of both sides.
    pub tcp: SocketOptions,
    /// Whether sessions interpret the bytes that they carry.
    pub mode: Mode,
}

/// An address that clients connect to, and how its sockets accept them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// As the operator wrote it, resolved; once bound, with the port that the kernel chose for port 0.
    pub address: Address,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Length of the fast open queue (`TCP_FASTOPEN`).
    pub fastopen_queue: Option<u32>,
    /// Accept when the first bytes have arrived (`TCP_DEFER_ACCEPT`).
    pub defer_accept: bool,
    /// A connection goes to the worker on the CPU that received its first packet (`SO_ATTACH_REUSEPORT_CBPF`);
    /// otherwise the kernel picks by hash, and a worker with clearly fewer connections gets it in that one's place.
    pub steer_by_cpu: bool,
    /// Permissions of the file of a Unix socket.
    pub unix_mode: u32,
}

impl Listener {
    /// A listener with the default options.
    pub fn at(address: Address) -> Self {
        Self {
            address,
            backlog: 4096,
            fastopen_queue: None,
            defer_accept: false,
            steer_by_cpu: false,
            unix_mode: UNIX_MODE,
        }
    }
}

/// The default permissions of the file of a Unix socket: processes of the same user and group may connect.
pub const UNIX_MODE: u32 = 0o660;

/// How a session interprets its bytes.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Opaque bytes.
    Stream,
    /// HTTP/1.1 requests and replies.
    Http(Box<Http>),
}

/// How requests and replies are forwarded.
#[allow(clippy::struct_excessive_bools, reason = "independent switches of the operator")]
#[derive(Debug, Clone)]
pub struct Http {
    /// Whether a client that has ended its stream still gets its reply.
    pub ignore_client_close: bool,
    /// Most bytes in the head of a request or of a reply.
    pub head_bytes_max: usize,
    /// Whether forwarding headers tell servers about the client.
    pub forwarded: ForwardedFor,
    /// Clients whose own X-Forwarded-For and related headers are trusted. Empty: none, but X-Forwarded-For is appended
    /// to.
    pub trust: Vec<Network>,
    /// Every request is redirected to https at this port, and no server is needed.
    pub redirect_to_https: Option<u16>,
    /// The `Host` to send in place of the client's.
    pub host: Option<String>,
    /// Whether references to the server in replies become references to what the client asked.
    pub rewrite_redirects: bool,
    /// Whether every cookie is marked as being for TLS only where the client uses TLS.
    pub secure_cookies: bool,
    /// Whether header fields with an underscore in their name are forwarded.
    pub underscores: bool,
    /// Whether TRACE is forwarded.
    pub trace: bool,
    /// Protocols that a request may upgrade to, besides `websocket`.
    pub upgrades: Vec<String>,
    /// Changes to the heads of requests.
    pub request_edits: Edits,
    /// The field that tells servers a client's certificate; `request_edits` remove the client's own.
    pub client_cert_header: Option<String>,
    /// Changes to the heads of replies.
    pub reply_edits: Edits,
    /// Whether the access log names logged-in users.
    pub log_user: bool,
    /// Whether a connection is closed when a second user logs in on it.
    pub close_on_identity_change: bool,
}

/// The maximum of HTTP.sys, and enough for the Kerberos ticket of a user in many groups.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

impl Default for Http {
    fn default() -> Self {
        Self {
            ignore_client_close: false,
            head_bytes_max: HEAD_BYTES_MAX,
            forwarded: ForwardedFor::Replace,
            trust: Vec::new(),
            redirect_to_https: None,
            host: None,
            rewrite_redirects: false,
            secure_cookies: false,
            underscores: false,
            trace: false,
            upgrades: Vec::new(),
            request_edits: Edits::default(),
            client_cert_header: None,
            reply_edits: Edits::default(),
            log_user: false,
            close_on_identity_change: false,
        }
    }
}

/// X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and X-Real-IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedFor {
    /// Not added; the client's own are forwarded.
    Off,
    /// Replaces the client's.
    Replace,
    /// Appended to those of trusted clients.
    Append,
}

impl Service {
    /// A service in stream mode with the default settings.
    pub fn new(
        name: impl Into<Arc<str>>,
        listeners: Vec<Listener>,
        routes: Routes<Arc<GroupSettings>>,
    ) -> Self {
        Self {
            name: name.into(),
            listeners,
            routes,
            client_tls: None,
            accepts_missing_close_notify: false,
            timeouts: Timeouts::default(),
            accept_proxy: false,
            accept_proxy_from: Vec::new(),
            admission: None,
            splice: Splice::Auto,
            tcp: SocketOptions { keepalive: Some(Duration::from_secs(60)), user_timeout: None },
            mode: Mode::Stream,
        }
    }

    /// The groups that its connections go to, each once.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<GroupSettings>> {
        let mut seen = Vec::new();
        self.routes.groups().filter(move |group| {
            let is_new = !seen.contains(&Arc::as_ptr(group));
            seen.push(Arc::as_ptr(group));
            is_new
        })
    }

    /// Goes on with what the service of this name in earlier settings knows of its clients.
    pub fn inherit(&mut self, known: &Self) {
        let own = self.admission.as_mut().and_then(|admission| admission.limits.as_mut());
        let known = known.admission.as_ref().and_then(|admission| admission.limits.as_ref());
        if let (Some(own), Some(known)) = (own, known) {
            own.inherit(known);
        }
    }

    /// Whether admission depends on PROXY headers that any client may send.
    pub fn admits_by_untrusted_headers(&self) -> bool {
        self.admission.is_some() && self.believes_any_header()
    }

    /// Whether PROXY headers count that any client may send.
    pub fn believes_any_header(&self) -> bool {
        let has_ip = self.listeners.iter().any(|listener| matches!(listener.address, Address::Ip(_)));
        self.accept_proxy && self.accept_proxy_from.is_empty() && has_ip
    }

    /// Whether clients send anything that is read before they are served.
    pub fn reads_first(&self) -> bool {
        matches!(self.mode, Mode::Http(_)) || self.accept_proxy || self.needs_client_bytes()
    }

    /// The most upstream connections that one session has at once.
    pub fn upstreams_max(&self) -> usize {
        match self.mode {
            Mode::Http(_) => self.routes.groups_of_a_host_max(Arc::ptr_eq),
            Mode::Stream => 1,
        }
    }

    /// Whether a request decides where it goes.
    pub(super) fn routes_by_request(&self) -> bool {
        match &self.mode {
            Mode::Http(http) => http.redirect_to_https.is_some() || self.routes.depend_on_requests(),
            Mode::Stream => false,
        }
    }

    /// Whether routing needs client bytes first, apart from the PROXY header.
    pub(super) fn needs_client_bytes(&self) -> bool {
        self.client_tls.is_some() || self.routes.depend_on_hello()
    }
}

/// TLS with clients.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// Certificates and all other TLS settings.
    pub config: Arc<ServerConfig>,
}

/// When a direction moves bytes with splice(2) instead of receive and send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splice {
    /// For bulk only; back to receive and send when the flow thins out.
    Auto,
    /// Never.
    Never,
    /// From the first byte, as long as a pipe is free.
    Always,
}

/// The resources of one worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// The CPU that the worker is pinned to, if any.
    pub cpu: Option<usize>,
    /// Number of receive buffers, 1 to 32768; need not be a power of two.
    pub buffers: u16,
    /// Bytes of each buffer.
    pub buffer_bytes: u32,
    /// Pipes for directions in bulk; none with [`Splice::Never`].
    pub pipes: u16,
    /// Capacity requested for each pipe (`F_SETPIPE_SZ`); the kernel may grant less.
    pub pipe_bytes: u32,
    /// Entries of the submission queue; a power of two.
    pub ring_entries: u32,
    /// How long to poll for completions before sleeping.
    pub spin: Spin,
    /// Optional features of `io_uring` that it does without.
    pub without: FeatureSet,
    /// Memory limit for unfinished heads, hellos and handshakes of clients.
    pub peek_bytes_max: usize,
    /// How long sessions may continue after a request to stop.
    pub drain_timeout: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            cpu: None,
            buffers: 1024,
            buffer_bytes: 16 * 1024,
            pipes: 64,
            pipe_bytes: 1024 * 1024,
            ring_entries: 4096,
            spin: Spin::Auto,
            without: FeatureSet::NONE,
            peek_bytes_max: 256 * 1024 * 1024,
            drain_timeout: Duration::from_secs(30),
        }
    }
}
