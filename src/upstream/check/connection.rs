//! A connection of a check: TCP or a Unix socket, with the PROXY header and the TLS of the group.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::{Target, Unhealthy};
use crate::protocol::proxy_protocol;
use crate::upstream::sources::Sources;
use crate::uring::{Address, bind_local_end};

/// Bytes of one receive.
const RECEIVE_BYTES: usize = 8 * 1024;

/// See the module docs. Dropping it resets a TCP connection, so that no port waits (`TIME_WAIT`) for a check that is done.
pub(super) struct Connection {
    wire: Wire,
    tls: Option<ClientConnection>,
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// Connects as sessions of the group do, up to where the first byte of a client would follow.
    pub(super) async fn open(target: Target<'_>) -> Result<Self, Unhealthy> {
        let Target { server, sources, send_proxy, tls } = target;
        let wire = Wire::connect(server.address(), sources).await.map_err(Unhealthy::Connect)?;
        let mut connection = Self { wire, tls: None };
        if let Some(version) = send_proxy {
            // Made for no client: LOCAL, or UNKNOWN.
            let header = proxy_protocol::write(version, None);
            connection.wire.send(&header).await.map_err(Unhealthy::Broken)?;
        }
        if let (Some(tls), Some(name)) = (tls, server.tls_name()) {
            let tls = ClientConnection::new(Arc::clone(tls), name.clone()).map_err(Unhealthy::Tls)?;
            connection.handshake(tls).await?;
        }
        Ok(connection)
    }

    async fn handshake(&mut self, tls: ClientConnection) -> Result<(), Unhealthy> {
        self.tls = Some(tls);
        loop {
            self.flush().await?;
            if self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking()) {
                return Ok(());
            }
            if !self.receive_records().await? {
                return Err(Unhealthy::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Sends all of `bytes`.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Unhealthy> {
        let Some(tls) = &mut self.tls else { return self.wire.send(bytes).await.map_err(Unhealthy::Broken) };
        tls.writer().write_all(bytes).map_err(Unhealthy::Broken)?;
        self.flush().await
    }

    /// Appends what was received; false at the end of the stream.
    pub(super) async fn receive(&mut self, into: &mut Vec<u8>) -> Result<bool, Unhealthy> {
        let mut bytes = vec![0; RECEIVE_BYTES];
        loop {
            let Some(tls) = &mut self.tls else {
                let received = self.wire.receive(&mut bytes).await.map_err(Unhealthy::Broken)?;
                into.extend_from_slice(&bytes[..received]);
                return Ok(received > 0);
            };
            match tls.reader().read(&mut bytes) {
                Ok(received) => {
                    into.extend_from_slice(&bytes[..received]);
                    return Ok(received > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end without close_notify is one all the same: a head that is complete needs no more.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(Unhealthy::Broken(error)),
            }
            if !self.receive_records().await? {
                return Ok(false);
            }
            self.flush().await?;
        }
    }

    /// Sends what TLS has to send.
    async fn flush(&mut self) -> Result<(), Unhealthy> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut records = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut records).map_err(Unhealthy::Broken)?;
        }
        self.wire.send(&records).await.map_err(Unhealthy::Broken)
    }

    /// Receives records; false at the end of the stream.
    async fn receive_records(&mut self) -> Result<bool, Unhealthy> {
        let mut bytes = vec![0; RECEIVE_BYTES];
        let received = self.wire.receive(&mut bytes).await.map_err(Unhealthy::Broken)?;
        let Some(tls) = &mut self.tls else { return Ok(received > 0) };
        let mut records = &bytes[..received];
        while !records.is_empty() {
            tls.read_tls(&mut records).map_err(Unhealthy::Broken)?;
            if let Err(error) = tls.process_new_packets() {
                // The server is told why, if it still listens.
                let _ = self.flush().await;
                return Err(Unhealthy::Tls(error));
            }
        }
        Ok(received > 0)
    }
}

/// Connects from one of the addresses that sessions connect from; from what the kernel chooses where those are the
/// addresses of clients.
async fn connect_from(sources: &Sources, to: SocketAddr) -> io::Result<TcpStream> {
    let own = sources.own(to.ip());
    let mut last = None;
    // Any of them, since checks of many servers do not keep step.
    let begin = fastrand::usize(..own.len().max(1));
    for from in own[begin..].iter().chain(&own[..begin]) {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        let connected = match bind_local_end(&socket, *from) {
            Ok(()) => socket.connect(to).await,
            Err(error) => Err(error),
        };
        match connected {
            // No port is left there, or the host has the address no longer.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => last = Some(error),
            connected => return connected,
        }
    }
    match last {
        Some(error) => Err(error),
        None => TcpStream::connect(to).await,
    }
}

impl Wire {
    async fn connect(address: &Address, sources: &Sources) -> io::Result<Self> {
        match address {
            Address::Ip(address) => {
                let stream = connect_from(sources, *address).await?;
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = match self {
                Self::Tcp(stream) => {
                    stream.writable().await?;
                    stream.try_write(bytes)
                }
                Self::Unix(stream) => {
                    stream.writable().await?;
                    stream.try_write(bytes)
                }
            };
            match sent {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let received = match self {
                Self::Tcp(stream) => {
                    stream.readable().await?;
                    stream.try_read(into)
                }
                Self::Unix(stream) => {
                    stream.readable().await?;
                    stream.try_read(into)
                }
            };
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }
}
