//! Where bodies end, and that they arrive.

use std::thread;
use std::time::Duration;

use super::{GET, OK, acquainted, exchange, expect_end, proxy};
use crate::support::{Peer, Server, expect_pattern, send_pattern, stuff};

const CHUNKED: &[u8] = b"3;x=1\r\nabc\r\n0A\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n";

#[test]
fn large_bodies_arrive_both_ways_and_downloads_are_spliced() {
    const BYTES: u64 = 200 * 1024 * 1024;
    let server = Server::v4();
    // The client ends its stream behind its body.
    let proxy = proxy(&server, "--ignore-client-close");
    let (client, upstream) = acquainted(&proxy, &server);
    thread::scope(|scope| {
        scope.spawn(|| {
            client
                .send(format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes());
            send_pattern(&client, BYTES, None);
        });
        upstream
            .expect(format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes());
        expect_pattern(&upstream, BYTES);
        scope.spawn(|| {
            upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes());
            send_pattern(&upstream, BYTES, None);
        });
        client.expect(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes());
        expect_pattern(&client, BYTES);
    });
    drop((client, upstream));
    let line = proxy.wait_to_say("session ended");
    let (_, spliced) = line.split_once("spliced_bytes=").expect("it says so");
    let spliced: u64 = spliced.split(' ').next().expect("a number").parse().expect("a number");
    assert!(spliced > BYTES, "only {spliced} of twice {BYTES} bytes were spliced");
}

#[test]
fn a_body_of_some_buffers_is_spliced_from_its_start() {
    const BYTES: usize = 64 << 10;
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(GET);
    upstream.expect(GET);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
    upstream.send(head.as_bytes());
    client.expect(head.as_bytes());
    let body = vec![b'x'; BYTES];
    thread::scope(|scope| {
        scope.spawn(|| upstream.send(&body));
        client.expect(&body);
    });
    drop((client, upstream));
    let line = proxy.wait_to_say("session ended");
    let (_, spliced) = line.split_once("spliced_bytes=").expect("it says so");
    let spliced: u64 = spliced.split(' ').next().expect("a number").parse().expect("a number");
    // What an armed receive has taken before is copied.
    assert!(spliced > 0, "nothing was spliced: {line}");
}

#[test]
fn what_follows_a_body_is_the_next_message() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    for bytes in [1, 100, 16 * 1024, 100_000, 1_000_000] {
        let body = vec![b'x'; bytes];
        let head = format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {bytes}\r\n\r\n");
        let request = [head.as_bytes(), &body].concat();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        let reply = [head.as_bytes(), &body].concat();
        thread::scope(|scope| {
            scope.spawn(|| client.send(&[&request[..], GET].concat()));
            upstream.expect(&request);
            scope.spawn(|| upstream.send(&reply));
            client.expect(&reply);
        });
        upstream.expect(GET);
        upstream.send(OK);
        client.expect(OK);
    }
}

#[test]
fn chunks_and_trailers_pass_as_they_are() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let request = [b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED].concat();
    let reply = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED].concat();
    client.send(&request);
    upstream.expect(&request);
    upstream.send(&reply);
    client.expect(&reply);
    exchange(&client, &upstream);
    // However they are cut up, with the next message behind them.
    for cut in (1..request.len()).step_by(3) {
        client.send(&request[..cut]);
        thread::yield_now();
        client.send(&[&request[cut..], GET].concat());
        upstream.expect(&request);
        let cut = cut.min(reply.len() - 1);
        upstream.send(&reply[..cut]);
        thread::yield_now();
        upstream.send(&reply[cut..]);
        client.expect(&reply);
        upstream.expect(GET);
        upstream.send(OK);
        client.expect(OK);
    }
}

#[test]
fn replies_without_a_body_end_with_their_head() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    for (request, reply) in [
        (
            &b"HEAD / HTTP/1.1\r\nHost: web\r\n\r\n"[..],
            &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"[..],
        ),
        (b"HEAD / HTTP/1.1\r\nHost: web\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
    ] {
        client.send(request);
        upstream.expect(request);
        upstream.send(reply);
        client.expect(reply);
    }
    exchange(&client, &upstream);
}

#[test]
fn a_reply_that_ends_with_the_connection_does_so_on_both() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(GET);
    upstream.expect(GET);
    upstream.send(b"HTTP/1.1 200 OK\r\n\r\n");
    client.expect(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    upstream.send(b"first ");
    client.expect(b"first ");
    upstream.send(b"last");
    upstream.finish();
    client.expect(b"last");
    client.expect_end();
    expect_end(&proxy, "upstream-close");
}

#[test]
fn a_reply_cut_short_does_not_look_whole() {
    for reply in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    ] {
        let server = Server::v4();
        let proxy = proxy(&server, "");
        let (client, upstream) = acquainted(&proxy, &server);
        client.send(GET);
        upstream.expect(GET);
        upstream.send(reply);
        upstream.finish();
        client.expect_reset();
    }
}

#[test]
fn a_reply_up_to_the_end_does_not_look_whole_when_its_server_resets_and_the_request_is_told_first() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let begin = b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 6\r\n\r\nabc";
    client.send(begin);
    upstream.expect(begin);
    upstream.send(b"HTTP/1.1 200 OK\r\n\r\n");
    client.expect(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    // The reply waits for its client. So it is the rest of the request that meets the reset.
    stuff(&upstream);
    upstream.reset();
    client.send(b"def");
    thread::sleep(Duration::from_millis(200));
    client.expect_reset();
    expect_end(&proxy, "upstream-reset");
}

#[test]
fn a_client_waits_for_100_and_gets_it() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    let head = b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    client.send(head);
    let upstream = server.accept();
    upstream.expect(head);
    upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n");
    client.expect(b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"body");
    upstream.expect(b"body");
    upstream.send(OK);
    client.expect(OK);
    exchange(&client, &upstream);
}

#[test]
fn a_reply_may_come_before_its_request_is_through() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 6\r\n\r\nabc");
    upstream.expect(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 6\r\n\r\nabc");
    upstream.send(OK);
    client.expect(OK);
    client.send(b"def");
    upstream.expect(b"def");
    exchange(&client, &upstream);
}

#[test]
fn a_request_that_goes_wrong_after_its_reply_gets_no_second_one() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let begin = b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    client.send(begin);
    upstream.expect(begin);
    upstream.send(OK);
    client.expect(OK);
    client.send(b"no chunk\r\n");
    let received = client.receive(&mut [0; 100]);
    assert!(!matches!(received, Ok(1..)), "{received:?}");
    upstream.expect_close();
}
