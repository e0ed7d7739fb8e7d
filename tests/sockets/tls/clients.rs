//! Certificates of clients: required or not, revoked, told to servers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::version::{TLS12, TLS13};

use super::*;
use crate::support::Authority;

/// Connects with a certificate or without.
fn connect(bed: &Bed, proxy: &Proxy, own: Option<&Identity>) -> TlsPeer {
    TlsPeer::connect(proxy.address(), &Arc::new(bed.front.client(own)), "front.test")
}

fn expect_served(bed: &Bed, proxy: &Proxy, own: Option<&Identity>) {
    let client = connect(bed, proxy, own);
    exchange(&client.plain, &bed.server.accept());
}

fn expect_refused(bed: &Bed, proxy: &Proxy, own: Option<&Identity>) {
    let refused = connect(bed, proxy, own).failure();
    assert!(refused.contains("received fatal alert"), "{refused}");
    bed.server.expect_no_connection();
}

#[test]
fn a_certificate_may_be_optional_but_has_to_hold() {
    let bed = Bed::new();
    let authority = Authority::make(bed.directory.path(), "authority");
    let user = authority.sign(1);
    let stranger = Identity::make(bed.directory.path(), "stranger", &["stranger"]);
    let flags = format!("--tls-client-ca {} --tls-client-cert optional", authority.certificate.display());
    let proxy = bed.terminated().flags(&flags).start();
    for version in [&TLS12, &TLS13] {
        for own in [None, Some(&user)] {
            let config = Arc::new(bed.front.client_of(&[version], own));
            let client = TlsPeer::connect(proxy.address(), &config, "front.test");
            exchange(&client.plain, &bed.server.accept());
        }
        let config = Arc::new(bed.front.client_of(&[version], Some(&stranger)));
        let refused = TlsPeer::connect(proxy.address(), &config, "front.test").failure();
        assert!(refused.contains("received fatal alert"), "{refused}");
    }
    bed.server.expect_no_connection();
}

#[test]
fn revoked_certificates_are_refused_and_the_list_is_reloaded() {
    let bed = Bed::new();
    let authority = Authority::make(bed.directory.path(), "authority");
    let (one, two) = (authority.sign(1), authority.sign(2));
    let list = bed.directory.path().join("list.pem");
    fs::write(&list, authority.revoke(&[1], 2100)).expect("written");
    let flags =
        format!("--tls-client-ca {} --tls-client-crl {}", authority.certificate.display(), list.display());
    let proxy = bed.terminated().flags(&flags).start();
    expect_served(&bed, &proxy, Some(&two));
    expect_refused(&bed, &proxy, Some(&one));
    proxy.wait_to_say("Revoked");
    expect_refused(&bed, &proxy, None);

    // A session from before a reload is not resumed.
    let resuming = Arc::new(bed.front.client(Some(&two)));
    let client = TlsPeer::connect(proxy.address(), &resuming, "front.test");
    exchange(&client.plain, &bed.server.accept());
    fs::write(&list, authority.revoke(&[2], 2100)).expect("written");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say_times("certificates reloaded", 1);
    expect_served(&bed, &proxy, Some(&one));
    expect_refused(&bed, &proxy, Some(&two));
    TlsPeer::connect(proxy.address(), &resuming, "front.test").failure();

    // A broken file changes nothing; an old one refuses everything, and that is said.
    fs::write(&list, "no list").expect("written");
    proxy.signal(Signal::SIGHUP);
    let said = proxy.wait_to_say("cannot reload");
    assert!(said.contains("--tls-client-crl") && said.contains("contains no revocation list"), "{said}");
    expect_served(&bed, &proxy, Some(&one));
    fs::write(&list, authority.revoke(&[], 2021)).expect("written");
    proxy.signal(Signal::SIGHUP);
    let said = proxy.wait_to_say("expired at 2021-01-01");
    assert!(said.contains("the revocation list of CN=authority"), "{said}");
    expect_refused(&bed, &proxy, Some(&one));
}

#[test]
fn servers_are_told_the_certificate_and_nothing_that_a_client_says_of_it() {
    let bed = Bed::new();
    let authority = Authority::make(bed.directory.path(), "authority");
    let user = authority.sign(1);
    let flags = format!(
        "--mode http --forwarded off --tls-client-ca {} --tls-client-cert optional --client-cert-header \
         X-ARR-ClientCert --underscore-headers pass",
        authority.certificate.display()
    );
    let proxy = bed.terminated().flags(&flags).start();
    let request = "GET / HTTP/1.1\r\nHost: web\r\nx-arr-clientcert: forged\r\nX_ARR_ClientCert: forged\r\n\
                   Connection: X-ARR-ClientCert\r\n\r\n";
    let told = format!("X-ARR-ClientCert: {}\r\n", STANDARD.encode(&user.der));
    for (own, told) in [(Some(&user), &*told), (None, "")] {
        let client = connect(&bed, &proxy, own);
        client.plain.send(request.as_bytes());
        let upstream = bed.server.accept();
        for _ in 0..2 {
            upstream.expect(format!("GET / HTTP/1.1\r\nHost: web\r\n{told}\r\n").as_bytes());
            upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n");
            client.plain.expect(b"HTTP/1.1 204 No Content\r\n\r\n");
            client.plain.send(request.as_bytes());
        }
    }
    // A resumed session still has its certificate.
    let resuming = Arc::new(bed.front.client(Some(&user)));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let client = TlsPeer::connect(proxy.address(), &resuming, "front.test");
        client.plain.send(request.as_bytes());
        let upstream = bed.server.accept();
        upstream.expect(format!("GET / HTTP/1.1\r\nHost: web\r\n{told}\r\n").as_bytes());
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n");
        client.plain.expect(b"HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(client.facts().kind, kind);
    }
}

#[test]
fn flags_about_clients_certificates_that_do_not_apply_are_refused() {
    let bed = Bed::new();
    let (front, ca) = (bed.front.flags(), bed.front.certificate.display().to_string());
    for (flags, expected) in [
        (format!("{front} --tls-client-cert optional"), "--tls-client-ca"),
        (format!("{front} --tls-client-crl {ca}"), "--tls-client-ca"),
        (format!("{front} --mode http --client-cert-header X-Cert"), "--tls-client-ca"),
        (format!("{front} --tls-client-ca {ca} --client-cert-header X-Cert"), "--mode http"),
        (format!("{front} --tls-client-ca {ca} --mode http --client-cert-header Host"), "--set-host"),
        (
            format!(
                "{front} --tls-client-ca {ca} --mode http --client-cert-header X-Cert --remove-header x_cert"
            ),
            "name the same field",
        ),
        (format!("{front} --tls-client-ca {ca} --tls-client-crl {ca}"), "it contains no revocation list"),
    ] {
        let (code, said) = Launch::to("127.0.0.1:9").flags(&flags).fail();
        assert_eq!(code, Some(2), "{flags}: {said:?}");
        assert!(said.join(" ").contains(expected), "{flags}: {said:?}");
    }
}
