//! How connections go on and end: together.

use super::{GET, OK, acquainted, exchange, expect_end, proxy};
use crate::support::{Peer, Server, both_ways, expect_pattern, send_pattern, stuff_all};

#[test]
fn pipelined_requests_are_served_in_order_one_at_a_time() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let request = |path: u32| format!("GET /{path} HTTP/1.1\r\nHost: web\r\n\r\n");
    client.send((0..50).map(request).collect::<String>().as_bytes());
    for path in 0..50 {
        upstream.expect(request(path).as_bytes());
        let reply = format!("HTTP/1.1 200 OK\r\nX: {path}\r\nContent-Length: 2\r\n\r\nok");
        upstream.send(reply.as_bytes());
        client.expect(reply.as_bytes());
    }
}

#[test]
fn an_upgrade_is_a_tunnel_after_101() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let request = b"GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(request);
    upstream.expect(request);
    let reply = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    // The first bytes of the other protocol come with the head.
    upstream.send(&[&reply[..], b"\x81\x02hi"].concat());
    client.expect(&[&reply[..], b"\x81\x02hi"].concat());
    both_ways(&client, &upstream, 1_000_000, 3_000_000, &mut crate::support::Random::new());
}

#[test]
fn an_upgrade_that_was_not_asked_for_is_refused() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    client.expect(b"HTTP/1.1 502 Bad Gateway\r\n");
    client.expect_close();
    upstream.expect_close();
}

#[test]
fn a_client_that_says_close_gets_its_reply_and_the_end() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
    upstream.expect(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
    upstream.send(OK);
    client.expect(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    client.expect_end();
    drop(client);
    upstream.expect_close();
    expect_end(&proxy, "client-close");
}

#[test]
fn an_upstream_that_says_close_ends_both() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    // The next request is in its way already: closing must not take the reply with it.
    client.send(&[GET, GET].concat());
    upstream.expect(GET);
    upstream.send(b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
    client.expect(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    client.expect_end();
    drop(client);
    upstream.expect_close();
    expect_end(&proxy, "upstream-close");
}

#[test]
fn an_idle_upstream_that_closes_takes_the_client_with_it() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    drop(upstream);
    client.expect_end();
    expect_end(&proxy, "upstream-close");
}

#[test]
fn an_idle_client_that_closes_takes_the_upstream_with_it() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    drop(client);
    upstream.expect_end();
    expect_end(&proxy, "client-close");
}

#[test]
fn a_client_that_has_ended_its_stream_still_gets_its_reply() {
    let server = Server::v4();
    let proxy = proxy(&server, "--ignore-client-close");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    client.finish();
    let upstream = server.accept();
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(OK);
    client.expect_end();
}

#[test]
fn a_client_that_resets_while_it_waits_takes_the_upstream_with_it() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    client.reset();
    upstream.expect_close();
    expect_end(&proxy, "client-reset");
}

#[test]
fn nothing_is_ever_sent_twice() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(GET);
    upstream.expect(GET);
    drop(upstream);
    // On a connection that was used before, a client that may will try again by itself.
    client.expect_close();
    let (next_client, next_upstream) = acquainted(&proxy, &server);
    exchange(&next_client, &next_upstream);
}

#[test]
fn a_silent_connection_ends_after_the_idle_timeout() {
    let server = Server::v4();
    let proxy = proxy(&server, "--idle-timeout 100ms");
    let silent = Peer::connect(proxy.address());
    silent.expect_end();
    expect_end(&proxy, "idle");
    let (client, upstream) = acquainted(&proxy, &server);
    client.expect_end();
    upstream.expect_end();
}

/// Has more sessions than buffers hold bytes that can go nowhere yet, and expects others to be served.
fn expect_service_beside(hold: fn(&[(Peer, Peer)])) {
    let server = Server::v4();
    let proxy = proxy(&server, "--buffers 4");
    let pairs: Vec<_> = (0..12).map(|_| acquainted(&proxy, &server)).collect();
    hold(&pairs);
    proxy.expect_sleep();
    let (late, late_upstream) = acquainted(&proxy, &server);
    exchange(&late, &late_upstream);
}

#[test]
fn clients_that_ask_ahead_leave_buffers_to_the_others() {
    expect_service_beside(|pairs| {
        for (client, upstream) in pairs {
            client.send(&[GET, GET].concat());
            upstream.expect(GET);
        }
    });
}

#[test]
fn chunked_replies_that_clients_do_not_read_leave_buffers_to_the_others() {
    expect_service_beside(|pairs| {
        for (client, upstream) in pairs {
            client.send(GET);
            upstream.expect(GET);
            upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n");
        }
        stuff_all(pairs.iter().map(|(_, upstream)| upstream));
    });
}

#[test]
fn a_reply_still_arrives_when_the_upstream_refuses_the_rest_of_the_request() {
    const BYTES: u64 = 50 * 1024 * 1024;
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            upstream.expect(b"POST / HTTP/1.1\r\n");
            upstream.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!");
            client.expect(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!");
        });
    });
    client.expect_end();
}

#[test]
fn a_slow_reader_of_a_large_reply_gets_all_of_it() {
    const BYTES: u64 = 20 * 1024 * 1024;
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(GET);
    upstream.expect(GET);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes());
            send_pattern(&upstream, BYTES, None);
        });
        std::thread::sleep(std::time::Duration::from_millis(200));
        client.expect(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes());
        expect_pattern(&client, BYTES);
    });
}
