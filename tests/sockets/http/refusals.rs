//! Answers of the proxy's own.

use super::{GET, acquainted, expect_end, proxy};
use crate::support::{Launch, Peer, Proxy, Server, Unanswering, refusing};

/// The whole reply, to the end of the connection.
fn reply(client: &Peer) -> String {
    let mut whole = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match client.receive(&mut piece).expect("a reply in order") {
            0 => return String::from_utf8(whole).expect("our pages are text"),
            bytes => whole.extend_from_slice(&piece[..bytes]),
        }
    }
}

/// What a client is answered, with the request's id, which the log has too.
fn refused(proxy: &Proxy, request: &[u8], status: &str, said: &str) {
    let client = Peer::connect(proxy.address());
    client.send(request);
    let reply = reply(&client);
    assert!(reply.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{reply}");
    assert!(reply.contains("\r\nConnection: close\r\n"), "{reply}");
    let (_, id) = reply.split_once("X-Request-Id: ").expect("an id");
    let id = id.split("\r\n").next().expect("it ends");
    assert!(reply.contains(&format!("<p>Request {id}</p>")), "{reply}");
    let line = proxy.wait_to_say(&format!("request=\"{id}\""));
    assert!(line.contains(said), "{line}");
}

#[test]
fn without_an_upstream_there_is_a_page_and_not_a_bare_close() {
    let (_held, address) = refusing();
    let proxy = Launch::to(&address).flags("--mode http --log-level debug").start();
    refused(&proxy, GET, "502 Bad Gateway", "no server could be reached");
    expect_end(&proxy, "refused");
}

#[test]
fn an_upstream_that_does_not_answer_is_a_gateway_timeout() {
    let silent = Unanswering::new();
    let proxy =
        Launch::to(silent.address()).flags("--mode http --log-level debug --connect-timeout 50ms").start();
    refused(&proxy, GET, "504 Gateway Timeout", "no server accepted a connection in time");
    expect_end(&proxy, "connect-timeout");
}

#[test]
fn heads_over_the_limit_are_refused() {
    let server = Server::v4();
    let proxy = proxy(&server, "--head-limit 2KiB");
    let head = format!("GET / HTTP/1.1\r\nHost: web\r\nX: {}\r\n\r\n", "x".repeat(3000));
    refused(&proxy, head.as_bytes(), "431 Request Header Fields Too Large", "2048 bytes");
    let many = format!("GET / HTTP/1.1\r\nHost: web\r\n{}\r\n", "A: 1\r\n".repeat(350));
    refused(&proxy, many.as_bytes(), "431 Request Header Fields Too Large", "2048 bytes");
    expect_end(&proxy, "bad-request");
}

#[test]
fn connect_is_refused() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let request = b"CONNECT web:443 HTTP/1.1\r\nHost: web:443\r\n\r\n";
    refused(&proxy, request, "405 Method Not Allowed", "CONNECT is not supported");
}

#[test]
fn an_upstream_that_closes_without_a_word_is_a_bad_gateway() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    drop(upstream);
    assert!(reply(&client).starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    expect_end(&proxy, "bad-reply");
}

#[test]
fn a_reply_that_is_not_http_is_a_bad_gateway() {
    for bytes in [
        &b"220 mail ESMTP\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ] {
        let server = Server::v4();
        let proxy = proxy(&server, "");
        let (client, upstream) = acquainted(&proxy, &server);
        client.send(GET);
        upstream.expect(GET);
        upstream.send(bytes);
        let reply = reply(&client);
        assert!(reply.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{reply}");
        upstream.expect_close();
    }
}

#[test]
fn the_combined_log_counts_the_page_without_its_head() {
    let (_held, address) = refusing();
    let proxy = Launch::to(&address).flags("--mode http --access-log - --log-format combined").start();
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let reply = reply(&client);
    let (_, page) = reply.split_once("\r\n\r\n").expect("a whole head");
    let expected = format!("\"GET /a HTTP/1.1\" 502 {} ", page.len());
    crate::support::wait_until(&format!("a line with {expected}"), || {
        proxy.printed().iter().any(|line| line.contains(&expected))
    });
}
