//! Servers that fail: how long clients wait for them, when they are left out, and how they come back.

use std::thread;
use std::time::Duration;

use crate::support::{Launch, Peer, Proxy, Server, Unanswering, exchange, pair, refusing, wait_until};

/// What the log says of a connect that failed.
const FAILED: &str = "cannot connect to server; trying the next, if any";
/// What the log says of a server that is left out.
const EJECTED: &str = "server ejected; using it only where no other is left";

/// Serves a client, whichever server answers.
fn serve_one(proxy: &Proxy, servers: &[&Server]) {
    let client = Peer::connect(proxy.address());
    client.send(b"first");
    let mut accepted = None;
    wait_until("a server to get the connection", || {
        accepted = servers.iter().find_map(|server| server.try_accept());
        accepted.is_some()
    });
    let upstream = accepted.expect("it was waited for");
    upstream.expect(b"first");
    exchange(&client, &upstream);
}

/// The lines about this server.
fn about(lines: &[String], server: &str) -> usize {
    lines.iter().filter(|line| line.contains(&format!("upstream=\"{server}\""))).count()
}

#[test]
fn the_connects_of_one_client_are_bounded_in_sum() {
    let silent: Vec<_> = (0..5).map(|_| Unanswering::new()).collect();
    let mut launch = Launch::to(silent[0].address());
    for server in &silent[1..] {
        launch = launch.flags(&format!("--upstream {}", server.address()));
    }
    let good = Server::v4();
    let proxy = launch
        .flags(&format!("--upstream {} --connect-timeout 400ms --connect-budget 500ms", good.address()))
        .start();
    Peer::connect(proxy.address()).expect_close();
    proxy.record().expect_end("connect-timeout");
    proxy.wait_to_say("no server was ready within the connect budget; not trying the others");
    let tried = proxy.said(FAILED).len();
    assert!((1..=2).contains(&tried), "{tried} servers were tried within the budget of one and a bit");
    good.expect_no_connection();
    proxy.wait_until_idle();
}

#[test]
fn a_server_that_fails_in_a_row_is_left_out() {
    let (_held, down) = refusing();
    let good = Server::v4();
    let flags = format!("--upstream {} --eject-time 1h --eject-time-max 1h", good.address());
    let proxy = Launch::to(&down).flags(&flags).start();
    for _ in 0..20 {
        pair(&proxy, &good);
    }
    let line = proxy.wait_to_say(EJECTED);
    assert!(line.contains("cause=\"connect\"") && line.contains("failures=3"), "{line}");
    assert_eq!(about(&proxy.said(FAILED), &down), 3, "failures, and no attempt after them (left)");
    assert_eq!(proxy.said(EJECTED).len(), 1);
}

#[test]
fn many_dead_servers_cost_a_few_lines_each() {
    let dead: Vec<_> = (0..100).map(|_| refusing()).collect();
    let good = Server::v4();
    let mut launch = Launch::to(good.address()).flags("--eject-time 1h --eject-time-max 1h --eject-after 1");
    for (_, address) in &dead {
        launch = launch.flags(&format!("--upstream {address}"));
    }
    let proxy = launch.start();
    for _ in 0..30 {
        pair(&proxy, &good);
    }
    for (_, address) in &dead {
        assert!(about(&proxy.said(FAILED), address) <= 1, "{address} was tried again");
    }
}

#[test]
fn a_server_that_does_not_answer_is_left_out() {
    let silent = Unanswering::new();
    let good = Server::v4();
    let flags = format!("--upstream {} --connect-timeout 200ms --eject-time 1h", good.address());
    let proxy = Launch::to(silent.address()).flags(&flags).start();
    for _ in 0..12 {
        pair(&proxy, &good);
    }
    proxy.wait_to_say(EJECTED);
    assert_eq!(about(&proxy.said(FAILED), silent.address()), 3);
}

#[test]
fn clients_that_do_not_wait_for_the_time_out_do_not_hide_a_server_that_never_answers() {
    let silent = Unanswering::new();
    let good = Server::v4();
    let flags = format!("--upstream {} --connect-timeout 1h --eject-after 2 --eject-time 1h", good.address());
    let proxy = Launch::to(silent.address()).flags(&flags).start();
    let impatient: Vec<_> = (0..6).map(|_| Peer::connect(proxy.address())).collect();
    thread::sleep(Duration::from_secs(3));
    impatient.into_iter().for_each(Peer::reset);
    let line = proxy.wait_to_say(EJECTED);
    assert!(line.contains(silent.address()), "{line}");
    while good.try_accept().is_some() {}
    for _ in 0..4 {
        pair(&proxy, &good);
    }
}

#[test]
fn the_last_servers_of_a_group_are_tried_in_turn_although_all_fail() {
    let down = [refusing(), refusing()];
    let flags = format!("--upstream {} --eject-time 1h", down[1].1);
    let proxy = Launch::to(&down[0].1).flags(&flags).start();
    for _ in 0..10 {
        Peer::connect(proxy.address()).expect_close();
    }
    proxy.wait_to_say_times(FAILED, 20);
    for (_, address) in &down {
        assert_eq!(about(&proxy.said(FAILED), address), 10, "every client tried it (right)");
        assert_eq!(about(&proxy.said(EJECTED), address), 1);
    }
    down[1].0.listen(100).expect("a bound socket");
    let client = Peer::connect(proxy.address());
    client.send(b"x");
    let (upstream, _) = down[1].0.accept().expect("the client comes although the server is ejected");
    drop(upstream);
    assert!(proxy.wait_to_say("server is up again").contains(&down[1].1));
}

#[test]
fn the_only_server_of_a_group_is_never_ejected() {
    let (_held, down) = refusing();
    let proxy = Launch::to(&down).start();
    for _ in 0..6 {
        Peer::connect(proxy.address()).expect_close();
    }
    proxy.wait_to_say_times(FAILED, 6);
    assert_eq!(proxy.said(EJECTED), [""; 0]);
}

#[test]
fn servers_that_end_connections_before_their_first_byte_are_left_out() {
    for mode in ["stream", "http"] {
        let (resetting, good) = (Server::v4(), Server::v4());
        let flags = format!("--upstream {} --mode {mode} --eject-time 1h", good.address());
        let proxy = Launch::to(resetting.address()).flags(&flags).start();
        let mut resets = 0;
        for _ in 0..12 {
            let client = Peer::connect(proxy.address());
            client.send(b"GET / HTTP/1.1\r\nHost: iis\r\n\r\n");
            wait_until("one of the servers to get the connection", || {
                if let Some(upstream) = resetting.try_accept() {
                    resets += 1;
                    upstream.expect(b"GET / HTTP/1.1\r\n");
                    upstream.reset();
                    client.expect_close();
                    return true;
                }
                let Some(upstream) = good.try_accept() else { return false };
                upstream.expect(b"GET / HTTP/1.1\r\n");
                upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n");
                client.expect(b"HTTP/1.1 204 No Content\r\n");
                true
            });
        }
        assert_eq!(resets, 3, "{mode}: connections that the server reset before it was left out (left)");
        let line = proxy.wait_to_say(EJECTED);
        assert!(line.contains("cause=\"no-answer\"") && line.contains(resetting.address()), "{mode}: {line}");
    }
}

#[test]
fn an_answer_in_between_keeps_a_server_in_use() {
    let (server, other) = (Server::v4(), Server::v4());
    let proxy = Launch::to(server.address()).flags(&format!("--upstream {},backup", other.address())).start();
    for _ in 0..4 {
        for _ in 0..2 {
            let client = Peer::connect(proxy.address());
            client.send(b"x");
            let upstream = server.accept();
            upstream.expect(b"x");
            upstream.reset();
            client.expect_close();
        }
        pair(&proxy, &server);
    }
    assert_eq!(proxy.said(EJECTED), [""; 0]);
    other.expect_no_connection();
}

#[test]
fn a_server_that_is_back_is_used_again() {
    let (held, down) = refusing();
    let good = Server::v4();
    let flags =
        format!("--upstream {} --eject-after 1 --eject-time 100ms --eject-time-max 200ms", good.address());
    let proxy = Launch::to(&down).flags(&flags).start();
    serve_one(&proxy, &[&good]);
    proxy.wait_to_say(EJECTED);
    held.listen(100).expect("a bound socket");
    let back = Server::of(held, down);
    wait_until("the server to be used again", || {
        serve_one(&proxy, &[&good, &back]);
        !proxy.said("server is up again").is_empty()
    });
    // Both ends stay: a server that ends a connection without an answer would have failed.
    let mut held = Vec::new();
    let (mut of_good, mut of_back) = (0, 0);
    for _ in 0..8 {
        let client = Peer::connect(proxy.address());
        client.send(b"x");
        held.push(client);
        wait_until("a server to get the connection", || {
            if let Some(upstream) = good.try_accept() {
                of_good += 1;
                held.push(upstream);
            } else if let Some(upstream) = back.try_accept() {
                of_back += 1;
                held.push(upstream);
            } else {
                return false;
            }
            true
        });
    }
    assert_eq!((of_good, of_back), (4, 4), "both take turns");
}
