//! TLS for scripted peers: certificates, and a [`Peer`] whose bytes go over a connection encrypted.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, SigningKey,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig};
use socket2::{SockRef, Socket};

use super::{PATIENCE, Peer};

/// A certificate that is its own authority, with its key, in files.
pub(crate) struct Identity {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    private: PrivateKeyDer<'static>,
}

impl Identity {
    /// For these names, in the files `{file}.crt` and `{file}.key`.
    pub(crate) fn make(directory: &Path, file: &str, names: &[&str]) -> Self {
        Self::with(directory, file, names, |_| {})
    }

    /// One that differs in something.
    pub(crate) fn with(
        directory: &Path,
        file: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut parameters = CertificateParams::new(names).expect("host names");
        // Certificates that share their name would be taken for each other's authority.
        parameters.distinguished_name.push(DnType::CommonName, file);
        change(&mut parameters);
        let pair = KeyPair::generate().expect("randomness");
        let made = parameters.self_signed(&pair).expect("a certificate");
        let path = |ending: &str| directory.join(format!("{file}.{ending}"));
        fs::write(path("crt"), made.pem()).expect("written");
        fs::write(path("key"), pair.serialize_pem()).expect("written");
        Self {
            der: made.der().clone(),
            certificate: path("crt"),
            key: path("key"),
            private: PrivateKeyDer::try_from(pair.serialize_der()).expect("a key"),
        }
    }

    /// The same certificate, but of X.509 version 1: without extensions, and with that without names but the common one,
    /// which is `{file}`.
    pub(crate) fn version_1(directory: &Path, file: &str) -> Self {
        let mut made = Self::make(directory, file, &[]);
        let pair = KeyPair::try_from(&made.private).expect("a key of our own");
        let [certificate] = &der_parts(&made.der)[..] else { panic!("one certificate") };
        let [to_be_signed, algorithm, _signature] = &der_parts(der_content(certificate))[..] else {
            panic!("its three parts")
        };
        // Without the version ([0]), which is 1 then, and the extensions ([3]).
        let parts = der_parts(der_content(to_be_signed));
        let kept: Vec<u8> =
            parts.iter().filter(|part| part[0] & 0xe0 != 0xa0).copied().flatten().copied().collect();
        let to_be_signed = der(0x30, &kept);
        let signature = pair.sign(&to_be_signed).expect("a key that signs");
        let signature = der(0x03, &[&[0], &signature[..]].concat());
        made.der = der(0x30, &[&to_be_signed, *algorithm, &signature].concat()).into();
        fs::write(&made.certificate, pem(&made.der)).expect("written");
        made
    }

    /// The flags that have the proxy show it.
    pub(crate) fn flags(&self) -> String {
        format!("--tls-cert {} --tls-key {}", self.certificate.display(), self.key.display())
    }

    /// A server that shows it, to clients with a certificate of `client` if one is demanded.
    pub(crate) fn server(&self, client: Option<&Identity>) -> Arc<ServerConfig> {
        self.server_of(rustls::DEFAULT_VERSIONS, &self.private, client)
    }

    /// A server that shows it and speaks these versions only, with a key of `private`, which need not be its own.
    pub(crate) fn server_with(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        private: &Identity,
    ) -> Arc<ServerConfig> {
        self.server_of(versions, &private.private, None)
    }

    fn server_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        private: &PrivateKeyDer<'static>,
        client: Option<&Identity>,
    ) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("known versions");
        let builder = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(client.roots(), provider());
                builder.with_client_cert_verifier(verifier.build().expect("an authority"))
            }
        };
        let key = provider().key_provider.load_private_key(private.clone_key()).expect("a sound key");
        // Whatever is wrong with it is to be found by clients.
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![self.der.clone()], key));
        Arc::new(builder.with_cert_resolver(Arc::new(shown)))
    }

    /// A client that trusts it, and shows the certificate of `own`.
    pub(crate) fn client(&self, own: Option<&Identity>) -> ClientConfig {
        self.client_of(rustls::DEFAULT_VERSIONS, own)
    }

    /// A client that trusts it and speaks these versions only.
    pub(crate) fn client_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        own: Option<&Identity>,
    ) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_root_certificates(self.roots());
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(vec![own.der.clone()], own.private.clone_key())
                .expect("a key that fits"),
        }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a sound certificate");
        Arc::new(roots)
    }
}

/// An authority, with its certificate in a file.
pub(crate) struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: PathBuf,
}

impl Authority {
    /// One that is called `name`; its certificate is in `{name}.crt`.
    pub(crate) fn make(directory: &Path, name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pair = KeyPair::generate().expect("randomness");
        let certificate = directory.join(format!("{name}.crt"));
        let made = parameters.self_signed(&pair).expect("a certificate");
        fs::write(&certificate, made.pem()).expect("written");
        Self { directory: directory.to_owned(), issuer: Issuer::new(parameters, pair), certificate }
    }

    /// Signs a certificate of this number, which is part of its name.
    pub(crate) fn sign(&self, number: u64) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, format!("user {number}"));
        parameters.serial_number = Some(number.into());
        let pair = KeyPair::generate().expect("randomness");
        let made = parameters.signed_by(&pair, &self.issuer).expect("a certificate");
        let path = |ending: &str| self.directory.join(format!("user{number}.{ending}"));
        fs::write(path("crt"), made.pem()).expect("written");
        fs::write(path("key"), pair.serialize_pem()).expect("written");
        Identity {
            der: made.der().clone(),
            certificate: path("crt"),
            key: path("key"),
            private: PrivateKeyDer::try_from(pair.serialize_der()).expect("a key"),
        }
    }

    /// A list of revoked certificates (PEM), in force until the beginning of this year.
    pub(crate) fn revoke(&self, numbers: &[u64], until: i32) -> String {
        let this_update = rcgen::date_time_ymd(2020, 1, 1);
        let revoked = |number: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update,
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a list")
    }
}

/// The elements of DER that stand behind each other.
fn der_parts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (header, length) = der_header(bytes);
        let (part, rest) = bytes.split_at(header + length);
        parts.push(part);
        bytes = rest;
    }
    parts
}

fn der_content(element: &[u8]) -> &[u8] {
    &element[der_header(element).0..]
}

/// Bytes of an element's header and of its content.
fn der_header(element: &[u8]) -> (usize, usize) {
    match element[1] {
        short @ 0..0x80 => (2, short.into()),
        long => {
            let bytes = usize::from(long & 0x7f);
            let length =
                element[2..2 + bytes].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (2 + bytes, length)
        }
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..0x80 => vec![tag, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&header, content].concat()
}

fn pem(certificate: &[u8]) -> String {
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, certificate);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a handshake came to.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) certificate: Option<CertificateDer<'static>>,
    pub(crate) kind: HandshakeKind,
    pub(crate) version: ProtocolVersion,
    /// The server's side: the name that was asked for.
    pub(crate) server_name: Option<String>,
}

/// A peer with TLS: its bytes are encrypted and decrypted by a thread.
pub(crate) struct TlsPeer {
    pub(crate) plain: Peer,
    facts: Receiver<Result<Facts, String>>,
    wire_end: Receiver<WireEnd>,
    is_silent: Arc<AtomicBool>,
}

/// How the other end's stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireEnd {
    /// By TLS's word for that.
    CloseNotify,
    /// By TCP's alone.
    Fin,
    Reset,
}

impl TlsPeer {
    /// Connects as a client, to the site `name`.
    pub(crate) fn connect(address: &str, config: &Arc<ClientConfig>, name: &str) -> Self {
        Self::over(Peer::connect(address), config, name)
    }

    /// The client's side of TLS on a connection.
    pub(crate) fn over(peer: Peer, config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a host name");
        let tls = rustls::ClientConnection::new(Arc::clone(config), name).expect("a client");
        Self::with(peer, tls.into())
    }

    /// The server's side of TLS on a connection.
    pub(crate) fn serve(peer: Peer, config: &Arc<ServerConfig>) -> Self {
        Self::with(peer, rustls::ServerConnection::new(Arc::clone(config)).expect("a server").into())
    }

    fn with(peer: Peer, tls: rustls::Connection) -> Self {
        let (plain, inner) = UnixStream::pair().expect("descriptors");
        let (sender, facts) = channel();
        let (wire_end_sender, wire_end) = channel();
        let is_silent = Arc::new(AtomicBool::new(false));
        let ends_silently = Arc::clone(&is_silent);
        thread::spawn(move || {
            let wire = peer.into_socket();
            let mut pump = Pump {
                tls,
                wire,
                plain: inner,
                decrypted: Vec::new(),
                ends: Ends::default(),
                wire_end: wire_end_sender,
                ends_silently,
            };
            if let Err(error) = pump.run(&sender) {
                // Tests that wait for the handshake know of it already.
                let _ = sender.send(Err(error.to_string()));
            }
        });
        let plain = Peer::new(Socket::from(std::os::fd::OwnedFd::from(plain)));
        Self { plain, facts, wire_end, is_silent }
    }

    /// Ends this end's stream without `close_notify`.
    pub(crate) fn finish_silently(&self) {
        self.is_silent.store(true, Ordering::Release);
        self.plain.finish();
    }

    /// Waits for the end of the other end's stream, behind bytes that need not be received.
    pub(crate) fn expect_wire_end(&self, expected: WireEnd) {
        let ended = self.wire_end.recv_timeout(PATIENCE).expect("the stream comes to an end");
        assert_eq!(ended, expected, "how the stream ended (left)");
    }

    /// Waits for the handshake.
    pub(crate) fn facts(&self) -> Facts {
        self.handshake().unwrap_or_else(|error| panic!("the handshake failed: {error}"))
    }

    /// Waits for the handshake's failure: why. With TLS 1.3 a client hears of it after its own part.
    pub(crate) fn failure(&self) -> String {
        loop {
            match self.handshake() {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    fn handshake(&self) -> Result<Facts, String> {
        self.facts.recv_timeout(PATIENCE).expect("the handshake comes to an end")
    }
}

/// Both ends of what a thread encrypts and decrypts.
struct Pump {
    tls: rustls::Connection,
    wire: Socket,
    plain: UnixStream,
    decrypted: Vec<u8>,
    ends: Ends,
    wire_end: Sender<WireEnd>,
    ends_silently: Arc<AtomicBool>,
}

#[derive(Default)]
struct Ends {
    wire: bool,
    plain: bool,
    is_told: bool,
}

impl Pump {
    fn run(&mut self, facts: &Sender<Result<Facts, String>>) -> std::io::Result<()> {
        self.wire.set_nonblocking(true)?;
        self.plain.set_nonblocking(true)?;
        let mut is_known = false;
        loop {
            self.flush()?;
            if !is_known && !self.tls.is_handshaking() {
                is_known = true;
                // A test need not want to know.
                let _ = facts.send(Ok(self.facts()));
            }
            if self.ends.wire && self.decrypted.is_empty() && !self.ends.is_told {
                self.ends.is_told = true;
                // A peer that is gone does not mind.
                let _ = SockRef::from(&self.plain).shutdown(std::net::Shutdown::Write);
            }
            if self.ends.wire && self.ends.plain && self.decrypted.is_empty() && !self.tls.wants_write() {
                return Ok(());
            }
            self.wait()?;
            self.receive()?;
            self.hand_over()?;
            self.send()?;
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            alpn: self.tls.alpn_protocol().map(<[u8]>::to_vec),
            certificate: self.tls.peer_certificates().and_then(<[_]>::first).cloned(),
            kind: self.tls.handshake_kind().expect("it is over"),
            version: self.tls.protocol_version().expect("it is over"),
            server_name: match &self.tls {
                rustls::Connection::Server(server) => server.server_name().map(str::to_owned),
                rustls::Connection::Client(_) => None,
            },
        }
    }

    fn wait(&self) -> std::io::Result<()> {
        let flag = |wanted: bool, flag| if wanted { flag } else { PollFlags::empty() };
        let wire = flag(!self.ends.wire && self.decrypted.is_empty(), PollFlags::POLLIN)
            | flag(self.tls.wants_write(), PollFlags::POLLOUT);
        let plain = flag(self.takes_plain(), PollFlags::POLLIN)
            | flag(!self.decrypted.is_empty(), PollFlags::POLLOUT);
        let mut looked = Vec::new();
        for (fd, flags) in [(self.wire.as_fd(), wire), (self.plain.as_fd(), plain)] {
            // Hang-ups are always looked for, and would make this spin.
            if !flags.is_empty() {
                looked.push(PollFd::new(fd, flags));
            }
        }
        match poll(&mut looked, PollTimeout::try_from(PATIENCE).expect("it fits")) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn takes_plain(&self) -> bool {
        !self.ends.plain && !self.tls.is_handshaking() && !self.tls.wants_write()
    }

    fn flush(&mut self) -> std::io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.wire) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.ends.plain {
            // The peer may have closed already.
            let _ = self.wire.shutdown(std::net::Shutdown::Write);
        }
        Ok(())
    }

    fn receive(&mut self) -> std::io::Result<()> {
        if self.ends.wire || !self.decrypted.is_empty() {
            return Ok(());
        }
        match self.tls.read_tls(&mut self.wire) {
            Ok(0) => {
                self.ends.wire = true;
                self.tell(WireEnd::Fin);
            }
            Ok(_) => {
                let state = self.tls.process_new_packets();
                // The alert, if there is one to send.
                self.flush()?;
                let state = state.map_err(std::io::Error::other)?;
                self.decrypted.resize(state.plaintext_bytes_to_read(), 0);
                self.tls.reader().read_exact(&mut self.decrypted)?;
                self.ends.wire = state.peer_has_closed();
                if self.ends.wire {
                    self.tell(WireEnd::CloseNotify);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                if error.kind() == ErrorKind::ConnectionReset {
                    self.tell(WireEnd::Reset);
                }
                return Err(error);
            }
        }
        if self.ends.wire && self.tls.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// A test need not want to know.
    fn tell(&self, end: WireEnd) {
        let _ = self.wire_end.send(end);
    }

    fn hand_over(&mut self) -> std::io::Result<()> {
        if self.decrypted.is_empty() {
            return Ok(());
        }
        match self.plain.write(&self.decrypted) {
            Ok(taken) => drop(self.decrypted.drain(..taken)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn send(&mut self) -> std::io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        if !self.takes_plain() {
            return Ok(());
        }
        match self.plain.read(&mut bytes) {
            Ok(0) => {
                self.ends.plain = true;
                if !self.ends_silently.load(Ordering::Acquire) {
                    self.tls.send_close_notify();
                }
            }
            Ok(count) => self.tls.writer().write_all(&bytes[..count])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
