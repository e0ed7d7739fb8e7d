//! `--mode http` with TLS on either side: what becomes of a request where TLS ends it.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use super::Bed;
use crate::support::{Launch, Peer, Proxy, TlsPeer};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn start(launch: Launch) -> Proxy {
    launch.flags("--mode http --forwarded off --log-level debug").start()
}

/// One exchange; the reply's field is changed on its way.
fn expect_changed(client: &Peer, upstream: &Peer, field: &str, expected: &str) {
    client.send(GET);
    upstream.expect(GET);
    let reply = |field: &str| format!("HTTP/1.1 302 Found\r\n{field}\r\nContent-Length: 0\r\n\r\n");
    upstream.send(reply(field).as_bytes());
    client.expect(reply(expected).as_bytes());
}

#[test]
fn redirects_lead_back_to_where_tls_ends() {
    let bed = Bed::new();
    let proxy = start(bed.terminated().flags("--rewrite-redirects"));
    let client = bed.connect(&proxy);
    let port = bed.server.address().rsplit(':').next().unwrap_or_default().to_owned();
    client.plain.send(GET);
    let upstream = bed.server.accept();
    upstream.expect(GET);
    upstream.send(OK);
    client.plain.expect(OK);
    for (reference, expected) in [
        ("http://web/a", "https://web/a"),
        ("http://web:80/a", "https://web/a"),
        ("http://web:443/a", "https://web/a"),
        (&format!("http://web:{port}/a"), "https://web/a"),
        (&format!("https://web:{port}/a"), "https://web/a"),
        (&format!("http://{}/a", bed.server.address()), "https://web/a"),
        ("https://web/a", "https://web/a"),
        ("https://login.example/a", "https://login.example/a"),
        ("http://login.example/a", "http://login.example/a"),
    ] {
        let [sent, expected] = [reference, expected].map(|reference| format!("Location: {reference}"));
        expect_changed(&client.plain, &upstream, &sent, &expected);
    }
}

#[test]
fn cookies_are_secure_where_tls_ends() {
    let bed = Bed::new();
    let proxy = start(bed.terminated().flags("--secure-cookies"));
    let client = bed.connect(&proxy);
    client.plain.send(GET);
    let upstream = bed.server.accept();
    upstream.expect(GET);
    upstream.send(OK);
    client.plain.expect(OK);
    for (cookie, expected) in [
        ("Set-Cookie: a=b", "Set-Cookie: a=b; Secure"),
        (
            "set-cookie: a=secure; Path=/secure; HttpOnly",
            "set-cookie: a=secure; Path=/secure; HttpOnly; Secure",
        ),
        ("Set-Cookie: a=b; path=/; sEcure; HttpOnly", "Set-Cookie: a=b; path=/; sEcure; HttpOnly"),
        ("Set-Cookie: a=b\r\nSet-Cookie: c=d", "Set-Cookie: a=b; Secure\r\nSet-Cookie: c=d; Secure"),
        ("Set-Cookie: a=\"b; Secure\"", "Set-Cookie: a=\"b; Secure\"; Secure"),
        ("X-Cookie: a=b", "X-Cookie: a=b"),
    ] {
        expect_changed(&client.plain, &upstream, cookie, expected);
    }
    let proxy = start(bed.terminated());
    let client = bed.connect(&proxy);
    client.plain.send(GET);
    let upstream = bed.server.accept();
    upstream.expect(GET);
    upstream.send(OK);
    client.plain.expect(OK);
    expect_changed(&client.plain, &upstream, "Set-Cookie: a=b", "Set-Cookie: a=b");
}

#[test]
fn server_name_and_host_lead_to_one_group() {
    let bed = Bed::new();
    let other = crate::support::Server::v4();
    let routes = format!(
        "--host-route front.test={} --host-route other.test={}",
        bed.server.address(),
        other.address()
    );
    let proxy = start(Launch::by_routes().flags(&bed.front.flags()).flags(&routes));
    let request = |host: &str| format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let client = bed.connect(&proxy);
    client.plain.send(&request("front.test"));
    let upstream = bed.server.accept();
    upstream.expect(&request("front.test"));
    upstream.send(OK);
    client.plain.expect(OK);
    for host in ["other.test", "unknown.test"] {
        let client = bed.connect(&proxy);
        client.plain.send(&request(host));
        client.plain.expect(b"HTTP/1.1 421 Misdirected Request\r\n");
        client.plain.expect_close();
    }
    other.expect_no_connection();
    bed.server.expect_no_connection();
    proxy.wait_to_say("and the TLS server name \"front.test\" lead to different groups");
}

/// A request for this path of this host.
fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

#[test]
fn each_connection_of_a_bridged_client_has_tls_of_its_own() {
    let bed = Bed::new();
    let other = crate::support::Server::v4();
    let accept_other = || TlsPeer::serve(other.accept(), &bed.back.server(None));
    let route = format!("--path-route /api={}", other.address());
    let proxy = start(bed.with_back(bed.terminated()).flags(&route));
    // The look at their certificates.
    bed.accept_tls().facts();
    accept_other().facts();
    let client = bed.connect(&proxy);
    let mut upstreams = Vec::new();
    for (accept, path) in [(&(|| bed.accept_tls()) as &dyn Fn() -> TlsPeer, "/"), (&accept_other, "/api")] {
        client.plain.send(&get("front.test", path));
        let upstream = accept();
        upstream.plain.expect(&get("front.test", path));
        upstream.plain.send(OK);
        client.plain.expect(OK);
        upstreams.push(upstream);
    }
    for _ in 0..3 {
        for (upstream, path) in upstreams.iter().zip(["/", "/api"]) {
            client.plain.send(&get("front.test", path));
            upstream.plain.expect(&get("front.test", path));
            upstream.plain.send(OK);
            client.plain.expect(OK);
        }
    }
    // Idle, the first one announces its end: the next request goes out on another.
    upstreams.remove(0).plain.finish();
    client.plain.send(&get("front.test", "/api"));
    upstreams[0].plain.expect(&get("front.test", "/api"));
    upstreams[0].plain.send(OK);
    client.plain.expect(OK);
    client.plain.send(&get("front.test", "/again"));
    let again = bed.accept_tls();
    again.plain.expect(&get("front.test", "/again"));
    again.plain.send(OK);
    client.plain.expect(OK);
    client.plain.finish();
    again.plain.expect_end();
    upstreams[0].plain.expect_end();
}

#[test]
fn server_name_and_host_lead_a_path_to_one_group() {
    let bed = Bed::new();
    let [api, other] = [(); 2].map(|()| crate::support::Server::v4());
    let routes = format!(
        "--host-route front.test={web} --host-route front.test/api={api} --host-route other.test={other} \
         --host-route other.test/api={api}",
        web = bed.server.address(),
        api = api.address(),
        other = other.address()
    );
    let proxy = start(Launch::by_routes().flags(&bed.front.flags()).flags(&routes));
    let client = bed.connect(&proxy);
    for (host, path) in [("other.test", "/api"), ("front.test", "/api/x")] {
        client.plain.send(&get(host, path));
    }
    let at_api = api.accept();
    for (host, path) in [("other.test", "/api"), ("front.test", "/api/x")] {
        at_api.expect(&get(host, path));
        at_api.send(OK);
        client.plain.expect(OK);
    }
    client.plain.send(&get("other.test", "/"));
    client.plain.expect(b"HTTP/1.1 421 Misdirected Request\r\n");
    client.plain.expect_close();
    other.expect_no_connection();
    bed.server.expect_no_connection();
}

#[test]
fn an_alert_of_the_server_behind_the_handshake_is_named_and_a_502() {
    let bed = Bed::new();
    let proxy = start(bed.with_back(Launch::to(bed.server.address())));
    let client = Peer::connect(proxy.address());
    client.send(GET);
    // It demands a certificate, and hears that there is none when the client takes the handshake for done (TLS 1.3).
    let server = TlsPeer::serve(bed.server.accept(), &bed.back.server(Some(&bed.front)));
    client.expect(b"HTTP/1.1 502 Bad Gateway\r\n");
    client.expect_close();
    drop(client);
    server.failure();
    let line = proxy.record();
    assert_eq!((line.get("status"), line.get("end")), ("502", "tls-upstream"));
    let said = proxy.wait_to_say("request refused");
    assert!(said.contains("CertificateRequired"), "{said}");
}

#[test]
fn a_client_that_sends_slowly_over_tls_reads_an_early_reply() {
    let bed = Bed::new();
    let proxy = start(bed.with_back(bed.terminated()));
    let client = bed.connect(&proxy);
    let head = b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 5000000\r\n\r\n";
    client.plain.send(head);
    let upstream = accept_request(&bed);
    upstream.plain.expect(head);
    upstream.plain.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!");
    drop(upstream);
    let piece = vec![b'x'; 250_000];
    for _ in 0..20 {
        client.plain.send(&piece);
        thread::sleep(Duration::from_millis(200));
    }
    client.plain.expect(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!");
    client.plain.expect_close();
    proxy.record().expect_end("ok");
}

/// The proxy has more of the request to send when it meets the reset, and the reply to read.
#[test]
fn a_reply_of_a_tls_server_that_reads_no_further_and_closes_comes_through() {
    let bed = Bed::new();
    let proxy = start(bed.with_back(Launch::to(bed.server.address())));
    let client = Peer::connect(proxy.address());
    client.send(b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 20000000\r\n\r\n");
    thread::scope(|scope| {
        scope.spawn(|| {
            let upstream = bed.server.accept();
            let tls = rustls::ServerConnection::new(bed.back.server(None)).expect("a server");
            let mut wire = upstream.socket();
            let mut tls = rustls::StreamOwned::new(tls, &mut wire);
            let mut first = [0];
            tls.read_exact(&mut first).expect("the request's first byte");
            // By then neither side has room for more of the request.
            thread::sleep(Duration::from_millis(500));
            tls.write_all(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!")
                .expect("room for a reply");
        });
        client.socket().write_all(&vec![b'x'; 20_000_000]).expect("the proxy hears the client out");
    });
    client.expect(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!");
    client.expect_close();
}

#[test]
fn a_client_that_ends_tls_while_its_reply_is_awaited_has_left() {
    let bed = Bed::new();
    let proxy = start(bed.with_back(bed.terminated()));
    let client = bed.connect(&proxy);
    client.plain.send(GET);
    let upstream = accept_request(&bed);
    upstream.plain.expect(GET);
    client.plain.finish();
    upstream.plain.expect_close();
    let line = proxy.record();
    assert_eq!((line.get("status"), line.get("end")), ("499", "client-left"));
}

#[test]
fn a_client_that_asks_ahead_over_tls_has_not_left() {
    let bed = Bed::new();
    let proxy = start(bed.with_back(bed.terminated()));
    let client = bed.connect(&proxy);
    client.plain.send(&[GET, GET].concat());
    let upstream = accept_request(&bed);
    upstream.plain.expect(GET);
    client.plain.finish();
    thread::sleep(Duration::from_millis(700));
    upstream.plain.send(OK);
    client.plain.expect(OK);
    upstream.plain.expect(GET);
}

/// The next connection with TLS that a request comes over; the look at the certificate at start is none.
fn accept_request(bed: &Bed) -> TlsPeer {
    loop {
        let upstream = bed.accept_tls();
        if upstream.plain.socket().peek(&mut [std::mem::MaybeUninit::uninit()]).is_ok_and(|bytes| bytes > 0) {
            return upstream;
        }
    }
}
