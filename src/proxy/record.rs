//! The record of a session or request that has ended: plain values, formatted elsewhere and later.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::protocol::login::{Mechanism, Step};
use crate::uring::Address;
use crate::words::words;

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
    /// How the connection to it was opened.
    pub connect: Option<Connect>,
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
    /// How the connection to it was opened.
    pub connect: Option<Connect>,
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

impl Record {
    /// A complete record, of which tests and benches change what matters to them.
    pub fn example() -> Self {
        Self {
            started: example_time(),
            listener: "0.0.0.0:80".into(),
            client: example_client(),
            proxied: Some(Address::Ip((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7), 4711).into())),
            upstream: Some("iis2.corp:80".into()),
            connect: Some(Connect::Cold),
            connect_time: Some(Duration::from_micros(1204)),
            first_byte_time: Some(Duration::from_millis(12)),
            duration: Duration::from_secs(61),
            upstream_bytes: 1000,
            client_bytes: 2000,
            spliced_bytes: 1999,
            end: End::ClientClose,
        }
    }
}

impl RequestRecord {
    /// See [`Record::example`].
    pub fn example() -> Self {
        Self {
            started: example_time(),
            listener: "0.0.0.0:80".into(),
            client: example_client(),
            upstream: Some("iis1:80".into()),
            connect: Some(Connect::Warm),
            id: (0xab, 3),
            request: Some(RequestWords {
                method: "GET".into(),
                target: (*b"/a?b=\"c\"").into(),
                is_http11: true,
                referer: None,
                user_agent: Some((*b"curl/8\n\x1b[2J").into()),
            }),
            status: 200,
            end: End::Ok,
            request_bytes: 120,
            reply_bytes: 1200,
            reply_head_bytes: 200,
            total_time: Duration::from_micros(1500),
            upstream_time: Some(Duration::from_micros(1204)),
            step: Step::Type3Ok,
            mechanism: Some(Mechanism::Ntlm),
            user: Some("CORP\\alice".into()),
        }
    }
}

fn example_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042)
}

fn example_client() -> Address {
    Address::Ip((Ipv4Addr::new(192, 0, 2, 7), 51234).into())
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

words! {
    /// How a connection to a server was opened. The meanings are a table in docs/access-log.md.
    pub enum Connect {
        /// Ahead, before the client came.
        Warm = "warm",
        /// For the client, when it came.
        Cold = "cold",
    }
}

words! {
    /// How a session ended. The meanings are a table in docs/access-log.md.
    pub enum End {
        /// The client closed first, then the server.
        ClientClose = "client-close",
        /// The server closed first, then the client.
        UpstreamClose = "upstream-close",
        /// The client's connection was reset, or its host was lost.
        ClientReset = "client-reset",
        /// The server's connection was reset, or its host was lost.
        UpstreamReset = "upstream-reset",
        /// The client left while a server was being connected to; in HTTP mode also within its request, or before
        /// its reply was complete.
        ClientLeft = "client-left",
        /// No byte passed in either direction for the idle time-out; reset if bytes were on their way.
        Idle = "idle",
        /// No server took the connection.
        Refused = "refused",
        /// Every server that could take the connection had as many as it may have.
        Full = "full",
        /// The checks of every server fail: none was tried.
        NoServer = "no-server",
        /// No server can be connected to from the client's address, which servers are to see.
        NoSource = "no-source",
        /// No server answered within the connect time-out, or none was ready within the connect budget.
        ConnectTimeout = "connect-timeout",
        /// No PROXY header, a malformed one, or one that came too late.
        ProxyHeader = "proxy-header",
        /// The service does not admit the client's address.
        Denied = "denied",
        /// The client has as many connections as it may have.
        ClientConnections = "client-connections",
        /// The client's connections come faster than they may.
        ClientRate = "client-rate",
        /// HTTP mode: the client's request was refused.
        BadRequest = "bad-request",
        /// HTTP mode: the server sent no HTTP reply, or none at all.
        BadReply = "bad-reply",
        /// HTTP mode: a request named a second user, and the service closes then; the server has not seen it.
        IdentityChange = "identity-change",
        /// The client's TLS handshake failed or took too long.
        TlsClient = "tls-client",
        /// The TLS handshake of the last server that was tried failed or took too long.
        TlsUpstream = "tls-upstream",
        /// No TLS hello came within its time-out.
        HelloTimeout = "hello-timeout",
        /// No route takes the client's name, or its request's host (421) or path (404), and there is no default; the
        /// request is for other servers than its connection (421); or the name is longer than 255 bytes.
        NoRoute = "no-route",
        /// Reset: its unfinished head, hello or handshake was the oldest when all of them exceeded their memory.
        PeekMemory = "peek-memory",
        /// No descriptor, no port or no source address for the server's side.
        LocalLimit = "local-limit",
        /// HTTP mode: the server ended its stream within a reply, or sent something else than a chunk.
        UpstreamCut = "upstream-cut",
        /// HTTP mode: a request's head took longer than the head time-out.
        HeadTimeout = "head-timeout",
        /// HTTP mode: no further request came within the keep-alive time-out.
        KeepaliveTimeout = "keepalive-timeout",
        /// HTTP mode: a request's body stalled for the body time-out.
        BodyTimeout = "body-timeout",
        /// HTTP mode: the server did not reply within the reply time-out.
        ReplyTimeout = "reply-timeout",
        /// HTTP mode: the client took nothing for the send time-out.
        SendTimeout = "send-timeout",
        /// HTTP mode, a request: its reply is complete.
        Ok = "ok",
        /// HTTP mode: closed between two requests, because the proxy is stopping or the server drains.
        Drained = "drained",
        /// Still open when the drain time-out was over; reset if bytes were on their way.
        Drain = "drain",
        /// An operator closed it; reset if bytes were on their way.
        AdminClose = "admin-close",
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
