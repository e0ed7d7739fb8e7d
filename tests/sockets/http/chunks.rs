//! What stands between the data of a chunked body: sizes, extensions, trailers.

use std::thread;

use super::{GET, OK, acquainted, exchange, expect_end, proxy};
use crate::support::{Peer, Server};

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A body whose lines in front of the chunks are larger than its data.
fn padded(line: &str) -> Vec<u8> {
    let chunk = format!("{line}\r\n0123456789\r\n");
    format!("{}0\r\n\r\n", chunk.repeat(2000)).into_bytes()
}

#[test]
fn padding_of_chunks_does_not_add_up() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let lines = [
        format!("{}a", "0".repeat(60)),
        format!("a{}", " ".repeat(200)),
        format!("a;signature={}", "f".repeat(64)),
        format!("a;x=\"{}\"", "y".repeat(900)),
    ];
    for line in lines {
        let body = padded(&line);
        let (request, reply) = ([POST, &body].concat(), [CHUNKED, &body].concat());
        thread::scope(|scope| {
            scope.spawn(|| client.send(&request));
            upstream.expect(&request);
            scope.spawn(|| upstream.send(&reply));
            client.expect(&reply);
        });
    }
    exchange(&client, &upstream);
}

#[test]
fn one_line_is_bounded() {
    for line in [format!("a;{}", "x".repeat(10_000)), "0".repeat(10_000), format!("a{}", " ".repeat(10_000))]
    {
        let server = Server::v4();
        let proxy = proxy(&server, "");
        let client = Peer::connect(proxy.address());
        client.send(&[POST, line.as_bytes()].concat());
        client.expect(b"HTTP/1.1 400 Bad Request\r\n");
        expect_end(&proxy, "bad-request");
    }
}

#[test]
fn trailers_that_a_head_decides_by_are_left_out_both_ways() {
    let server = Server::v4();
    let proxy = proxy(
        &server,
        "--underscore-headers pass --remove-header X-Remote-User --remove-reply-header X-Secret --set-reply-header=X-Site:a",
    );
    let client = Peer::connect(proxy.address());
    let sent = b"1\r\na\r\n0\r\nContent-Length: 5\r\nKept: 1\r\nTransfer-Encoding: chunked\r\nHost: b\r\n\
                 Authorization: Basic YTpi\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Odd: a\r\n\
                 X_Forwarded_Proto: https\r\nX-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n\
                 x-remote-user: root\r\nX-Remote_User: root\r\nX_Kept:  2 \r\n\r\n";
    client.send(&[POST, &sent[..]].concat());
    let upstream = server.accept();
    upstream.expect(POST);
    upstream.expect(b"1\r\na\r\n0\r\nKept: 1\r\nX_Kept: 2\r\n\r\n");
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Site: a\r\n\r\n";
    upstream.send(
        &[CHUNKED, b"1\r\na\r\n0\r\nX-Secret: 1\r\nX-Site: b\r\nSet-Cookie: a=b\r\nServer-Timing: a\r\n\r\n"]
            .concat(),
    );
    client.expect(head);
    client.expect(b"1\r\na\r\n0\r\nServer-Timing: a\r\n\r\n");
    client.send(GET);
    upstream.expect(GET);
}

#[test]
fn trailers_are_the_same_however_they_are_cut_up() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let sent = b"1\r\na\r\n0\r\nHost: b\r\nKept: 1\r\nX-Real-IP: a\r\n\r\n";
    let passed = b"1\r\na\r\n0\r\nKept: 1\r\n\r\n";
    for cut in 0..sent.len() {
        client.send(POST);
        upstream.expect(POST);
        client.send(&sent[..cut]);
        thread::yield_now();
        client.send(&[&sent[cut..], GET].concat());
        upstream.expect(passed);
        upstream.send(CHUNKED);
        client.expect(CHUNKED);
        upstream.send(&sent[..cut]);
        thread::yield_now();
        upstream.send(&sent[cut..]);
        client.expect(passed);
        upstream.expect(GET);
        upstream.send(OK);
        client.expect(OK);
    }
}

#[test]
fn trailers_are_bounded_and_nothing_behind_malformed_ones_is_a_request() {
    for trailers in
        ["A: b\r\n".repeat(2000), format!("A: {}", "x".repeat(10_000)), "A: b\r\n C: d\r\n".to_owned()]
    {
        let server = Server::v4();
        let proxy = proxy(&server, "");
        let (client, upstream) = acquainted(&proxy, &server);
        client.send(&[POST, b"1\r\na\r\n0\r\n"].concat());
        upstream.expect(&[POST, b"1\r\na\r\n0\r\n"].concat());
        client.send(&[trailers.as_bytes(), b"\r\n", GET].concat());
        client.expect(b"HTTP/1.1 400 Bad Request\r\n");
        upstream.expect_close();
    }
}

#[test]
fn malformed_trailers_of_a_reply_do_not_look_like_its_end() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(GET);
    upstream.expect(GET);
    upstream.send(&[CHUNKED, b"1\r\na\r\n0\r\n"].concat());
    client.expect(&[CHUNKED, b"1\r\na\r\n0\r\n"].concat());
    upstream.send(b"A: b\r\n C: d\r\n\r\n");
    client.expect_reset();
}

#[test]
fn http_1_0_gets_the_content_of_chunks_and_the_end() {
    let server = Server::v4();
    for connection in ["", "Connection: keep-alive\r\n"] {
        let proxy = proxy(&server, "");
        let client = Peer::connect(proxy.address());
        let request = format!("GET / HTTP/1.0\r\nHost: web\r\n{connection}\r\n");
        client.send(request.as_bytes());
        let upstream = server.accept();
        upstream.expect(request.as_bytes());
        upstream.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\nB: c\r\n\r\n3\r\nabc\r\n5",
        );
        client.expect(b"HTTP/1.1 200 OK\r\nB: c\r\nConnection: close\r\n\r\nabc");
        upstream.send(b";x=y\r\ndefgh\r\n0\r\nA: b\r\n\r\n");
        client.expect(b"defgh");
        client.expect_end();
    }
}

#[test]
fn http_1_0_sees_that_chunks_were_cut_short() {
    let server = Server::v4();
    for rest in [&b""[..], b"no chunk\r\n"] {
        let proxy = proxy(&server, "");
        let client = Peer::connect(proxy.address());
        client.send(b"GET / HTTP/1.0\r\n\r\n");
        let upstream = server.accept();
        upstream.expect(b"GET / HTTP/1.0\r\n\r\n");
        upstream.send(&[CHUNKED, b"3\r\nabc\r\n"].concat());
        client.expect(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
        upstream.send(rest);
        upstream.finish();
        client.expect_reset();
    }
}
