//! Whether clients see the servers' certificate: logins with Extended Protection depend on it.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::client::ClientConfig;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::{Trust, client_config};
use crate::protocol::proxy_protocol;
use crate::proxy::settings::Upstream;
use crate::uring::Address;

/// Longest time to check one server.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of a fingerprint that are shown: enough to identify the certificate.
const FINGERPRINT_BYTES: usize = 8;

/// The certificates of both sides, for comparison.
#[derive(Debug)]
pub struct Comparison {
    /// The certificates that clients see.
    pub shown: Vec<CertificateDer<'static>>,
    /// The servers to check; those without a name for TLS are left out.
    pub upstreams: Vec<Upstream>,
    /// The PROXY header that they expect before TLS.
    pub send_proxy: Option<proxy_protocol::Version>,
}

/// Whether clients see a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// They see it.
    Too,
    /// They see another; this is its fingerprint.
    Not(String),
}

impl Comparison {
    /// Checks every server in a thread of its own, and logs the result. A server that does not answer is not reported
    /// here: that shows when a client needs it.
    ///
    /// # Errors
    /// No thread.
    pub fn start(self) -> io::Result<()> {
        thread::Builder::new().name("certificates".to_owned()).spawn(move || {
            for upstream in &self.upstreams {
                match self.look(upstream) {
                    Ok(Shown::Too) => tracing::info!(
                        upstream = upstream.name,
                        "clients see this server's certificate: Extended Protection works"
                    ),
                    Ok(Shown::Not(fingerprint)) => {
                        let clients: Vec<_> = self.shown.iter().map(|leaf| fingerprint_of(leaf)).collect();
                        tracing::warn!(
                            upstream = upstream.name,
                            shows = fingerprint,
                            clients_see = clients.join(","),
                            "Extended Protection (channel binding) will fail: clients do not see this server's \
                             certificate; install the same certificate and key on both, or pass TLS through with \
                             --sni-route instead of --tls-cert, or turn it off in IIS"
                        );
                    }
                    Err(error) => tracing::debug!(
                        upstream = upstream.name,
                        %error,
                        "cannot check this server's certificate; skipping it"
                    ),
                }
            }
        })?;
        Ok(())
    }

    /// Connects to a server and compares its certificate.
    ///
    /// # Errors
    /// No server that answers with TLS in time.
    pub fn look(&self, upstream: &Upstream) -> io::Result<Shown> {
        let name = upstream.tls_name.clone().ok_or(io::ErrorKind::InvalidInput)?;
        let trust = Trust { ca: None, is_insecure: true, ca_flag: "", insecure_flag: "" };
        let config: ClientConfig = client_config(trust).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut socket = connect(upstream)?;
        if let Some(version) = self.send_proxy {
            // Made for no client: LOCAL, or UNKNOWN.
            socket.write_all(&proxy_protocol::write(version, None))?;
        }
        let deadline = Instant::now() + TIMEOUT;
        while tls.is_handshaking() {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            while tls.wants_write() {
                tls.write_tls(&mut socket)?;
            }
            if tls.is_handshaking() && tls.read_tls(&mut socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
        let leaf = tls.peer_certificates().and_then(<[_]>::first).ok_or(io::ErrorKind::NotFound)?;
        let shown = if self.shown.contains(leaf) { Shown::Too } else { Shown::Not(fingerprint_of(leaf)) };
        // Best effort: the server need not notice this.
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut socket)?;
        }
        Ok(shown)
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn connect(upstream: &Upstream) -> io::Result<Box<dyn Stream>> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in &upstream.addresses {
        let connected: io::Result<Box<dyn Stream>> = match address {
            Address::Ip(address) => TcpStream::connect_timeout(address, TIMEOUT).and_then(|socket| {
                socket.set_read_timeout(Some(TIMEOUT))?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Ok(Box::new(socket) as Box<dyn Stream>)
            }),
            Address::Unix(path) => UnixStream::connect(path).and_then(|socket| {
                socket.set_read_timeout(Some(TIMEOUT))?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Ok(Box::new(socket) as Box<dyn Stream>)
            }),
        };
        match connected {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The first bytes of the output of `openssl x509 -fingerprint -sha256`.
fn fingerprint_of(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::new();
    for byte in &Sha256::digest(certificate)[..FINGERPRINT_BYTES] {
        let colon = if text.is_empty() { "" } else { ":" };
        // Writing to a String does not fail.
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}
