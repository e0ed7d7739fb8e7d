//! TLS clients, which block: for connections that are idle afterwards.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::SockRef;

use super::Errand;
use super::errand::REPLY_BYTES;
use crate::front::{Certificate, SERVER_NAME};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to one address.
pub(crate) struct TlsClients {
    target: SocketAddr,
    settings: Arc<ClientConfig>,
    streams: Vec<StreamOwned<ClientConnection, TcpStream>>,
}

impl TlsClients {
    /// Clients that trust this certificate only.
    pub(crate) fn new(target: SocketAddr, certificate: &Certificate) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&certificate.chain)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { target, settings: Arc::new(settings), streams: Vec::new() })
    }

    /// Opens connections with one exchange each.
    pub(crate) fn open(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            let socket = TcpStream::connect_timeout(&self.target, TIMEOUT).context("cannot connect")?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            socket.set_write_timeout(Some(TIMEOUT))?;
            let session =
                ClientConnection::new(Arc::clone(&self.settings), ServerName::try_from(SERVER_NAME)?)?;
            let mut stream = StreamOwned::new(session, socket);
            exchange(&mut stream)?;
            self.streams.push(stream);
        }
        Ok(())
    }

    /// Makes one more exchange on each.
    pub(crate) fn ask_again(&mut self) -> Result<()> {
        self.streams.iter_mut().try_for_each(exchange)
    }
}

impl Drop for TlsClients {
    fn drop(&mut self) {
        for stream in &self.streams {
            // On an error the socket closes without a reset.
            let _ = SockRef::from(&stream.sock).set_linger(Some(Duration::ZERO));
        }
    }
}

fn exchange(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Result<()> {
    let mut reply = [0; REPLY_BYTES];
    stream.write_all(Errand::Once.request()).context("cannot send")?;
    stream.read_exact(&mut reply).context("no reply")
}
