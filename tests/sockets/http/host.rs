//! Which host a request is for, and which user: one at most, and no other thing.

use super::{GET, OK, proxy};
use crate::support::{Peer, Server};

/// A request is answered by this status, and the end.
fn refused(proxy: &crate::support::Proxy, request: &[u8], status: &str) {
    let client = Peer::connect(proxy.address());
    client.send(&[request, GET].concat());
    client.expect(format!("HTTP/1.1 {status} ").as_bytes());
    let _ = client.socket().shutdown(std::net::Shutdown::Write);
    client.expect_close();
}

#[test]
fn a_host_that_is_none_is_refused() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    for host in [
        &b"a b"[..],
        b"u@a",
        b"u:p@a",
        b"a/b",
        b"a/",
        b"a, b",
        b"a,b",
        b"http://a",
        b"a:b",
        b"a:80:80",
        b"a:65536",
        b"a:-1",
        b":80",
        b"::1",
        b"[::1",
        b"::1]",
        b"[::1]80",
        b"[a]",
        b"[]",
        b"a\"b",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"<a>",
        b"a%zz",
        b"a%2fb",
        b"b\xfccher",
        b"b\xc3\xbccher",
    ] {
        for version in ["1.0", "1.1"] {
            let begin = format!("GET / HTTP/{version}\r\nHost: ");
            refused(&proxy, &[begin.as_bytes(), host, b"\r\n\r\n"].concat(), "400");
        }
    }
    server.expect_no_connection();
}

#[test]
fn hosts_pass_as_they_are_written() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    let mut upstream = None;
    for host in ["", "a.", "FILE_SRV01:8080", "a:", "[::1]:80", "[2001:db8::1]", "b%C3%BCcher", "a-b~c!d"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        client.send(request.as_bytes());
        let upstream = upstream.get_or_insert_with(|| server.accept());
        upstream.expect(request.as_bytes());
        upstream.send(OK);
        client.expect(OK);
    }
}

#[test]
fn two_hosts_or_two_users_are_refused_in_either_version() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    for lines in [
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nhost: a\r\n",
        "Host: a\r\nAuthorization: Basic YTpi\r\nAuthorization: NTLM TlRM\r\n",
        "Host: a\r\nAuthorization: Basic YTpi\r\nauthorization: Basic YTpi\r\n",
        "Host: a\r\nAuthorization:\r\nAuthorization: Basic YTpi\r\n",
    ] {
        for version in ["1.0", "1.1"] {
            refused(&proxy, format!("GET / HTTP/{version}\r\n{lines}\r\n").as_bytes(), "400");
        }
    }
    server.expect_no_connection();
}

#[test]
fn versions_are_served_as_the_latest_that_is_known_or_refused() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    for begin in
        ["GET / HTTP/2.0\r\n", "GET / HTTP/3.0\r\n", "GET / HTTP/0.9\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        refused(&proxy, begin.as_bytes(), "505");
    }
    server.expect_no_connection();
    let client = Peer::connect(proxy.address());
    client.send(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n");
    let upstream = server.accept();
    upstream.expect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.send(OK);
    client.expect(OK);
    client.send(b"GET / HTTP/1.9\r\n\r\n");
    client.expect(b"HTTP/1.1 400 ");
}

#[test]
fn expectations_are_judged_over_all_their_lines() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    for lines in [
        "Expect:\r\nExpect: tea\r\n",
        "Expect: 100-continue\r\nExpect: tea\r\n",
        "Expect: 100-continue, tea\r\n",
    ] {
        refused(&proxy, format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes(), "417");
    }
    server.expect_no_connection();
    let client = Peer::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nExpect:\r\nX: y\r\nExpect: ,\r\n\r\n");
    let upstream = server.accept();
    upstream.expect(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n");
}
