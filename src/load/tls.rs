//! TLS as bytes in and bytes out, between the socket and the HTTP of a connection.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::client::ClientConnection;

use super::failure::Failure;
use super::plan::Tls;
use crate::protocol::ntlm::ChannelBindings;

/// A TLS session of a client.
#[derive(Debug)]
pub(super) struct Session(Box<ClientConnection>);

impl Session {
    pub(super) fn new(tls: &Tls) -> Result<Self, Failure> {
        let session = ClientConnection::new(Arc::clone(&tls.config), tls.server_name.clone())?;
        Ok(Self(Box::new(session)))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// The bytes to send now; may be empty.
    pub(super) fn take_output(&mut self) -> Result<Vec<u8>, Failure> {
        let mut output = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut output)?;
        }
        Ok(output)
    }

    /// Encrypts bytes that the client sends.
    pub(super) fn send(&mut self, plain: &[u8]) -> Result<(), Failure> {
        Ok(self.0.writer().write_all(plain)?)
    }

    /// Takes bytes from the socket and appends their decrypted content to `plain`.
    pub(super) fn receive(&mut self, mut wire: &[u8], plain: &mut Vec<u8>) -> Result<(), Failure> {
        while !wire.is_empty() {
            self.0.read_tls(&mut wire)?;
            self.0.process_new_packets()?;
            match self.0.reader().read_to_end(plain) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The channel bindings that tie a login to this session, as in browsers; `None` for a certificate without any.
    pub(super) fn channel_bindings(&self) -> Option<ChannelBindings> {
        ChannelBindings::of_certificate(self.0.peer_certificates()?.first()?).ok()
    }
}
