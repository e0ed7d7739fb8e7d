//! Heads that take their time, and what comes between requests.

use nix::sys::signal::Signal;

use super::{GET, OK, acquainted, exchange, proxy};
use crate::support::{Peer, Server};

fn fields(count: u32) -> String {
    let field = |number| format!("X-{number}: a\r\n");
    (0..count).map(field).collect()
}

#[test]
fn a_head_may_have_as_many_fields_as_fit() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let fields = fields(3000);
    let request = format!("GET / HTTP/1.1\r\nHost: web\r\n{fields}\r\n");
    client.send(request.as_bytes());
    upstream.expect(request.as_bytes());
    upstream.send(OK);
    client.expect(OK);
    exchange(&client, &upstream);
}

#[test]
fn a_connection_field_of_nothing_but_commas_passes_beside_many_others() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let fields = fields(95);
    let commas = ",".repeat(60_000);
    client.send(format!("GET / HTTP/1.1\r\nHost: web\r\nConnection: {commas}X-7\r\n{fields}\r\n").as_bytes());
    let fields = fields.replace("X-7: a\r\n", "");
    upstream.expect(format!("GET / HTTP/1.1\r\nHost: web\r\n{fields}\r\n").as_bytes());
}

#[test]
fn a_large_head_that_comes_in_small_pieces_is_whole() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let request = format!("GET / HTTP/1.1\r\nHost: web\r\nX: {}\r\nY: z\r\n\r\n", "x".repeat(8000));
    std::thread::scope(|scope| {
        scope.spawn(|| request.as_bytes().chunks(7).for_each(|piece| client.send(piece)));
        upstream.expect(request.as_bytes());
    });
}

#[test]
fn what_cannot_become_a_request_is_refused_before_its_end() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    for (begin, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "400"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "400"),
        (b"GET /\r\n", "400"),
        (b"GET / HTTP/2.0\r\n", "505"),
        (b"GET / HTTP/1.1\r\nHost: a\n", "400"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n", "400"),
    ] {
        let client = Peer::connect(proxy.address());
        client.send(begin);
        client.expect(format!("HTTP/1.1 {status} ").as_bytes());
    }
    let client = Peer::connect(proxy.address());
    client.send(format!("GET /{}", "a".repeat(65536)).as_bytes());
    client.expect(b"HTTP/1.1 431 ");
    server.expect_no_connection();
}

#[test]
fn an_empty_line_behind_a_body_is_no_beginning_of_a_request() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    let post = b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nok";
    client.send(&[&post[..], b"\r\n"].concat());
    let upstream = server.accept();
    upstream.expect(post);
    upstream.send(OK);
    client.expect(OK);
    // A second one, in pieces; and a request behind it.
    client.send(b"\r");
    std::thread::sleep(std::time::Duration::from_millis(50));
    client.send(b"\n");
    std::thread::sleep(std::time::Duration::from_millis(50));
    exchange(&client, &upstream);
    client.send(&[b"\r\n", GET].concat());
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(OK);
    client.send(b"\r\n");
    std::thread::sleep(std::time::Duration::from_millis(50));
    // It is let go as a client is that has nothing under way.
    proxy.signal(Signal::SIGTERM);
    client.expect_end();
    proxy.wait_to_say("drained=1");
}

#[test]
fn an_empty_line_and_silence_are_an_idle_connection() {
    let server = Server::v4();
    let proxy = proxy(&server, "--head-timeout 200ms --keepalive-timeout 1s");
    let (client, upstream) = acquainted(&proxy, &server);
    let post = b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nok";
    client.send(&[&post[..], b"\r\n"].concat());
    upstream.expect(post);
    upstream.send(OK);
    client.expect(OK);
    // No 408, though the time for a head is over long before.
    client.expect_end();
    upstream.expect_close();
    assert!(proxy.records(2).iter().all(|record| record.get("status") == "200"));
    assert!(proxy.said("status=408").is_empty());
}

#[test]
fn a_client_that_sends_nothing_but_empty_lines_is_refused() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(&b"\r\n".repeat(40));
    client.expect(b"HTTP/1.1 400 ");
    server.expect_no_connection();
}
