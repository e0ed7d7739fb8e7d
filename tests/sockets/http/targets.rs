//! What a request asks for.

use super::{GET, OK, acquainted, proxy};
use crate::support::{Launch, Peer, Server};

/// Asks for `target` and gives the answer's status line, up to the status.
fn expect_status(proxy: &crate::support::Proxy, request: &[u8], status: &str) {
    let client = Peer::connect(proxy.address());
    client.send(&[request, GET].concat());
    client.expect(format!("HTTP/1.1 {status} ").as_bytes());
    let _ = client.socket().shutdown(std::net::Shutdown::Write);
    client.expect_close();
}

#[test]
fn bytes_over_0x7f_pass_as_they_came_and_are_escaped_in_the_log() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    for target in [&b"/?name=M\xfcller"[..], b"/M\xc3\xbcller", b"/\x80\xff", b"/[a]`~!$&'()*+,;=:@%zz"] {
        let request = [b"GET ", target, b" HTTP/1.1\r\nHost: web\r\n\r\n"].concat();
        client.send(&request);
        upstream.expect(&request);
        upstream.send(OK);
        client.expect(OK);
    }
    client.send(b"GET http://web/M\xfcller HTTP/1.1\r\nHost: web\r\n\r\n");
    upstream.expect(b"GET /M\xfcller HTTP/1.1\r\nHost: web\r\n\r\n");
    upstream.send(OK);
    client.expect(OK);
    let log = Launch::to(server.address()).flags("--mode http --access-log - --log-format combined").start();
    let client = Peer::connect(log.address());
    client.send(b"GET /?M\xfcller HTTP/1.1\r\nHost: web\r\n\r\n");
    let upstream = server.accept();
    upstream.expect(b"GET /?M\xfcller HTTP/1.1\r\n");
    upstream.send(OK);
    client.expect(OK);
    crate::support::wait_until("a line with the target", || {
        log.printed().iter().any(|line| line.contains("\"GET /?M\\xFCller HTTP/1.1\" 200 "))
    });
}

#[test]
fn what_is_no_target_is_refused() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let controls = (0..b' ').chain([0x7f]);
    for byte in controls.chain(*b" \"#<>\\^{|}") {
        for begin in [&b"GET /a"[..], b"GET /?a", b"GET http://h/a", b"GET http://h"] {
            expect_status(&proxy, &[begin, &[byte], b"b HTTP/1.1\r\nHost: h\r\n\r\n"].concat(), "400");
        }
    }
    for target in [
        "http:///a",
        "http://u@h/",
        "http://h:x/",
        "http://h:65536/",
        "http://[::1/",
        "http://a,b/",
        "http://%20/",
        "ftp://h/",
        "h/a",
        "*",
        "h:80",
        "?a",
        "http:/a",
    ] {
        expect_status(&proxy, format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), "400");
    }
    server.expect_no_connection();
}

#[test]
fn an_absolute_target_goes_on_as_path_and_query() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    for (target, host, path) in [
        ("http://h?a=b", "h", "/?a=b"),
        ("http://h?", "h", "/?"),
        ("HTTP://h", "h", "/"),
        ("https://[::1]:443/a?b/c", "[::1]:443", "/a?b/c"),
        ("http://h?a=http://g/", "h", "/?a=http://g/"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n").as_bytes());
        upstream.expect(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        upstream.send(OK);
        client.expect(OK);
    }
}

#[test]
fn trace_is_refused_unless_it_is_wanted() {
    let server = Server::v4();
    let without = proxy(&server, "");
    for method in ["TRACE", "trace", "TRACK", "CONNECT", "Connect"] {
        expect_status(&without, format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), "405");
    }
    server.expect_no_connection();
    let with = proxy(&server, "--trace");
    let client = Peer::connect(with.address());
    let request = b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n";
    client.send(request);
    server.accept().expect(request);
}
