//! Replies that come before their request is through.

use std::io::Write;
use std::thread;
use std::time::Duration;

use super::{GET, acquainted, proxy};
use crate::support::{Peer, Server};

const BYTES: usize = 5_000_000;
const HEAD: &str = "POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 5000000\r\n\r\n";
const TOO_LARGE: &[u8] = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!";
const TOO_LARGE_FORWARDED: &[u8] =
    b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!";

/// Sends a body as Python does: all of it, before anything is read. Fails where it meets a reset.
fn send_all(client: &Peer, pieces: usize, pause: Duration) {
    let piece = vec![b'x'; BYTES / pieces];
    for nth in 0..pieces {
        client.socket().write_all(&piece).unwrap_or_else(|error| panic!("piece {nth} of {pieces}: {error}"));
        thread::sleep(pause);
    }
}

fn the_reply_reaches_a_client_that_sends_all_first(reply: &[u8], pieces: usize, pause: Duration) {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(HEAD.as_bytes());
    let upstream = server.accept();
    upstream.expect(HEAD.as_bytes());
    upstream.send(reply);
    // Closed over what is still to come: the proxy meets a reset.
    drop(upstream);
    send_all(&client, pieces, pause);
    client.expect(&TOO_LARGE_FORWARDED[..24]);
    client.expect_close();
    let line = proxy.record();
    assert_eq!((line.get("status"), line.get("end")), ("413", "ok"));
}

#[test]
fn a_client_that_sends_fast_reads_the_reply_of_a_server_that_closes() {
    the_reply_reaches_a_client_that_sends_all_first(TOO_LARGE, 1, Duration::ZERO);
    the_reply_reaches_a_client_that_sends_all_first(TOO_LARGE, 1000, Duration::ZERO);
}

#[test]
fn a_client_that_sends_slowly_reads_the_reply_of_a_server_that_closes() {
    the_reply_reaches_a_client_that_sends_all_first(TOO_LARGE, 20, Duration::from_millis(200));
}

#[test]
fn a_server_need_not_say_that_it_closes() {
    let reply = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!";
    the_reply_reaches_a_client_that_sends_all_first(reply, 20, Duration::from_millis(100));
}

#[test]
fn a_client_that_sends_slowly_reads_an_answer_of_the_proxys_own() {
    for (request, status) in [
        ("POST /a HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n", "400"),
        ("POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n", "400"),
        ("POST /a HTTP/1.1\r\nHost: web\r\nExpect: wonders\r\nContent-Length: 5000000\r\n\r\n", "417"),
    ] {
        let server = Server::v4();
        let proxy = proxy(&server, "");
        let client = Peer::connect(proxy.address());
        client.send(request.as_bytes());
        send_all(&client, 20, Duration::from_millis(100));
        client.expect(format!("HTTP/1.1 {status} ").as_bytes());
        client.expect_close();
    }
}

#[test]
fn a_client_is_not_heard_out_for_ever() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    client.send(HEAD.as_bytes());
    upstream.expect(HEAD.as_bytes());
    upstream.send(TOO_LARGE);
    client.expect(TOO_LARGE_FORWARDED);
    // It neither sends on nor closes.
    upstream.expect_close();
    proxy.wait_until_idle();
}

#[test]
fn a_101_that_comes_before_its_request_is_through_loses_and_reorders_nothing() {
    const BODY_BYTES: usize = 3_000_000;
    for splice in ["auto", "never", "always"] {
        let server = Server::v4();
        let proxy = proxy(&server, &format!("--splice {splice}"));
        let (client, upstream) = acquainted(&proxy, &server);
        let head = format!(
            "POST /ws HTTP/1.1\r\nHost: web\r\nContent-Length: {BODY_BYTES}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\n\r\n"
        );
        let reply = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let body: Vec<u8> = (0..BODY_BYTES).map(|at| (at % 251) as u8).collect();
        client.send(head.as_bytes());
        thread::scope(|scope| {
            scope.spawn(|| {
                client.send(&body);
                client.send(b"the other protocol");
            });
            // It answers at once, and takes the body only then.
            let mut received = vec![0; head.len()];
            let bytes = upstream.receive(&mut received).expect("it is open");
            received.truncate(bytes);
            upstream.send(&[&reply[..], b"hello"].concat());
            client.expect(reply);
            thread::sleep(Duration::from_millis(300));
            let rest = [head.as_bytes(), &body, b"the other protocol"].concat();
            assert!(rest.starts_with(&received));
            upstream.expect(&rest[received.len()..]);
        });
        client.expect(b"hello");
        client.send(b"more");
        upstream.expect(b"more");
    }
}

#[test]
fn a_reply_to_a_server_that_takes_no_more_comes_through_however_long_it_is() {
    // The client reads nothing before it has sent all, and the reply is more than finds room.
    const REPLY_BYTES: usize = 20_000_000;
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(HEAD.as_bytes());
    let upstream = server.accept();
    upstream.expect(HEAD.as_bytes());
    let head =
        format!("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: {REPLY_BYTES}\r\n\r\n");
    thread::scope(|scope| {
        scope.spawn(|| {
            upstream.send(head.as_bytes());
            upstream.send(&vec![b'n'; REPLY_BYTES]);
        });
        send_all(&client, 20, Duration::ZERO);
        client.expect(b"HTTP/1.1 413 Too Large\r\n");
        let mut left = REPLY_BYTES;
        let mut piece = vec![0; 256 * 1024];
        while left > 1000 {
            left = left.saturating_sub(client.receive(&mut piece).expect("it goes on"));
        }
    });
}

/// The client of Python's standard library, which fails where the reply comes too late for it.
#[test]
fn pythons_client_reads_an_early_reply() {
    const SCRIPT: &str = "import http.client, sys\n\
        c = http.client.HTTPConnection(sys.argv[1], timeout=40)\n\
        c.request('POST', '/a', body=b'x' * 5000000)\n\
        r = c.getresponse()\n\
        print(r.status, r.read().decode())\n";
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = std::process::Command::new("python3")
        .args(["-c", SCRIPT, proxy.address()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 can be run");
    let upstream = server.accept();
    upstream.expect(b"POST /a HTTP/1.1\r\n");
    upstream.send(TOO_LARGE);
    drop(upstream);
    let output = client.wait_with_output().expect("our child");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "413 no!\n");
}

#[test]
fn a_client_that_asks_ahead_reads_the_last_reply() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let ahead = GET.repeat(20_000);
    client.send(&ahead[..GET.len()]);
    upstream.expect(GET);
    thread::scope(|scope| {
        scope.spawn(|| client.send(&ahead));
        upstream.send(TOO_LARGE);
        client.expect(TOO_LARGE_FORWARDED);
    });
    client.expect_close();
}
