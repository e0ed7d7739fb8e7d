//! Who may connect, and how much of it: by the client's address, or by the source in its PROXY header.

use std::sync::Arc;
use std::thread;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{Identity, Launch, Peer, Proxy, Server, TlsPeer, exchange, wait_for};

fn header(source: &str) -> Vec<u8> {
    let (family, own) = if source.contains(':') { ("TCP6", "2001:db8::1") } else { ("TCP4", "192.0.2.1") };
    format!("PROXY {family} {source} {own} 51234 80\r\n").into_bytes()
}

fn connect_from(source: &str, proxy: &Proxy) -> Peer {
    Peer::connect_from(source.parse().expect("an address"), proxy.address())
}

fn expect_served(client: &Peer, server: &Server) -> Peer {
    let upstream = server.accept();
    exchange(client, &upstream);
    upstream
}

/// The totals of its last line.
fn stop(mut proxy: Proxy) -> String {
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    proxy.wait_to_say("stopped")
}

#[test]
fn clients_are_allowed_and_denied_by_address() {
    let server = Server::v4();
    let flags =
        "--workers 2 --no-pin --allow 127.0.0.0/16 --allow 127.7.0.9 --deny 127.0.0.128/25 --deny 127.0.0.3";
    let proxy = Launch::to(server.address()).flags(flags).start();
    for source in ["127.0.0.1", "127.0.0.127", "127.7.0.9"] {
        expect_served(&connect_from(source, &proxy), &server);
    }
    for source in ["127.0.0.3", "127.0.0.128", "127.7.0.8"] {
        connect_from(source, &proxy).expect_close();
        let line = proxy.wait_to_say(&format!("client={source}:"));
        assert!(
            line.contains("WARN client is not allowed to connect; closing service=\"default\""),
            "{line}"
        );
    }
    server.expect_no_connection();
    let records = proxy.records(6);
    let denied: Vec<_> = records.iter().filter(|record| record.get("end") == "denied").collect();
    assert_eq!(denied.len(), 3);
    for record in denied {
        assert_eq!(record.get("upstream"), "-");
    }
    let totals = stop(proxy);
    assert!(totals.contains(" connections=6 ") && totals.contains(" denied=3"), "{totals}");
}

#[test]
fn a_client_is_refused_before_it_is_shown_a_certificate_or_a_page() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let identity = Identity::make(directory.path(), "site", &["site.test"]);
    let server = Server::v4();
    let tls = format!("--tls-cert {} --tls-key {}", identity.certificate.display(), identity.key.display());
    for flags in
        [tls.as_str(), "--mode http", &format!("--mode http {tls}"), "--sni-route a.test=127.0.0.1:9"]
    {
        let proxy = Launch::to(server.address()).flags(flags).flags("--deny 127.0.0.2").start();
        let client = connect_from("127.0.0.2", &proxy);
        // It has not said anything yet.
        client.expect_end();
        let client = connect_from("127.0.0.2", &proxy);
        // It may have been closed meanwhile.
        let _ = std::io::Write::write(&mut client.socket(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut received = [0; 64];
        assert!(
            matches!(client.receive(&mut received), Ok(0) | Err(_)),
            "{flags}: {:?}",
            received.escape_ascii()
        );
        server.expect_no_connection();
        if flags == tls {
            let client = TlsPeer::connect(proxy.address(), &Arc::new(identity.client(None)), "site.test");
            exchange(&client.plain, &server.accept());
        }
        let totals = stop(proxy);
        assert!(totals.contains(" denied=2"), "{flags}: {totals}");
    }
}

#[test]
fn behind_a_trusted_balancer_the_source_it_names_counts() {
    let server = Server::v4();
    let flags = "--accept-proxy --accept-proxy-from 127.0.0.9 --deny 192.0.2.0/24 --deny 2001:db8:7::/48 --deny 127.0.0.3";
    let proxy = Launch::to(server.address()).flags(flags).start();
    let through = |balancer: &str, source: &str| {
        let client = connect_from(balancer, &proxy);
        client.send(&header(source));
        client
    };
    for source in ["198.51.100.7", "2001:db8:8::7", "127.0.0.9"] {
        expect_served(&through("127.0.0.9", source), &server);
    }
    for source in ["192.0.2.7", "2001:db8:7::7", "::ffff:192.0.2.7"] {
        through("127.0.0.9", source).expect_close();
    }
    // A client that is no balancer cannot name another address as its own, in either direction.
    through("127.0.0.3", "198.51.100.7").expect_close();
    let client = through("127.0.0.4", "192.0.2.7");
    server.accept().expect(&header("192.0.2.7"));
    drop(client);
    server.expect_no_connection();
    let totals = stop(proxy);
    assert!(totals.contains(" denied=4"), "{totals}");
}

#[test]
fn clients_of_unix_sockets_are_allowed_by_their_own_word() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let server = Server::v4();
    for (flags, is_served) in [
        ("--allow 127.0.0.0/8 --allow ::/0", false),
        ("--allow unix:", true),
        ("--deny unix:", false),
        ("--deny ::/0", true),
    ] {
        let path = directory.path().join("proxy");
        let listen = format!("--listen unix:{}", path.display());
        let proxy = Launch::to(server.address()).flags(&listen).flags(flags).start();
        let client = Peer::connect(proxy.address());
        if is_served {
            expect_served(&client, &server);
        } else {
            client.expect_close();
        }
    }
    server.expect_no_connection();
}

#[test]
fn an_address_that_everybody_may_write_into_a_header_is_warned_of() {
    let server = Server::v4();
    let warning = "WARN clients are admitted by PROXY headers that any client may send";
    let forgeable = Launch::to(server.address()).flags("--accept-proxy --deny 192.0.2.0/24").start();
    forgeable.wait_to_say(warning);
    let flags = "--accept-proxy --accept-proxy-from 127.0.0.9 --deny 192.0.2.0/24";
    for flags in [flags, "--accept-proxy", "--deny 192.0.2.0/24"] {
        let proxy = Launch::to(server.address()).flags(flags).start();
        assert!(proxy.said(warning).is_empty(), "{flags}");
    }
}

#[test]
fn one_client_has_so_many_connections_at_once_over_all_workers() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--workers 2 --no-pin --connections-per-client 3").start();
    let mut held: Vec<_> = (0..3)
        .map(|_| {
            let client = connect_from("127.0.0.1", &proxy);
            let upstream = expect_served(&client, &server);
            (client, upstream)
        })
        .collect();
    // Whichever worker they come to.
    for _ in 0..20 {
        connect_from("127.0.0.1", &proxy).expect_close();
    }
    server.expect_no_connection();
    let line = proxy.wait_to_say("client has reached a limit for one client; closing");
    assert!(line.contains("WARN") && line.contains("client=127.0.0.1:"), "{line}");
    assert!(line.contains(" cause=\"connections\""), "{line}");
    // Others have their own.
    let other = connect_from("127.0.0.2", &proxy);
    let upstream = expect_served(&other, &server);
    let mut ended = 20;
    for _ in 0..6 {
        drop(held.remove(0));
        // Its count ends before its line is written.
        ended += 1;
        proxy.records(ended);
        let client = connect_from("127.0.0.1", &proxy);
        held.push((expect_served(&client, &server), client));
        connect_from("127.0.0.1", &proxy).expect_close();
        ended += 1;
        proxy.records(ended);
    }
    for (one, other) in &held {
        exchange(one, other);
    }
    exchange(&other, &upstream);
    let records = proxy.records(ended);
    assert_eq!(records.iter().filter(|record| record.get("end") == "client-connections").count(), 26);
    drop((held, other, upstream));
    let totals = stop(proxy);
    assert!(totals.contains(" client-connections=26"), "{totals}");
}

#[test]
fn connections_of_one_client_come_so_fast_over_all_workers() {
    let server = Server::v4();
    let flags = "--workers 2 --no-pin --connection-rate-per-client 1/m,burst=3";
    let proxy = Launch::to(server.address()).flags(flags).start();
    for source in ["127.0.0.1", "127.0.0.2"] {
        // They need not last.
        for _ in 0..3 {
            expect_served(&connect_from(source, &proxy), &server);
        }
        for _ in 0..10 {
            connect_from(source, &proxy).expect_close();
        }
    }
    server.expect_no_connection();
    let line = proxy.wait_to_say("client has reached a limit for one client; closing");
    assert!(line.contains(" cause=\"rate\""), "{line}");
    let records = proxy.records(26);
    assert_eq!(records.iter().filter(|record| record.get("end") == "client-rate").count(), 20);
    let totals = stop(proxy);
    assert!(totals.contains(" client-rate=20"), "{totals}");
}

#[test]
fn what_comes_slowly_enough_is_served() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--connection-rate-per-client 10/s,burst=1").start();
    thread::scope(|scope| {
        scope.spawn(|| (0..5).for_each(|_| server.accept().send(b"x")));
        for _ in 0..5 {
            wait_for("a connection that is served", || {
                let received = connect_from("127.0.0.1", &proxy).receive(&mut [0]);
                received.ok().filter(|count| *count == 1)
            });
        }
    });
}

#[test]
fn sources_in_proxy_headers_have_their_own_limits_and_an_ipv6_network_is_one() {
    let server = Server::v4();
    let flags = "--accept-proxy --accept-proxy-from 127.0.0.9 --connections-per-client 1";
    let proxy = Launch::to(server.address()).flags(flags).start();
    let through = |source: &str| {
        let client = connect_from("127.0.0.9", &proxy);
        client.send(&header(source));
        client
    };
    let mut held = Vec::new();
    for (source, is_served) in [
        ("192.0.2.1", true),
        ("192.0.2.2", true),
        ("192.0.2.1", false),
        ("::ffff:192.0.2.2", false),
        ("2001:db8:0:1::1", true),
        ("2001:db8:0:1:2::3", false),
        ("2001:db8:0:2::1", true),
        ("127.0.0.1", true),
    ] {
        let client = through(source);
        if is_served {
            held.push((expect_served(&client, &server), client));
        } else {
            client.expect_close();
        }
    }
    // The balancer itself, and clients that are none of its own: 127.0.0.1 has one connection through it.
    let client = connect_from("127.0.0.9", &proxy);
    client.send(b"PROXY UNKNOWN\r\n");
    held.push((expect_served(&client, &server), client));
    connect_from("127.0.0.1", &proxy).expect_close();
    let client = connect_from("127.0.0.2", &proxy);
    held.push((expect_served(&client, &server), client));
    server.expect_no_connection();
}

#[test]
fn limits_apply_before_tls_and_requests_and_what_failed_counts_no_longer() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let identity = Identity::make(directory.path(), "site", &["site.test"]);
    let server = Server::v4();
    let tls = format!("--tls-cert {} --tls-key {}", identity.certificate.display(), identity.key.display());
    for flags in [tls.as_str(), "--mode http", &format!("--mode http {tls}")] {
        let proxy = Launch::to(server.address()).flags(flags).flags("--connections-per-client 1").start();
        let first = connect_from("127.0.0.1", &proxy);
        // It has not said anything, and counts.
        let second = connect_from("127.0.0.1", &proxy);
        second.expect_end();
        drop((first, second));
        // A handshake or a request that is none ends, and leaves room.
        for _ in 0..3 {
            let client = wait_for("room for another connection", || {
                let client = connect_from("127.0.0.1", &proxy);
                client.send(b"nonsense\r\n\r\n");
                let mut received = [0; 64];
                client.receive(&mut received).ok().filter(|count| *count > 0)
            });
            assert!(client > 0);
        }
        server.expect_no_connection();
        let totals = stop(proxy);
        assert!(totals.contains(" client-connections="), "{flags}: {totals}");
    }
}

#[test]
fn clients_of_unix_sockets_have_no_limits() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let server = Server::v4();
    let listen = format!("--listen unix:{}", directory.path().join("proxy").display());
    let flags = "--connections-per-client 1 --connection-rate-per-client 1/m";
    let proxy = Launch::to(server.address()).flags(&listen).flags(flags).start();
    let held: Vec<_> = (0..3)
        .map(|_| {
            let client = Peer::connect(proxy.address());
            (expect_served(&client, &server), client)
        })
        .collect();
    for (one, other) in &held {
        exchange(one, other);
    }
}
