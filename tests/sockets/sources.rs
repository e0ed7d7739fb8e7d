//! Where connections to servers come from.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{Launch, Peer, Proxy, Server, exchange, in_own_network, pair, run, set_parameter};

/// Where a server sees connections come from.
fn source(upstream: &Peer) -> String {
    let address = upstream.socket().peer_addr().expect("it is connected").as_socket();
    address.expect("an IP socket").ip().to_string()
}

fn sources(proxy: &Proxy, server: &Server, count: usize) -> Vec<String> {
    (0..count).map(|_| source(&pair(proxy, server).1)).collect()
}

/// A client of its own address, so that it needs no port that others need.
fn client(proxy: &Proxy, number: u8) -> Peer {
    Peer::connect_from(Ipv4Addr::new(127, 0, 9, number).into(), proxy.address())
}

#[test]
fn servers_see_each_source_address_in_turn() {
    let server = Server::v4();
    let flags = "--source-address 127.0.0.5 --source-address 127.0.0.6 --source-address ::1";
    let proxy = Launch::to(server.address()).flags(flags).start();
    assert_eq!(sources(&proxy, &server, 4), ["127.0.0.5", "127.0.0.6", "127.0.0.5", "127.0.0.6"]);
}

#[test]
fn a_server_gets_a_source_address_of_its_family() {
    let (v4, v6) = (Server::v4(), Server::v6());
    let flags = "--mode http --source-address 127.0.0.5 --source-address ::1";
    let routes = format!("--host-route four={} --host-route six={}", v4.address(), v6.address());
    let proxy = Launch::by_routes().flags(flags).flags(&routes).start();
    for (host, server, expected) in [("four", &v4, "127.0.0.5"), ("six", &v6, "::1")] {
        let client = Peer::connect(proxy.address());
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(source(&server.accept()), expected);
    }
    // One of them is left to the kernel.
    let upstreams = format!("--upstream {} --source-address 127.0.0.5", v6.address());
    let proxy = Launch::to(v4.address()).flags(&upstreams).start();
    let clients = [Peer::connect(proxy.address()), Peer::connect(proxy.address())];
    assert_eq!((source(&v4.accept()), source(&v6.accept())), ("127.0.0.5".to_owned(), "::1".to_owned()));
    drop(clients);
}

#[test]
fn checks_come_from_the_source_addresses() {
    let server = Server::v4();
    let flags = "--source-address 127.0.0.5 --health http --health-interval 100ms";
    let _proxy = Launch::to(server.address()).flags(flags).start();
    for _ in 0..2 {
        let check = server.accept();
        check.expect(b"GET / HTTP/1.1\r\n");
        assert_eq!(source(&check), "127.0.0.5");
    }
}

#[test]
fn an_address_of_another_host_is_one_line_at_start_and_in_a_check() {
    // TEST-NET-1 (RFC 5737) and 2001:db8::/32 (RFC 3849) are assigned to no host.
    for (address, server) in [("192.0.2.1", "127.0.0.1:9"), ("2001:db8::1", "[::1]:9")] {
        for check in ["", "--check"] {
            let flags = format!("--source-address {address} {check}");
            let (code, said) = Launch::to(server).flags(&flags).fail();
            let [line] = &said[..] else { panic!("one line: {said:?}") };
            let expected = format!("cannot connect to servers from {address}: ");
            assert!(
                line.contains(&expected) && line.contains("no interface of this host has that"),
                "{line}"
            );
            assert_eq!(code, Some(1));
        }
    }
}

#[test]
fn a_reload_takes_other_addresses_over_or_changes_nothing() {
    let server = Server::v4();
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("iisplice.toml");
    let write = |addresses: &str| {
        let text = format!(
            "[service.a]\nlisten = \"127.0.0.1:0\"\nupstream = \"a\"\n[group.a]\nservers = \"{}\"\n{addresses}\n",
            server.address()
        );
        fs::write(&path, text).expect("it is written");
    };
    write("");
    let proxy = Launch::by_file(&path).start();
    assert_eq!(sources(&proxy, &server, 1), ["127.0.0.1"]);
    // Whichever is first.
    let both = || {
        let mut both = sources(&proxy, &server, 2);
        both.sort();
        both
    };
    write("source-address = [\"127.0.0.5\", \"127.0.0.6\"]");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("settings reloaded;");
    assert_eq!(both(), ["127.0.0.5", "127.0.0.6"]);
    write("source-address = [\"127.0.0.7\", \"192.0.2.1\"]");
    proxy.signal(Signal::SIGHUP);
    let said = proxy.wait_to_say("cannot reload settings");
    assert!(said.contains("toml:6:32: source-address: cannot connect to servers from 192.0.2.1: "), "{said}");
    assert_eq!(both(), ["127.0.0.5", "127.0.0.6"]);
}

/// Each address has all ports: with two of them there are twice as many connections as ports. When all are taken, it is
/// said what ran out, and the server is not blamed for it.
#[test]
fn more_connections_than_ports_come_from_two_addresses() {
    in_own_network("sources::more_connections_than_ports_come_from_two_addresses", || {
        let (server, other) = (Server::v4(), Server::v4());
        let addresses = "--source-address 127.0.0.5 --source-address 127.0.0.6";
        let flags = format!("{addresses} --upstream {},backup --eject-after 1", other.address());
        let proxy = Launch::to(server.address()).flags(&flags).start();
        set_parameter("ipv4/ip_local_port_range", "40000 40009");
        let mut held: Vec<_> = (0..20).map(|number| (client(&proxy, number), server.accept())).collect();
        let count = |address: &str| held.iter().filter(|(_, upstream)| source(upstream) == address).count();
        assert_eq!((count("127.0.0.5"), count("127.0.0.6")), (10, 10));
        assert!(proxy.said("no source port left").is_empty());

        // Both have run out towards this server, and not towards the other.
        held.push((client(&proxy, 30), other.accept()));
        let said = proxy.wait_to_say_times("no source port left towards the server", 2);
        for address in ["127.0.0.5", "127.0.0.6"] {
            let of_address = format!("source={address} cause=\"no-port\"");
            assert!(said.iter().any(|line| line.contains(&of_address)), "{said:?}");
        }
        assert!(said[0].contains("net.ipv4.ip_local_port_range"), "{said:?}");
        // A place that becomes free is used by the next client, at whichever address it is.
        for number in [3, 6] {
            let (left, upstream) = held.remove(number);
            left.socket().set_linger(Some(Duration::ZERO)).expect("a socket");
            drop(left);
            upstream.expect_dead();
            drop(upstream);
            held.push((client(&proxy, 40 + number as u8), server.accept()));
        }
        for (client, upstream) in &held {
            exchange(client, upstream);
        }
        assert!(proxy.said("server is down").is_empty() && proxy.said("ejected").is_empty());
    });
}

/// An address that the host loses while the proxy runs is passed over, and the server is not blamed for it.
#[test]
fn an_address_that_goes_away_is_passed_over() {
    in_own_network("sources::an_address_that_goes_away_is_passed_over", || {
        run("ip address add 10.9.0.1/32 dev lo");
        run("ip address add 10.9.0.2/32 dev lo");
        let server = Server::v4();
        let flags = "--source-address 10.9.0.1 --source-address 10.9.0.2 --eject-after 1";
        let proxy = Launch::to(server.address()).flags(flags).start();
        assert_eq!(sources(&proxy, &server, 2), ["10.9.0.1", "10.9.0.2"]);
        run("ip address del 10.9.0.1/32 dev lo");
        assert_eq!(sources(&proxy, &server, 3), ["10.9.0.2", "10.9.0.2", "10.9.0.2"]);
        let said = proxy.wait_to_say("cannot connect from the source address");
        assert!(said.contains("source=10.9.0.1"), "{said}");
        run("ip address del 10.9.0.2/32 dev lo");
        drop(Peer::connect(proxy.address()));
        let records = proxy.records(6);
        assert!(
            records.iter().any(|record| record.get("end") == "local-limit"),
            "a client without a source address"
        );
        assert!(proxy.said("server is down").is_empty() && proxy.said("ejected").is_empty());
    });
}
