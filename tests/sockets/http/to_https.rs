//! `--redirect-to-https`: a service without servers.

use nix::sys::signal::Signal;

use super::expect_end;
use crate::support::{Launch, Peer, Proxy};

const PAGE_301: &str = "<!DOCTYPE html>\n<html><head><title>301 Moved Permanently</title></head>\n\
                        <body><h1>Moved Permanently</h1></body></html>\n";
const PAGE_308: &str = "<!DOCTYPE html>\n<html><head><title>308 Permanent Redirect</title></head>\n\
                        <body><h1>Permanent Redirect</h1></body></html>\n";

fn redirecting(flags: &str) -> Proxy {
    let flags = format!("--mode http --log-level debug {flags}");
    Launch::by_routes().flags(&flags).start()
}

fn head(status: &str, location: &str, page: &str, more: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n{more}\r\n",
        page.len()
    )
}

fn moved(location: &str) -> String {
    head("301 Moved Permanently", location, PAGE_301, "") + PAGE_301
}

#[test]
fn every_request_is_redirected_to_what_it_asks_for() {
    let proxy = redirecting("--redirect-to-https");
    let client = Peer::connect(proxy.address());
    for (request, location) in [
        ("GET / HTTP/1.1\r\nHost: web\r\n\r\n", "https://web/"),
        ("GET /a?b=c HTTP/1.1\r\nHost: web:80\r\n\r\n", "https://web/a?b=c"),
        ("GET //evil.example/ HTTP/1.1\r\nHost: web:8080\r\n\r\n", "https://web//evil.example/"),
        ("GET http://other:81/a HTTP/1.1\r\nHost: web\r\n\r\n", "https://other/a"),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "https://[::1]/"),
        (
            "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-Host: evil\r\nAuthorization: NTLM TlRMTVNTUAABAAAA\r\n\r\n",
            "https://web/",
        ),
    ] {
        client.send(request.as_bytes());
        client.expect(moved(location).as_bytes());
    }
    // Those that come together as well, and in order.
    client.send(b"GET /1 HTTP/1.1\r\nHost: web\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: web\r\n\r\nGET /3 HTTP/1.1\r\nHost: web\r\n\r\n");
    client.expect(moved("https://web/1").as_bytes());
    client.expect(head("301 Moved Permanently", "https://web/2", PAGE_301, "").as_bytes());
    client.expect(moved("https://web/3").as_bytes());
    client.send(b"DELETE /a HTTP/1.1\r\nHost: web\r\n\r\n");
    client.expect((head("308 Permanent Redirect", "https://web/a", PAGE_308, "") + PAGE_308).as_bytes());
    let record = proxy.record();
    record.expect_end("ok");
    assert_eq!((record.get("status"), record.get("upstream")), ("301", "-"));
    assert_eq!((record.get("method"), record.get("target")), ("GET", "/"));
    assert_eq!(proxy.records(10)[9].get("status"), "308");
    client.finish();
    client.expect_end();
    expect_end(&proxy, "client-close");
}

#[test]
fn the_port_of_https_can_be_another() {
    let proxy = redirecting("--redirect-to-https 8443");
    let client = Peer::connect(proxy.address());
    client.send(b"GET /a HTTP/1.1\r\nHost: web:8080\r\n\r\n");
    client.expect(moved("https://web:8443/a").as_bytes());
}

#[test]
fn the_connection_ends_behind_a_body_and_where_the_client_says_so() {
    let proxy = redirecting("--redirect-to-https");
    let close = "Connection: close\r\n";
    let post = head("308 Permanent Redirect", "https://web/a", PAGE_308, close) + PAGE_308;
    let get = head("301 Moved Permanently", "https://web/a", PAGE_301, close) + PAGE_301;
    for (request, expected) in [
        ("POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello", &post),
        ("POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", &post),
        ("POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &post),
        ("GET /a HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n", &get),
        ("GET /a HTTP/1.0\r\nHost: web\r\n\r\n", &get),
    ] {
        let client = Peer::connect(proxy.address());
        client.send(request.as_bytes());
        client.expect(expected.as_bytes());
        client.expect_close();
    }
}

#[test]
fn requests_are_held_to_the_same_rules_and_no_other_place_is_named() {
    let proxy = redirecting("--redirect-to-https");
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: u@evil\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
        ("GET @evil/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        ("GET / HTTP/2.0\r\n", "505"),
    ] {
        let client = Peer::connect(proxy.address());
        client.send(request.as_bytes());
        client.expect(format!("HTTP/1.1 {status} ").as_bytes());
        client.finish();
        client.expect_close();
    }
}

#[test]
fn idle_clients_are_closed_by_the_keepalive_timeout_and_when_the_process_stops() {
    let proxy = redirecting("--redirect-to-https --keepalive-timeout 100ms");
    let client = Peer::connect(proxy.address());
    client.send(b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n");
    client.expect(moved("https://web/a").as_bytes());
    client.expect_end();
    drop(client);
    expect_end(&proxy, "keepalive-timeout");
    let mut proxy = redirecting("--redirect-to-https");
    let client = Peer::connect(proxy.address());
    client.send(b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n");
    client.expect(moved("https://web/a").as_bytes());
    proxy.signal(Signal::SIGTERM);
    client.expect_end();
    drop(client);
    assert_eq!(proxy.exit_code(), Some(0));
}
