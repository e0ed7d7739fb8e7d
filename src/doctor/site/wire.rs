//! One connection to the site: bytes out, replies in, each within a time-out.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::ClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, StreamOwned};

use super::reply::Reply;
use crate::protocol::http1::response::{AnswerTo, ResponseError, read_next_head};
use crate::protocol::ntlm::ChannelBindings;

/// The largest head of a reply that is read.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Of a larger body no more is read, and the connection carries no other request.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broke {
    #[error("the connect failed: {0}")]
    Connect(io::Error),
    #[error("the TLS handshake failed: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no answer within {}", super::seconds(*.0))]
    TimedOut(Duration),
    #[error("the connection was closed instead of an answer")]
    Closed,
    #[error("the connection was reset: {0}")]
    Reset(io::Error),
    #[error("the answer is TLS, not HTTP")]
    SpeaksTls,
    #[error(transparent)]
    NotHttp(#[from] ResponseError),
    #[error("the head of the reply is larger than 64 KiB")]
    HeadTooLarge,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection; dropping it closes it.
pub(super) struct Wire {
    stream: Stream,
    timeout: Duration,
    /// Received and not used.
    input: Vec<u8>,
    /// Whether another request can follow.
    pub(super) is_open: bool,
}

impl Wire {
    pub(super) fn connect(address: SocketAddr, timeout: Duration) -> Result<Self, Broke> {
        let tcp = TcpStream::connect_timeout(&address, timeout).map_err(Broke::Connect)?;
        tcp.set_nodelay(true).map_err(Broke::Connect)?;
        tcp.set_write_timeout(Some(timeout)).map_err(Broke::Connect)?;
        Ok(Self { stream: Stream::Plain(tcp), timeout, input: Vec::new(), is_open: true })
    }

    /// Does a TLS handshake on the connection.
    pub(super) fn encrypt(
        self,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Self, Broke> {
        let Stream::Plain(mut tcp) = self.stream else { return Ok(self) };
        let mut session = ClientConnection::new(Arc::clone(config), name.clone())?;
        let until = Instant::now() + self.timeout;
        while session.is_handshaking() {
            allow(&tcp, until, self.timeout)?;
            session.complete_io(&mut tcp).map_err(|error| broke(error, self.timeout))?;
        }
        Ok(Self { stream: Stream::Tls(Box::new(StreamOwned::new(session, tcp))), ..self })
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }

    fn session(&self) -> Option<&ClientConnection> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => Some(&tls.conn),
        }
    }

    /// The certificates that the server showed, its own first.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        self.session().and_then(|session| session.peer_certificates()).unwrap_or_default()
    }

    pub(super) fn tls_version(&self) -> Option<ProtocolVersion> {
        self.session()?.protocol_version()
    }

    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.session()?.alpn_protocol()
    }

    /// What ties a login to this connection, as in browsers.
    pub(super) fn bindings(&self) -> Option<ChannelBindings> {
        ChannelBindings::of_certificate(self.chain().first()?).ok()
    }

    /// Changes how long an answer may take.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Sends a request and reads its final reply. A server that answers before it has read all may refuse the rest: its
    /// answer counts all the same.
    pub(super) fn exchange(&mut self, request: &[u8]) -> Result<Reply, Broke> {
        let sent = self.send(request);
        match self.read_reply() {
            Err(Broke::Closed | Broke::Reset(_)) if sent.is_err() => {
                self.is_open = false;
                Err(sent.err().unwrap_or(Broke::Closed))
            }
            Err(broke) => {
                self.is_open = false;
                Err(broke)
            }
            Ok(reply) => {
                self.is_open &= reply.keep_alive && sent.is_ok();
                Ok(reply)
            }
        }
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Broke> {
        let timeout = self.timeout;
        let result = match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        };
        result.map_err(|error| broke(error, timeout))
    }

    fn read_reply(&mut self) -> Result<Reply, Broke> {
        let began = Instant::now();
        let until = began + self.timeout;
        let mut interim = Vec::new();
        let (mut reply, mut body, length_bytes) = loop {
            if self.input.starts_with(&[0x15, 0x03]) {
                return Err(Broke::SpeaksTls);
            }
            let read = read_next_head(&self.input, AnswerTo::Usual, |head| {
                if head.is_interim() {
                    return Err((head.status, head.length_bytes));
                }
                Ok((Reply::of(head), head.body, head.length_bytes))
            })?;
            match read {
                Some(Ok(read)) => break read,
                Some(Err((status, length_bytes))) => {
                    interim.push(status);
                    self.input.drain(..length_bytes);
                }
                None if self.input.len() > HEAD_BYTES_MAX => return Err(Broke::HeadTooLarge),
                None => {
                    if self.receive(until)? == 0 {
                        let nothing_came = self.input.is_empty();
                        return Err(if nothing_came {
                            Broke::Closed
                        } else {
                            Broke::NotHttp(ResponseError::CutShort)
                        });
                    }
                }
            }
        };
        reply.interim = interim;
        reply.pieces.push((began.elapsed(), self.input.len() - length_bytes));
        self.input.drain(..length_bytes);
        loop {
            let taken = body.advance(&self.input, |piece| reply.body.extend_from_slice(piece))?;
            self.input.drain(..taken);
            if body.is_complete() {
                return Ok(reply);
            }
            if reply.body.len() > BODY_BYTES_MAX {
                reply.keep_alive = false;
                return Ok(reply);
            }
            match self.receive(until)? {
                0 => {
                    body.end_of_connection()?;
                    return Ok(reply);
                }
                received => reply.pieces.push((began.elapsed(), received)),
            }
        }
    }

    /// One read; 0: the connection ended.
    fn receive(&mut self, until: Instant) -> Result<usize, Broke> {
        allow(self.tcp(), until, self.timeout)?;
        let mut buffer = [0; 16 * 1024];
        let result = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut buffer),
            Stream::Tls(tls) => tls.read(&mut buffer),
        };
        match result {
            Ok(received) => {
                self.input.extend_from_slice(&buffer[..received]);
                Ok(received)
            }
            // TLS without its goodbye.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(broke(error, self.timeout)),
        }
    }

    /// Waits until the other end closes, at most this long. Returns after how long it did.
    pub(super) fn closed_within(&mut self, most: Duration) -> Option<Duration> {
        let began = Instant::now();
        let until = began + most;
        loop {
            match self.receive(until) {
                Ok(0) | Err(Broke::Reset(_) | Broke::Tls(_)) => return Some(began.elapsed()),
                // A goodbye of TLS, or bytes that nothing asked for.
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends the head of a request, and reads the status of the next reply, interim or final.
    pub(super) fn continues(&mut self, head: &[u8]) -> Result<u16, Broke> {
        self.send(head)?;
        let until = Instant::now() + self.timeout;
        loop {
            if let Some(status) = read_next_head(&self.input, AnswerTo::Usual, |head| head.status)? {
                return Ok(status);
            }
            if self.receive(until)? == 0 {
                return Err(Broke::Closed);
            }
        }
    }

    /// Reads bytes that are not HTTP; none: the connection ended.
    pub(super) fn read_raw(&mut self) -> Result<Vec<u8>, Broke> {
        let until = Instant::now() + self.timeout;
        if self.input.is_empty() {
            self.receive(until)?;
        }
        Ok(std::mem::take(&mut self.input))
    }
}

/// Limits the next read to what is left of the time.
fn allow(tcp: &TcpStream, until: Instant, timeout: Duration) -> Result<(), Broke> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Broke::TimedOut(timeout));
    }
    tcp.set_read_timeout(Some(left)).map_err(Broke::Reset)
}

fn broke(error: io::Error, timeout: Duration) -> Broke {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Broke::TimedOut(timeout),
        io::ErrorKind::UnexpectedEof => Broke::Closed,
        _ => match error.downcast::<rustls::Error>() {
            Ok(error) => Broke::Tls(error),
            Err(error) => Broke::Reset(error),
        },
    }
}
