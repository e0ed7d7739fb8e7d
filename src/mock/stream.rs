//! The bytes of one client, plain or over TLS.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Free space for every receive, at least.
const RECEIVE_BYTES: usize = 4096;
/// Limits on time and bytes read from a client after the last reply: closing with unread bytes would reset the
/// connection and could lose the reply.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Why a connection carries no more bytes.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client closed the connection")]
    Closed,
    #[error("the client was idle for too long")]
    Idle,
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A client's connection, with bytes that were received and not consumed.
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    received: Vec<u8>,
    idle_timeout: Duration,
}

impl Stream {
    pub(super) fn new(
        socket: TcpStream,
        tls: Option<&Arc<ServerConfig>>,
        idle_timeout: Duration,
    ) -> Result<Self, End> {
        socket.set_nodelay(true)?;
        let tls = match tls {
            Some(config) => Some(Box::new(ServerConnection::new(Arc::clone(config))?)),
            None => None,
        };
        Ok(Self { socket, tls, received: Vec::new(), idle_timeout })
    }

    /// Bytes received and not consumed.
    pub(super) fn received(&self) -> &[u8] {
        &self.received
    }

    /// Drops the first bytes of [`received`](Self::received).
    pub(super) fn consume(&mut self, length_bytes: usize) {
        self.received.drain(..length_bytes);
    }

    /// Waits for more bytes; there are some when it returns.
    pub(super) async fn receive(&mut self) -> Result<(), End> {
        match self.tls {
            None => {
                let received = std::mem::take(&mut self.received);
                self.received = self.read_more(received).await?;
            }
            Some(_) => self.receive_tls().await?,
        }
        Ok(())
    }

    async fn receive_tls(&mut self) -> Result<(), End> {
        let mut sealed = Vec::new();
        let length_before = self.received.len();
        while self.received.len() == length_before {
            sealed.clear();
            sealed = self.read_more(sealed).await?;
            let mut rest = &sealed[..];
            while let (Some(tls), false) = (&mut self.tls, rest.is_empty()) {
                tls.read_tls(&mut rest)?;
                let state = tls.process_new_packets();
                if let Ok(state) = &state {
                    let opened = state.plaintext_bytes_to_read();
                    tls.reader().take(opened as u64).read_to_end(&mut self.received)?;
                }
                // A handshake message, or the alert that says why it failed.
                let closed = state.as_ref().is_ok_and(rustls::IoState::peer_has_closed);
                self.send_sealed().await?;
                state?;
                if closed && self.received.len() == length_before {
                    return Err(End::Closed);
                }
            }
        }
        Ok(())
    }

    /// Reads to the end of `buffer`, once.
    async fn read_more(&mut self, mut buffer: Vec<u8>) -> Result<Vec<u8>, End> {
        buffer.reserve(RECEIVE_BYTES);
        let read = timeout(self.idle_timeout, self.socket.read_buf(&mut buffer));
        match read.await.map_err(|_elapsed| End::Idle)?? {
            0 => Err(End::Closed),
            _ => Ok(buffer),
        }
    }

    /// Sends all of `bytes`, and returns the buffer.
    pub(super) async fn send(&mut self, mut bytes: Vec<u8>) -> Result<Vec<u8>, End> {
        if self.tls.is_none() {
            self.socket.write_all(&bytes).await?;
            return Ok(bytes);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            // It accepts only a limited amount at once.
            let Some(tls) = &mut self.tls else { break };
            let taken = tls.writer().write(rest)?;
            rest = &rest[taken..];
            self.send_sealed().await?;
        }
        bytes.clear();
        Ok(bytes)
    }

    async fn send_sealed(&mut self) -> Result<(), End> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut sealed = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut sealed)?;
        }
        if sealed.is_empty() {
            return Ok(());
        }
        Ok(self.socket.write_all(&sealed).await?)
    }

    /// Closes the connection after the last reply.
    pub(super) async fn finish(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        if self.send_sealed().await.is_err() || self.socket.shutdown().await.is_err() {
            return;
        }
        let hear_out = async {
            let mut heard_bytes = 0;
            let mut buffer = Vec::new();
            while heard_bytes < LINGER_BYTES_MAX {
                buffer.clear();
                match self.read_more(buffer).await {
                    Ok(read) => buffer = read,
                    Err(_) => return,
                }
                heard_bytes += buffer.len();
            }
        };
        let _ = timeout(LINGER_TIMEOUT, hear_out).await;
    }
}
