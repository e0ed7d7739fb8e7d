//! Shaking hands with a client or an upstream, in limited time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, InvalidMessage, OtherError, ServerConfig};

use super::Tls;
use crate::proxy::connection::Connection;
use crate::uring::{Expect, Ring};

/// How long an alert may take to be read by a peer that still sends. Closing at once would make a reset of it
/// (RFC 2525 section 2.17), and the peer would not learn the reason.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why there is no TLS with a peer.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Error {
    /// The peer went away before it said anything.
    #[error("the connection ended before the handshake")]
    Left,
    #[error("the connection ended during the handshake")]
    Ended,
    #[error("it was not through within {0:?}")]
    TimedOut(Duration),
    #[error("what was received is not TLS")]
    NotTls,
    /// As rustls puts it: an alert of the peer, or what is wrong with what it sent.
    #[error("{0}")]
    Refused(io::Error),
    /// The same, and what it means.
    #[error("{0}: {1}")]
    Explained(io::Error, &'static str),
    #[error("the connection failed: {0}")]
    Failed(#[source] io::Error),
}

impl Error {
    /// A word for it.
    pub(in crate::proxy) fn cause(&self) -> &'static str {
        let error = match self {
            Self::Left | Self::Ended => return "ended",
            Self::TimedOut(_) => return "timed-out",
            Self::NotTls => return "not-tls",
            Self::Failed(_) => return "failed",
            Self::Refused(error) | Self::Explained(error, _) => error,
        };
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::AlertReceived(_)) => "alert",
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                "certificate"
            }
            Some(rustls::Error::PeerIncompatible(_)) => "nothing-in-common",
            _ => "malformed",
        }
    }
}

/// Shakes hands with a client. What it says behind the handshake stays unread.
pub(in crate::proxy) async fn accept(
    ring: &Ring,
    client: &Connection,
    config: Arc<ServerConfig>,
    timeout: Duration,
) -> Result<(), Error> {
    let shaken = async {
        // Who says nothing costs no memory.
        if client.unread().is_empty() && client.receive(Expect::Now).await.map_err(failed)?.is_none() {
            return Err(Error::Left);
        }
        shake_hands(ring, client, Tls::server(config).map_err(refused)?).await
    };
    let shaken = or(shaken, expired(ring, timeout)).await;
    let shaken =
        shaken.map_err(|error| explained(error, "the client does not take the proxy's own certificate"));
    have_the_last_word(ring, client, shaken).await
}

/// Shakes hands with an upstream that has to prove that it is `name`.
pub(in crate::proxy) async fn connect(
    ring: &Ring,
    upstream: &Connection,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    timeout: Duration,
) -> Result<(), Error> {
    // A hello has a key in it that is made here.
    ring.set_up_turn().await;
    let tls = Tls::client(config, name).map_err(refused)?;
    let shaken = or(shake_hands(ring, upstream, tls), expired(ring, timeout)).await;
    let shaken = shaken
        .map_err(|error| explained(error, "the server demands a certificate of the proxy, which shows none"));
    have_the_last_word(ring, upstream, shaken).await
}

async fn shake_hands(ring: &Ring, peer: &Connection, tls: Tls) -> Result<(), Error> {
    match peer.shake_hands(ring, tls).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Ended),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(refused(error)),
        Err(error) => Err(failed(error)),
    }
}

/// Has a peer that was sent an alert read it, by reading what it still sends.
async fn have_the_last_word(ring: &Ring, peer: &Connection, shaken: Result<(), Error>) -> Result<(), Error> {
    if let Err(Error::Refused(_) | Error::Explained(..) | Error::NotTls) = shaken {
        let socket = peer.socket();
        let read_on = async {
            if socket.shutdown_write().is_ok() {
                while let Ok(Some(_unwanted)) = socket.receive(Expect::Now).await {}
            }
        };
        or(read_on, ring.sleep(LAST_WORD)).await;
    }
    shaken
}

async fn expired(ring: &Ring, timeout: Duration) -> Result<(), Error> {
    ring.sleep(timeout).await;
    Err(Error::TimedOut(timeout))
}

fn refused(error: io::Error) -> Error {
    let inner = error.get_ref().and_then(|error| error.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Error::NotTls,
        _ => Error::Refused(error),
    }
}

/// Says what is meant where that is not plain. An alert that is about a certificate is about the proxy's own, and means
/// `alert`.
fn explained(error: Error, alert: &'static str) -> Error {
    use rustls::AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, UnknownCA, UnsupportedCertificate,
    };
    let Error::Refused(error) = error else { return error };
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(
            BadCertificate
            | UnsupportedCertificate
            | CertificateRevoked
            | CertificateExpired
            | CertificateUnknown
            | CertificateRequired
            | UnknownCA
            | AccessDenied,
        )) => Error::Explained(error, alert),
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(reason))))
            if matches!(reason.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
        {
            Error::Explained(
                error,
                "the server shows a certificate of an authority; give that very certificate with --upstream-ca",
            )
        }
        _ => Error::Refused(error),
    }
}

fn failed(error: io::Error) -> Error {
    Error::Failed(error)
}
