//! The PROXY header of a client: who the connection is made for, before its first byte.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_lite::future::or;

use crate::protocol::proxy_protocol::{self, Header, HeaderError, Progress};
use crate::uring::{Address, Buffer, Expect, Received, Ring, Socket};

/// What a client sent before an upstream was chosen.
#[derive(Default)]
pub(super) struct Early {
    /// Its PROXY header, if one was asked for.
    pub(super) header: Option<Header>,
    /// Bytes that came with the header and belong to the upstream.
    pub(super) rest: Option<Buffer>,
}

/// Why a client's header was not accepted. All of it is the client's fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Malformed(#[from] HeaderError),
    #[error("the connection ended {0} bytes into it")]
    Ended(usize),
    #[error("it did not come within {0:?}")]
    TimedOut(Duration),
    #[error("the connection failed: {0}")]
    Failed(#[from] io::Error),
}

/// Reads the header, however it is cut up.
pub(super) async fn read(ring: &Ring, client: &Socket, timeout: Duration) -> Result<Early, Error> {
    or(read_all(client), async {
        ring.sleep(timeout).await;
        Err(Error::TimedOut(timeout))
    })
    .await
}

async fn read_all(client: &Socket) -> Result<Early, Error> {
    // Of headers that come in one piece, nearly all, nothing is copied.
    let mut pieces: Vec<u8> = Vec::new();
    loop {
        let Some(Received { mut buffer, .. }) = client.receive(Expect::Now).await? else {
            return Err(Error::Ended(pieces.len()));
        };
        let before = pieces.len();
        let progress = if before == 0 {
            proxy_protocol::parse(&buffer)?
        } else {
            pieces.extend_from_slice(&buffer);
            proxy_protocol::parse(&pieces)?
        };
        match progress {
            Progress::Incomplete if before == 0 => pieces.extend_from_slice(&buffer),
            Progress::Incomplete => {}
            Progress::Complete { header, consumed } => {
                // Without this piece it was incomplete, so the header ends in it.
                buffer.advance(consumed - before);
                let rest = (!buffer.is_empty()).then_some(buffer);
                return Ok(Early { header: Some(header), rest });
            }
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

/// The addresses to tell an upstream: those of the client's own header, else those of its connection. None when
/// they are of Unix sockets.
pub(super) fn addresses(
    header: Option<&Header>,
    client: &Address,
    local: Option<&Address>,
) -> Option<(SocketAddr, SocketAddr)> {
    match (header, client, local) {
        (Some(Header::Tcp { source, destination }), _, _) => Some((*source, *destination)),
        (Some(Header::Unix { .. }), _, _) => None,
        (_, Address::Ip(source), Some(Address::Ip(destination))) => Some((*source, *destination)),
        _ => None,
    }
}
