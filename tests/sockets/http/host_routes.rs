//! `--host-route`: the host of the first request chooses the servers of a connection.

use super::{OK, expect_end};
use crate::support::{Launch, Peer, Proxy, Server};

fn routed(launch: Launch, routes: &[(&str, &Server)]) -> Proxy {
    let launch = launch.flags("--mode http --forwarded off --log-level debug");
    let route = |launch: Launch, (host, server): &(&str, &Server)| {
        launch.flags(&format!("--host-route {host}={}", server.address()))
    };
    routes.iter().fold(launch, route).start()
}

fn request(target: &str, host: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// A new client's request for this arrives at `server`.
fn expect_at(proxy: &Proxy, server: &Server, sent: &[u8], forwarded: &[u8]) -> (Peer, Peer) {
    let client = Peer::connect(proxy.address());
    client.send(sent);
    let upstream = server.accept();
    upstream.expect(forwarded);
    upstream.send(OK);
    client.expect(OK);
    (client, upstream)
}

fn expect_misdirected(client: &Peer, request: &[u8]) {
    client.send(request);
    client.expect(b"HTTP/1.1 421 Misdirected Request\r\n");
    client.finish();
    client.expect_close();
}

#[test]
fn the_host_of_the_first_request_chooses_the_servers() {
    let (one, apps, other) = (Server::v4(), Server::v4(), Server::v4());
    let proxy = routed(Launch::to(other.address()), &[("one.test", &one), ("*.apps.test", &apps)]);
    for (host, server) in [
        ("one.test", &one),
        ("ONE.Test:8080", &one),
        ("one.test.", &one),
        ("a.apps.test", &apps),
        ("a.b.apps.test:80", &apps),
        ("apps.test", &other),
        ("two.test", &other),
        ("xone.test", &other),
        ("[::1]:80", &other),
        ("", &other),
    ] {
        let request = request("/", host);
        expect_at(&proxy, server, &request, &request);
    }
    // The authority of an absolute target is the host that counts.
    expect_at(&proxy, &one, &request("http://one.test/a", "two.test"), &request("/a", "one.test"));
    expect_at(&proxy, &other, b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n");
    for server in [&one, &apps, &other] {
        server.expect_no_connection();
    }
}

#[test]
fn a_host_without_a_route_is_misdirected() {
    let one = Server::v4();
    let proxy = routed(Launch::by_routes(), &[("one.test", &one)]);
    for request in [&request("/a", "two.test")[..], &request("/a", ""), b"GET /a HTTP/1.0\r\n\r\n"] {
        expect_misdirected(&Peer::connect(proxy.address()), request);
    }
    one.expect_no_connection();
    let record = proxy.record();
    record.expect_end("no-route");
    assert_eq!((record.get("status"), record.get("target"), record.get("upstream")), ("421", "/a", "-"));
    let line = proxy.wait_to_say("request refused");
    assert!(line.contains("no route has the host \"two.test\""), "{line}");
}

#[test]
fn a_connection_stays_with_the_group_of_its_first_request() {
    let (one, two) = (Server::v4(), Server::v4());
    let routes = [("one.test", &one), ("*.one.test", &one), ("two.test", &two)];
    let proxy = routed(Launch::by_routes(), &routes);
    let first = request("/", "one.test");
    let (client, upstream) = expect_at(&proxy, &one, &first, &first);
    // Another host on the same servers.
    let same = request("/", "a.one.test");
    client.send(&same);
    upstream.expect(&same);
    upstream.send(OK);
    client.expect(OK);
    expect_misdirected(&client, &request("/secret", "two.test"));
    upstream.expect_close();
    one.expect_no_connection();
    two.expect_no_connection();
    drop(client);
    expect_end(&proxy, "no-route");
    let records = proxy.records(3);
    assert_eq!((records[2].get("status"), records[2].get("target")), ("421", "/secret"));
    let line = proxy.wait_to_say("request refused");
    assert!(line.contains("leads to another group than the first request"), "{line}");
}

/// The login on the connection to one group does not speak for another, whatever comes in one packet.
#[test]
fn a_request_for_another_group_behind_a_login_reaches_no_server() {
    let (one, two) = (Server::v4(), Server::v4());
    let proxy = routed(Launch::to(two.address()), &[("one.test", &one)]);
    let client = Peer::connect(proxy.address());
    let login = b"GET / HTTP/1.1\r\nHost: one.test\r\nAuthorization: Basic YTpi\r\n\r\n";
    client.send(&[&login[..], &request("/secret", "two.test")].concat());
    let upstream = one.accept();
    upstream.expect(login);
    upstream.send(OK);
    client.expect(OK);
    client.expect(b"HTTP/1.1 421 ");
    upstream.expect_close();
    two.expect_no_connection();
}
