//! What becomes of heads.

use super::{GET, OK, acquainted, exchange, proxy};
use crate::support::{Launch, Peer, Server};

#[test]
fn one_client_connection_has_one_upstream_connection_for_all_its_requests() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let (other_client, other_upstream) = acquainted(&proxy, &server);
    for _ in 0..3 {
        exchange(&client, &upstream);
        exchange(&other_client, &other_upstream);
    }
}

#[test]
fn a_head_is_understood_however_it_is_cut_up() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    for cut in 1..GET.len() {
        client.send(&GET[..cut]);
        // What is split by a turn of the proxy's at least in some of the cases is split in its buffers.
        std::thread::yield_now();
        client.send(&GET[cut..]);
        upstream.expect(GET);
        let cut = cut.min(OK.len() - 1);
        upstream.send(&OK[..cut]);
        std::thread::yield_now();
        upstream.send(&OK[cut..]);
        client.expect(OK);
    }
}

#[test]
fn large_heads_pass_up_to_the_limit() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    // A ticket of a user in many groups.
    let head = format!(
        "GET / HTTP/1.1\r\nHost: web\r\nAuthorization: Negotiate {}\r\n\r\n",
        "A".repeat(64 * 1024 - 100)
    );
    client.send(head.as_bytes());
    upstream.expect(head.as_bytes());
    let reply = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "b".repeat(60 * 1024));
    upstream.send(reply.as_bytes());
    client.expect(reply.as_bytes());
}

#[test]
fn upstreams_are_told_of_the_client() {
    let server = Server::v4();
    let launch = |flags: &str| Launch::to(server.address()).flags("--mode http").flags(flags).start();
    let asked = "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n\r\n";
    let told = |source: &str, real: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-For: {source}\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: web\r\nX-Real-IP: {real}\r\n\r\n"
        )
    };
    for (flags, expected) in [
        ("", told("127.0.0.1", "127.0.0.1")),
        ("--forwarded replace", told("127.0.0.1", "127.0.0.1")),
        ("--forwarded append", told("192.0.2.1, 127.0.0.1", "127.0.0.1")),
        ("--forwarded append --trust 127.0.0.0/8", told("192.0.2.1, 127.0.0.1", "192.0.2.1")),
        ("--forwarded append --trust 10.0.0.0/8 --trust 2001:db8::1", told("127.0.0.1", "127.0.0.1")),
        ("--forwarded off", asked.to_owned()),
    ] {
        let proxy = launch(flags);
        let client = Peer::connect(proxy.address());
        client.send(asked.as_bytes());
        server.accept().expect(expected.as_bytes());
    }
}

#[test]
fn the_client_of_a_proxy_header_is_the_one_that_upstreams_are_told_of() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--mode http --accept-proxy --send-proxy v1").start();
    let client = Peer::connect(proxy.address());
    let header = "PROXY TCP4 192.0.2.7 192.0.2.8 51234 80\r\n";
    client.send(header.as_bytes());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(header.as_bytes());
    upstream.expect(
        b"GET /a HTTP/1.1\r\nHost: web\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
          X-Forwarded-Host: web\r\nX-Real-IP: 192.0.2.7\r\n\r\n",
    );
}

#[test]
fn the_operators_fields_are_set_and_removed() {
    let server = Server::v4();
    let proxy = proxy(
        &server,
        "--set-host inner:8080 --set-header=X-Site:edge --remove-header=cookie --set-reply-header=X-Frame-Options:DENY \
         --remove-reply-header=Server",
    );
    let client = Peer::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: web\r\nCookie: a\r\nx-site: mine\r\nAccept: */*\r\n\r\n");
    let upstream = server.accept();
    upstream.expect(b"GET / HTTP/1.1\r\nHost: inner:8080\r\nAccept: */*\r\nX-Site: edge\r\n\r\n");
    upstream.send(b"HTTP/1.1 200 OK\r\nServer: Microsoft-IIS/10.0\r\nContent-Length: 0\r\n\r\n");
    client.expect(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Frame-Options: DENY\r\n\r\n");
}

#[test]
fn logins_pass_untouched_and_are_said_not_to_be_shared() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    let request = b"GET / HTTP/1.1\r\nHost: web\r\nauthorization: NTLM TlRMTVNTUAABAAAA=\r\n\r\n";
    client.send(request);
    upstream.expect(request);
    let challenge = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM TlRMTVNTUAAC==, Negotiate\r\n\
                     www-authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n";
    upstream.send(format!("{challenge}\r\n").as_bytes());
    client.expect(format!("{challenge}Proxy-Support: Session-Based-Authentication\r\n\r\n").as_bytes());
    exchange(&client, &upstream);
}

#[test]
fn an_absolute_target_goes_on_as_a_path() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(b"GET http://web:81/a?b HTTP/1.1\r\nHost: other\r\n\r\n");
    server.accept().expect(b"GET /a?b HTTP/1.1\r\nHost: web:81\r\n\r\n");
}

#[test]
fn http_1_0_is_served_and_closed_or_kept_as_it_says() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let upstream = server.accept();
    upstream.expect(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    // An interim reply is not for it.
    upstream.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.expect(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok");
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    upstream.expect(b"GET / HTTP/1.0\r\n\r\n");
    upstream.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end");
    upstream.finish();
    client.expect(b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
    client.expect_end();
}
