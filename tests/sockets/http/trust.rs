//! Whose word about a client is believed.

use super::{GET, proxy};
use crate::support::{Launch, Peer, Proxy, Server};

const SAID: &str = "Forwarded: for=10.9.9.9\r\nX-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Host: evil\r\nX-Real-IP: 10.9.9.9\r\nX-Forwarded-Port: 443\r\n";

fn launch(server: &Server, flags: &str) -> Proxy {
    Launch::to(server.address()).flags("--mode http").flags(flags).start()
}

/// What the server is told of a client that begins with `before` and says all that there is to be said.
fn expect_told(server: &Server, proxy: &Proxy, before: &str, told: &str) {
    let client = Peer::connect(proxy.address());
    client.send(format!("{before}GET / HTTP/1.1\r\nHost: web\r\n{SAID}\r\n").as_bytes());
    server.accept().expect(format!("GET / HTTP/1.1\r\nHost: web\r\n{told}\r\n").as_bytes());
}

/// Ours about this client, with X-Forwarded-For behind `chain`.
fn ours(chain: &str, client: &str) -> String {
    format!(
        "X-Forwarded-For: {chain}{client}\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: web\r\nX-Real-IP: {client}\r\n"
    )
}

/// All that a trusted client says.
fn believed(client: &str) -> String {
    format!(
        "Forwarded: for=10.9.9.9\r\nX-Forwarded-Port: 443\r\nX-Forwarded-For: 10.9.9.9, {client}\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Real-IP: 10.9.9.9\r\n"
    )
}

#[test]
fn a_client_is_believed_as_far_as_it_is_trusted() {
    let server = Server::v4();
    for (flags, told) in [
        ("", ours("", "127.0.0.1")),
        ("--forwarded append", ours("10.9.9.9, ", "127.0.0.1")),
        ("--forwarded append --trust 10.0.0.0/8", ours("", "127.0.0.1")),
        ("--forwarded append --trust 10.0.0.0/8 --trust 127.0.0.1", believed("127.0.0.1")),
        ("--forwarded off", SAID.to_owned()),
    ] {
        expect_told(&server, &launch(&server, flags), "", &told);
    }
}

#[test]
fn behind_a_balancer_the_clients_address_is_judged_and_not_the_balancers() {
    let server = Server::v4();
    let from = |source: &str| format!("PROXY TCP4 {source} 192.0.2.8 51234 80\r\n");
    let proxy =
        launch(&server, "--accept-proxy --forwarded append --trust 127.0.0.0/8 --trust 192.0.2.128/25");
    expect_told(&server, &proxy, &from("192.0.2.7"), &ours("", "192.0.2.7"));
    expect_told(&server, &proxy, &from("192.0.2.200"), &believed("192.0.2.200"));
    // A health check of the balancer's own.
    expect_told(&server, &proxy, "PROXY UNKNOWN\r\n", &believed("127.0.0.1"));
}

#[test]
fn proxy_headers_count_from_those_who_may_send_them() {
    let server = Server::v4();
    let header = "PROXY TCP4 192.0.2.7 192.0.2.8 51234 80\r\n";
    let flags = |from: &str| format!("--accept-proxy --accept-proxy-from {from}");
    let inside = launch(&server, &flags("10.0.0.0/8 --accept-proxy-from 127.0.0.1"));
    expect_told(&server, &inside, header, &ours("", "192.0.2.7"));
    // One is expected there.
    let client = Peer::connect(inside.address());
    client.send(GET);
    client.expect_close();
    let outside = launch(&server, &flags("10.0.0.0/8"));
    expect_told(&server, &outside, "", &ours("", "127.0.0.1"));
    for header in [header.as_bytes(), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let client = Peer::connect(outside.address());
        client.send(&[header, GET].concat());
        client.expect(b"HTTP/1.1 400 ");
    }
    server.expect_no_connection();
}

#[test]
fn in_stream_mode_a_header_from_anybody_else_is_bytes_like_all_others() {
    let server = Server::v4();
    let flags = "--accept-proxy --accept-proxy-from 10.0.0.0/8 --send-proxy v1";
    let proxy = Launch::to(server.address()).flags(flags).start();
    let client = Peer::connect(proxy.address());
    let (source, destination) =
        (client.address(), proxy.address().parse::<std::net::SocketAddr>().expect("one"));
    let header = "PROXY TCP4 192.0.2.7 192.0.2.8 51234 80\r\n";
    client.send(header.as_bytes());
    let ours = format!(
        "PROXY TCP4 {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    );
    let upstream = server.accept();
    upstream.expect(ours.as_bytes());
    upstream.expect(header.as_bytes());
    drop((client, upstream));
    assert_eq!(proxy.record().get("proxied"), "-");
}

#[test]
fn unix_sockets_can_be_trusted() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let server = Server::v4();
    let launch = |name: &str, flags: &str| {
        let listen = format!("--listen unix:{}", directory.path().join(name).display());
        launch(&server, &format!("{listen} {flags}"))
    };
    let proxy = launch("a", "--forwarded append --trust unix:");
    expect_told(&server, &proxy, "", &believed("unix:"));
    let proxy = launch("b", "--forwarded append --trust 127.0.0.0/8");
    expect_told(&server, &proxy, "", &ours("", "unix:"));
    let proxy = launch("c", "--accept-proxy --accept-proxy-from unix:");
    let header = "PROXY TCP4 192.0.2.7 192.0.2.8 51234 80\r\n";
    expect_told(&server, &proxy, header, &ours("", "192.0.2.7"));
}

#[test]
fn the_host_that_is_served_is_the_one_that_upstreams_are_told_of() {
    let server = Server::v4();
    for (flags, host) in [("", "served:81"), ("--set-host inner", "inner")] {
        let proxy = launch(&server, flags);
        let client = Peer::connect(proxy.address());
        client.send(b"GET http://served:81/ HTTP/1.1\r\nHost: ignored\r\nX-Forwarded-Host: said\r\n\r\n");
        let expected = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: served:81\r\nX-Real-IP: 127.0.0.1\r\n\r\n"
        );
        server.accept().expect(expected.as_bytes());
    }
}

#[test]
fn what_the_operator_sets_or_removes_is_not_there_twice() {
    let server = Server::v4();
    let proxy = launch(&server, "--set-header=X-Forwarded-Proto:https --remove-header X-Real-IP");
    let told = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: web\r\nX-Forwarded-Proto: https\r\n";
    expect_told(&server, &proxy, "", told);
}

#[test]
fn connection_removes_nothing_that_is_for_the_server() {
    let server = Server::v4();
    let proxy = proxy(&server, "--set-header X-Remote-User:-");
    let client = Peer::connect(proxy.address());
    client.send(
        b"POST / HTTP/1.1\r\nHost: web\r\nConnection: Authorization, host, content-length, cookie, X-Forwarded-For, \
          X-Real-IP, Forwarded, X-Remote-User, X-Mine, content-type\r\nConnection: expect\r\nAuthorization: NTLM TlRM\r\n\
          Content-Length: 2\r\nCookie: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nForwarded: for=a\r\n\
          X-Mine: 1\r\nContent-Type: a/b\r\nExpect: 100-continue\r\n\r\nok",
    );
    server.accept().expect(
        b"POST / HTTP/1.1\r\nHost: web\r\nAuthorization: NTLM TlRM\r\nContent-Length: 2\r\nCookie: a\r\n\
          X-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nForwarded: for=a\r\nContent-Type: a/b\r\n\
          Expect: 100-continue\r\nX-Remote-User: -\r\n\r\nok",
    );
}
