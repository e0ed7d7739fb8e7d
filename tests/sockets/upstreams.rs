//! Choosing an upstream and connecting to it, and what becomes of a client for whom there is none.

use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Launch, Peer, Server, Unanswering, exchange, pair, refusing, wait_until};

/// TCP to a multicast address cannot be (connect(2): `ENETUNREACH`), with any routes.
const UNREACHABLE: &str = "224.0.0.1:80";

#[test]
fn several_are_taken_in_turn() {
    let servers = [Server::v4(), Server::v4(), Server::v6()];
    let [first, second, third] = &servers;
    let more = format!("--upstream {} --upstream {}", second.address(), third.address());
    let proxy = Launch::to(first.address()).flags(&more).start();
    for _ in 0..4 {
        for server in &servers {
            pair(&proxy, server);
        }
    }
    for (record, server) in proxy.records(12).iter().zip(servers.iter().cycle()) {
        assert_eq!(record.get("upstream"), server.address(), "in turn");
    }
}

/// `broken` is passed over, with its trouble in the log, and alone it is the client's end with `word`.
fn passed_over(broken: &str, trouble: &str, word: &str) {
    let server = Server::v4();
    let flags = format!("--upstream {} --connect-timeout 500ms", server.address());
    let proxy = Launch::to(broken).flags(&flags).start();
    for _ in 0..2 {
        pair(&proxy, &server);
    }
    let said = proxy.wait_to_say("cannot connect to server; trying the next, if any");
    assert!(
        said.contains(broken) && said.contains(trouble),
        "expected {trouble:?} about {broken} in: {said}"
    );
    for record in proxy.records(2) {
        assert_eq!(record.get("upstream"), server.address());
    }

    let proxy = Launch::to(broken).flags("--connect-timeout 500ms").start();
    let client = Peer::connect(proxy.address());
    client.expect_close();
    let record = proxy.record();
    record.expect_end(word);
    assert_eq!(record.get("upstream"), "-", "no upstream took it");
    assert_eq!(record.get("connect_ms"), "-", "no upstream took it");
    proxy.wait_until_idle();
}

#[test]
fn one_that_refuses_is_passed_over() {
    let (_port, address) = refusing();
    passed_over(&address, "refused", "refused");
}

#[test]
fn one_that_is_unreachable_is_passed_over() {
    passed_over(UNREACHABLE, "unreachable", "refused");
}

#[test]
fn a_unix_socket_that_is_missing_is_passed_over() {
    let directory = TempDir::new().expect("a directory for temporary files");
    passed_over(&format!("unix:{}", directory.path().join("none").display()), "No such file", "refused");
}

#[test]
fn one_that_does_not_answer_in_time_is_passed_over() {
    let silent = Unanswering::new();
    passed_over(silent.address(), "timed out", "connect-timeout");
}

#[test]
fn every_other_one_is_tried_before_the_client_is_closed() {
    let refusals: Vec<_> = (0..3).map(|_| refusing()).collect();
    let server = Server::v4();
    let mut launch = Launch::to(&refusals[0].1);
    for (_, address) in &refusals[1..] {
        launch = launch.flags(&format!("--upstream {address}"));
    }
    let proxy = launch.flags(&format!("--upstream {}", server.address())).start();
    for _ in 0..4 {
        pair(&proxy, &server);
    }
    // The first client tried three others, the second two, the third one, and the fourth came to it at once.
    assert_eq!(
        proxy.wait_to_say_times("cannot connect to server; trying the next, if any", 6).len(),
        6,
        "failed attempts (left)"
    );
}

#[test]
fn a_client_that_leaves_ends_the_attempt_to_connect() {
    let silent = Unanswering::new();
    let proxy = Launch::to(silent.address()).flags("--connect-timeout 1h").start();
    let begins_to_connect = |_: &Peer| wait_until("the proxy to connect", || proxy.sockets() == 3);
    let client = Peer::connect(proxy.address());
    begins_to_connect(&client);
    drop(client);
    proxy.records(1)[0].expect_end("client-left");
    proxy.wait_until_idle();

    let client = Peer::connect(proxy.address());
    begins_to_connect(&client);
    client.reset();
    proxy.records(2)[1].expect_end("client-left");
    proxy.wait_until_idle();

    // No server will answer what it has sent: a reset is no half-close.
    let client = Peer::connect(proxy.address());
    client.send(b"anybody?");
    begins_to_connect(&client);
    client.reset();
    proxy.records(3)[2].expect_end("client-left");
    proxy.wait_until_idle();
}

#[test]
fn a_client_that_has_sent_all_it_had_to_say_is_served_when_its_server_answers() {
    let silent = Unanswering::new();
    let proxy = Launch::to(silent.address()).flags("--connect-timeout 40s").start();
    let client = Peer::connect(proxy.address());
    client.send(b"my only request");
    client.finish();
    wait_until("the proxy to connect", || proxy.sockets() == 3);
    // Longer than a leaving client goes unwatched.
    thread::sleep(Duration::from_millis(200));
    let server = silent.answer();
    let upstream = server.accept();
    upstream.expect(b"my only request");
    upstream.expect_end();
    upstream.send(b"the answer");
    drop(upstream);
    client.expect(b"the answer");
    client.expect_end();
    proxy.record().expect_end("client-close");
}

#[test]
fn a_client_that_waits_for_its_server_does_not_hold_up_others() {
    let silent = Unanswering::new();
    let server = Server::v4();
    let flags = format!("--upstream {} --connect-timeout 1h", server.address());
    let proxy = Launch::to(silent.address()).flags(&flags).start();
    let waiting = Peer::connect(proxy.address());
    wait_until("the proxy to connect", || proxy.sockets() == 3);
    let (client, upstream) = pair(&proxy, &server);
    exchange(&client, &upstream);
    proxy.expect_sleep();
    drop(waiting);
    proxy.record().expect_end("client-left");
}
