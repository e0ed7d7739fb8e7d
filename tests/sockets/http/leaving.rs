//! Clients that leave while their reply is awaited, and servers that do: noticed at once, and called by its name.

use std::time::{Duration, Instant};

use super::{GET, OK, acquainted, expect_end, proxy};
use crate::support::{Launch, Peer, Proxy, Server};

/// The last line of the log has this end and status, and the session this end.
fn expect_logged(proxy: &Proxy, lines: usize, end: &str, status: &str) {
    let records = proxy.records(lines);
    let last = records.last().expect("there are some");
    last.expect_end(end);
    assert_eq!(last.get("status"), status);
    expect_end(proxy, end);
}

#[test]
fn a_client_that_closes_while_its_reply_is_awaited_has_left() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    for splice in [false, true] {
        let (client, upstream) = acquainted(&proxy, &server);
        client.send(GET);
        upstream.expect(GET);
        let before = Instant::now();
        if splice {
            client.finish();
            upstream.expect_reset();
            client.expect_close();
        } else {
            drop(client);
            upstream.expect_reset();
        }
        // Nothing but a time-out of minutes would come otherwise.
        assert!(before.elapsed() < Duration::from_secs(30), "noticed after {:?}", before.elapsed());
    }
    expect_logged(&proxy, 4, "client-left", "499");
}

#[test]
fn a_client_that_closes_within_a_stream_of_events_has_left() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    let begin =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    upstream.send(begin);
    client.expect(begin);
    drop(client);
    upstream.expect_reset();
    expect_logged(&proxy, 1, "client-left", "499");
}

#[test]
fn a_client_that_resets_while_its_reply_is_awaited_is_499_as_well() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    client.reset();
    upstream.expect_reset();
    expect_logged(&proxy, 1, "client-reset", "499");
}

#[test]
fn a_client_that_closes_within_its_request_has_left() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    let begin = b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nfi";
    client.send(begin);
    let upstream = server.accept();
    upstream.expect(begin);
    drop(client);
    upstream.expect_reset();
    expect_logged(&proxy, 1, "client-left", "499");
}

#[test]
fn a_client_that_ends_its_stream_behind_requests_that_wait_is_served() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(&[GET, GET].concat());
    client.finish();
    let upstream = server.accept();
    upstream.expect(GET);
    std::thread::sleep(Duration::from_millis(700));
    upstream.send(OK);
    client.expect(OK);
    // Behind the last one nothing waits.
    upstream.expect(GET);
    upstream.expect_reset();
    expect_logged(&proxy, 2, "client-left", "499");
}

#[test]
fn a_client_that_goes_on_reading_is_served_if_wanted() {
    let server = Server::v4();
    let proxy = proxy(&server, "--ignore-client-close");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    client.finish();
    let upstream = server.accept();
    upstream.expect(GET);
    std::thread::sleep(Duration::from_millis(700));
    upstream.send(OK);
    client.expect(OK);
    client.expect_end();
    proxy.record().expect_end("ok");
}

#[test]
fn a_client_that_goes_on_reading_and_then_dies_is_noticed_all_the_same() {
    let server = Server::v4();
    let proxy = proxy(&server, "--ignore-client-close");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    client.finish();
    let upstream = server.accept();
    upstream.expect(GET);
    std::thread::sleep(Duration::from_millis(700));
    client.reset();
    upstream.expect_reset();
    expect_logged(&proxy, 1, "client-reset", "499");
}

#[test]
fn what_a_client_asks_ahead_is_not_taken_for_its_leaving() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(&[GET, GET].concat());
    upstream.expect(GET);
    std::thread::sleep(Duration::from_millis(700));
    upstream.send(OK);
    client.expect(OK);
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(OK);
}

#[test]
fn a_client_that_leaves_while_a_server_is_connected_to_has_a_line() {
    let silent = crate::support::Unanswering::new();
    let proxy =
        Launch::to(silent.address()).flags("--mode http --log-level debug --connect-timeout 30s").start();
    let client = Peer::connect(proxy.address());
    client.send(GET);
    client.finish();
    expect_logged(&proxy, 1, "client-left", "499");
    assert_eq!(proxy.record().get("target"), "/a");
}

#[test]
fn a_server_that_resets_before_its_first_reply_is_a_502() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    upstream.reset();
    client.expect(b"HTTP/1.1 502 Bad Gateway\r\n");
    client.expect_close();
    drop(client);
    expect_logged(&proxy, 1, "upstream-reset", "502");
}

#[test]
fn a_server_that_resets_within_a_request_is_a_502() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    let begin = b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 10000\r\n\r\nfi";
    client.send(begin);
    let upstream = server.accept();
    upstream.expect(begin);
    upstream.reset();
    client.expect(b"HTTP/1.1 502 Bad Gateway\r\n");
    client.expect_close();
    drop(client);
    expect_logged(&proxy, 1, "upstream-reset", "502");
}

#[test]
fn replies_that_are_cut_short_say_so() {
    for (reply, resets, end) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..], false, "upstream-cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", false, "upstream-cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true, "upstream-reset"),
        (b"HTTP/1.1 200 OK\r\n\r\nhalf", true, "upstream-reset"),
    ] {
        let server = Server::v4();
        let proxy = Launch::to(server.address()).flags("--mode http --forwarded off").start();
        let client = Peer::connect(proxy.address());
        client.send(GET);
        let upstream = server.accept();
        upstream.expect(GET);
        upstream.send(reply);
        client.expect(b"HTTP/1.1 200 OK\r\n");
        if resets {
            upstream.reset();
        } else {
            upstream.finish();
        }
        client.expect_reset();
        let line = proxy.record();
        line.expect_end(end);
        assert_eq!(line.get("status"), "200");
        let said = proxy.wait_to_say("reply cut short");
        assert!(said.contains(" INFO ") && said.contains(&format!("end=\"{end}\"")), "{said}");
        assert!(said.contains(line.get("request")), "{said}");
    }
}

#[test]
fn a_request_that_the_end_of_the_drain_cuts_has_a_line() {
    let server = Server::v4();
    let mut proxy = proxy(&server, "--drain-timeout 200ms");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(GET);
    upstream.expect(GET);
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    proxy.records(2)[1].expect_end("drain");
}

#[test]
fn refused_requests_have_ids_of_their_own() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, _upstream) = acquainted(&proxy, &server);
    client.send(b"GET / HTTP/1.1\r\n\r\n");
    client.expect(b"HTTP/1.1 400 Bad Request\r\n");
    client.expect_close();
    let lines = proxy.records(2);
    assert!(lines[0].get("request").ends_with("-1") && lines[1].get("request").ends_with("-2"));
    lines[0].expect_end("ok");
    lines[1].expect_end("bad-request");
    proxy.wait_to_say(&format!("request=\"{}\"", lines[1].get("request")));
}

#[test]
fn a_time_out_of_the_proxys_own_within_a_login_is_not_blamed_on_the_client() {
    use super::logins::{challenge, ntlm, request};
    let server = Server::v4();
    let proxy = proxy(&server, "--keepalive-timeout 100ms");
    for _ in 0..4 {
        let client = Peer::connect(proxy.address());
        let type1 = request(&ntlm(1, "", ""));
        client.send(&type1);
        let upstream = server.accept();
        upstream.expect(&type1);
        upstream.send(&challenge());
        client.expect(&challenge());
        client.expect_end();
    }
    proxy.wait_to_say_times("session ended", 4);
    // Signs are looked at once a second.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(proxy.said("symptom="), [""; 0]);
}
