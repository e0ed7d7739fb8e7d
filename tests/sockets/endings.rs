//! How a session ends: half-close, reset, idle time-out, and nothing left behind.

use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Launch, Peer, Proxy, Server, exchange, pair, stuff};

fn with_session(flags: &str) -> (Proxy, Server, Peer, Peer) {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags(flags).start();
    let (client, upstream) = pair(&proxy, &server);
    (proxy, server, client, upstream)
}

/// One side ends its stream; the other goes on for as long as it likes.
fn half_closed(one: &Peer, other: &Peer) {
    one.send(b"last words");
    one.finish();
    other.expect(b"last words");
    other.expect_end();
    for turn in 0..20 {
        let message = vec![turn; 1 << (turn % 17)];
        other.send(&message);
        one.expect(&message);
        thread::sleep(Duration::from_millis(10));
    }
    other.finish();
    one.expect_end();
}

#[test]
fn after_the_clients_end_the_server_goes_on() {
    for splice in ["--splice never", "--splice always"] {
        let (proxy, _server, client, upstream) = with_session(splice);
        half_closed(&client, &upstream);
        proxy.record().expect_end("client-close");
        proxy.wait_until_idle();
    }
}

#[test]
fn after_the_servers_end_the_client_goes_on() {
    for splice in ["--splice never", "--splice always"] {
        let (proxy, _server, client, upstream) = with_session(splice);
        half_closed(&upstream, &client);
        proxy.record().expect_end("upstream-close");
        proxy.wait_until_idle();
    }
}

#[test]
fn a_half_closed_session_goes_on_after_the_time_in_which_most_are_closed() {
    let (proxy, _server, client, upstream) = with_session("");
    client.finish();
    upstream.expect_end();
    // The proxy begins to watch for a dead client about a second after its end.
    thread::sleep(Duration::from_millis(1500));
    upstream.send(b"still here");
    client.expect(b"still here");
    proxy.expect_sleep();
    upstream.finish();
    client.expect_end();
    proxy.record().expect_end("client-close");
}

#[test]
fn a_reset_of_the_client_becomes_one_for_the_server() {
    for splice in ["--splice never", "--splice always"] {
        let (proxy, _server, client, upstream) = with_session(splice);
        client.reset();
        upstream.expect_reset();
        proxy.record().expect_end("client-reset");
        proxy.wait_until_idle();
    }
}

#[test]
fn a_reset_of_the_server_becomes_one_for_the_client() {
    for splice in ["--splice never", "--splice always"] {
        let (proxy, _server, client, upstream) = with_session(splice);
        upstream.reset();
        client.expect_reset();
        proxy.record().expect_end("upstream-reset");
        proxy.wait_until_idle();
    }
}

/// Often enough that in some rounds both arrive before the proxy looks, in some after, and in some between.
const ROUNDS: usize = 200;

#[test]
fn a_reset_right_behind_bytes_is_passed_on() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    for round in 0..ROUNDS {
        // Acquainted, since a reset before the proxy sees that it is connected is a refusal to it.
        let (client, upstream) = pair(&proxy, &server);
        upstream.send(&vec![7; 1 + round * 100]);
        upstream.reset();
        client.expect_reset();
    }
    for record in proxy.records(ROUNDS) {
        record.expect_end("upstream-reset");
    }
    proxy.wait_until_idle();
}

#[test]
fn an_end_right_behind_bytes_is_passed_on_between_unix_sockets() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let server = Server::unix(&directory.path().join("server"));
    let listener = format!("unix:{}", directory.path().join("proxy").display());
    let proxy = Launch::to(server.address()).flags(&format!("--listen {listener}")).start();
    let exchange = |one: &Peer, other: &Peer, message: &[u8]| {
        one.send(message);
        one.finish();
        other.expect(message);
        other.expect_end();
    };
    for round in 0..ROUNDS {
        let client = Peer::connect(&listener);
        let upstream = server.accept();
        let message = vec![7; 1 + round * 100];
        exchange(&upstream, &client, &message);
        exchange(&client, &upstream, &message);
    }
    for record in proxy.records(ROUNDS) {
        record.expect_end("upstream-close");
    }
    proxy.wait_until_idle();
}

#[test]
fn a_server_that_dies_after_its_end_ends_the_session() {
    let (proxy, _server, client, upstream) = with_session("");
    upstream.finish();
    client.expect_end();
    upstream.reset();
    client.expect_dead();
    proxy.record().expect_end("upstream-reset");
    proxy.wait_until_idle();
}

#[test]
fn a_client_that_dies_after_its_end_ends_the_session() {
    let (proxy, _server, client, upstream) = with_session("");
    client.finish();
    upstream.expect_end();
    client.reset();
    upstream.expect_dead();
    proxy.record().expect_end("client-reset");
    proxy.wait_until_idle();
}

#[test]
fn a_client_that_dies_while_it_is_sent_bulk_ends_the_session() {
    for splice in ["--splice never", "--splice always"] {
        let (proxy, _server, client, upstream) = with_session(splice);
        stuff(&upstream);
        client.reset();
        upstream.expect_reset();
        proxy.record().expect_end("client-reset");
        proxy.wait_until_idle();
    }
}

#[test]
fn a_server_that_dies_while_its_client_does_not_read_ends_the_session() {
    for splice in ["--splice never", "--splice always"] {
        let (proxy, _server, client, upstream) = with_session(splice);
        stuff(&upstream);
        upstream.reset();
        // What the server sent may be lost by its reset; that it was one may not.
        client.expect_reset();
        proxy.record().expect_end("upstream-reset");
        proxy.wait_until_idle();
    }
}

#[test]
fn a_unix_peer_that_closes_ends_the_session() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let server = Server::unix(&directory.path().join("server"));
    let listen = format!("--listen unix:{}", directory.path().join("proxy").display());
    let proxy = Launch::to(server.address()).flags(&listen).start();
    let (client, upstream) = pair(&proxy, &server);
    drop(upstream);
    client.expect_end();
    drop(client);
    proxy.record().expect_end("upstream-close");
    let (client, upstream) = pair(&proxy, &server);
    drop(client);
    upstream.expect_end();
    drop(upstream);
    proxy.records(2)[1].expect_end("client-close");
    proxy.wait_until_idle();
}

#[test]
fn many_sessions_of_every_ending_leave_nothing_open() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    drop(pair(&proxy, &server));
    proxy.records(1);
    proxy.wait_until_idle();
    let idle = proxy.descriptors();
    let mut held = Vec::new();
    for turn in 0..200 {
        let (client, upstream) = pair(&proxy, &server);
        match turn % 6 {
            0 => drop((client, upstream)),
            1 => drop((upstream, client)),
            2 => {
                client.reset();
                upstream.expect_reset();
            }
            3 => {
                upstream.reset();
                client.expect_reset();
            }
            // Bytes that will not be read, in both directions.
            4 => {
                client.send(&vec![1; 100_000]);
                upstream.send(&vec![2; 100_000]);
                drop(client);
                upstream.expect_close();
            }
            _ => held.push((client, upstream)),
        }
    }
    for (client, upstream) in &held {
        exchange(client, upstream);
    }
    drop(held);
    assert_eq!(proxy.records(201).len(), 201, "lines in the access log (left)");
    proxy.wait_until_idle();
    // Pipes that held bytes when their session died are opened again when they are needed.
    let left = proxy.descriptors();
    assert!(left <= idle, "{left} descriptors are open, {idle} were before");
}

#[test]
fn silence_ends_a_session() {
    let (proxy, _server, client, upstream) = with_session("--idle-timeout 700ms");
    client.expect_close();
    upstream.expect_close();
    let record = proxy.record();
    record.expect_end("idle");
    assert!(record.number("duration_ms") >= 700.0, "idle too early: {} ms", record.get("duration_ms"));
    proxy.wait_until_idle();
}

/// Only `from` speaks, for longer than the time-out.
fn one_way(from: &Peer, to: &Peer) {
    for _ in 0..40 {
        from.send(b"x");
        to.expect(b"x");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn bytes_from_the_client_alone_keep_a_session_alive() {
    let (proxy, _server, client, upstream) = with_session("--idle-timeout 2s");
    one_way(&client, &upstream);
    upstream.send(b"alive");
    client.expect(b"alive");
    client.expect_close();
    proxy.record().expect_end("idle");
}

#[test]
fn bytes_from_the_server_alone_keep_a_session_alive() {
    let (proxy, _server, client, upstream) = with_session("--idle-timeout 2s");
    one_way(&upstream, &client);
    client.send(b"alive");
    upstream.expect(b"alive");
    upstream.expect_close();
    proxy.record().expect_end("idle");
}

#[test]
fn a_half_closed_session_that_is_silent_ends_too() {
    let (proxy, _server, client, upstream) = with_session("--idle-timeout 1500ms");
    client.finish();
    upstream.expect_end();
    client.expect_close();
    proxy.record().expect_end("idle");
    // It was sent the end of the client's stream before; it learns that the client is gone when it sends.
    upstream.send(b"anybody?");
    upstream.expect_dead();
    proxy.wait_until_idle();
}
