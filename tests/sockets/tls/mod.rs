//! TLS that ends at the proxy, that begins there, and both.

mod checks;
mod clients;
mod files;
mod own;
mod policy;
mod requests;
mod staples;
mod truncation;
mod upstreams;
mod warm;

use std::fs;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use tempfile::TempDir;

use crate::support::{
    Identity, Launch, Peer, Proxy, Random, Server, TlsPeer, both_ways, exchange, receive_pattern,
    send_pattern,
};

/// What counts as bulk.
const BYTES: u64 = 50_000_000;

/// Certificates for clients and upstreams, and a server.
struct Bed {
    directory: TempDir,
    front: Identity,
    back: Identity,
    server: Server,
}

impl Bed {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory for temporary files");
        let front = Identity::make(directory.path(), "front", &["front.test"]);
        let back = Identity::make(directory.path(), "back", &["back.test"]);
        Self { front, back, server: Server::v4(), directory }
    }

    /// TLS with clients, by these flags.
    fn terminated(&self) -> Launch {
        Launch::to(self.server.address()).flags(&self.front.flags())
    }

    /// TLS with the server, which has to be the one of `back`.
    fn with_back(&self, launch: Launch) -> Launch {
        let ca = self.back.certificate.display();
        launch.flags(&format!("--upstream-tls --upstream-name back.test --upstream-ca {ca}"))
    }

    fn client(&self) -> Arc<ClientConfig> {
        Arc::new(self.front.client(None))
    }

    fn connect(&self, proxy: &Proxy) -> TlsPeer {
        TlsPeer::connect(proxy.address(), &self.client(), "front.test")
    }

    /// The next connection to the server with TLS; the look at its certificate at start is not one.
    fn accept_tls(&self) -> TlsPeer {
        TlsPeer::serve(self.server.accept(), &self.back.server(None))
    }
}

/// Starts it, and lets the look at the upstream's certificate pass.
fn start_bridge(bed: &Bed, flags: &str) -> Proxy {
    let proxy = bed.with_back(bed.terminated()).flags(flags).start();
    let looked_at = bed.accept_tls();
    looked_at.facts();
    proxy.wait_to_say("Extended Protection");
    proxy
}

#[test]
fn bytes_arrive_both_ways_wherever_tls_is() {
    let bed = Bed::new();
    let mut random = Random::new();
    for (up, down) in [(0, 1), (1, 0), (16_383, 16_385), (16_384, 70_000), (4_000_037, 3_000_017)] {
        let terminated = bed.terminated().start();
        let client = bed.connect(&terminated);
        both_ways(&client.plain, &bed.server.accept(), up, down, &mut random);
        let record = terminated.record();
        assert_eq!((record.bytes("to_upstream_bytes"), record.bytes("to_client_bytes")), (up, down));
        terminated.wait_until_idle();

        let originated = bed.with_back(Launch::to(bed.server.address())).start();
        let client = Peer::connect(originated.address());
        both_ways(&client, &bed.accept_tls().plain, up, down, &mut random);
        originated.wait_until_idle();

        let bridge = start_bridge(&bed, "--buffer-size 1KiB --buffers 2");
        let client = bed.connect(&bridge);
        both_ways(&client.plain, &bed.accept_tls().plain, up, down, &mut random);
        let record = bridge.record();
        assert_eq!((record.bytes("to_upstream_bytes"), record.bytes("to_client_bytes")), (up, down));
    }
}

#[test]
fn bulk_arrives_through_a_bridge() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, "");
    let client = bed.connect(&proxy);
    let upstream = bed.accept_tls();
    thread::scope(|scope| {
        scope.spawn(|| send_pattern(&upstream.plain, BYTES, None));
        receive_pattern(&client.plain, BYTES, None);
    });
    client.plain.finish();
    let record = proxy.record();
    record.expect_end("upstream-close");
    assert_eq!(record.bytes("to_client_bytes"), BYTES);
}

#[test]
fn half_closed_connections_go_on() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, "");
    for clients_turn in [true, false] {
        let (client, upstream) = (bed.connect(&proxy), bed.accept_tls());
        exchange(&client.plain, &upstream.plain);
        let (one, other) = if clients_turn { (&client, &upstream) } else { (&upstream, &client) };
        one.plain.send(b"last words");
        one.plain.finish();
        other.plain.expect(b"last words");
        other.plain.expect_end();
        for turn in 0..10 {
            let message = vec![turn; 1 << turn];
            other.plain.send(&message);
            one.plain.expect(&message);
            thread::sleep(Duration::from_millis(10));
        }
        other.plain.finish();
        one.plain.expect_end();
    }
    let ends: Vec<_> = proxy.records(2).iter().map(|record| record.get("end").to_owned()).collect();
    assert_eq!(ends, ["client-close", "upstream-close"]);
}

#[test]
fn an_end_without_a_goodbye_is_an_end_where_that_is_accepted() {
    let bed = Bed::new();
    let proxy = bed.terminated().flags("--tls-missing-close-notify accept").start();
    let wire = Peer::connect(proxy.address());
    let socket = wire.socket().try_clone().expect("a descriptor");
    let client = TlsPeer::over(wire, &bed.client(), "front.test");
    let upstream = bed.server.accept();
    exchange(&client.plain, &upstream);
    // The connection's end, and nothing of TLS before it.
    socket.shutdown(Shutdown::Write).expect("the connection is alive");
    upstream.expect_end();
    upstream.send(b"still");
    client.plain.expect(b"still");
    upstream.finish();
    client.plain.expect_end();
    proxy.record().expect_end("client-close");
}

#[test]
fn a_reset_is_passed_on() {
    let bed = Bed::new();
    let proxy = bed.terminated().start();

    let client = bed.connect(&proxy);
    let upstream = bed.server.accept();
    exchange(&client.plain, &upstream);
    upstream.reset();
    let error = client.failure();
    assert!(error.contains("reset"), "{error}");
    proxy.record().expect_end("upstream-reset");
    proxy.wait_until_idle();

    let proxy = bed.with_back(Launch::to(bed.server.address())).start();
    let client = Peer::connect(proxy.address());
    let upstream = bed.accept_tls();
    exchange(&client, &upstream.plain);
    client.reset();
    let error = upstream.failure();
    assert!(error.contains("reset"), "{error}");
    proxy.record().expect_end("client-reset");
    proxy.wait_until_idle();
}

#[test]
fn http_1_1_is_all_there_is() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, "");
    let with = |protocols: &[&str]| {
        let mut config = bed.front.client(None);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsPeer::connect(proxy.address(), &Arc::new(config), "front.test")
    };
    let http = Some(b"http/1.1".to_vec());
    assert_eq!(with(&["h2", "http/1.1"]).facts().alpn, http);
    let mut offered = Arc::unwrap_or_clone(bed.back.server(None));
    offered.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let upstream = TlsPeer::serve(bed.server.accept(), &Arc::new(offered)).facts();
    assert_eq!((upstream.alpn, upstream.server_name.as_deref()), (http, Some("back.test")));
    assert_eq!(with(&[]).facts().alpn, None);
    let refused = with(&["h2"]).failure();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    proxy.wait_to_say("client TLS handshake failed");
}

#[test]
fn sessions_are_resumed_by_every_worker_and_both_versions() {
    let bed = Bed::new();
    let proxy = bed.terminated().flags("--workers 2 --no-pin").start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(bed.front.client_of(&[version], None));
        let kinds: Vec<_> = (0..8)
            .map(|_| {
                let client = TlsPeer::connect(proxy.address(), &config, "front.test");
                let upstream = bed.server.accept();
                // Tickets come behind the handshake, with the first bytes at the latest.
                exchange(&client.plain, &upstream);
                let facts = client.facts();
                assert_eq!(facts.version, version.version);
                assert!(matches!(facts.version, ProtocolVersion::TLSv1_2 | ProtocolVersion::TLSv1_3));
                facts.kind
            })
            .collect();
        assert_eq!(kinds[0], HandshakeKind::Full);
        assert_eq!(kinds[1..], [HandshakeKind::Resumed; 7], "{version:?}");
    }
}

#[test]
fn the_name_chooses_the_certificate_and_the_server() {
    let bed = Bed::new();
    let wild = Identity::make(bed.directory.path(), "wild", &["*.wild.test", "also.test"]);
    let app = Server::v4();
    let proxy = bed
        .terminated()
        .flags(&wild.flags())
        .flags(&format!("--sni-route *.wild.test={}", app.address()))
        .start();
    for (name, identity, server) in [
        ("front.test", &bed.front, &bed.server),
        ("a.wild.test", &wild, &app),
        ("A.Wild.Test", &wild, &app),
        ("also.test", &wild, &bed.server),
    ] {
        println!("{name}");
        let client = TlsPeer::connect(proxy.address(), &Arc::new(identity.client(None)), name);
        assert_eq!(client.facts().certificate, Some(identity.der.clone()));
        exchange(&client.plain, &server.accept());
    }
    // The first one is for everybody else, who does not trust it for this name.
    let other = TlsPeer::connect(proxy.address(), &bed.client(), "other.test");
    assert!(other.failure().contains("not valid for name"), "the default certificate is shown");
    let said = proxy.wait_to_say("client TLS handshake failed");
    assert!(said.contains("received fatal alert"), "{said}");
    assert!(said.contains("the client rejects the proxy's certificate"), "{said}");
}

#[test]
fn unknown_names_are_closed_where_there_is_no_default() {
    let bed = Bed::new();
    let proxy = Launch::by_routes()
        .flags(&bed.front.flags())
        .flags(&format!("--sni-route app.test={}", bed.server.address()))
        .start();
    let client = bed.connect(&proxy);
    client.facts();
    client.plain.expect_close();
    proxy.record().expect_end("no-route");
    proxy.wait_to_say("front.test");
}

/// A client's real hello, for a name of this many bytes.
fn hello_for(config: &Arc<rustls::ClientConfig>, name_bytes: usize) -> Vec<u8> {
    let name = "front.test";
    let asked = rustls::pki_types::ServerName::try_from(name).expect("a host name");
    let mut hello = Vec::new();
    let mut client = rustls::ClientConnection::new(Arc::clone(config), asked).expect("a client");
    client.write_tls(&mut hello).expect("it fits");
    let at = hello.windows(name.len()).position(|bytes| bytes == name.as_bytes()).expect("the name");
    // What precedes the extensions: random, session id, cipher suites, compression methods.
    let session_id = 5 + 4 + 2 + 32;
    let suites = session_id + 1 + usize::from(hello[session_id]);
    let compression = suites + 2 + usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    let extensions = compression + 1 + usize::from(hello[compression]);
    let more = name_bytes - name.len();
    // The lengths of the record, the message, the extensions, the extension, the list and the name.
    for length in [3, 7, extensions, at - 7, at - 5, at - 2] {
        let longer = u16::from_be_bytes([hello[length], hello[length + 1]]) + more as u16;
        hello[length..length + 2].copy_from_slice(&longer.to_be_bytes());
    }
    hello.splice(at..at, format!("{}.", "a.".repeat(more)).bytes().take(more - 1).chain([b'.']));
    hello
}

#[test]
fn a_name_over_255_bytes_is_refused() {
    let bed = Bed::new();
    let proxy = bed.terminated().start();
    let config = Arc::new(bed.front.client(None));
    for (name_bytes, is_taken) in [(250, true), (256, false), (300, false), (10_000, false)] {
        let client = Peer::connect(proxy.address());
        client.send(&hello_for(&config, name_bytes));
        // Content types of the server's hello, and of an alert.
        client.expect(if is_taken { &[22] } else { &[21] });
        drop(client);
    }
    let said = proxy.wait_to_say_times("client TLS handshake failed", 3);
    assert!(said.iter().any(|line| line.contains("ServerName")), "{said:?}");
    bed.server.expect_no_connection();
}

#[test]
fn client_certificates_are_demanded() {
    let bed = Bed::new();
    let user = Identity::make(bed.directory.path(), "user", &["user"]);
    let stranger = Identity::make(bed.directory.path(), "stranger", &["stranger"]);
    let proxy = bed.terminated().flags(&format!("--tls-client-ca {}", user.certificate.display())).start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let with = |own| Arc::new(bed.front.client_of(&[version], own));
        let client = TlsPeer::connect(proxy.address(), &with(Some(&user)), "front.test");
        exchange(&client.plain, &bed.server.accept());
        for own in [None, Some(&stranger)] {
            let refused = TlsPeer::connect(proxy.address(), &with(own), "front.test").failure();
            assert!(refused.contains("received fatal alert"), "{refused}");
        }
    }
    let said = proxy.wait_to_say_times("client TLS handshake failed", 4);
    // A handshake may fail before that of a client who came earlier.
    for reason in ["peer sent no certificates", "invalid peer certificate"] {
        assert_eq!(said.iter().filter(|line| line.contains(reason)).count(), 2, "{reason}: {said:?}");
    }
    bed.server.expect_no_connection();
}

#[test]
fn sighup_swaps_the_certificate_and_ends_nothing() {
    let bed = Bed::new();
    let proxy = bed.terminated().start();
    let before = bed.connect(&proxy);
    let upstream = bed.server.accept();
    exchange(&before.plain, &upstream);

    fs::write(&bed.front.key, "no key").expect("written");
    proxy.signal(Signal::SIGHUP);
    let said = proxy.wait_to_say("cannot reload settings");
    assert!(said.contains("--tls-key") && said.contains("contains no private key"), "{said}");
    let client = bed.connect(&proxy);
    assert_eq!(client.facts().certificate, Some(bed.front.der.clone()));
    exchange(&client.plain, &bed.server.accept());

    let renewed = Identity::make(bed.directory.path(), "front", &["front.test"]);
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("certificates reloaded");
    let client = TlsPeer::connect(proxy.address(), &Arc::new(renewed.client(None)), "front.test");
    assert_eq!(client.facts().certificate, Some(renewed.der.clone()));
    exchange(&client.plain, &bed.server.accept());
    exchange(&before.plain, &upstream);
}

#[test]
fn what_is_no_tls_is_closed_with_the_reason_in_the_log() {
    let bed = Bed::new();
    let proxy = bed.terminated().start();
    for (sent, reason) in [
        (&b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n"[..], "received bytes are not TLS"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "received corrupt message"),
    ] {
        let client = Peer::connect(proxy.address());
        client.send(sent);
        client.expect_close();
        let line = proxy.wait_to_say(reason);
        assert!(line.contains("client TLS handshake failed"), "{line}");
    }
    let client = Peer::connect(proxy.address());
    client.send(b"\x16\x03\x01");
    client.finish();
    client.expect_close();
    proxy.wait_to_say("connection ended during the handshake");
    for record in proxy.records(3) {
        record.expect_end("tls-client");
        assert_eq!(record.get("upstream"), "-");
    }
    // A balancer's look whether the port is open.
    Peer::connect(proxy.address()).finish();
    proxy.records(4)[3].expect_end("client-left");
    proxy.wait_until_idle();
    bed.server.expect_no_connection();
}

#[test]
fn a_client_that_does_not_go_on_with_its_handshake_costs_nothing_and_is_closed() {
    let bed = Bed::new();
    let proxy = bed.terminated().start();
    let client = Peer::connect(proxy.address());
    client.send(b"\x16\x03\x01\x02\x00\x01");
    proxy.expect_sleep();
    client.expect_close();
    proxy.record().expect_end("tls-client");
    proxy.wait_to_say("handshake not complete within 10s");
}

#[test]
fn start_up_says_whether_both_legs_show_the_same_certificate() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, "");
    let line = proxy.wait_to_say("Extended Protection (channel binding) will fail");
    assert!(line.contains("WARN") && line.contains(bed.server.address()), "{line}");
    assert!(line.contains("--sni-route") && line.contains("install the same certificate"), "{line}");

    let proxy = bed.with_back(Launch::to(bed.server.address()).flags(&bed.back.flags())).start();
    bed.accept_tls().facts();
    proxy.wait_to_say("Extended Protection works");
    assert!(proxy.said("will fail").is_empty());

    let proxy = bed.terminated().start();
    proxy.wait_to_say("where IIS requires Extended Protection, logins will fail");

    // No server: nothing to compare, and no error.
    let ca = bed.back.certificate.display();
    let proxy = Launch::to("127.0.0.1:9")
        .flags(&bed.front.flags())
        .flags(&format!("--upstream-tls --upstream-ca {ca}"))
        .start();
    assert!(proxy.said("ERROR").is_empty());
}

#[test]
fn proxy_headers_come_in_clear_before_tls() {
    let bed = Bed::new();
    let proxy = bed.with_back(bed.terminated()).flags("--accept-proxy --send-proxy v1").start();
    let looked_at = bed.server.accept();
    looked_at.expect(b"PROXY UNKNOWN\r\n");
    drop(looked_at);
    let wire = Peer::connect(proxy.address());
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.9 51234 443\r\n";
    wire.send(header);
    let client = TlsPeer::over(wire, &bed.client(), "front.test");
    let upstream = bed.server.accept();
    upstream.expect(header);
    let upstream = TlsPeer::serve(upstream, &bed.back.server(None));
    exchange(&client.plain, &upstream.plain);
}

#[test]
fn files_that_cannot_be_used_are_one_line() {
    let bed = Bed::new();
    let path = |name: &str| bed.directory.path().join(name).display().to_string();
    fs::write(path("empty"), "").expect("written");
    let expired = Identity::with(bed.directory.path(), "expired", &["front.test"], |parameters| {
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let old = Identity::version_1(bed.directory.path(), "old");
    let (front, back) = (bed.front.certificate.display(), bed.back.key.display());
    for (flags, parts) in [
        (format!("--tls-cert {}", path("missing")), ["--tls-cert", "No such file"]),
        (format!("--tls-cert {}", path("empty")), ["--tls-cert", "contains no certificate"]),
        (format!("--tls-cert {front}"), ["--tls-key", "contains no private key"]),
        (format!("--tls-cert {front} --tls-key {back}"), ["--tls-key", "does not belong to --tls-cert"]),
        (old.flags(), ["--tls-cert", "the proxy's own certificate is of X.509 version 1"]),
        (
            format!("{} --tls-client-ca {}", bed.front.flags(), path("empty")),
            ["--tls-client-ca", "no certificate"],
        ),
        (
            format!("--upstream-tls --upstream-ca {}", path("empty")),
            ["--upstream-ca", "contains no certificate"],
        ),
    ] {
        let (code, said) = Launch::to("127.0.0.1:9").flags(&flags).fail();
        assert_eq!(code, Some(2), "exit code (left) of {flags}; said: {said:?}");
        let [line] = &said[..] else { panic!("expected one line, not {said:?}") };
        assert!(parts.iter().all(|part| line.contains(part)), "expected {parts:?} in: {line}");
    }
    let proxy = Launch::to("127.0.0.1:9").flags(&expired.flags()).start();
    let line = proxy.wait_to_say("the certificate expired at");
    assert!(line.contains("WARN") && line.contains("2020-01-01"), "{line}");
}
