//! TLS, and logins that are bound to it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use iisplice::mock::settings::{CertificateSource, Protection, Settings, Tls};
use iisplice::protocol::ntlm::{ChannelBindings, Client};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::visitor::{Visitor, tcp};
use crate::{alice, settings, start};

/// A certificate and the files a mock reads it from.
struct Certificate {
    der: CertificateDer<'static>,
    files: tempfile::TempDir,
}

impl Certificate {
    fn make() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let files = tempfile::tempdir().expect("a directory");
        fs::write(files.path().join("chain.pem"), made.cert.pem()).expect("written");
        fs::write(files.path().join("key.pem"), made.signing_key.serialize_pem()).expect("written");
        Self { der: made.cert.der().clone(), files }
    }

    fn settings(&self, extended_protection: Protection) -> Settings {
        let certificate = CertificateSource::Files {
            chain: self.files.path().join("chain.pem"),
            key: self.files.path().join("key.pem"),
        };
        Settings { tls: Some(Tls { certificate, extended_protection }), ..settings() }
    }

    fn bindings(&self) -> ChannelBindings {
        ChannelBindings::of_certificate(&self.der).expect("an ECDSA certificate with SHA-256")
    }

    fn visit(&self, address: SocketAddr) -> Visitor<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a sound certificate");
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("known versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        Visitor::over(StreamOwned::new(connection, tcp(address)))
    }
}

#[test]
fn http_1_1_over_tls_with_bodies_both_ways() {
    let certificate = Certificate::make();
    let (_mock, address) = start(certificate.settings(Protection::Off));
    let mut visitor = certificate.visit(address);
    assert_eq!(visitor.ntlm(Client::new(&alice()), "/whoami").json("user"), r"CORP\alice");
    assert_eq!(visitor.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(visitor.get("/bytes/3000000").body.len(), 3_000_000);
    visitor.send("POST /echo HTTP/1.1\r\nHost: mock\r\nContent-Length: 300000\r\n\r\n");
    visitor.send("x".repeat(300_000));
    assert_eq!(visitor.read_reply(false).expect("a reply").body.len(), 300_000);
}

#[test]
fn extended_protection_off_allowed_and_required() {
    let certificate = Certificate::make();
    let alice = alice();
    let without = Client::new(&alice);
    let right = without.channel_bindings(certificate.bindings());
    let wrong = without.channel_bindings(ChannelBindings::of_certificate_hash(&[1; 32]));
    for (protection, statuses) in [
        (Protection::Off, [200, 200, 200]),
        (Protection::Allow, [200, 200, 401]),
        (Protection::Require, [401, 200, 401]),
    ] {
        let (_mock, address) = start(certificate.settings(protection));
        let status = |client| {
            let by_ntlm = certificate.visit(address).ntlm(client, "/").status;
            assert_eq!(certificate.visit(address).negotiate(client, "/").status, by_ntlm);
            by_ntlm
        };
        assert_eq!([without, right, wrong].map(status), statuses, "{protection:?}: without, right, wrong");
    }
}

#[test]
fn plain_http_on_a_tls_port_harms_no_other_client() {
    let certificate = Certificate::make();
    let (_mock, address) = start(certificate.settings(Protection::Off));
    let mut visitor = Visitor::connect(address);
    visitor.send("GET / HTTP/1.1\r\nHost: mock\r\n\r\n");
    assert!(visitor.read_reply(false).is_err());
    assert_eq!(certificate.visit(address).get("/public/").status, 200);
}

#[test]
fn files_that_are_no_certificate_say_which() {
    let certificate = Certificate::make();
    let error = |change: &dyn Fn()| {
        change();
        let error = iisplice::mock::start(certificate.settings(Protection::Off)).expect_err("a bad file");
        error.to_string().replace(certificate.files.path().to_str().expect("UTF-8"), "DIR")
    };
    let write =
        |name: &str, text: &str| fs::write(certificate.files.path().join(name), text).expect("written");
    let line = error(&|| write("key.pem", "no key"));
    assert!(line.starts_with("cannot read DIR/key.pem: "), "{line}");
    let line = error(&|| write("chain.pem", ""));
    assert_eq!(line, "DIR/chain.pem contains no certificate; give the PEM file with the chain");
}
