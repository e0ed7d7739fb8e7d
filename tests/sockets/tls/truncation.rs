//! The end of a TLS connection without `close_notify`, which any device on the path can cause: it becomes a reset, except
//! where the framing of HTTP shows that all data has arrived, or where the operator accepts it.

use super::{Bed, start_bridge};
use crate::support::{Launch, Peer, Proxy, TlsPeer, WireEnd, exchange};

const ACCEPT: &str = "--tls-missing-close-notify accept";

fn bridged(bed: &Bed, proxy: &Proxy) -> (TlsPeer, TlsPeer) {
    let client = bed.connect(proxy);
    let upstream = bed.accept_tls();
    exchange(&client.plain, &upstream.plain);
    (client, upstream)
}

#[test]
fn a_missing_word_on_one_side_is_a_reset_on_the_other() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, "");
    let (client, upstream) = bridged(&bed, &proxy);
    upstream.plain.send(b"half");
    client.plain.expect(b"half");
    upstream.finish_silently();
    client.expect_wire_end(WireEnd::Reset);
    proxy.record().expect_end("upstream-reset");

    let (client, upstream) = bridged(&bed, &proxy);
    client.plain.send(b"half");
    upstream.plain.expect(b"half");
    client.finish_silently();
    upstream.expect_wire_end(WireEnd::Reset);
    proxy.records(2)[1].expect_end("client-reset");

    // The word itself is passed on, one way and then the other.
    let (client, upstream) = bridged(&bed, &proxy);
    client.plain.finish();
    upstream.expect_wire_end(WireEnd::CloseNotify);
    upstream.plain.send(b"last");
    upstream.plain.finish();
    client.plain.expect(b"last");
    client.expect_wire_end(WireEnd::CloseNotify);
    proxy.records(3)[2].expect_end("client-close");
}

#[test]
fn a_missing_word_behind_the_other_sides_end_is_a_reset_as_well() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, "");
    let (client, upstream) = bridged(&bed, &proxy);
    client.plain.finish();
    upstream.expect_wire_end(WireEnd::CloseNotify);
    upstream.plain.send(b"half");
    client.plain.expect(b"half");
    upstream.finish_silently();
    client.expect_wire_end(WireEnd::Reset);

    let (client, upstream) = bridged(&bed, &proxy);
    upstream.plain.finish();
    client.expect_wire_end(WireEnd::CloseNotify);
    client.finish_silently();
    upstream.expect_wire_end(WireEnd::Reset);
}

#[test]
fn a_missing_word_is_an_end_where_that_is_wanted() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, ACCEPT);
    let (client, upstream) = bridged(&bed, &proxy);
    upstream.plain.send(b"all");
    upstream.finish_silently();
    client.plain.expect(b"all");
    client.expect_wire_end(WireEnd::CloseNotify);
    client.finish_silently();
    upstream.expect_wire_end(WireEnd::CloseNotify);
    proxy.record().expect_end("upstream-close");
}

#[test]
fn where_one_side_has_tls_its_missing_word_is_a_reset_on_the_other() {
    let bed = Bed::new();
    let proxy = bed.terminated().start();
    let client = bed.connect(&proxy);
    let upstream = bed.server.accept();
    exchange(&client.plain, &upstream);
    client.finish_silently();
    upstream.expect_reset();
    proxy.record().expect_end("client-reset");
    // TCP's end is all that a side without TLS has.
    let client = bed.connect(&proxy);
    let upstream = bed.server.accept();
    exchange(&client.plain, &upstream);
    upstream.finish();
    client.expect_wire_end(WireEnd::CloseNotify);

    let proxy = bed.with_back(Launch::to(bed.server.address())).start();
    let client = Peer::connect(proxy.address());
    let upstream = bed.accept_tls();
    exchange(&client, &upstream.plain);
    upstream.finish_silently();
    client.expect_reset();
    proxy.record().expect_end("upstream-reset");
}

#[test]
fn a_flag_about_tls_without_tls_is_refused() {
    let (code, said) = Launch::to("127.0.0.1:9").flags(ACCEPT).fail();
    assert_eq!(code, Some(2), "exit code (left)");
    let [line] = &said[..] else { panic!("expected one line, not {said:?}") };
    assert!(line.contains("--tls-missing-close-notify") && line.contains("--tls-cert"), "{line}");
}

const HTTP: &str = "--mode http --forwarded off";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n";
const UNTIL_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf";

fn answered(client: &Peer, upstream: &Peer, reply: &[u8]) {
    client.send(GET);
    upstream.expect(GET);
    upstream.send(reply);
    client.expect(reply);
}

#[test]
fn a_reply_up_to_the_end_is_cut_without_the_word() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, HTTP);
    let client = bed.connect(&proxy);
    client.plain.send(GET);
    let upstream = bed.accept_tls();
    upstream.plain.expect(GET);
    upstream.plain.send(UNTIL_CLOSE);
    client.plain.expect(UNTIL_CLOSE);
    upstream.finish_silently();
    client.expect_wire_end(WireEnd::Reset);
    proxy.record().expect_end("upstream-cut");

    // A client without TLS, and a server that says its word.
    let proxy = bed.with_back(Launch::to(bed.server.address())).flags(HTTP).start();
    for is_silent in [true, false] {
        let client = Peer::connect(proxy.address());
        client.send(GET);
        let upstream = bed.accept_tls();
        upstream.plain.expect(GET);
        upstream.plain.send(UNTIL_CLOSE);
        client.expect(UNTIL_CLOSE);
        if is_silent {
            upstream.finish_silently();
            client.expect_reset();
        } else {
            upstream.plain.finish();
            client.expect_end();
        }
    }
    proxy.records(2)[1].expect_end("ok");

    let proxy = start_bridge(&bed, &format!("{HTTP} {ACCEPT}"));
    let client = bed.connect(&proxy);
    client.plain.send(GET);
    let upstream = bed.accept_tls();
    upstream.plain.expect(GET);
    upstream.plain.send(UNTIL_CLOSE);
    upstream.finish_silently();
    client.plain.expect(UNTIL_CLOSE);
    client.expect_wire_end(WireEnd::CloseNotify);
    proxy.record().expect_end("ok");
}

#[test]
fn where_the_framing_says_that_all_has_arrived_the_word_does_not_matter() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, HTTP);
    for reply in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        // Between two messages the server's end is a plain close, as IIS ends idle connections.
        let client = bed.connect(&proxy);
        client.plain.send(GET);
        let upstream = bed.accept_tls();
        upstream.plain.expect(GET);
        upstream.plain.send(reply);
        client.plain.expect(reply);
        upstream.finish_silently();
        client.expect_wire_end(WireEnd::CloseNotify);
        drop(client);
        // And so is the client's.
        let client = bed.connect(&proxy);
        client.plain.send(GET);
        let upstream = bed.accept_tls();
        upstream.plain.expect(GET);
        upstream.plain.send(reply);
        client.plain.expect(reply);
        answered(&client.plain, &upstream.plain, reply);
        client.finish_silently();
        upstream.expect_wire_end(WireEnd::CloseNotify);
    }
    // Half of what the framing says is half.
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    for is_silent in [true, false] {
        let client = bed.connect(&proxy);
        client.plain.send(GET);
        let upstream = bed.accept_tls();
        upstream.plain.expect(GET);
        upstream.plain.send(half);
        client.plain.expect(half);
        if is_silent {
            upstream.finish_silently();
        } else {
            upstream.plain.finish();
        }
        client.expect_wire_end(WireEnd::Reset);
    }
}

#[test]
fn what_the_proxy_ends_with_bytes_on_their_way_says_no_word() {
    let bed = Bed::new();
    let proxy = start_bridge(&bed, "--idle-timeout 1500ms");
    let (client, upstream) = bridged(&bed, &proxy);
    // More than there is room for, and than the client's thread takes.
    crate::support::stuff(&upstream.plain);
    proxy.record().expect_end("idle");
    client.plain.expect_close();
    client.expect_wire_end(WireEnd::Reset);
    let (client, upstream) = bridged(&bed, &proxy);
    client.expect_wire_end(WireEnd::CloseNotify);
    upstream.expect_wire_end(WireEnd::CloseNotify);
}
