//! TLS handshakes with a client or a server, within a time-out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, InvalidMessage, OtherError, ServerConfig};

use super::Tls;
use crate::proxy::connection::Connection;
use crate::proxy::counters::Handshake;
use crate::proxy::settings::timeouts::ALERT_LINGER;
use crate::uring::{Expect, Ring};

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Error {
    /// The peer left before it sent anything.
    #[error("connection ended before the handshake")]
    Left,
    #[error("connection ended during the handshake")]
    Ended,
    #[error("handshake not complete within {0:?}")]
    TimedOut(Duration),
    #[error("received bytes are not TLS")]
    NotTls,
    /// rustls's own text: an alert from the peer, or what is wrong with its messages.
    #[error("{0}")]
    Refused(io::Error),
    /// The same with an explanation.
    #[error("{0}: {1}")]
    Explained(io::Error, &'static str),
    #[error("connection failed: {0}")]
    Failed(#[source] io::Error),
}

impl Error {
    /// A one-word name of the cause.
    pub(in crate::proxy) fn cause(&self) -> &'static str {
        self.outcome().as_str()
    }

    /// How the handshake is counted.
    pub(in crate::proxy) fn outcome(&self) -> Handshake {
        let error = match self {
            Self::Left | Self::Ended => return Handshake::Ended,
            Self::TimedOut(_) => return Handshake::TimedOut,
            Self::NotTls => return Handshake::NotTls,
            Self::Failed(_) => return Handshake::Failed,
            Self::Refused(error) | Self::Explained(error, _) => error,
        };
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::AlertReceived(_)) => Handshake::Alert,
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                Handshake::Certificate
            }
            Some(rustls::Error::PeerIncompatible(_)) => Handshake::NothingInCommon,
            _ => Handshake::Malformed,
        }
    }
}

/// How a handshake that is complete is counted.
pub(in crate::proxy) fn kind(peer: &Connection) -> Handshake {
    if peer.tls().is_some_and(Tls::is_resumed) { Handshake::Resumed } else { Handshake::Full }
}

/// Performs the handshake with a client. What it sends after the handshake stays unread.
pub(in crate::proxy) async fn accept(
    ring: &Ring,
    client: &Connection,
    config: Arc<ServerConfig>,
    timeout: Duration,
) -> Result<(), Error> {
    let result = async {
        // A client that sends nothing takes no memory.
        if client.unread().is_empty() && client.receive(Expect::Now).await.map_err(failed)?.is_none() {
            return Err(Error::Left);
        }
        handshake(ring, client, Tls::server(config).map_err(refused)?).await
    };
    let result = ring.timeout(timeout, result).await.unwrap_or(Err(Error::TimedOut(timeout)));
    let result = result.map_err(|error| explained(error, "the client rejects the proxy's certificate"));
    linger_after_alert(ring, client, result).await
}

/// Performs the handshake with a server, which must prove that it is `name`.
pub(in crate::proxy) async fn connect(
    ring: &Ring,
    upstream: &Connection,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    timeout: Duration,
) -> Result<(), Error> {
    // Creating the hello generates a key, which takes time.
    ring.set_up_turn().await;
    let alert = if config.client_auth_cert_resolver.has_certs() {
        "the server rejects the proxy's client certificate"
    } else {
        "the server requires a client certificate, and the proxy has none"
    };
    let tls = Tls::client(config, name).map_err(refused)?;
    let result = ring.timeout(timeout, handshake(ring, upstream, tls)).await;
    let result = result.unwrap_or(Err(Error::TimedOut(timeout)));
    let result = result.map_err(|error| explained(error, alert));
    linger_after_alert(ring, upstream, result).await
}

async fn handshake(ring: &Ring, peer: &Connection, tls: Tls) -> Result<(), Error> {
    match peer.handshake(ring, tls).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Ended),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(refused(error)),
        Err(error) => Err(failed(error)),
    }
}

/// Lets a peer that was sent an alert read it, by reading what the peer still sends.
async fn linger_after_alert(ring: &Ring, peer: &Connection, result: Result<(), Error>) -> Result<(), Error> {
    if let Err(Error::Refused(_) | Error::Explained(..) | Error::NotTls) = result {
        let socket = peer.socket();
        let read_on = async {
            if socket.shutdown_write().is_ok() {
                while let Ok(Some(_unwanted)) = socket.receive(Expect::Now).await {}
            }
        };
        let _ = ring.timeout(ALERT_LINGER, read_on).await;
    }
    result
}

fn refused(error: io::Error) -> Error {
    let inner = error.get_ref().and_then(|error| error.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Error::NotTls,
        _ => Error::Refused(error),
    }
}

/// Explains an error that is not obvious. An alert about a certificate concerns the proxy's own; `alert` explains it.
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
                "the server presents a CA certificate; trust exactly that one (setting upstream-ca)",
            )
        }
        _ => Error::Refused(error),
    }
}

fn failed(error: io::Error) -> Error {
    Error::Failed(error)
}
