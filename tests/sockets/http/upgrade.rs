//! Which other protocols the server hears of.

use super::{OK, proxy};
use crate::support::{Peer, Server};

const H2C: &str = "GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";

#[test]
fn protocols_that_are_not_allowed_are_not_offered() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    let mut upstream = None;
    let head = |lines: &str| format!("GET / HTTP/1.1\r\nHost: web\r\n{lines}\r\n");
    let websocket = head("Connection: Upgrade\r\nUpgrade: websocket\r\n");
    for (request, expected) in [
        (H2C.to_owned(), head("")),
        (H2C.replace("GET ", "OPTIONS "), head("").replace("GET ", "OPTIONS ")),
        (head("Connection: upgrade\r\nUpgrade: TLS/1.2, h2\r\n"), head("")),
        (head("HTTP2-Settings: AAMA\r\nUpgrade: h2c\r\n"), head("")),
        (head("Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n"), websocket.clone()),
        (head("Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n"), websocket.clone()),
        (head("Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"), websocket),
        (head("Upgrade: websocket\r\n"), head("")),
    ] {
        client.send(request.as_bytes());
        let upstream = upstream.get_or_insert_with(|| server.accept());
        upstream.expect(expected.as_bytes());
        upstream.send(OK);
        client.expect(OK);
    }
}

#[test]
fn a_change_to_what_was_not_offered_is_a_bad_gateway() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let websocket = "GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (request, taken) in [(H2C, "Upgrade: h2c\r\n"), (websocket, "Upgrade: h2c\r\n"), (websocket, "")] {
        let client = Peer::connect(proxy.address());
        client.send(request.as_bytes());
        let upstream = server.accept();
        upstream.expect(b"GET / HTTP/1.1\r\n");
        let reply = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{taken}\r\n");
        upstream.send(reply.as_bytes());
        client.expect(b"HTTP/1.1 502 ");
    }
}

#[test]
fn more_protocols_can_be_allowed() {
    let server = Server::v4();
    let proxy = proxy(&server, "--upgrade h2c --upgrade TLS/1.2");
    let client = Peer::connect(proxy.address());
    client.send(H2C.as_bytes());
    let upstream = server.accept();
    upstream.expect(H2C.as_bytes());
    let reply = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    upstream.send(reply);
    client.expect(reply);
    client.send(b"PRI * HTTP/2.0\r\n\r\n");
    upstream.expect(b"PRI * HTTP/2.0\r\n\r\n");
    let client = Peer::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0, TLS/1.2\r\n\r\n");
    let upstream = server.accept();
    upstream.expect(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n");
}
