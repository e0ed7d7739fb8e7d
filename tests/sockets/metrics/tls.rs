//! TLS handshakes by how they went, with clients and with servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

use super::Metrics;
use crate::admin::{Admin, start};
use crate::support::{Authority, Identity, Launch, Peer, Server, TlsPeer, exchange, wait_until};

const COMPLETED: (&str, &str) = ("iisplice_tls_handshakes_total", "kind");
const FAILED: (&str, &str) = ("iisplice_tls_handshake_failures_total", "reason");

/// A record of a handshake whose message has a type that there is not.
const NO_MESSAGE: &[u8] = b"\x16\x03\x01\x00\x08\xfe\x00\x00\x04oops";

/// The numbers of a side by their words.
fn counts(admin: &Admin, (name, label): (&str, &str), side: &str) -> BTreeMap<String, u64> {
    let metrics = Metrics::of(admin);
    let all = metrics.by(name, label);
    let of_side = |word: String| {
        let count = metrics.sum(name, &[(label, &word), ("side", side)]);
        (word, count)
    };
    all.into_keys().map(of_side).filter(|(_, count)| *count > 0).collect()
}

fn expect(admin: &Admin, what: (&str, &str), side: &str, expected: &[(&str, u64)]) {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
    // A handshake is counted after its peer knows how it went.
    wait_until(&format!("{} of the {side} to be {expected:?}", what.0), || {
        counts(admin, what, side) == expected
    });
}

#[test]
fn handshakes_of_clients_are_counted_by_how_they_went() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let front = Identity::make(directory.path(), "front", &["front.test"]);
    let server = Server::v4();
    let flags = format!("{} --tls-min-version 1.3", front.flags());
    let (proxy, admin) = start(Launch::to(server.address()).flags(&flags));
    assert_eq!(Metrics::of(&admin).count(FAILED.0, &[]), 0, "no line without a handshake");
    let config = Arc::new(front.client_of(&[&TLS13], None));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let client = TlsPeer::connect(proxy.address(), &config, "front.test");
        exchange(&client.plain, &server.accept());
        assert_eq!(client.facts().kind, kind);
    }
    expect(&admin, COMPLETED, "client", &[("full", 1), ("resumed", 2)]);
    // Balancers look whether the port is open.
    drop(Peer::connect(proxy.address()));
    let within = Peer::connect(proxy.address());
    within.send(&NO_MESSAGE[..3]);
    drop(within);
    expect(&admin, FAILED, "client", &[("ended", 1)]);
    let broken = Peer::connect(proxy.address());
    broken.send(&NO_MESSAGE[..3]);
    broken.reset();
    expect(&admin, FAILED, "client", &[("ended", 1), ("failed", 1)]);
    let plain = Peer::connect(proxy.address());
    plain.send(b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n");
    let malformed = Peer::connect(proxy.address());
    malformed.send(NO_MESSAGE);
    let old = Arc::new(front.client_of(&[&TLS12], None));
    TlsPeer::connect(proxy.address(), &old, "front.test").failure();
    let other = Identity::make(directory.path(), "other", &["front.test"]);
    TlsPeer::connect(proxy.address(), &Arc::new(other.client(None)), "front.test").failure();
    let reasons = [
        ("alert", 1),
        ("ended", 1),
        ("failed", 1),
        ("malformed", 1),
        ("not-tls", 1),
        ("nothing-in-common", 1),
    ];
    expect(&admin, FAILED, "client", &reasons);
    expect(&admin, COMPLETED, "client", &[("full", 1), ("resumed", 2)]);
    expect(&admin, COMPLETED, "upstream", &[]);
    assert_eq!(Metrics::of(&admin).sum("iisplice_connections_refused_total", &[("cause", "tls-client")]), 6);
}

#[test]
fn clients_without_the_certificate_that_is_demanded_are_counted() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let front = Identity::make(directory.path(), "front", &["front.test"]);
    let authority = Authority::make(directory.path(), "authority");
    let server = Server::v4();
    let flags = format!("{} --tls-client-ca {}", front.flags(), authority.certificate.display());
    let (proxy, admin) = start(Launch::to(server.address()).flags(&flags));
    let stranger = Identity::make(directory.path(), "stranger", &["stranger"]);
    for own in [None, Some(&stranger)] {
        TlsPeer::connect(proxy.address(), &Arc::new(front.client(own)), "front.test").failure();
    }
    expect(&admin, FAILED, "client", &[("certificate", 2)]);
}

#[test]
fn handshakes_with_servers_are_counted_by_how_they_went() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let back = Identity::make(directory.path(), "back", &["back.test"]);
    let server = Server::v4();
    let flags = format!(
        "--upstream-tls --upstream-name back.test --upstream-ca {} --connect-timeout 1s --eject-after 0",
        back.certificate.display()
    );
    let (proxy, admin) = start(Launch::to(server.address()).flags(&flags));
    let config = back.server(None);
    for _ in 0..3 {
        let client = Peer::connect(proxy.address());
        exchange(&client, &TlsPeer::serve(server.accept(), &config).plain);
    }
    expect(&admin, COMPLETED, "upstream", &[("full", 1), ("resumed", 2)]);
    assert_eq!(Metrics::of(&admin).count(FAILED.0, &[("side", "client")]), 0);

    let mut reasons = BTreeMap::new();
    let mut fail = |reason: &'static str, act: &dyn Fn(Peer)| {
        let client = Peer::connect(proxy.address());
        act(server.accept());
        client.expect_end();
        *reasons.entry(reason).or_default() += 1;
        let expected: Vec<(&str, u64)> = reasons.iter().map(|(reason, count)| (*reason, *count)).collect();
        expect(&admin, FAILED, "upstream", &expected);
    };
    let hello = |peer: &Peer| assert_ne!(peer.receive(&mut [0; 4096]).expect("a hello"), 0);
    fail("ended", &|peer| hello(&peer));
    fail("failed", &|peer| {
        hello(&peer);
        peer.reset();
    });
    let stay = |peer: Peer| while !matches!(peer.receive(&mut [0; 4096]), Ok(0) | Err(_)) {};
    fail("timed-out", &stay);
    fail("not-tls", &|peer| {
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        stay(peer);
    });
    let other = Identity::make(directory.path(), "other", &["back.test"]).server(None);
    fail("certificate", &|peer| _ = TlsPeer::serve(peer, &other).failure());
    let old = back.server_with(&[&TLS12], &back);
    assert_eq!(Metrics::of(&admin).sum("iisplice_upstream_connect_failures_total", &[("cause", "tls")]), 5);
    let client = Peer::connect(proxy.address());
    exchange(&client, &TlsPeer::serve(server.accept(), &old).plain);
    expect(&admin, COMPLETED, "upstream", &[("full", 2), ("resumed", 2)]);
}
