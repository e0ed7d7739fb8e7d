//! What a proxy is set up to do in a case.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The task of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// Relay TCP.
    Stream,
    /// Relay TCP, and send the server the client's address in a PROXY header of version 1, which all of them know.
    ProxyHeader,
    /// Relay TLS to the server for its name ([`SERVER_NAME`]), without terminating it.
    Sni,
    /// Terminate TLS, and relay what is in it.
    Tls,
    /// The same without resuming sessions: every handshake is a full one.
    TlsInFull,
    /// Read HTTP.
    Http,
    /// Terminate TLS, and read HTTP.
    Https,
    /// Read HTTP, and write a line for each request.
    Logged(LogFormat),
}

/// The form of an access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The name that clients ask for in their TLS hello.
pub(crate) const SERVER_NAME: &str = "localhost";

impl Front {
    /// Whether clients speak TLS to the proxy or through it.
    pub(crate) fn has_tls(self) -> bool {
        self == Self::Sni || self.terminates()
    }

    /// Whether the proxy terminates TLS.
    pub(crate) fn terminates(self) -> bool {
        matches!(self, Self::Tls | Self::TlsInFull | Self::Https)
    }

    /// Whether the proxy reads HTTP.
    pub(crate) fn reads_http(self) -> bool {
        matches!(self, Self::Http | Self::Https | Self::Logged(_))
    }
}

/// What a proxy's configuration is made of.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) front: Front,
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: SocketAddr,
    /// For files of this measurement.
    pub(crate) directory: &'a Path,
    pub(crate) certificate: &'a Certificate,
    pub(crate) workers: usize,
    pub(crate) connections_max: u32,
}

/// An ECDSA certificate for [`SERVER_NAME`], which no authority has signed, and its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one file, as `HAProxy` wants it.
    pub(crate) both: PathBuf,
}

impl Certificate {
    /// Makes one in a directory.
    pub(crate) fn make(directory: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).map(|()| path)
        };
        Ok(Self {
            chain: file("chain.pem", &chain)?,
            key: file("key.pem", &key)?,
            both: file("both.pem", &(chain.clone() + &key))?,
        })
    }
}
