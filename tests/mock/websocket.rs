//! `/ws`, behind authentication.

use std::net::SocketAddr;

use iisplice::protocol::ntlm::Client;
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

use crate::visitor::Visitor;
use crate::{alice, settings, start, start_behind_proxy};

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn messages_come_back_after_a_login() {
    let (_mock, address) = start(settings());
    talk(address);
}

#[test]
fn messages_come_back_through_the_proxys_http_mode() {
    let (_mock, _proxy, address) = start_behind_proxy(settings());
    talk(address);
}

/// Logs in, changes to WebSocket on the same connection, and has messages echoed.
fn talk(address: SocketAddr) {
    let mut visitor = Visitor::connect(address);
    assert_eq!(visitor.get_with("/ws", UPGRADE).status, 401);
    assert_eq!(visitor.ntlm(Client::new(&alice()), "/whoami").status, 200);
    let reply = visitor.get_with("/ws", UPGRADE);
    assert_eq!(reply.status, 101);
    // The answer to the key of RFC 6455 section 1.3.
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));

    let mut socket = WebSocket::from_raw_socket(visitor.stream, Role::Client, None);
    let large = "x".repeat(200_000);
    for message in [Message::text("hello"), Message::binary(vec![0, 1, 2]), Message::text(large)] {
        socket.send(message.clone()).expect("sent");
        assert_eq!(socket.read().expect("an echo"), message);
    }
    socket.send(Message::Ping(b"?"[..].into())).expect("sent");
    assert_eq!(socket.read().expect("an answer"), Message::Pong(b"?"[..].into()));
    socket.close(None).expect("sent");
    assert!(matches!(socket.read(), Ok(Message::Close(_))));
}

#[test]
fn a_page_that_speaks_websocket_says_so_to_others() {
    let (_mock, address) = start(settings());
    assert_eq!(Visitor::connect(address).get("/public/ws").status, 426);
}

#[test]
fn rubbish_after_the_upgrade_ends_the_connection() {
    let (_mock, address) = start(settings());
    let mut visitor = Visitor::connect(address);
    assert_eq!(visitor.get_with("/public/ws", UPGRADE).status, 101);
    // Not masked, reserved bits set.
    visitor.send([0xff; 100]);
    while !visitor.read_reply(false).is_err_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof) {}
}
