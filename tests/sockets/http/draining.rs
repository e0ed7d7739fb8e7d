//! SIGTERM in HTTP mode: a client that waits for a reply gets it, one that has just sent a request as well, and no login is
//! torn. Clients that rest are let go.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::logins::{anonymous, challenge, ntlm, request};
use super::{GET, OK, acquainted, expect_end, proxy};
use crate::support::{Peer, Proxy, Random, Server, both_ways};

/// The reply of [`OK`], where it is the last.
const LAST_OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// Time enough for an end that must not come.
const A_WHILE: Duration = Duration::from_millis(200);

/// A proxy whose drain time-out is nothing to wait for.
fn patient(server: &Server) -> Proxy {
    proxy(server, "--drain-timeout 1h")
}

/// Begins to drain, and waits until the worker does.
fn drain(proxy: &Proxy) {
    proxy.signal(Signal::SIGTERM);
    proxy.wait_until_closed();
}

/// Both connections end in order, and with them the process.
fn expect_last(mut proxy: Proxy, client: Peer, upstream: Peer) {
    client.expect_end();
    upstream.expect_end();
    drop((client, upstream));
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
}

/// The client sends the first message of a login, and gets the challenge.
fn begin_login(client: &Peer, upstream: &Peer) {
    let type1 = request(&ntlm(1, "", ""));
    client.send(&type1);
    upstream.expect(&type1);
    upstream.send(&challenge());
    client.expect(&challenge());
}

/// After a while the client goes on with its login, and that is the last.
fn end_login(proxy: Proxy, client: Peer, upstream: Peer) {
    std::thread::sleep(A_WHILE);
    let type3 = request(&ntlm(3, "CORP", "alice"));
    client.send(&type3);
    upstream.expect(&type3);
    upstream.send(OK);
    client.expect(LAST_OK);
    expect_last(proxy, client, upstream);
}

#[test]
fn clients_that_rest_between_two_requests_are_let_go() {
    let server = Server::v4();
    let mut proxy = patient(&server);
    let pairs: Vec<_> = (0..20).map(|_| acquainted(&proxy, &server)).collect();
    proxy.signal(Signal::SIGTERM);
    proxy.wait_to_say("draining; accepting no more clients; a second signal stops immediately");
    for (client, upstream) in &pairs {
        client.expect_end();
        upstream.expect_end();
    }
    drop(pairs);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    expect_end(&proxy, "drained");
}

#[test]
fn a_request_that_was_on_its_way_is_served_and_told_to_be_the_last() {
    let server = Server::v4();
    let proxy = patient(&server);
    let (client, upstream) = acquainted(&proxy, &server);
    drain(&proxy);
    client.send(GET);
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(LAST_OK);
    expect_last(proxy, client, upstream);
}

#[test]
fn a_request_under_way_is_answered_and_told_to_be_the_last() {
    let server = Server::v4();
    let proxy = patient(&server);
    let (client, upstream) = acquainted(&proxy, &server);
    // The second one is never served: its client was told in time.
    client.send(&[GET, GET].concat());
    upstream.expect(GET);
    drain(&proxy);
    upstream.send(OK);
    client.expect(LAST_OK);
    expect_last(proxy, client, upstream);
}

#[test]
fn a_reply_under_way_arrives_whole() {
    let server = Server::v4();
    let proxy = patient(&server);
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(GET);
    upstream.expect(GET);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi";
    upstream.send(head);
    client.expect(head);
    drain(&proxy);
    upstream.send(b"ne");
    client.expect(b"ne");
    expect_last(proxy, client, upstream);
}

#[test]
fn a_request_that_is_answered_early_arrives_whole() {
    let server = Server::v4();
    let proxy = patient(&server);
    let (client, upstream) = acquainted(&proxy, &server);
    let head = b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nfi";
    client.send(head);
    upstream.expect(head);
    drain(&proxy);
    upstream.send(OK);
    client.expect(LAST_OK);
    client.send(b"ne");
    upstream.expect(b"ne");
    expect_last(proxy, client, upstream);
}

#[test]
fn a_request_that_has_begun_to_come_is_served() {
    let server = Server::v4();
    let proxy = patient(&server);
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(&GET[..9]);
    // What came before a whole exchange of another connection has come.
    drop(acquainted(&proxy, &server));
    drain(&proxy);
    client.send(&GET[9..]);
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(LAST_OK);
    expect_last(proxy, client, upstream);
}

#[test]
fn a_login_that_has_begun_is_brought_to_its_end() {
    let server = Server::v4();
    let proxy = patient(&server);
    let (client, upstream) = acquainted(&proxy, &server);
    begin_login(&client, &upstream);
    drain(&proxy);
    end_login(proxy, client, upstream);
}

#[test]
fn a_challenge_is_never_the_last_reply_but_an_offer_may_be() {
    let server = Server::v4();
    let proxy = patient(&server);
    let (within, within_upstream) = acquainted(&proxy, &server);
    let (before, before_upstream) = acquainted(&proxy, &server);
    let type1 = request(&ntlm(1, "", ""));
    within.send(&type1);
    within_upstream.expect(&type1);
    before.send(GET);
    before_upstream.expect(GET);
    drain(&proxy);

    before_upstream.send(&anonymous());
    let offer = anonymous();
    let head = offer.strip_suffix(b"\r\n").expect("a head");
    before.expect(&[head, b"Connection: close\r\n\r\n"].concat());
    before.expect_end();
    before_upstream.expect_end();
    drop((before, before_upstream));

    within_upstream.send(&challenge());
    within.expect(&challenge());
    end_login(proxy, within, within_upstream);
}

#[test]
fn a_login_that_does_not_go_on_is_closed_when_the_time_is_over() {
    let server = Server::v4();
    let mut proxy = proxy(&server, "--drain-timeout 300ms");
    let (client, upstream) = acquainted(&proxy, &server);
    begin_login(&client, &upstream);
    proxy.signal(Signal::SIGTERM);
    client.expect_close();
    upstream.expect_close();
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    expect_end(&proxy, "drain");
}

#[test]
fn a_tunnel_goes_on_and_one_that_was_asked_for_begins() {
    let server = Server::v4();
    let proxy = patient(&server);
    let ask = b"GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let agree = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (old, old_upstream) = acquainted(&proxy, &server);
    let (new, new_upstream) = acquainted(&proxy, &server);
    for (client, upstream) in [(&old, &old_upstream), (&new, &new_upstream)] {
        client.send(ask);
        upstream.expect(ask);
    }
    old_upstream.send(agree);
    old.expect(agree);
    drain(&proxy);
    new_upstream.send(agree);
    new.expect(agree);
    for (client, upstream) in [(&old, &old_upstream), (&new, &new_upstream)] {
        both_ways(client, upstream, 100_000, 100_000, &mut Random::new());
    }
    drop((old, old_upstream));
    expect_last(proxy, new, new_upstream);
}

#[test]
fn a_client_that_has_just_connected_may_ask_once_and_a_silent_one_is_let_go() {
    let server = Server::v4();
    let mut proxy = patient(&server);
    let (asks, silent) = (Peer::connect(proxy.address()), Peer::connect(proxy.address()));
    drain(&proxy);
    asks.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    upstream.send(OK);
    asks.expect(LAST_OK);
    asks.expect_end();
    silent.expect_end();
    drop((asks, upstream, silent));
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    expect_end(&proxy, "drained");
}
