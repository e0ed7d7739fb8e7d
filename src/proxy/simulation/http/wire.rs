//! The transport of a line's bytes: the stream itself, or TLS over it, by rustls.
//!
//! Keys and signatures are random, but of constant size: the seed decides everything that concerns time and pieces.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use crate::proxy::simulation::choices::TLS_NAME;
use crate::uring::sim::{Far, Heard};

/// What both sides of the proxy and the peers at its far ends shake hands with.
#[derive(Clone)]
pub(super) struct TlsConfigs {
    pub(super) client: Arc<ClientConfig>,
    /// What the client verifies certificates by.
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    pub(super) server: Arc<ServerConfig>,
}

impl TlsConfigs {
    /// The settings shared by all runs of a thread.
    pub(super) fn get() -> Self {
        thread_local! {
            static CONFIGS: OnceCell<TlsConfigs> = const { OnceCell::new() };
        }
        CONFIGS.with(|configs| configs.get_or_init(Self::new).clone())
    }

    fn new() -> Self {
        // ECDSA signatures vary in length, those of Ed25519 do not.
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let mut certificate = rcgen::CertificateParams::new(vec![TLS_NAME.to_owned()]).expect("a name");
        certificate.serial_number = Some(1.into());
        let certificate = certificate.self_signed(&key).expect("a certificate").der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a certificate");
        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let verifier = verifier.expect("roots");
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_webpki_verifier(Arc::clone(&verifier))
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a key of that certificate");
        Self { client: Arc::new(client), verifier, server: Arc::new(server) }
    }
}

/// See the module docs.
pub(super) struct Wire(Option<Box<Tls>>);

struct Tls {
    connection: Connection,
    /// Encrypted bytes that were not sent.
    unsent: VecDeque<u8>,
}

impl Wire {
    pub(super) fn plain() -> Self {
        Self(None)
    }

    pub(super) fn tls_client(config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(TLS_NAME).expect("a name");
        Self::tls(ClientConnection::new(config, name).expect("a connection").into())
    }

    pub(super) fn tls_server(config: Arc<ServerConfig>) -> Self {
        Self::tls(ServerConnection::new(config).expect("a connection").into())
    }

    fn tls(connection: Connection) -> Self {
        let mut tls = Box::new(Tls { connection, unsent: VecDeque::new() });
        tls.encrypt();
        Self(Some(tls))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.0.as_ref().is_some_and(|tls| tls.connection.is_handshaking())
    }

    /// Whether bytes that it took are still unsent.
    pub(super) fn has_unsent(&self) -> bool {
        self.0.as_ref().is_some_and(|tls| !tls.unsent.is_empty())
    }

    /// Receives at most `bytes_max` bytes of the stream. The end of a stream that TLS has not ended counts as a reset.
    pub(super) fn receive(&mut self, into: &mut Vec<u8>, bytes_max: usize, far: &mut Far<'_>) -> Heard {
        let Some(tls) = &mut self.0 else { return far.receive(into, bytes_max) };
        let mut encrypted = Vec::new();
        match far.receive(&mut encrypted, bytes_max) {
            Heard::Bytes(_) => {}
            Heard::End => {
                far.reset();
                return Heard::Reset;
            }
            heard => return heard,
        }
        match tls.decrypt(&encrypted, into) {
            None => {
                far.reset();
                Heard::Reset
            }
            Some(true) => Heard::End,
            Some(false) => Heard::Bytes(encrypted.len()),
        }
    }

    /// Sends at most `bytes_max` bytes of the stream; 0 when there is no room for more, `None` when it was reset.
    pub(super) fn send(
        &mut self,
        out: &mut VecDeque<u8>,
        bytes_max: usize,
        far: &mut Far<'_>,
    ) -> Option<usize> {
        let Some(tls) = &mut self.0 else { return send_from(out, bytes_max, far) };
        if tls.unsent.is_empty() && !tls.connection.is_handshaking() {
            let taken = tls.connection.writer().write(out.make_contiguous()).expect("rustls has room");
            out.drain(..taken);
            tls.encrypt();
        }
        if tls.unsent.is_empty() { Some(0) } else { send_from(&mut tls.unsent, bytes_max, far) }
    }

    /// Sends `close_notify`, where TLS is used.
    pub(super) fn end(&mut self) {
        if let Some(tls) = &mut self.0 {
            tls.connection.send_close_notify();
            tls.encrypt();
        }
    }
}

fn send_from(queue: &mut VecDeque<u8>, bytes_max: usize, far: &mut Far<'_>) -> Option<usize> {
    let piece: Vec<u8> = queue.iter().copied().take(bytes_max).collect();
    let sent = far.send(&piece)?;
    queue.drain(..sent);
    Some(sent)
}

impl Tls {
    fn encrypt(&mut self) {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.unsent).expect("memory takes all");
        }
    }

    /// Appends the decrypted bytes; true at TLS's end of the stream, none for bytes that are not TLS.
    fn decrypt(&mut self, mut encrypted: &[u8], into: &mut Vec<u8>) -> Option<bool> {
        while !encrypted.is_empty() {
            self.connection.read_tls(&mut encrypted).ok()?;
            let state = self.connection.process_new_packets().ok()?;
            let begin = into.len();
            into.resize(begin + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut into[begin..]).ok()?;
            self.encrypt();
            if state.peer_has_closed() {
                return Some(true);
            }
        }
        Some(false)
    }
}
