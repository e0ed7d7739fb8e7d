//! Answers by the proxy where no server can give one: a status, a short page, and the end.

use crate::protocol::http1::body::BodyError;
use crate::protocol::http1::forward::TargetError;
use crate::protocol::http1::request::RequestError;
use crate::protocol::http1::response::AnswerTo;
use crate::protocol::login::IdentityChange;
use crate::proxy::record::End;

/// Why the proxy answers a request itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{0}{advice}", advice = setting_of(*.0))]
    Target(#[from] TargetError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the request names no host to redirect to")]
    NoHost,
    #[error("no route has the host {0:?}")]
    NoRoute(Box<str>),
    #[error("no route of the host {0:?} has the path")]
    NoPath(Box<str>),
    #[error("the host {0:?} leads to another group than the first request of the client connection")]
    OtherSite(Box<str>),
    #[error("the host {host:?} and the TLS server name {server_name:?} lead to different groups")]
    ServerName { host: Box<str>, server_name: Box<str> },
    #[error("request head not received within {0:?}")]
    HeadTimeout(std::time::Duration),
    #[error("no server could be reached")]
    Unreachable,
    #[error("every server has as many connections as it may have")]
    Full,
    #[error("no server is left: the checks of all fail")]
    NoServer,
    #[error("no server can be connected to from the client's address")]
    NoSource,
    #[error("server TLS handshake failed")]
    UpstreamTls,
    #[error("no server accepted a connection in time")]
    ConnectTimeout,
    #[error("this host has no descriptor, port or source address for a connection to the server")]
    LocalLimit,
    #[error("invalid reply from the server: {0}")]
    Reply(String),
    #[error("server closed the connection without a reply")]
    NoReply,
    #[error("connection to the server failed before the reply: {0}")]
    UpstreamReset(std::io::ErrorKind),
    #[error("server ended TLS after the handshake: {0}")]
    UpstreamAlert(String),
    #[error("request body stalled for {0:?}")]
    BodyTimeout(std::time::Duration),
    #[error("server did not reply within {0:?}")]
    ReplyTimeout(std::time::Duration),
    #[error(
        "request names user {:?} on the client connection of {:?}; not sent to the server (setting on-identity-change)", .0.to, .0.from
    )]
    IdentityChange(Box<IdentityChange>),
}

/// The setting that would have had the request forwarded.
fn setting_of(error: TargetError) -> &'static str {
    match error {
        TargetError::Trace => " (setting trace)",
        TargetError::Connect | TargetError::Form => "",
    }
}

impl Refusal {
    /// The refusal for a session that could not connect.
    pub(super) fn of_unconnected(end: End) -> Self {
        match end {
            End::ConnectTimeout => Self::ConnectTimeout,
            End::LocalLimit => Self::LocalLimit,
            End::TlsUpstream => Self::UpstreamTls,
            End::Full => Self::Full,
            End::NoServer => Self::NoServer,
            End::NoSource => Self::NoSource,
            _ => Self::Unreachable,
        }
    }

    /// Status and reason (RFC 9110 section 15).
    pub(super) fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Request(RequestError::TooLong { .. }) => (431, "Request Header Fields Too Large"),
            Self::Request(RequestError::Version) => (505, "HTTP Version Not Supported"),
            Self::Request(RequestError::Expectation) => (417, "Expectation Failed"),
            Self::Target(TargetError::Connect | TargetError::Trace) => (405, "Method Not Allowed"),
            Self::Request(_) | Self::Target(TargetError::Form) | Self::Body(_) | Self::NoHost => {
                (400, "Bad Request")
            }
            // Not 421, which asks the client to repeat the request (RFC 9110 section 15.5.20): a proxy that multiplexes
            // users would send it over another connection that already belongs to a user.
            Self::IdentityChange(_) => (403, "Forbidden"),
            Self::NoRoute(_) | Self::OtherSite(_) | Self::ServerName { .. } => (421, "Misdirected Request"),
            Self::NoPath(_) => (404, "Not Found"),
            Self::HeadTimeout(_) | Self::BodyTimeout(_) => (408, "Request Timeout"),
            Self::Unreachable
            | Self::NoSource
            | Self::UpstreamTls
            | Self::Reply(_)
            | Self::NoReply
            | Self::UpstreamReset(_)
            | Self::UpstreamAlert(_) => (502, "Bad Gateway"),
            Self::Full | Self::NoServer | Self::LocalLimit => (503, "Service Unavailable"),
            Self::ConnectTimeout | Self::ReplyTimeout(_) => (504, "Gateway Timeout"),
        }
    }

    /// The end in the session's record.
    pub(super) fn end(&self) -> End {
        match self {
            Self::Request(_) | Self::Target(_) | Self::Body(_) | Self::NoHost => End::BadRequest,
            Self::NoRoute(_) | Self::NoPath(_) | Self::OtherSite(_) | Self::ServerName { .. } => End::NoRoute,
            Self::HeadTimeout(_) => End::HeadTimeout,
            Self::BodyTimeout(_) => End::BodyTimeout,
            Self::ReplyTimeout(_) => End::ReplyTimeout,
            Self::Unreachable => End::Refused,
            Self::Full => End::Full,
            Self::NoServer => End::NoServer,
            Self::NoSource => End::NoSource,
            Self::UpstreamReset(_) => End::UpstreamReset,
            Self::UpstreamTls | Self::UpstreamAlert(_) => End::TlsUpstream,
            Self::ConnectTimeout => End::ConnectTimeout,
            Self::LocalLimit => End::LocalLimit,
            Self::Reply(_) | Self::NoReply => End::BadReply,
            Self::IdentityChange(_) => End::IdentityChange,
        }
    }

    /// The complete reply. `request_id` is the id of this request in logs; `stays` says to whom the reply is if its
    /// connection stays open.
    pub(super) fn reply(&self, request_id: &str, stays: Option<AnswerTo>) -> String {
        let (status, reason) = self.status();
        let page = format!(
            "<!DOCTYPE html>\n<html><head><title>{status} {reason}</title></head>\n<body><h1>{reason}</h1>\n\
             <p>Request {request_id}</p></body></html>\n"
        );
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
             X-Request-Id: {request_id}\r\n{}{}\r\n{}",
            page.len(),
            self.field(),
            if stays.is_some() { "" } else { "Connection: close\r\n" },
            if stays == Some(AnswerTo::Head) { "" } else { &page },
        )
    }

    /// A field that the reply has besides those of all.
    fn field(&self) -> &'static str {
        match self {
            // RFC 9110 section 15.5.6
            Self::Target(TargetError::Connect | TargetError::Trace) => {
                "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n"
            }
            // Soon enough for a user, and late enough that many clients do not all come at once.
            Self::Full | Self::NoServer => "Retry-After: 5\r\n",
            _ => "",
        }
    }
}
