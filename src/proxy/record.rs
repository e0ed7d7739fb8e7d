//! The record of a session or request that has ended: plain values, formatted elsewhere and later.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::protocol::login::{Mechanism, Step};
use crate::uring::Address;

/// One line of the access log.
#[derive(Debug, Clone)]
pub struct Record {
    /// When the client was accepted.
    pub started: SystemTime,
    /// The address of the listener that accepted the client.
    pub listener: Arc<str>,
    /// The address that connected.
    pub client: Address,
    /// The source address in the client's PROXY header.
    pub proxied: Option<Address>,
    /// The name of the server that accepted the connection.
    pub upstream: Option<Arc<str>>,
    /// From accepting the client to the server's accept.
    pub connect_time: Option<Duration>,
    /// From accepting the client to the first byte from the server.
    pub first_byte_time: Option<Duration>,
    /// From accepting the client to the end.
    pub duration: Duration,
    /// Bytes from client to upstream.
    pub upstream_bytes: u64,
    /// Bytes from upstream to client.
    pub client_bytes: u64,
    /// How many of all these bytes went through a pipe.
    pub spliced_bytes: u64,
    /// How the session ended.
    pub end: End,
}

/// One line of the access log in HTTP mode.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// When its head was complete.
    pub started: SystemTime,
    /// The address of the listener that accepted the client.
    pub listener: Arc<str>,
    /// The client it is for: the source in the PROXY header, otherwise the address that connected.
    pub client: Address,
    /// The name of the server, if one was connected.
    pub upstream: Option<Arc<str>>,
    /// The session's id and the number of this request in it, from 1: together the id of the request.
    pub id: (u64, u64),
    /// As the client sent them; none for a request that could not be parsed.
    pub request: Option<RequestWords>,
    /// Status of the reply; 499 when the client left before its end, 0 when there was none.
    pub status: u16,
    /// How the request ended.
    pub end: End,
    /// Bytes sent upstream, head and body.
    pub request_bytes: u64,
    /// Bytes sent to the client, head and body.
    pub reply_bytes: u64,
    /// How many of the reply bytes are head.
    pub reply_head_bytes: u64,
    /// From the complete head of the request to the end of the reply.
    pub total_time: Duration,
    /// From the complete head of the request to the head of the reply.
    pub upstream_time: Option<Duration>,
    /// The step of its connection's login that this request was.
    pub step: Step,
    /// The login mechanism, if it was part of a login.
    pub mechanism: Option<Mechanism>,
    /// The user logged in on its connection; only where the operator wants it logged.
    pub user: Option<Box<str>>,
}

/// Parts of a request's head.
#[derive(Debug, Clone)]
pub struct RequestWords {
    /// The method.
    pub method: Box<str>,
    /// The target, which need not be UTF-8; neither need the fields below.
    pub target: Box<[u8]>,
    /// HTTP/1.1 if true, otherwise HTTP/1.0.
    pub is_http11: bool,
    /// `Referer`.
    pub referer: Option<Box<[u8]>>,
    /// `User-Agent`.
    pub user_agent: Option<Box<[u8]>>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client closed first, the upstream after it.
    ClientClose,
    /// The upstream closed first, the client after it.
    UpstreamClose,
    /// The client's connection was reset or timed out.
    ClientReset,
    /// The upstream's connection was reset or timed out.
    UpstreamReset,
    /// The client left while the proxy was connecting, within its request, or before the end of its reply.
    ClientLeft,
    /// No byte went either way for the idle time-out.
    Idle,
    /// Every upstream refused the connection or could not be reached.
    Refused,
    /// No upstream answered within the connect time-out.
    ConnectTimeout,
    /// The PROXY header was malformed, oversized, or did not come in time.
    ProxyHeader,
    /// The client sent something that is no HTTP request, or a request that is not forwarded.
    BadRequest,
    /// The upstream sent something that is no HTTP reply, or no reply.
    BadReply,
    /// A second user logged in on the connection, and the settings say to close it.
    IdentityChange,
    /// The client's TLS handshake failed.
    TlsClient,
    /// The upstream's TLS handshake failed.
    TlsUpstream,
    /// The client did not send its TLS hello in time.
    HelloTimeout,
    /// No route matches the client, and there is no default.
    NoRoute,
    /// Closed as the oldest of the unfinished heads, hellos and handshakes when these exceeded their memory.
    PeekMemory,
    /// A local limit: no descriptor or port for the upstream side.
    LocalLimit,
    /// The upstream ended its stream within a reply, or broke the framing of the reply.
    UpstreamCut,
    /// The head of a request did not arrive within the head time-out.
    HeadTimeout,
    /// No request arrived within the keep-alive time-out.
    KeepaliveTimeout,
    /// The body of a request stalled for the body time-out.
    BodyTimeout,
    /// The upstream did not reply within the reply time-out.
    ReplyTimeout,
    /// The client accepted no bytes for the send time-out.
    SendTimeout,
    /// Of a request only: the reply is complete.
    Ok,
    /// HTTP mode: the proxy was stopping, and no request was in progress.
    Drained,
    /// The proxy was stopping and the drain time-out expired.
    Drain,
}

impl End {
    /// All variants, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 27] = [
        Self::ClientClose,
        Self::UpstreamClose,
        Self::ClientReset,
        Self::UpstreamReset,
        Self::ClientLeft,
        Self::Idle,
        Self::Refused,
        Self::ConnectTimeout,
        Self::ProxyHeader,
        Self::BadRequest,
        Self::BadReply,
        Self::IdentityChange,
        Self::TlsClient,
        Self::TlsUpstream,
        Self::HelloTimeout,
        Self::NoRoute,
        Self::PeekMemory,
        Self::LocalLimit,
        Self::UpstreamCut,
        Self::HeadTimeout,
        Self::KeepaliveTimeout,
        Self::BodyTimeout,
        Self::ReplyTimeout,
        Self::SendTimeout,
        Self::Ok,
        Self::Drained,
        Self::Drain,
    ];

    /// The word in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClose => "client-close",
            Self::UpstreamClose => "upstream-close",
            Self::ClientReset => "client-reset",
            Self::UpstreamReset => "upstream-reset",
            Self::ClientLeft => "client-left",
            Self::Idle => "idle",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::ProxyHeader => "proxy-header",
            Self::BadRequest => "bad-request",
            Self::BadReply => "bad-reply",
            Self::IdentityChange => "identity-change",
            Self::TlsClient => "tls-client",
            Self::TlsUpstream => "tls-upstream",
            Self::HelloTimeout => "hello-timeout",
            Self::NoRoute => "no-route",
            Self::PeekMemory => "peek-memory",
            Self::LocalLimit => "local-limit",
            Self::UpstreamCut => "upstream-cut",
            Self::HeadTimeout => "head-timeout",
            Self::KeepaliveTimeout => "keepalive-timeout",
            Self::BodyTimeout => "body-timeout",
            Self::ReplyTimeout => "reply-timeout",
            Self::SendTimeout => "send-timeout",
            Self::Ok => "ok",
            Self::Drained => "drained",
            Self::Drain => "drain",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_number_as_index() {
        for (number, end) in End::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, number, "{}", end.as_str());
        }
    }
}
