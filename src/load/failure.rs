//! What can go wrong in a run: [`LoadError`] ends it, a [`Failure`] is one sample's and is counted by class.

use std::io;
use std::net::SocketAddr;

use super::recorder::ErrorClass;
use crate::protocol::http1::response::ResponseError;
use crate::protocol::{ntlm, spnego};

/// Why a run could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The peer's fault: the try before the run did not get through.
    #[error("{url}: {failure}")]
    Target {
        /// The URL tried.
        url: String,
        /// What went wrong.
        failure: Failure,
    },
    /// A local limit: the descriptors do not suffice.
    #[error(
        "{needed} open files are needed and {limit} are allowed: use fewer --connections, or raise the limit (`ulimit -n {needed}`)"
    )]
    Descriptors {
        /// Connections and what else is open.
        needed: u64,
        /// `RLIMIT_NOFILE`, hard.
        limit: u64,
    },
    /// A local limit: no ring.
    #[error(
        "no io_uring: {0} (is it switched off by `sysctl kernel.io_uring_disabled` or a container's seccomp profile?)"
    )]
    Ring(io::Error),
    /// A local limit: no thread.
    #[error("no thread could be started: {0}")]
    Thread(io::Error),
    /// Our bug.
    #[error("a load thread ended without its results; this is a bug in iisplice")]
    ThreadLost,
}

/// Why a connect, a login or a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connect failed.
    #[error("no connection to {address}: {cause}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// A read or a write failed.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The handshake failed, or a record is damaged.
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
    /// The head does not end.
    #[error("the reply's head is larger than 64 KiB")]
    HeadTooLarge,
    /// More bytes came than the reply has.
    #[error("the server sent more bytes than its reply has")]
    BytesAfterReply,
    /// The server protects the URL, with other schemes.
    #[error("the server asks for a login and does not offer {0}")]
    SchemeNotOffered(&'static str),
    /// The server did not go on with the login: where a 401 with a Type 2 is due, another reply came.
    #[error("the server answered the login's first message with status {0} and no challenge")]
    NoChallenge(u16),
    /// The connection ended between Type 2 and Type 3, which belong to one connection.
    #[error("the server closed the connection in the middle of the login")]
    ClosedInHandshake,
    /// The connection ended with the login's own reply, so there is nothing to send requests on.
    #[error("the server closed the connection after the login")]
    ClosedAfterLogin,
    /// 401 to the proof.
    #[error("the server refused the login of {0}")]
    LoginRefused(String),
    /// 401 to a recorded proof, which is for another challenge.
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
        /// The server's, hexadecimal, or what is wrong with it.
        found: String,
    },
    /// The server's NTLM message is damaged.
    #[error(transparent)]
    Ntlm(#[from] ntlm::ClientError),
    /// The server's SPNEGO token is damaged.
    #[error(transparent)]
    Negotiate(#[from] spnego::ClientError),
    /// The run ended while this was under way: nobody's fault.
    #[error("the run ended")]
    RunEnded,
}

impl Failure {
    /// What it counts as; `None`: not an error.
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
