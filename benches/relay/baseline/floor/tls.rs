//! TLS with clients by rustls, the library of the proxy: `recv` into memory, a record in or out of it, `send`.

use std::io::{ErrorKind, Read as _, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};

use super::direction::{Direction, State, send_now};

/// What clients get to see.
#[derive(Debug, clap::Args)]
pub(crate) struct Identity {
    /// A file in PEM with the certificate; without one there is no TLS.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// A file in PEM with its key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// Whether each handshake is a full one.
    #[arg(long)]
    without_resumption: bool,
}

impl Identity {
    /// The settings for it; `None` without a certificate.
    pub(super) fn settings(&self) -> Result<Option<Arc<ServerConfig>>> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else { return Ok(None) };
        let provider = rustls::crypto::ring::default_provider();
        let mut settings = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(certificate)?],
                PrivateKeyDer::from_pem_file(key)?,
            )?;
        settings.session_storage = Arc::new(NoServerSessionStorage {});
        if self.without_resumption {
            settings.send_tls13_tickets = 0;
        } else {
            settings.ticketer = rustls::crypto::ring::Ticketer::new()?;
        }
        Ok(Some(Arc::new(settings)))
    }
}

/// The TLS of one client.
pub(super) struct Tls(ServerConnection);

impl Tls {
    pub(super) fn new(settings: &Arc<ServerConfig>) -> Result<Self> {
        let mut connection = ServerConnection::new(Arc::clone(settings))?;
        // What one `recv` has taken goes in whole.
        connection.set_buffer_limit(None);
        Ok(Self(connection))
    }

    /// Sends records as far as there is room; whether none is left.
    fn flush(&mut self, client: &TcpStream) -> Result<bool, Errno> {
        while self.0.wants_write() {
            match self.0.write_tls(&mut Wire(client)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(errno(&error)),
            }
        }
        Ok(true)
    }

    /// Says that no more comes.
    pub(super) fn end(&mut self, client: &TcpStream) -> Result<bool, Errno> {
        self.0.send_close_notify();
        self.flush(client)
    }
}

impl Direction {
    /// Moves up to a buffer of bytes from a client, out of its records.
    pub(super) fn decrypt(
        &mut self,
        tls: &mut Tls,
        (client, server): (&TcpStream, &TcpStream),
        buffer: &mut [u8],
    ) -> Result<State, Errno> {
        if !self.send_rest(server)? {
            return Ok(State::Blocked);
        }
        let count = match recv(client.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Ok(State::Ended),
            Err(Errno::EAGAIN) => return Ok(State::Waits),
            other => other?,
        };
        self.has_bulk = count == buffer.len();
        let mut received = &buffer[..count];
        let mut has_ended = false;
        while !received.is_empty() && !has_ended {
            tls.0.read_tls(&mut received).map_err(|error| errno(&error))?;
            let state = tls.0.process_new_packets().map_err(|_| Errno::EPROTO)?;
            // What rustls has to say in a handshake always finds room.
            tls.flush(client)?;
            let begin = self.rest.len();
            self.rest.resize(begin + state.plaintext_bytes_to_read(), 0);
            tls.0.reader().read_exact(&mut self.rest[begin..]).map_err(|error| errno(&error))?;
            has_ended = state.peer_has_closed();
        }
        Ok(if !self.send_rest(server)? {
            State::Blocked
        } else if has_ended {
            State::Ended
        } else {
            self.state_after_read()
        })
    }

    /// Moves up to a buffer of bytes to a client, in records.
    pub(super) fn encrypt(
        &mut self,
        tls: &mut Tls,
        (server, client): (&TcpStream, &TcpStream),
        buffer: &mut [u8],
    ) -> Result<State, Errno> {
        if !tls.flush(client)? {
            return Ok(State::Blocked);
        }
        let count = match recv(server.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Ok(State::Ended),
            Err(Errno::EAGAIN) => return Ok(State::Waits),
            other => other?,
        };
        self.has_bulk = count == buffer.len();
        tls.0.writer().write_all(&buffer[..count]).map_err(|error| errno(&error))?;
        Ok(if tls.flush(client)? { self.state_after_read() } else { State::Blocked })
    }
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EPROTO, Errno::from_raw)
}

/// A socket as a writer that does not wait.
struct Wire<'a>(&'a TcpStream);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match send_now(self.0, bytes)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            sent => Ok(sent),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
