//! TLS: each thing that can be wrong with a certificate, and HTTP/2.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use iisplice::mock::settings::{CertificateSource, Protection, Tls};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::run::{Report, doctor};
use crate::script::UNAUTHORIZED;
use crate::site::Site;

struct Certificate {
    directory: tempfile::TempDir,
}

impl Certificate {
    fn make(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut parameters = CertificateParams::new([name.to_owned()]).expect("a name");
        change(&mut parameters);
        let key = KeyPair::generate().expect("randomness");
        let made = parameters.self_signed(&key).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("site.pem"), made.pem()).expect("written");
        std::fs::write(directory.path().join("site.key"), key.serialize_pem()).expect("written");
        Self { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn site(&self) -> Site {
        let certificate =
            CertificateSource::Files { chain: self.file("site.pem"), key: self.file("site.key") };
        Site::with(|settings| settings.tls = Some(Tls { certificate, extended_protection: Protection::Off }))
    }

    /// What a client that trusts this certificate finds.
    fn trusted(&self, site: &Site) -> Report {
        let ca = self.file("site.pem").display().to_string();
        doctor(&[&site.url(), "--ca", &ca])
    }
}

#[test]
fn a_sound_certificate() {
    let certificate = Certificate::make("127.0.0.1", |_| ());
    let site = certificate.site();
    let report = certificate.trusted(&site);
    report.has("tls", "fine", "completes a handshake with TLS 1.3");
    report.has("tls-versions", "fine", "TLS 1.0 and 1.1 are off");
    report.has("certificate-chain", "fine", "trusts the chain of 1 certificate");
    report.has("certificate-name", "fine", "the certificate is for 127.0.0.1");
    report.has("certificate-dates", "fine", "valid until");
    report.has("certificate-key", "fine", "ECDSA, 256 bits");
    report.has("http2", "fine", "HTTP/2 is not offered");
    // Of the same name it would be taken for the authority.
    let other = Certificate::make("other.test", |parameters| {
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "other");
    });
    other.trusted(&site).has("certificate-chain", "broken", "does not trust the chain of 1 certificate");
}

#[test]
fn a_certificate_for_another_name() {
    let certificate = Certificate::make("web.corp.test", |_| ());
    let report = certificate.trusted(&certificate.site());
    report.has("certificate-name", "broken", "not for 127.0.0.1, but for web.corp.test");
    report.has("certificate-chain", "fine", "trusts");
}

#[test]
fn certificates_out_of_their_time() {
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(5 * 24 * 3600);
    for (from, until, severity, saw) in [
        (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1), "broken", "expired at 2021-01-01T00:00:00Z"),
        (date_time_ymd(2999, 1, 1), date_time_ymd(3000, 1, 1), "broken", "is not valid before 2999-01-01"),
        (date_time_ymd(2020, 1, 1), soon.into(), "warning", "expires at "),
    ] {
        let certificate = Certificate::make("127.0.0.1", |parameters| {
            (parameters.not_before, parameters.not_after) = (from, until);
        });
        let report = certificate.trusted(&certificate.site());
        report.has("certificate-dates", severity, saw);
    }
}

#[test]
fn plain_http_where_tls_is_expected_and_the_other_way_round() {
    let site = Site::with(|_| ());
    let report = doctor(&[&site.url().replace("http:", "https:"), "--insecure", "--timeout=2s"]);
    report.has("tls", "broken", "completes no TLS handshake");
    let site = Certificate::make("127.0.0.1", |_| ()).site();
    let report = doctor(&[&site.url().replace("https:", "http:")]);
    report.has("protected", "broken", "");
}

#[test]
fn http_2_where_windows_authentication_needs_http_1() {
    let report = doctor(&[&format!("https://{}/", with_h2()), "--insecure"]);
    report.has("http2", "warning", "HTTP/2 is offered (ALPN h2)");
}

/// A server that offers HTTP/2 and speaks HTTP/1.1 to those who ask for that.
fn with_h2() -> SocketAddr {
    let key = KeyPair::generate().expect("randomness");
    let made =
        CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name").self_signed(&key).expect("made");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let session = ServerConnection::new(config).expect("a session");
                let mut stream = StreamOwned::new(session, stream);
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    if stream.write_all(UNAUTHORIZED.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
