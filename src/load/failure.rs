//! The errors of a run: a [`LoadError`] ends it; a [`Failure`] ends one connect, login or request and is counted by class.

use std::io;
use std::net::SocketAddr;

use super::recorder::ErrorClass;
use crate::protocol::http1::response::ResponseError;
use crate::protocol::{ntlm, spnego};

/// Why a run did not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server's fault: the probe before the run failed.
    #[error("{url}: {failure}")]
    Target {
        /// The URL tried.
        url: String,
        /// What went wrong.
        failure: Failure,
    },
    /// A local limit: too few file descriptors.
    #[error(
        "the run needs {needed} open files and the limit is {limit}; use fewer --connections or raise the limit (`ulimit -n {needed}`)"
    )]
    Descriptors {
        /// Connections and all other open files.
        needed: u64,
        /// `RLIMIT_NOFILE`, hard.
        limit: u64,
    },
    /// A local limit: no ring.
    #[error(
        "io_uring is not available: {0}; check `sysctl kernel.io_uring_disabled` and the container's seccomp profile"
    )]
    Ring(io::Error),
    /// A local limit: no thread.
    #[error("cannot start a thread: {0}; use fewer --threads, or raise the limit (`ulimit -u`)")]
    Thread(io::Error),
    /// Our bug.
    #[error("a load thread ended without its results; this is a bug in iisplice")]
    ThreadLost,
}

/// Why a connect, a login or a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connect failed.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// A read or a write failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The handshake failed, or a record is invalid.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// TLS came where HTTP was expected.
    #[error("the server answered with TLS, not HTTP")]
    SpeaksTls,
    /// No answer within the timeout.
    #[error("no answer within the timeout")]
    TimedOut,
    /// The connection ended before a reply began.
    #[error("the server closed the connection instead of answering")]
    Closed,
    /// Not HTTP.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// The head is too large.
    #[error("the reply's head is larger than 64 KiB")]
    HeadTooLarge,
    /// Bytes followed the end of the reply.
    #[error("the server sent bytes after the end of its reply")]
    BytesAfterReply,
    /// The server requires a login with another scheme.
    #[error("the server requires a login and does not offer {0}")]
    SchemeNotOffered(&'static str),
    /// The server did not continue the login: it sent another reply instead of a 401 with a Type 2.
    #[error("the server answered the first login message with status {0} and no challenge")]
    NoChallenge(u16),
    /// The connection ended between Type 2 and Type 3, which must use one connection.
    #[error("the server closed the connection during the login")]
    ClosedInHandshake,
    /// The connection ended with the last reply of the login, again and again, so no request can follow on it.
    #[error("the server closed the connection after each login")]
    ClosedAfterLogin,
    /// The server answered Type 3 with 401.
    #[error("the server refused the login of {0}")]
    LoginRefused(String),
    /// The server answered a recorded Type 3 with 401, because it answers another challenge.
    #[error(
        "the server refused the recorded login of {user}, which is for another challenge ({recorded} recorded, {found} \
         now): replay against a server with a fixed one (`iisplice mock --fixed-challenge {recorded}`), or log in live \
         with --auth and --users"
    )]
    OtherChallenge {
        /// Who logged in.
        user: String,
        /// The recorded challenge, hexadecimal.
        recorded: String,
        /// The server's challenge, hexadecimal, or what is wrong with it.
        found: String,
    },
    /// The server's NTLM message is invalid.
    #[error(transparent)]
    Ntlm(#[from] ntlm::ClientError),
    /// The server's SPNEGO token is invalid.
    #[error(transparent)]
    Negotiate(#[from] spnego::ClientError),
    /// The run ended before this did; not an error.
    #[error("the run ended")]
    RunEnded,
}

impl Failure {
    /// The error class it counts as; `None`: not an error.
    pub fn class(&self) -> Option<ErrorClass> {
        Some(match self {
            Self::Connect { cause, .. } => match cause.kind() {
                io::ErrorKind::ConnectionRefused => ErrorClass::Refused,
                io::ErrorKind::ConnectionReset => ErrorClass::Reset,
                _ => ErrorClass::Unreachable,
            },
            Self::Io(_) => ErrorClass::Reset,
            Self::Tls(_) => ErrorClass::Tls,
            Self::TimedOut => ErrorClass::Timeout,
            Self::Closed
            | Self::ClosedInHandshake
            | Self::ClosedAfterLogin
            | Self::Response(ResponseError::CutShort) => ErrorClass::Closed,
            Self::LoginRefused(_) | Self::OtherChallenge { .. } => ErrorClass::LoginRefused,
            Self::Response(_)
            | Self::SpeaksTls
            | Self::HeadTooLarge
            | Self::BytesAfterReply
            | Self::SchemeNotOffered(_)
            | Self::NoChallenge(_)
            | Self::Ntlm(_)
            | Self::Negotiate(_) => ErrorClass::Protocol,
            Self::RunEnded => return None,
        })
    }
}
