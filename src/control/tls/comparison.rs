//! Whether the servers' TLS works, and whether clients see their certificate: logins with Extended Protection depend on
//! it.
//!
//! It connects to each server once, takes any certificate for the comparison, and notes what the verifier of
//! the workers says of it.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};
use socket2::{Domain, Socket, Type};

use super::finding::Finding;
use super::trust::config_by;
use crate::control::setting::setting;
use crate::control::timeouts::COMPARISON;
use crate::protocol::proxy_protocol;
use crate::upstream::{GroupSettings, Server, Tls};
use crate::uring::Address;

/// Most checks at once.
const CHECKS_MAX: usize = 256;
/// Bytes of a fingerprint that are shown: enough to identify the certificate.
const FINGERPRINT_BYTES: usize = 8;

/// The certificates of both sides, for comparison.
#[derive(Debug)]
pub struct Comparison {
    /// The certificates that clients see.
    pub shown: Vec<CertificateDer<'static>>,
    /// The groups whose servers are checked, if they speak TLS.
    pub groups: Vec<Arc<GroupSettings>>,
}

/// What one server showed.
#[derive(Debug)]
struct Look {
    /// None without a handshake.
    certificate: Option<CertificateDer<'static>>,
    /// Why connections to it will fail, if they will.
    finding: Option<Finding>,
}

impl Comparison {
    /// Checks every server in a thread of its own, and logs what was found.
    ///
    /// # Errors
    /// No thread, or too many that still check after reloads.
    pub fn start(self) -> io::Result<()> {
        let Some(counted) = Counted::new() else { return Err(io::Error::other("earlier checks still run")) };
        thread::Builder::new().name("certificates".to_owned()).spawn(move || {
            let _counted = counted;
            for group in &self.groups {
                let Some(tls) = &group.tls else { continue };
                for servers in group.servers.chunk_by(|one, other| one.name() == other.name()) {
                    if let Some(name) = servers[0].tls_name() {
                        self.report(&servers[0], &look(servers, name, tls, group.send_proxy), name);
                    }
                }
            }
        })?;
        Ok(())
    }

    fn report(&self, server: &Server, look: &Look, name: &ServerName<'_>) {
        let upstream = &**server.name();
        if let Some(finding) = &look.finding {
            let line = finding.line(server, name, COMPARISON);
            tracing::warn!(upstream, "{line}");
        }
        match &look.certificate {
            None => {}
            Some(certificate) if self.shown.contains(certificate) => {
                tracing::info!(upstream, "clients see this server's certificate: Extended Protection works");
            }
            Some(certificate) => {
                let clients: Vec<_> = self.shown.iter().map(|leaf| fingerprint_of(leaf)).collect();
                tracing::warn!(
                    upstream,
                    shows = fingerprint_of(certificate),
                    clients_see = clients.join(","),
                    "Extended Protection (channel binding) will fail: clients do not see this server's \
                     certificate; install the same certificate and key on both, or pass TLS through with \
                     {} instead of {}, or turn it off in IIS",
                    setting("sni-route"),
                    setting("tls-cert")
                );
            }
        }
    }
}

/// A running check, counted until it is dropped.
struct Counted;

/// Checks that run. Servers that do not answer keep one for seconds each, and settings may be reloaded meanwhile.
static CHECKS: AtomicUsize = AtomicUsize::new(0);

impl Counted {
    /// None if there are too many.
    fn new() -> Option<Self> {
        let more = |checks| (checks < CHECKS_MAX).then_some(checks + 1);
        CHECKS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_before| Self)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        CHECKS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to the first server of this name that can be reached, and looks at its certificate.
fn look(
    servers: &[Arc<Server>],
    name: &ServerName<'static>,
    tls: &Tls,
    send_proxy: Option<proxy_protocol::Version>,
) -> Look {
    let mut socket = match connect(servers) {
        Ok(socket) => socket,
        Err(error) => return Look { certificate: None, finding: Some(Finding::Unreachable(error)) },
    };
    let noting = Arc::new(Noting { verifier: Arc::clone(&tls.verifier), noted: Mutex::default() });
    let handshake =
        config_of(tls, &noting).and_then(|config| handshake(&mut *socket, config, name, send_proxy));
    let noted = noting.noted.lock().unwrap_or_else(PoisonError::into_inner).take();
    let noted = noted.map(|(error, certificate)| Finding::of_certificate(error, &certificate));
    match handshake {
        Ok(certificate) => Look { certificate, finding: noted },
        // What is wrong with the certificate may be why the handshake failed later.
        Err(finding) => Look { certificate: None, finding: noted.or(Some(finding)) },
    }
}

/// The configuration of the workers, but for what verifies certificates.
fn config_of(tls: &Tls, noting: &Arc<Noting>) -> Result<ClientConfig, Finding> {
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Noting>::clone(noting);
    let mut config = config_by(verifier).map_err(|error| Finding::Failed(error.to_string()))?;
    config.client_auth_cert_resolver = Arc::clone(&tls.config.client_auth_cert_resolver);
    Ok(config)
}

fn handshake(
    socket: &mut dyn Stream,
    config: ClientConfig,
    name: &ServerName<'static>,
    send_proxy: Option<proxy_protocol::Version>,
) -> Result<Option<CertificateDer<'static>>, Finding> {
    let mut tls = ClientConnection::new(Arc::new(config), name.clone()).map_err(Finding::of_handshake)?;
    if let Some(version) = send_proxy {
        // Made for no client: LOCAL, or UNKNOWN.
        socket
            .write_all(&proxy_protocol::write(version, None))
            .map_err(|error| Finding::of_socket(&error))?;
    }
    let deadline = Instant::now() + COMPARISON;
    while tls.is_handshaking() {
        if Instant::now() > deadline {
            return Err(Finding::Silent);
        }
        while tls.wants_write() {
            tls.write_tls(&mut *socket).map_err(|error| Finding::of_socket(&error))?;
        }
        if tls.is_handshaking()
            && tls.read_tls(&mut *socket).map_err(|error| Finding::of_socket(&error))? == 0
        {
            return Err(Finding::Closed);
        }
        tls.process_new_packets().map_err(Finding::of_handshake)?;
    }
    let certificate = tls.peer_certificates().and_then(<[_]>::first).cloned();
    // Best effort: the server need not notice this.
    tls.send_close_notify();
    while tls.wants_write() && tls.write_tls(&mut *socket).is_ok() {}
    Ok(certificate)
}

/// Notes what a verifier says of a certificate, and goes on with the handshake.
#[derive(Debug)]
struct Noting {
    verifier: Arc<dyn ServerCertVerifier>,
    noted: Mutex<Option<(rustls::Error, CertificateDer<'static>)>>,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.verifier.verify_server_cert(certificate, intermediates, name, ocsp_response, now);
        if let Err(error) = verified {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            *noted = Some((error, certificate.clone().into_owned()));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn connect(servers: &[Arc<Server>]) -> io::Result<Box<dyn Stream>> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in servers.iter().map(|server| server.address()) {
        let connected: io::Result<Box<dyn Stream>> = match address {
            Address::Ip(address) => TcpStream::connect_timeout(address, COMPARISON).and_then(|socket| {
                socket.set_read_timeout(Some(COMPARISON))?;
                socket.set_write_timeout(Some(COMPARISON))?;
                Ok(Box::new(socket) as Box<dyn Stream>)
            }),
            Address::Unix(_) => address.to_sock_addr().and_then(|at| {
                let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
                // Of connecting too, which waits for room in the backlog (unix(7)).
                socket.set_read_timeout(Some(COMPARISON))?;
                socket.set_write_timeout(Some(COMPARISON))?;
                socket.connect(&at)?;
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
