//! Servers that may have a number of connections: those opened ahead count, and keep no client out.

use super::*;
use crate::support::wait_until;

#[test]
fn they_count_as_connections_of_the_server() {
    let mut site = Site::new();
    let limited = format!("{},max-connections=3", site.server.address());
    let proxy = Launch::to(&limited).flags("--warm 8").start();
    site.accept(3);
    site.server.expect_no_connection();
    let mut served: Vec<_> = (0..3).map(|_| site.serve(&proxy)).collect();
    Peer::connect(proxy.address()).expect_close();
    proxy.record().expect_end("full");
    site.server.expect_no_connection();
    for _ in 0..5 {
        // The place goes to the next client, whether a connection is opened before it comes or not.
        drop(served.remove(0));
        served.push(site.serve(&proxy));
    }
    assert!(site.unused.is_empty(), "more connections than the server may have");
    assert_eq!(proxy.said(FULL).len(), 1);
}

#[test]
fn those_of_other_workers_make_room_for_a_client() {
    let mut site = Site::new();
    let limited = format!("{},max-connections=4", site.server.address());
    let proxy = Launch::to(&limited).flags("--warm 4 --workers 4 --no-pin").start();
    site.accept(4);
    for round in 1..=10 {
        // Each worker has at most one, and the kernel decides who gets which client.
        let served: Vec<_> = (0..4).map(|_| site.serve(&proxy)).collect();
        for (client, upstream) in &served {
            exchange(client, upstream);
        }
        drop(served);
        proxy.records(4 * round);
    }
    assert_eq!(proxy.said(FULL).len(), 0);
    let records = proxy.records(40);
    assert!(records.iter().all(|record| record.get("end") == "client-close"));
}

#[test]
fn none_waits_for_a_client_while_clients_wait_for_a_place() {
    let mut site = Site::new();
    let limited = format!("{},max-connections=2", site.server.address());
    let proxy = Launch::to(&limited).flags("--warm 2 --workers 3 --no-pin --queue-timeout 10m").start();
    site.accept(2);
    let (mut clients, mut holders): (Vec<_>, Vec<_>) = (0..2).map(|_| site.serve(&proxy)).unzip();
    clients.extend((0..10).map(|_| Peer::connect(proxy.address())));
    for client in &clients[2..] {
        client.send(b"first");
    }
    proxy.wait_to_say_times("the client waits", 10);
    for _ in 0..10 {
        holders.remove(0).reset();
        let upstream = site.used();
        upstream.expect(b"first");
        holders.push(upstream);
    }
    // What was opened ahead by another worker than that of the second client.
    for peer in site.unused.drain(..) {
        peer.expect_close();
    }
    drop((clients, holders));
    site.serve(&proxy);
}

#[test]
fn an_address_keeps_its_server_though_all_its_places_are_warm() {
    let (mut one, mut two) = (Site::new(), Site::new());
    let server = |site: &Site| format!("{},max-connections=2", site.server.address());
    let flags = format!("--upstream {} --balance source-hash --warm 4", server(&two));
    let proxy = Launch::to(&server(&one)).flags(&flags).start();
    one.accept(2);
    two.accept(2);
    // All clients have one address: they go to one server, as long as it has a place.
    let clients: Vec<_> = (0..2).map(|_| Peer::connect(proxy.address())).collect();
    for client in &clients {
        client.send(b"first");
    }
    wait_until("both clients to be at one server", || {
        let used = |site: &Site| {
            let has_bytes = |peer: &&Peer| {
                peer.socket().set_nonblocking(true).expect("a socket");
                peer.socket().peek(&mut [MaybeUninit::uninit()]).is_ok_and(|bytes| bytes > 0)
            };
            site.unused.iter().filter(has_bytes).count()
        };
        let used = [used(&one), used(&two)];
        assert!(used.iter().all(|count| *count != 1) || used.contains(&0), "{used:?}");
        used.contains(&2)
    });
}
