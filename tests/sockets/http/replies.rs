//! Replies: those that servers send beside the grammar, which pass, and those that two readers could read differently.

use super::{GET, OK, acquainted, exchange, expect_end, proxy};
use crate::support::{Peer, Server};

/// What a server sends, and what its client gets.
const ODD: [(&[u8], &[u8]); 19] = [
    (b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 403.1 Forbidden\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nX-Odd : v\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Odd: v\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\n(no) name: v\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 404 Nicht gefunden f\xfcr M\xc3\xbcller\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 404 Nicht gefunden f\xfcr M\xc3\xbcller\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nX: M\xfcller\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: M\xfcller\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\nA: b\nContent-Length: 0\n\n", b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n"),
    (b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nX: a,\r\n   b,\r\n\tc\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: a, b, c\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n\r\nok"),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n", b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n"),
    (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nConnection: Set-Cookie, Persistent-Auth, X-Mine\r\nSet-Cookie: a=b\r\nPersistent-Auth: true\r\nX-Mine: 1\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nPersistent-Auth: true\r\nContent-Length: 0\r\n\r\n"),
];

/// What is no reply, or not one.
const REFUSED: [&[u8]; 32] = [
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding : identity\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello",
    b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n folded: a\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 2\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\0\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA : b\r\n\r\n",
];

#[test]
fn odd_replies_pass_and_come_out_clean() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    for (sent, expected) in ODD {
        client.send(GET);
        upstream.expect(GET);
        upstream.send(sent);
        client.expect(expected);
    }
    exchange(&client, &upstream);
    // An application that sends a header line that is not a field does so every time.
    assert_eq!(proxy.wait_to_say_times("a header line that is not a field", 1).len(), 1);
}

#[test]
fn odd_replies_are_the_same_however_they_are_cut_up() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let sent =
        b"\r\nHTTP/1.1  403.1 Ver\xfcgt\nX : a\r\n b\r\nno colon\r\n c: d\r\nContent-Length: 2, 2\n\r\nok";
    let expected = b"HTTP/1.1 403 Ver\xfcgt\r\nX: a b\r\nContent-Length: 2\r\n\r\nok";
    for cut in 1..sent.len() {
        client.send(GET);
        upstream.expect(GET);
        upstream.send(&sent[..cut]);
        std::thread::yield_now();
        upstream.send(&sent[cut..]);
        client.expect(expected);
    }
}

#[test]
fn a_reply_may_have_as_many_fields_as_its_head_has_room_for() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let reply = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "Set-Cookie: a=b\r\n".repeat(1000));
    client.send(GET);
    upstream.expect(GET);
    upstream.send(reply.as_bytes());
    client.expect(reply.as_bytes());
    exchange(&client, &upstream);
}

#[test]
fn replies_that_two_readers_could_read_differently_are_a_502() {
    for reply in REFUSED {
        let shown = reply.escape_ascii().to_string();
        let server = Server::v4();
        let proxy = proxy(&server, "");
        let client = Peer::connect(proxy.address());
        client.send(GET);
        let upstream = server.accept();
        upstream.expect(GET);
        upstream.send(reply);
        let mut begin = [0; 12];
        let received = client.receive(&mut begin).expect("an answer");
        assert_eq!(begin[..received].escape_ascii().to_string(), "HTTP/1.1 502", "{shown}");
        client.expect_close();
        upstream.expect_close();
        expect_end(&proxy, "bad-reply");
        assert_eq!(proxy.record().get("status"), "502", "{shown}");
    }
}

#[test]
fn a_server_that_speaks_something_else_is_told_apart_at_once() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    // It waits for an answer in its own protocol.
    upstream.send(b"SSH-2.0-OpenSSH_9.6");
    client.expect(b"HTTP/1.1 502 Bad Gateway\r\n");
}

#[test]
fn a_chunk_that_goes_wrong_behind_what_was_sent_is_a_reset() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(GET);
    upstream.expect(GET);
    // A server of events sends its head alone, and it must not wait.
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expect(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    upstream.send(b"no chunk\r\n");
    client.expect_reset();
}

#[test]
fn a_reply_of_204_leaves_the_connection_for_the_next_one() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    for _ in 0..2 {
        client.send(GET);
        upstream.expect(GET);
        upstream.send(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
        client.expect(b"HTTP/1.1 204 No Content\r\n\r\n");
        client.send(GET);
        upstream.expect(GET);
        upstream.send(OK);
        client.expect(OK);
    }
}

#[test]
fn a_line_end_behind_a_reply_says_nothing_and_anything_else_ends_the_connection() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    for spare in [&b"\r\n"[..], b"\r\n\r\n", b"\n"] {
        client.send(GET);
        upstream.expect(GET);
        upstream.send(&[OK, spare].concat());
        client.expect(OK);
        exchange(&client, &upstream);
        // By itself, while nothing is asked.
        upstream.send(spare);
        std::thread::sleep(std::time::Duration::from_millis(50));
        exchange(&client, &upstream);
    }
    upstream.send(OK);
    client.expect_end();
}

#[test]
fn a_malformed_chunk_is_named_in_the_log_and_the_request_was_cut() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    upstream.send(begin);
    client.expect(begin);
    upstream.send(b"no chunk\r\n");
    client.expect_reset();
    let line = proxy.wait_to_say("reply body is malformed");
    assert!(line.contains("INFO") && line.contains("a chunk's size is not a hexadecimal number"), "{line}");
    assert_eq!(proxy.record().get("end"), "upstream-cut");
}
