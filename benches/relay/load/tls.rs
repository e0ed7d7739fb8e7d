//! TLS clients, which block: for connections that are idle afterwards.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::SockRef;

use super::Errand;
use super::errand::REPLY_BYTES;
use crate::front::{Certificate, SERVER_NAME};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections open at a time, each in a thread of its own.
const AT_ONCE: u32 = 8;

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Connections to one address.
pub(crate) struct TlsClients {
    target: SocketAddr,
    settings: Arc<ClientConfig>,
    streams: Vec<Stream>,
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

    /// Opens connections with one exchange each, some at a time.
    pub(crate) fn open(&mut self, count: u32) -> Result<()> {
        let (target, settings) = (self.target, &self.settings);
        let opened: Vec<Result<Vec<Stream>>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE)
                .map(|nth| (nth..count).step_by(AT_ONCE as usize).count())
                .map(|part| scope.spawn(move || (0..part).map(|_| connect(target, settings)).collect()))
                .collect();
            let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
            joined.map(|outcome| outcome.unwrap_or_else(|_| bail!("a client has panicked"))).collect()
        });
        for streams in opened {
            self.streams.extend(streams?);
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

fn connect(target: SocketAddr, settings: &Arc<ClientConfig>) -> Result<Stream> {
    let socket = TcpStream::connect_timeout(&target, TIMEOUT).context("cannot connect")?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    let session = ClientConnection::new(Arc::clone(settings), ServerName::try_from(SERVER_NAME)?)?;
    let mut stream = StreamOwned::new(session, socket);
    exchange(&mut stream)?;
    Ok(stream)
}

fn exchange(stream: &mut Stream) -> Result<()> {
    let mut reply = [0; REPLY_BYTES];
    stream.write_all(Errand::Once.request()).context("cannot send")?;
    stream.read_exact(&mut reply).context("no reply")
}
