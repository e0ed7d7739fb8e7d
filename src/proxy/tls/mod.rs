//! TLS on either side of a session, by rustls: bytes in, bytes out.

pub mod certificates;
pub(super) mod handshake;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection,
};

use crate::protocol::proxy_protocol::ClientTls;
use crate::uring::Socket;

/// The most plaintext in a record (RFC 8446 section 5.1). One that is sent before the next is encrypted takes the memory that the
/// last one has left in the caches.
const RECORD_BYTES: usize = 16 * 1024;

/// The TLS of one connection.
pub(super) struct Tls {
    connection: RefCell<rustls::Connection>,
    has_received_close_notify: Cell<bool>,
}

impl Tls {
    /// The server role, which waits for a client's hello.
    fn server(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = ServerConnection::new(config).map_err(invalid)?;
        Ok(Self::new(connection.into()))
    }

    /// The client role, which has a hello to send to `server`.
    fn client(config: Arc<ClientConfig>, server: ServerName<'static>) -> io::Result<Self> {
        let connection = ClientConnection::new(config, server).map_err(invalid)?;
        Ok(Self::new(connection.into()))
    }

    fn new(connection: rustls::Connection) -> Self {
        Self { connection: RefCell::new(connection), has_received_close_notify: Cell::new(false) }
    }

    /// Whether the handshake is still in progress.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.borrow().is_handshaking()
    }

    /// Whether the handshake goes on with an earlier session.
    pub(super) fn is_resumed(&self) -> bool {
        matches!(self.connection.borrow().handshake_kind(), Some(HandshakeKind::Resumed))
    }

    /// In the server role: the name that the client requested, in lower case.
    pub(super) fn server_name(&self) -> Option<String> {
        match &*self.connection.borrow() {
            rustls::Connection::Server(server) => server.server_name().map(str::to_ascii_lowercase),
            rustls::Connection::Client(_) => None,
        }
    }

    /// The certificate by which the peer has proved its identity, if it has.
    pub(super) fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        self.connection.borrow().peer_certificates()?.first().cloned()
    }

    /// What a PROXY header says of it, in the server role.
    pub(super) fn for_proxy_header(&self) -> ClientTls {
        let connection = self.connection.borrow();
        ClientTls {
            authority: self.server_name(),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            has_certificate: connection.peer_certificates().is_some(),
        }
    }

    /// Whether the peer has sent `close_notify`.
    pub(super) fn has_received_close_notify(&self) -> bool {
        self.has_received_close_notify.get()
    }

    /// Decrypts received bytes and appends the plaintext to `plaintext`.
    pub(super) fn decrypt(
        &self,
        socket: &Socket,
        mut received: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> io::Result<()> {
        while !received.is_empty() && !self.has_received_close_notify() {
            let mut tls = self.connection.borrow_mut();
            tls.read_tls(&mut received)?;
            let state = tls.process_new_packets();
            drop(tls);
            // Sends pending answers: an alert, a ticket, a key update. On failure continue: a peer that accepts nothing
            // more may have sent something before; the next flush fails as well.
            let _ = self.flush(socket);
            let state = state.map_err(invalid)?;
            let begin = plaintext.len();
            plaintext.resize(begin + state.plaintext_bytes_to_read(), 0);
            self.connection.borrow_mut().reader().read_exact(&mut plaintext[begin..])?;
            self.has_received_close_notify.set(state.peer_has_closed());
        }
        Ok(())
    }

    /// Encrypts a record after the other, and sends each, as far as the socket has room.
    pub(super) fn encrypt(&self, socket: &Socket, plaintext: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while self.flush(socket)? && taken < plaintext.len() {
            let record = &plaintext[taken..plaintext.len().min(taken + RECORD_BYTES)];
            taken += self.connection.borrow_mut().writer().write(record)?;
        }
        Ok(taken)
    }

    /// Sends pending records. False when some remain for lack of room.
    pub(super) fn flush(&self, socket: &Socket) -> io::Result<bool> {
        let mut tls = self.connection.borrow_mut();
        while tls.wants_write() {
            match tls.write_tls(&mut Wire(socket)) {
                Ok(_sent) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether some records wait for room.
    pub(super) fn has_unsent(&self) -> bool {
        self.connection.borrow().wants_write()
    }

    /// Queues a `close_notify` (RFC 8446 section 6.1).
    pub(super) fn end(&self) {
        self.connection.borrow_mut().send_close_notify();
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A socket as a writer.
struct Wire<'a>(&'a Socket);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.send_now(bytes)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            sent => Ok(sent),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
