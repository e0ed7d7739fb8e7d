//! Handshakes with upstreams: which servers are taken, and what becomes of a client whose server is not.

use std::cell::RefCell;

use rcgen::{BasicConstraints, CertificateParams, IsCa};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, SupportedProtocolVersion};

use super::Bed;
use crate::support::{Identity, Launch, Peer, Server, TlsPeer, WireEnd, exchange, refusing, wait_until};

#[test]
fn an_upstream_without_a_sound_handshake_is_told_why_not() {
    let bed = Bed::new();
    let proxy = bed.with_back(Launch::to(bed.server.address())).flags("--connect-timeout 300ms").start();
    let log = |end: &str, nth: usize| {
        let records = proxy.records(nth);
        records[nth - 1].expect_end(end);
        assert_eq!(records[nth - 1].get("upstream"), bed.server.address());
    };

    let client = Peer::connect(proxy.address());
    let other = TlsPeer::serve(bed.server.accept(), &bed.front.server(None));
    client.expect_close();
    assert!(other.failure().contains("received fatal alert"), "the server hears of it");
    log("tls-upstream", 1);
    proxy.wait_to_say("invalid peer certificate: UnknownIssuer");

    let client = Peer::connect(proxy.address());
    let plain = bed.server.accept();
    plain.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    client.expect_close();
    log("tls-upstream", 2);
    proxy.wait_to_say("received bytes are not TLS");

    let client = Peer::connect(proxy.address());
    let silent = bed.server.accept();
    client.expect_close();
    log("tls-upstream", 3);
    proxy.wait_to_say("handshake not complete within 300ms");
    drop(silent);

    let client = Peer::connect(proxy.address());
    exchange(&client, &bed.accept_tls().plain);
}

/// Closed in order, its connection would go on holding a source port.
#[test]
fn an_upstream_whose_client_leaves_within_the_handshake_is_reset() {
    let bed = Bed::new();
    let proxy = bed.with_back(Launch::to(bed.server.address())).start();
    let client = Peer::connect(proxy.address());
    let silent = bed.server.accept();
    client.finish();
    silent.expect_reset();
    proxy.record().expect_end("client-left");
}

#[test]
fn an_upstream_whose_handshake_fails_is_passed_over() {
    let bed = Bed::new();
    let (stranger, plain) = (Server::v4(), Server::v4());
    let flags = format!("--upstream {} --upstream {}", plain.address(), bed.server.address());
    let proxy = bed.with_back(Launch::to(stranger.address())).flags(&flags).start();

    let client = Peer::connect(proxy.address());
    client.send(b"once");
    let refused = TlsPeer::serve(stranger.accept(), &bed.front.server(None));
    assert!(refused.failure().contains("received fatal alert"), "the server hears of it");
    let not_tls = plain.accept();
    not_tls.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    not_tls.expect_close();
    let upstream = bed.accept_tls();
    upstream.plain.expect(b"once");
    exchange(&client, &upstream.plain);
    drop(client);
    upstream.expect_wire_end(WireEnd::CloseNotify);
    drop(upstream);
    let record = proxy.record();
    record.expect_end("client-close");
    assert_eq!(record.get("upstream"), bed.server.address());
    assert_eq!(record.bytes("to_upstream_bytes"), 7);
    for (server, reason) in [(&stranger, "UnknownIssuer"), (&plain, "received bytes are not TLS")] {
        let line = proxy.wait_to_say(reason);
        assert!(line.contains("server TLS handshake failed") && line.contains(server.address()), "{line}");
        server.expect_no_connection();
    }
    proxy.wait_until_idle();
}

#[test]
fn each_upstream_is_tried_once_and_the_last_one_says_how_it_ends() {
    let bed = Bed::new();
    let others = [Server::v4(), Server::v4()];
    let serve = |server: &Server| TlsPeer::serve(server.accept(), &bed.front.server(None));
    let flags = format!("--upstream {} --mode http --log-level debug", others[1].address());
    let proxy = bed.with_back(Launch::to(others[0].address())).flags(&flags).start();
    let client = Peer::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let tried = others.each_ref().map(serve);
    client.expect(b"HTTP/1.1 502 Bad Gateway\r\n");
    client.expect_close();
    for (server, tried) in others.iter().zip(tried) {
        assert!(tried.failure().contains("received fatal alert"), "{}", server.address());
        server.expect_no_connection();
    }
    assert!(proxy.wait_to_say("session ended").contains("end=\"tls-upstream\""));

    let (_port, refusing) = refusing();
    let flags = format!("--upstream {refusing}");
    let proxy = bed.with_back(Launch::to(others[0].address())).flags(&flags).start();
    let client = Peer::connect(proxy.address());
    let tried = serve(&others[0]);
    client.expect_close();
    drop(tried);
    let record = proxy.record();
    record.expect_end("refused");
    assert_eq!((record.get("upstream"), record.get("connect_ms")), ("-", "-"), "no upstream took it");
    proxy.wait_until_idle();
}

#[test]
fn a_client_that_leaves_during_the_upstreams_handshake_ends_it() {
    let bed = Bed::new();
    let proxy = bed.with_back(Launch::to(bed.server.address())).flags("--connect-timeout 1h").start();
    let client = Peer::connect(proxy.address());
    let silent = bed.server.accept();
    drop(client);
    silent.expect_close();
    proxy.record().expect_end("client-left");
    proxy.wait_until_idle();
}

#[test]
fn any_certificate_is_taken_where_that_is_wanted() {
    let bed = Bed::new();
    let flags = "--upstream-tls --upstream-insecure";
    let proxy = Launch::to(bed.server.address()).flags(flags).start();
    let client = Peer::connect(proxy.address());
    exchange(&client, &bed.accept_tls().plain);
    proxy.wait_to_say("--upstream-insecure");
}

/// Connects a client by `--upstream-ca` to a server with a certificate, and says what is wrong with that.
fn through_pin(
    bed: &Bed,
    pin: &Identity,
    shown: &Identity,
    version: &'static SupportedProtocolVersion,
) -> Option<String> {
    let flags =
        format!("--upstream-tls --upstream-name back.test --upstream-ca {}", pin.certificate.display());
    let proxy = Launch::to(bed.server.address()).flags(&flags).start();
    let client = Peer::connect(proxy.address());
    let server = TlsPeer::serve(bed.server.accept(), &shown.server_with(&[version], shown));
    client.send(b"ask");
    let mut answer = [0; 3];
    if server.plain.receive(&mut answer).is_ok_and(|bytes| bytes > 0) {
        server.plain.send(b"answer");
        client.expect(b"answer");
        return None;
    }
    client.expect_close();
    Some(proxy.wait_to_say("server TLS handshake failed"))
}

#[test]
fn a_servers_own_certificate_is_a_pin() {
    let bed = Bed::new();
    let directory = bed.directory.path();
    let authority = |parameters: &mut CertificateParams| {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    let pin = Identity::with(directory, "pin", &["back.test"], authority);
    let common_name = Identity::with(directory, "back.test", &[], authority);
    let another = Identity::with(directory, "another", &["back.test"], authority);
    let other_name = Identity::with(directory, "other", &["other.test"], authority);
    let other_common_name = Identity::with(directory, "other.test", &[], authority);
    let expired = Identity::with(directory, "expired", &["back.test"], |parameters| {
        authority(parameters);
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    for version in [&TLS12, &TLS13] {
        for sound in [&pin, &common_name] {
            assert_eq!(through_pin(&bed, sound, sound, version), None);
        }
    }
    for (pinned, shown, reason) in [
        (&pin, &another, "trust exactly that one (setting upstream-ca)"),
        (&pin, &bed.back, "UnknownIssuer"),
        (&other_name, &other_name, "not valid for name"),
        (&other_common_name, &other_common_name, "not valid for name"),
        (&expired, &expired, "expired"),
    ] {
        let said = through_pin(&bed, pinned, shown, &TLS13).expect("it is refused");
        assert!(said.contains(reason), "expected {reason:?} in: {said}");
    }
    // In a certificate of version 1 the common name is all there is.
    std::fs::create_dir(directory.join("old")).expect("the directory is ours");
    let old = Identity::version_1(&directory.join("old"), "back.test");
    for version in [&TLS12, &TLS13] {
        assert_eq!(through_pin(&bed, &old, &old, version), None);
    }
}

#[test]
fn certificates_of_version_1_are_taken_where_any_is() {
    let bed = Bed::new();
    let old = Identity::version_1(bed.directory.path(), "old");
    for version in [&TLS12, &TLS13] {
        let proxy = Launch::to(bed.server.address()).flags("--upstream-tls --upstream-insecure").start();
        let client = Peer::connect(proxy.address());
        let server = TlsPeer::serve(bed.server.accept(), &old.server_with(&[version], &old));
        exchange(&client, &server.plain);
        drop((client, server));

        // It is still held to the key of the certificate that it shows.
        for shown in [&old, &bed.back] {
            let client = Peer::connect(proxy.address());
            let _server = TlsPeer::serve(bed.server.accept(), &shown.server_with(&[version], &bed.front));
            client.expect_close();
        }
        proxy.wait_to_say_times("BadSignature", 2);
    }
}

#[test]
fn sessions_with_upstreams_are_resumed() {
    let bed = Bed::new();
    let proxy = bed.with_back(Launch::to(bed.server.address())).start();
    let config = bed.back.server(None);
    let kinds: Vec<_> = (0..4)
        .map(|_| {
            let client = Peer::connect(proxy.address());
            let upstream = TlsPeer::serve(bed.server.accept(), &config);
            exchange(&client, &upstream.plain);
            upstream.facts().kind
        })
        .collect();
    assert_eq!(kinds[0], HandshakeKind::Full);
    assert_eq!(kinds[3], HandshakeKind::Resumed);
}

#[test]
fn an_upstream_whose_handshakes_fail_is_left_out() {
    let bed = Bed::new();
    let broken = Server::v4();
    let flags = format!("--upstream {} --eject-time 1h --eject-time-max 1h", bed.server.address());
    let proxy = bed.with_back(Launch::to(broken.address())).flags(&flags).start();
    let mut failures = 0;
    for _ in 0..12 {
        let client = Peer::connect(proxy.address());
        client.send(b"x");
        wait_until("the good server to get the connection", || {
            if let Some(broken) = broken.try_accept() {
                failures += 1;
                broken.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                broken.expect_close();
            }
            let Some(good) = bed.server.try_accept() else { return false };
            let good = TlsPeer::serve(good, &bed.back.server(None));
            good.plain.expect(b"x");
            exchange(&client, &good.plain);
            true
        });
    }
    assert_eq!(failures, 3, "handshakes that failed before the server was left out (left)");
    assert!(proxy.wait_to_say("server ejected").contains(broken.address()));
}

#[test]
fn an_ejected_upstream_gets_one_trial_connection_before_it_gets_others() {
    let bed = Bed::new();
    let silent = Server::v4();
    let flags = format!(
        "--upstream {} --connect-timeout 1h --eject-after 1 --eject-time 300ms",
        bed.server.address()
    );
    let proxy = bed.with_back(Launch::to(silent.address())).flags(&flags).start();
    let connect = || {
        let client = Peer::connect(proxy.address());
        client.send(b"x");
        client
    };
    // Ejected by its first handshake, then silent: the trial goes on as long as the test wants.
    let first = connect();
    silent.accept().reset();
    let upstream = bed.accept_tls();
    upstream.plain.expect(b"x");
    exchange(&first, &upstream.plain);
    proxy.wait_to_say("server ejected");
    let served = RefCell::new(Vec::new());
    let serve_good = || {
        let Some(good) = bed.server.try_accept() else { return false };
        let good = TlsPeer::serve(good, &bed.back.server(None));
        good.plain.expect(b"x");
        good.plain.send(b"y");
        served.borrow_mut().push(good);
        true
    };
    let mut waiting = Vec::new();
    let mut trial = None;
    wait_until("a trial connection", || {
        waiting.push(connect());
        wait_until("a server to get the connection", || {
            trial = silent.try_accept();
            trial.is_some() || serve_good()
        });
        trial.is_some()
    });
    for _ in 0..6 {
        waiting.push(connect());
        wait_until("the good server to get the connection", serve_good);
    }
    silent.expect_no_connection();
    // The client of the trial leaves: another one tries.
    waiting.into_iter().for_each(Peer::reset);
    let mut others = Vec::new();
    wait_until("another trial connection", || {
        others.push(connect());
        serve_good();
        silent.try_accept().is_some()
    });
    drop(trial);
}

#[test]
fn a_check_proves_the_certificate_that_sessions_ask_for() {
    let bed = Bed::new();
    let stranger = Server::v4();
    let flags =
        format!("--upstream {} --health http --health-timeout 20s --health-fall 1", bed.server.address());
    let proxy = bed.with_back(Launch::to(stranger.address())).flags(&flags).start();
    let refused = TlsPeer::serve(stranger.accept(), &bed.front.server(None));
    assert!(refused.failure().contains("received fatal alert"), "the server hears of it");
    let line = proxy.wait_to_say("server is unhealthy; not using it");
    assert!(line.contains(stranger.address()) && line.contains("UnknownIssuer"), "{line}");
    let checked = bed.accept_tls();
    checked.plain.expect(b"GET / HTTP/1.1\r\n");
    checked.plain.send(b"HTTP/1.1 200 OK\r\n\r\n");
    for _ in 0..3 {
        let client = Peer::connect(proxy.address());
        client.send(b"x");
        let good = bed.accept_tls();
        good.plain.expect(b"x");
        exchange(&client, &good.plain);
    }
}
