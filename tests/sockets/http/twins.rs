//! Names that are two for a proxy and one for the programs behind it.

use super::{OK, proxy};
use crate::support::{Launch, Peer, Server};

const TWINS: &str = "X_Forwarded_For: 10.9.9.9\r\nx-forwarded_proto: https\r\nX_FORWARDED_HOST: evil\r\nX_Real_IP: 10.9.9.9\r\n\
                     X_Forwarded_Port: 1\r\nX_Remote_User: root\r\nX-Remote_User: root\r\nx_site: mine\r\n\
                     Content_Length: 5\r\nTransfer_Encoding: chunked\r\nKeep_Alive: 1\r\nProxy_Connection: close\r\n";

const OURS: &str = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: web\r\nX-Real-IP: 127.0.0.1\r\n";

#[test]
fn no_twin_of_a_field_that_is_controlled_reaches_the_server() {
    let server = Server::v4();
    for (flags, others) in
        [("", ""), ("--underscore-headers drop", ""), ("--underscore-headers pass", "X_Other: 1\r\n")]
    {
        let flags = format!("--mode http --remove-header X-Remote-User --set-header=X-Site:edge {flags}");
        let proxy = Launch::to(server.address()).flags(&flags).start();
        let client = Peer::connect(proxy.address());
        client.send(
            format!("GET / HTTP/1.1\r\nHost: web\r\n{TWINS}X_Other: 1\r\nAccept: a\r\n\r\n").as_bytes(),
        );
        let upstream = server.accept();
        let expected =
            format!("GET / HTTP/1.1\r\nHost: web\r\n{others}Accept: a\r\n{OURS}X-Site: edge\r\n\r\n");
        upstream.expect(expected.as_bytes());
    }
}

#[test]
fn a_trusted_clients_twins_are_not_its_own_words() {
    let server = Server::v4();
    let flags = "--mode http --forwarded append --trust 127.0.0.1 --underscore-headers pass";
    let proxy = Launch::to(server.address()).flags(flags).start();
    let client = Peer::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: web\r\nX_Forwarded_For: 10.9.9.9\r\nX_Forwarded_Port: 1\r\n\r\n");
    server.accept().expect(format!("GET / HTTP/1.1\r\nHost: web\r\n{OURS}\r\n").as_bytes());
}

#[test]
fn forwarded_is_one_of_the_family() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--mode http").start();
    let client = Peer::connect(proxy.address());
    client.send(
        b"GET / HTTP/1.1\r\nHost: web\r\nForwarded: for=10.9.9.9;host=evil\r\nX-Forwarded-Port: 1\r\n\
          X-Forwarded-Server: a\r\nX-Forwarded-Prefix: /a\r\nX-Forwarded-Ssl: on\r\nX-Forwarded: a\r\n\
          X-Forwarded-User: root\r\nX-Forwardedness: 1\r\n\r\n",
    );
    server
        .accept()
        .expect(format!("GET / HTTP/1.1\r\nHost: web\r\nX-Forwardedness: 1\r\n{OURS}\r\n").as_bytes());
}

#[test]
fn fields_that_are_dropped_are_told_of_once_a_connection() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    let mut upstream = None;
    for _ in 0..3 {
        client.send(b"GET / HTTP/1.1\r\nHost: web\r\nX_Mine: 1\r\n\r\n");
        let upstream = upstream.get_or_insert_with(|| server.accept());
        upstream.expect(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        upstream.send(OK);
        client.expect(OK);
    }
    let line = proxy.wait_to_say("underscore");
    assert!(line.contains("field=\"X_Mine\"") && line.contains("setting underscore-headers"), "{line}");
    assert_eq!(proxy.said("underscore").len(), 1);
}
