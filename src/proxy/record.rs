//! What is left of a session when it has ended: plain values, formatted elsewhere and later.

use std::time::{Duration, SystemTime};

use crate::protocol::login::{Mechanism, Step};
use crate::uring::Address;

/// One line of the access log.
#[derive(Debug, Clone)]
pub struct Record {
    /// When the client was accepted.
    pub started: SystemTime,
    /// Index into `Settings::listeners`.
    pub listener: usize,
    /// The peer that connected.
    pub client: Address,
    /// The source address that the peer's PROXY header named.
    pub proxied: Option<Address>,
    /// Index into `Settings::upstreams` of the server that took the connection.
    pub upstream: Option<usize>,
    /// From accepting the client to the upstream's accept.
    pub connect_time: Option<Duration>,
    /// From accepting the client to the first byte from upstream.
    pub first_byte_time: Option<Duration>,
    /// From accepting the client to the end.
    pub duration: Duration,
    /// Bytes that went from client to upstream.
    pub upstream_bytes: u64,
    /// Bytes that went from upstream to client.
    pub client_bytes: u64,
    /// How many of all those bytes went through a pipe.
    pub spliced_bytes: u64,
    /// How it ended.
    pub end: End,
}

/// One line of the access log in HTTP mode.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// When its head was whole.
    pub started: SystemTime,
    /// Index into `Settings::listeners`.
    pub listener: usize,
    /// Whom it is for: the source that the peer's PROXY header names, else the peer.
    pub client: Address,
    /// Index into `Settings::upstreams`, if there was one to send it to.
    pub upstream: Option<usize>,
    /// The session, and which of its requests this is, from 1: together the request's id.
    pub id: (u64, u64),
    /// As the client sent them; nothing of a request that could not be read.
    pub request: Option<RequestWords>,
    /// Of the reply; 499 where the client left before it was through, 0 when there was none.
    pub status: u16,
    /// How it ended.
    pub end: End,
    /// Bytes that went upstream, head and body.
    pub request_bytes: u64,
    /// Bytes that went to the client, head and body.
    pub reply_bytes: u64,
    /// How many of them are the head's.
    pub reply_head_bytes: u64,
    /// From the whole head of the request to the end of the reply.
    pub total_time: Duration,
    /// From there to the head of the reply.
    pub upstream_time: Option<Duration>,
    /// What it was to the login of its connection.
    pub step: Step,
    /// How the client logs in, if it was part of a login.
    pub mechanism: Option<Mechanism>,
    /// Who is logged in on its connection; only where the operator wants to know.
    pub user: Option<Box<str>>,
}

/// What a request says of itself.
#[derive(Debug, Clone)]
pub struct RequestWords {
    /// The method.
    pub method: Box<str>,
    /// The target, which need not be UTF-8; nor need the others.
    pub target: Box<[u8]>,
    /// HTTP/1.1, or else HTTP/1.0.
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
    /// The client left while an upstream was being connected to, within its request, or before its reply was through.
    ClientLeft,
    /// No byte went either way for the idle time-out.
    Idle,
    /// Every upstream refused the connection or could not be reached.
    Refused,
    /// No upstream answered within the connect time-out.
    ConnectTimeout,
    /// The PROXY header was malformed, oversized, or did not come in time.
    ProxyHeader,
    /// What the client sent is no HTTP request, or one that is not passed on.
    BadRequest,
    /// What the upstream sent is no HTTP reply, or it sent none.
    BadReply,
    /// A second user logged in on the connection, and the operator wants it closed.
    IdentityChange,
    /// The client's TLS handshake failed.
    TlsClient,
    /// The upstream's TLS handshake failed.
    TlsUpstream,
    /// The client did not send its TLS hello in time.
    HelloTimeout,
    /// No route takes what the client asks for, and there is no default.
    NoRoute,
    /// The oldest of the unfinished heads, hellos and handshakes when those took all the memory that they may.
    PeekMemory,
    /// A local limit: no descriptor or port for the upstream's side.
    LocalLimit,
    /// The upstream ended its stream within a reply, or lost the thread there.
    UpstreamCut,
    /// A request's head did not come within the head time-out.
    HeadTimeout,
    /// No request came within the keep-alive time-out.
    KeepaliveTimeout,
    /// A request's body stalled for the body time-out.
    BodyTimeout,
    /// The upstream did not reply within the reply time-out.
    ReplyTimeout,
    /// The client took nothing for the send time-out.
    SendTimeout,
    /// Of a request only: its reply is through.
    Ok,
    /// HTTP mode: the proxy was stopping, and no request was under way.
    Drained,
    /// The proxy was stopping and the drain time-out was over.
    Drain,
}

impl End {
    /// All of them, in the order of their numbers (`as usize`).
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

    /// The word in the log.
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
    fn every_end_is_where_its_number_says() {
        for (number, end) in End::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, number, "{}", end.as_str());
        }
    }
}
