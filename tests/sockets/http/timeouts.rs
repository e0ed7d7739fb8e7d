//! That everything that is waited for has an end, each under its own name.

use super::{GET, OK, acquainted, exchange, expect_end, proxy};
use crate::support::{Peer, Proxy, Server, stuff};

const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nfi";

/// The page that the client gets, whose end is orderly.
fn expect_page(client: &Peer, status: &str) {
    client.expect(format!("HTTP/1.1 {status}\r\n").as_bytes());
    client.expect_close();
}

/// The last line of the log has this end and status, and the session this end.
fn expect_logged(proxy: &Proxy, lines: usize, end: &str, status: &str) {
    let records = proxy.records(lines);
    let last = records.last().expect("there are some");
    last.expect_end(end);
    assert_eq!(last.get("status"), status);
    expect_end(proxy, end);
}

#[test]
fn a_silent_client_is_answered_408_after_the_head_timeout() {
    let server = Server::v4();
    let proxy = proxy(&server, "--head-timeout 100ms");
    let client = Peer::connect(proxy.address());
    expect_page(&client, "408 Request Timeout");
    drop(client);
    expect_logged(&proxy, 1, "head-timeout", "408");
    server.expect_no_connection();
}

#[test]
fn a_first_head_that_does_not_come_to_its_end_is_answered_408() {
    let server = Server::v4();
    let proxy = proxy(&server, "--head-timeout 300ms");
    let client = Peer::connect(proxy.address());
    client.send(&GET[..9]);
    expect_page(&client, "408 Request Timeout");
    drop(client);
    expect_logged(&proxy, 1, "head-timeout", "408");
}

#[test]
fn a_later_head_that_does_not_come_to_its_end_is_answered_408() {
    let server = Server::v4();
    let proxy = proxy(&server, "--head-timeout 300ms");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(&GET[..9]);
    expect_page(&client, "408 Request Timeout");
    drop(client);
    upstream.expect_close();
    expect_logged(&proxy, 2, "head-timeout", "408");
    let ids: Vec<_> = proxy.records(2).iter().map(|line| line.get("request").to_owned()).collect();
    assert!(ids[0].ends_with("-1") && ids[1].ends_with("-2"), "{ids:?}");
}

#[test]
fn a_head_timeout_does_not_end_who_is_between_two_requests() {
    let server = Server::v4();
    let proxy = proxy(&server, "--head-timeout 100ms --body-timeout 100ms");
    let (client, upstream) = acquainted(&proxy, &server);
    std::thread::sleep(std::time::Duration::from_millis(400));
    exchange(&client, &upstream);
}

#[test]
fn an_idle_client_is_let_go_after_the_keepalive_timeout() {
    let server = Server::v4();
    let proxy = proxy(&server, "--keepalive-timeout 200ms");
    let (client, upstream) = acquainted(&proxy, &server);
    client.expect_end();
    upstream.expect_end();
    drop((client, upstream));
    expect_end(&proxy, "keepalive-timeout");
    assert_eq!(proxy.records(1).len(), 1, "lines of requests (left)");
}

#[test]
fn a_body_that_stalls_is_answered_408() {
    let server = Server::v4();
    let proxy = proxy(&server, "--body-timeout 200ms");
    let client = Peer::connect(proxy.address());
    client.send(POST);
    let upstream = server.accept();
    upstream.expect(POST);
    expect_page(&client, "408 Request Timeout");
    drop(client);
    upstream.expect_reset();
    expect_logged(&proxy, 1, "body-timeout", "408");
}

#[test]
fn a_chunked_body_that_stalls_is_answered_408() {
    let server = Server::v4();
    let proxy = proxy(&server, "--body-timeout 200ms");
    let (client, upstream) = acquainted(&proxy, &server);
    let begin = b"POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    client.send(begin);
    upstream.expect(begin);
    expect_page(&client, "408 Request Timeout");
    drop(client);
    upstream.expect_reset();
    expect_logged(&proxy, 2, "body-timeout", "408");
}

#[test]
fn a_body_that_stalls_behind_its_reply_ends_the_connection() {
    let server = Server::v4();
    let proxy = proxy(&server, "--body-timeout 200ms");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(POST);
    upstream.expect(POST);
    upstream.send(OK);
    client.expect(OK);
    client.expect_end();
    drop(client);
    upstream.expect_reset();
    expect_end(&proxy, "body-timeout");
    proxy.records(2)[1].expect_end("ok");
}

#[test]
fn a_body_that_comes_slowly_is_whole() {
    let server = Server::v4();
    let proxy = proxy(&server, "--body-timeout 2s --reply-timeout 2s --keepalive-timeout 2s");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 30\r\n\r\n");
    upstream.expect(b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 30\r\n\r\n");
    for _ in 0..30 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        client.send(b"x");
        upstream.expect(b"x");
    }
    upstream.send(OK);
    client.expect(OK);
}

#[test]
fn a_server_that_does_not_reply_is_a_504_with_a_page() {
    let server = Server::v4();
    let proxy = proxy(&server, "--reply-timeout 200ms");
    for lines in [1, 3] {
        let client = Peer::connect(proxy.address());
        client.send(GET);
        let upstream = server.accept();
        upstream.expect(GET);
        if lines == 3 {
            // On a connection that was used before as well.
            upstream.send(OK);
            client.expect(OK);
            client.send(GET);
            upstream.expect(GET);
        }
        expect_page(&client, "504 Gateway Timeout");
        drop(client);
        upstream.expect_reset();
        expect_logged(&proxy, lines, "reply-timeout", "504");
    }
}

#[test]
fn a_server_that_takes_nothing_of_a_request_is_a_504() {
    let server = Server::v4();
    let proxy = proxy(&server, "--reply-timeout 3s --body-timeout 1h");
    let client = Peer::connect(proxy.address());
    client.send(b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000000\r\n\r\n");
    let upstream = server.accept();
    stuff(&client);
    expect_page(&client, "504 Gateway Timeout");
    drop(client);
    upstream.expect_reset();
    expect_logged(&proxy, 1, "reply-timeout", "504");
}

#[test]
fn a_client_that_waits_for_100_continue_is_not_blamed() {
    let server = Server::v4();
    let proxy = proxy(&server, "--reply-timeout 600ms --body-timeout 100ms");
    let client = Peer::connect(proxy.address());
    let head = b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    client.send(head);
    let upstream = server.accept();
    upstream.expect(head);
    expect_page(&client, "504 Gateway Timeout");
    drop(client);
    expect_logged(&proxy, 1, "reply-timeout", "504");
}

#[test]
fn a_reply_that_has_begun_may_be_silent_for_long() {
    let server = Server::v4();
    let flags = "--reply-timeout 100ms --body-timeout 100ms --keepalive-timeout 100ms --send-timeout 100ms";
    let proxy = proxy(&server, flags);
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    upstream.send(begin);
    client.expect(begin);
    std::thread::sleep(std::time::Duration::from_millis(500));
    upstream.send(b"1\r\nb\r\n0\r\n\r\n");
    client.expect(b"1\r\nb\r\n0\r\n\r\n");
}

#[test]
fn a_reply_that_is_silent_for_the_idle_timeout_does_not_look_whole() {
    let server = Server::v4();
    let proxy = proxy(&server, "--idle-timeout 400ms");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    upstream.send(b"HTTP/1.1 200 OK\r\n\r\nhalf");
    client.expect_reset();
    upstream.expect_close();
    expect_logged(&proxy, 1, "idle", "200");
    proxy.wait_to_say("reply cut short");
}

#[test]
fn rpc_over_http_and_tunnels_keep_the_idle_timeout() {
    let server = Server::v4();
    let flags = "--reply-timeout 100ms --body-timeout 100ms --keepalive-timeout 100ms --send-timeout 100ms";
    for method in ["RPC_IN_DATA", "RPC_OUT_DATA", "RDG_IN_DATA", "RDG_OUT_DATA"] {
        let proxy = proxy(&server, flags);
        let client = Peer::connect(proxy.address());
        let begin = format!(
            "{method} /rpc/rpcproxy.dll HTTP/1.1\r\nHost: web\r\nContent-Length: 1073741824\r\n\r\nab"
        );
        client.send(begin.as_bytes());
        let upstream = server.accept();
        upstream.expect(begin.as_bytes());
        std::thread::sleep(std::time::Duration::from_millis(400));
        client.send(b"cd");
        upstream.expect(b"cd");
        let begin = b"HTTP/1.1 200 Success\r\nContent-Length: 1073741824\r\n\r\nab";
        upstream.send(begin);
        client.expect(begin);
        std::thread::sleep(std::time::Duration::from_millis(400));
        upstream.send(b"cd");
        client.expect(b"cd");
    }
    let proxy = proxy(&server, flags);
    let client = Peer::connect(proxy.address());
    let request = b"GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(request);
    let upstream = server.accept();
    upstream.expect(request);
    let reply = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    upstream.send(reply);
    client.expect(reply);
    std::thread::sleep(std::time::Duration::from_millis(400));
    client.send(b"still there");
    upstream.expect(b"still there");
}

#[test]
fn a_client_that_takes_nothing_of_its_reply_is_reset_after_the_send_timeout() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3B9ACA00\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        for splice in ["never", "always"] {
            let server = Server::v4();
            let proxy = proxy(&server, &format!("--send-timeout 2s --splice {splice}"));
            let client = Peer::connect(proxy.address());
            client.send(GET);
            let upstream = server.accept();
            upstream.expect(GET);
            upstream.send(head.as_bytes());
            stuff(&upstream);
            upstream.expect_reset();
            client.expect_reset();
            expect_logged(&proxy, 1, "send-timeout", "200");
        }
    }
}

#[test]
fn a_client_that_takes_nothing_of_heads_is_reset_after_the_send_timeout() {
    let server = Server::v4();
    let proxy = proxy(&server, "--send-timeout 2s");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    let interim = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(30_000));
    upstream.socket().set_write_timeout(Some(std::time::Duration::from_millis(300))).expect("a valid time");
    while std::io::Write::write(&mut upstream.socket(), interim.as_bytes()).is_ok() {}
    upstream.expect_close();
    client.expect_reset();
    expect_end(&proxy, "send-timeout");
}
