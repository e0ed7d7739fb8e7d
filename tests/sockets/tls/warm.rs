//! Handshakes with servers that are made ahead, before any client comes.

use super::*;
use crate::support::WireEnd;

/// Servers' ends of connections whose handshakes are complete.
fn accept(bed: &Bed, count: usize) -> Vec<TlsPeer> {
    let accepted: Vec<_> = (0..count).map(|_| bed.accept_tls()).collect();
    for peer in &accepted {
        assert_eq!(peer.facts().server_name.as_deref(), Some("back.test"));
    }
    accepted
}

fn start(bed: &Bed, flags: &str) -> Proxy {
    bed.with_back(Launch::to(bed.server.address())).flags(flags).start()
}

#[test]
fn a_client_gets_a_connection_whose_handshake_is_complete() {
    let bed = Bed::new();
    let proxy = start(&bed, "--warm 1");
    for nth in 1..=6 {
        // The tickets of TLS 1.3 are no bytes of the server's.
        let warm = accept(&bed, 1).remove(0);
        if nth % 2 == 0 {
            thread::sleep(Duration::from_millis(50));
        }
        let client = Peer::connect(proxy.address());
        exchange(&client, &warm.plain);
        drop(client);
        // Before the server ends its side: two connections that close at the same time have no order.
        warm.expect_wire_end(WireEnd::CloseNotify);
        drop(warm);
        let records = proxy.records(nth);
        records[nth - 1].expect_end("client-close");
        assert_eq!(records[nth - 1].get("connect"), "warm");
    }
}

#[test]
fn bulk_goes_over_them_whole() {
    let bed = Bed::new();
    let proxy = start(&bed, "--warm 1");
    let warm = accept(&bed, 1).remove(0);
    let client = Peer::connect(proxy.address());
    // The client has it once its bytes are there: what a server sends before that ends a connection opened ahead.
    exchange(&client, &warm.plain);
    both_ways(&client, &warm.plain, BYTES, BYTES, &mut Random::new());
    drop((client, warm));
    assert_eq!(proxy.record().get("connect"), "warm");
}

#[test]
fn one_that_its_server_has_ended_is_not_lent() {
    let bed = Bed::new();
    let proxy = start(&bed, "--warm 2");
    for peer in accept(&bed, 2) {
        peer.plain.finish();
        // The proxy ends it as well, and says so.
        peer.expect_wire_end(WireEnd::CloseNotify);
    }
    let client = Peer::connect(proxy.address());
    let upstream = bed.accept_tls();
    exchange(&client, &upstream.plain);
    drop((client, upstream));
    assert_eq!(proxy.record().get("connect"), "cold");
}

#[test]
fn a_proxy_that_stops_ends_them_in_order() {
    let bed = Bed::new();
    let mut proxy = start(&bed, "--warm 2");
    let warm = accept(&bed, 2);
    proxy.signal(Signal::SIGTERM);
    for peer in &warm {
        peer.expect_wire_end(WireEnd::CloseNotify);
    }
    assert_eq!(proxy.exit_code(), Some(0));
}

#[test]
fn a_handshake_that_fails_is_said_and_pauses() {
    let bed = Bed::new();
    let proxy = start(&bed, "--warm 2 --eject-after 1");
    let stranger = |_| TlsPeer::serve(bed.server.accept(), &bed.front.server(None));
    let refused: Vec<_> = (0..2).map(stranger).collect();
    assert!(refused.iter().all(|peer| peer.failure().contains("received fatal alert")));
    let line = proxy.wait_to_say("server TLS handshake failed on a connection opened ahead; pausing");
    assert!(line.contains("cause=\"certificate\"") && line.contains("pause=1s"), "{line}");
    assert_eq!(proxy.said("server TLS handshake failed").len(), 1);
    // The next one comes to the right server: for a client, at once.
    let client = Peer::connect(proxy.address());
    client.send(b"first");
    bed.accept_tls().plain.expect(b"first");
}

#[test]
fn what_a_proxy_header_comes_before_is_done_for_the_client() {
    let bed = Bed::new();
    let proxy = start(&bed, "--warm 1 --send-proxy v1");
    let warm = bed.server.accept();
    let client = Peer::connect(proxy.address());
    let local = client.socket().local_addr().ok().and_then(|address| address.as_socket()).expect("connected");
    let port = proxy.address().rsplit_once(':').expect("an address").1;
    warm.expect(format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {port}\r\n", local.port()).as_bytes());
    let upstream = TlsPeer::serve(warm, &bed.back.server(None));
    exchange(&client, &upstream.plain);
    drop((client, upstream));
    assert_eq!(proxy.record().get("connect"), "warm");
}
