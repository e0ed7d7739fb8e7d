//! `--rewrite-redirects`: what becomes of references to the server in replies.

use super::{GET, OK, exchange, proxy};
use crate::support::{Launch, Peer, Proxy, Server};

/// Sends a request for `host` and its reply with these fields, and gives the head that the client has to get.
fn replied(client: &Peer, upstream: &Peer, request: (&str, &str), fields: (&str, &str)) {
    let (sent, forwarded) = request;
    client.send(sent.as_bytes());
    upstream.expect(forwarded.as_bytes());
    let reply = |fields: &str| format!("HTTP/1.1 302 Found\r\n{fields}\r\nContent-Length: 0\r\n\r\n");
    upstream.send(reply(fields.0).as_bytes());
    client.expect(reply(fields.1).as_bytes());
}

/// A client and its upstream connection, after a request for `web`.
fn connected(proxy: &Proxy, server: &Server, forwarded: &[u8]) -> (Peer, Peer) {
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(forwarded);
    upstream.send(OK);
    client.expect(OK);
    (client, upstream)
}

#[test]
fn references_to_the_server_name_what_the_client_asked_for() {
    let server = Server::v4();
    let proxy = proxy(&server, "--rewrite-redirects");
    let address = server.address();
    let (client, upstream) = connected(&proxy, &server, GET);
    let request = "GET / HTTP/1.1\r\nHost: web:8080\r\n\r\n";
    for (sent, expected) in [
        (format!("Location: http://{address}/a?b#c"), "Location: http://web:8080/a?b#c"),
        (format!("location: HTTP://{address}"), "location: http://web:8080"),
        (format!("Content-Location: http://{address}/a"), "Content-Location: http://web:8080/a"),
        (format!("Refresh: 5; url=http://{address}/a"), "Refresh: 5; url=http://web:8080/a"),
        ("Location: http://web:8080/a".to_owned(), "Location: http://web:8080/a"),
    ] {
        replied(&client, &upstream, (request, request), (&sent, expected));
    }
    for untouched in [
        "Location: /a".to_owned(),
        "Location: //web/a".to_owned(),
        "Location: http://web/a".to_owned(),
        "Location: http://127.0.0.1:1/a".to_owned(),
        format!("Location: https://{address}/a"),
        format!("Location: http://{address}@evil.example/"),
        format!("Location: http://u@{address}/"),
        format!("Link: <http://{address}/a>; rel=next"),
    ] {
        replied(&client, &upstream, (request, request), (&untouched, &untouched));
    }
    // Each request says for itself what it asks for.
    let location = format!("Location: http://{address}/a");
    for (request, forwarded, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "Location: http://a/a"),
        (
            "GET http://b:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: b:81\r\n\r\n",
            "Location: http://b:81/a",
        ),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\n\r\n", &location),
    ] {
        replied(&client, &upstream, (request, forwarded), (&location, expected));
    }
    exchange(&client, &upstream);
}

#[test]
fn the_host_that_the_server_got_is_its_name() {
    let server = Server::v4();
    let proxy = proxy(&server, "--rewrite-redirects --set-host internal");
    let forwarded = "GET /a HTTP/1.1\r\nHost: internal\r\n\r\n";
    let (client, upstream) = connected(&proxy, &server, forwarded.as_bytes());
    let request = (std::str::from_utf8(GET).expect("text"), forwarded);
    let port = server.address().rsplit(':').next().unwrap_or_default();
    for (sent, expected) in [
        ("Location: http://internal/a".to_owned(), "Location: http://web/a"),
        ("Location: http://Internal:80/a".to_owned(), "Location: http://web/a"),
        (format!("Location: http://internal:{port}/a"), "Location: http://web/a"),
        ("Location: http://internal:1/a".to_owned(), "Location: http://internal:1/a"),
        ("Location: https://internal/a".to_owned(), "Location: https://internal/a"),
    ] {
        replied(&client, &upstream, request, (&sent, expected));
    }
}

#[test]
fn a_trusted_client_says_what_was_asked_for() {
    let server = Server::v4();
    for (trust, expected) in [("127.0.0.0/8", "https://shop.example/a"), ("192.0.2.0/24", "http://web/a")] {
        let flags = "--mode http --rewrite-redirects --forwarded append --trust";
        let proxy = Launch::to(server.address()).flags(flags).argument(trust).start();
        let client = Peer::connect(proxy.address());
        client.send(b"GET /a HTTP/1.1\r\nHost: web\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\r\n");
        let upstream = server.accept();
        upstream.expect(b"GET /a HTTP/1.1\r\nHost: web\r\n");
        upstream.send(b"HTTP/1.1 302 Found\r\nLocation: http://web/a\r\nContent-Length: 0\r\n\r\n");
        client.expect(format!("HTTP/1.1 302 Found\r\nLocation: {expected}\r\n").as_bytes());
    }
}

#[test]
fn without_the_flag_references_are_forwarded_as_they_are() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = connected(&proxy, &server, GET);
    let request = std::str::from_utf8(GET).expect("text");
    let location = format!("Location: http://{}/a", server.address());
    replied(&client, &upstream, (request, request), (&location, &location));
}
