//! Answers of our own, where there is no upstream to give one: a status, a short page, and the end.

use crate::protocol::http1::body::BodyError;
use crate::protocol::http1::forward::TargetError;
use crate::protocol::http1::request::RequestError;
use crate::protocol::login::IdentityChange;
use crate::proxy::record::End;

/// Why a request is answered by us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the request's head did not come within {0:?}")]
    HeadTimeout(std::time::Duration),
    #[error("no upstream could be reached")]
    Unreachable,
    #[error("the upstream's TLS failed")]
    UpstreamTls,
    #[error("no upstream answered in time")]
    ConnectTimeout,
    #[error("this host has no descriptor or port left for a connection to the upstream")]
    LocalLimit,
    #[error("the upstream's reply is not HTTP: {0}")]
    Reply(String),
    #[error("the upstream closed the connection without a reply")]
    NoReply,
    #[error("the upstream's connection broke before the reply: {0}")]
    UpstreamReset(std::io::ErrorKind),
    #[error("the upstream ended TLS behind the handshake: {0}")]
    UpstreamAlert(String),
    #[error("the request's body stalled for {0:?}")]
    BodyTimeout(std::time::Duration),
    #[error("the upstream did not reply within {0:?}")]
    ReplyTimeout(std::time::Duration),
    #[error(
        "it names {:?} on the client connection of {:?} (--on-identity-change close); the server has not seen it", .0.to, .0.from
    )]
    IdentityChange(Box<IdentityChange>),
}

impl Refusal {
    /// Of a session that found no upstream.
    pub(super) fn of_unconnected(end: End) -> Self {
        match end {
            End::ConnectTimeout => Self::ConnectTimeout,
            End::LocalLimit => Self::LocalLimit,
            End::TlsUpstream => Self::UpstreamTls,
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
            Self::Request(_) | Self::Target(TargetError::Form) | Self::Body(_) => (400, "Bad Request"),
            // Not 421, which asks for the same request again (RFC 9110 section 15.5.20): a proxy that shares connections between
            // users would send it over the next one that is somebody's already.
            Self::IdentityChange(_) => (403, "Forbidden"),
            Self::HeadTimeout(_) | Self::BodyTimeout(_) => (408, "Request Timeout"),
            Self::Unreachable
            | Self::UpstreamTls
            | Self::Reply(_)
            | Self::NoReply
            | Self::UpstreamReset(_)
            | Self::UpstreamAlert(_) => (502, "Bad Gateway"),
            Self::LocalLimit => (503, "Service Unavailable"),
            Self::ConnectTimeout | Self::ReplyTimeout(_) => (504, "Gateway Timeout"),
        }
    }

    /// How the session's record calls it.
    pub(super) fn end(&self) -> End {
        match self {
            Self::Request(_) | Self::Target(_) | Self::Body(_) => End::BadRequest,
            Self::HeadTimeout(_) => End::HeadTimeout,
            Self::BodyTimeout(_) => End::BodyTimeout,
            Self::ReplyTimeout(_) => End::ReplyTimeout,
            Self::Unreachable => End::Refused,
            Self::UpstreamReset(_) => End::UpstreamReset,
            Self::UpstreamTls | Self::UpstreamAlert(_) => End::TlsUpstream,
            Self::ConnectTimeout => End::ConnectTimeout,
            Self::LocalLimit => End::LocalLimit,
            Self::Reply(_) | Self::NoReply => End::BadReply,
            Self::IdentityChange(_) => End::IdentityChange,
        }
    }

    /// The whole reply. `request_id` is what the log names this request by.
    pub(super) fn reply(&self, request_id: &str) -> String {
        let (status, reason) = self.status();
        let page = format!(
            "<!DOCTYPE html>\n<html><head><title>{status} {reason}</title></head>\n<body><h1>{reason}</h1>\n\
             <p>Request {request_id}</p></body></html>\n"
        );
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
             X-Request-Id: {request_id}\r\n{}Connection: close\r\n\r\n{page}",
            page.len(),
            if status == 405 { "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n" } else { "" },
        )
    }
}
