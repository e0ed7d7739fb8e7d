//! The PROXY header of a client: the addresses the connection is made for, ahead of its first byte.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::connection::Connection;
use crate::protocol::proxy_protocol::{self, Header, HeaderError, Progress};
use crate::uring::{Address, Expect, Ring};

/// Why a client's header was not accepted. Every cause is the client's fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Malformed(#[from] HeaderError),
    #[error("connection ended after {0} bytes of the header")]
    Ended(usize),
    #[error("header not received within {0:?}")]
    TimedOut(Duration),
    #[error("connection failed: {0}")]
    Failed(#[from] io::Error),
}

impl Error {
    /// A one-word name of the cause.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Ended(_) => "ended",
            Self::TimedOut(_) => "timed-out",
            Self::Failed(_) => "failed",
        }
    }
}

/// A client's header.
pub(super) struct Received {
    pub(super) header: Header,
    /// What version 2 says besides addresses.
    pub(super) tlvs: Box<[u8]>,
}

/// Reads the header, however many pieces it arrives in. Bytes behind it stay unread.
pub(super) async fn read(
    ring: &Ring,
    client: &Connection,
    timeout: Duration,
) -> Result<Box<Received>, Error> {
    ring.timeout(timeout, read_all(client)).await.unwrap_or(Err(Error::TimedOut(timeout)))
}

async fn read_all(client: &Connection) -> Result<Box<Received>, Error> {
    loop {
        if client.receive(Expect::Now).await?.is_none() {
            return Err(Error::Ended(client.unread().len()));
        }
        let progress = proxy_protocol::parse(&client.unread())?;
        if let Progress::Complete { header, consumed } = progress {
            let tlvs = proxy_protocol::tlvs(&client.unread()[..consumed]).into();
            client.take(consumed);
            return Ok(Box::new(Received { header, tlvs }));
        }
    }
}

/// The source that a header names.
pub(super) fn source(header: &Header) -> Option<Address> {
    match header {
        Header::Tcp { source, .. } => Some(Address::Ip(*source)),
        Header::Unix { source, .. } => Some(Address::Unix(source.clone())),
        Header::Local | Header::Unknown => None,
    }
}

/// The addresses to send to an upstream: those of the client's own header, otherwise those of its connection. None for
/// Unix sockets.
pub(super) fn addresses(
    header: Option<&Header>,
    client: &Address,
    local: Option<&Address>,
) -> Option<(SocketAddr, SocketAddr)> {
    match (header, client, local) {
        (Some(Header::Unix { .. }), _, _) => None,
        (Some(Header::Tcp { source, destination }), _, _)
        | (_, Address::Ip(source), Some(Address::Ip(destination))) => Some((*source, *destination)),
        _ => None,
    }
}
