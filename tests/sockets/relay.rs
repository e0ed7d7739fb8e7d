//! Bytes arrive unchanged and in order, both ways at once, whatever their number and however they are cut up.

use std::thread;

use tempfile::TempDir;

use crate::support::{
    Launch, Peer, Random, Server, both_ways, exchange, pair, receive_pattern, send_pattern,
};

/// Around the sizes at which something changes: receive buffers (1 KiB and 16 KiB here) and pages.
const LENGTHS: [u64; 12] = [1, 2, 1023, 1024, 1025, 4095, 4096, 4097, 16_383, 16_384, 16_385, 300_000];

fn lengths_around_boundaries(flags: &str) {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags(flags).start();
    let mut random = Random::new();
    for (up, down) in LENGTHS.into_iter().zip(LENGTHS.into_iter().rev()).chain([(0, 5), (5, 0), (0, 0)]) {
        let client = Peer::connect(proxy.address());
        both_ways(&client, &server.accept(), up, down, &mut random);
    }
    let records = proxy.records(LENGTHS.len() + 3);
    let total: u64 = records.iter().map(|record| record.bytes("to_upstream_bytes")).sum();
    assert_eq!(total, LENGTHS.iter().sum::<u64>() + 5, "bytes to upstream, as logged (left)");
    proxy.wait_until_idle();
}

#[test]
fn lengths_around_every_boundary_arrive_by_turns_copied_and_spliced() {
    lengths_around_boundaries("--splice auto");
}

#[test]
fn lengths_around_every_boundary_arrive_copied() {
    lengths_around_boundaries("--splice never");
}

#[test]
fn lengths_around_every_boundary_arrive_spliced() {
    lengths_around_boundaries("--splice always");
}

#[test]
fn lengths_around_every_boundary_arrive_through_the_smallest_buffers_and_pipes() {
    lengths_around_boundaries("--buffer-size 1KiB --buffers 2 --pipe-size 4KiB --pipes 1");
}

/// Every pair of families, with streams cut up at random, several connections at once.
fn families(flags: &str) {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = |name: &str| directory.path().join(name);
    let mut random = Random::new();
    for (name, server) in
        [("v4", Server::v4()), ("v6", Server::v6()), ("unix", Server::unix(&path("server")))]
    {
        let unix = path(&format!("proxy-{name}"));
        let proxy = Launch::to(server.address())
            .flags(&format!("--listen 127.0.0.1:0 --listen [::1]:0 --listen unix:{}", unix.display()))
            .flags(flags)
            .start();
        let pairs: Vec<_> = proxy
            .listeners()
            .iter()
            .map(|listener| (Peer::connect(listener), server.accept(), random.fork()))
            .collect();
        thread::scope(|scope| {
            for (client, upstream, mut random) in pairs {
                scope.spawn(move || both_ways(&client, &upstream, 3_000_017, 2_000_003, &mut random));
            }
        });
        for record in proxy.records(3) {
            assert_eq!(record.get("to_upstream_bytes"), "3000017");
            assert_eq!(record.get("to_client_bytes"), "2000003");
        }
        proxy.wait_until_idle();
    }
}

#[test]
fn between_all_families_random_pieces_arrive_by_turns_copied_and_spliced() {
    families("--splice auto");
}

#[test]
fn between_all_families_random_pieces_arrive_copied() {
    families("--splice never");
}

#[test]
fn between_all_families_random_pieces_arrive_spliced() {
    families("--splice always");
}

#[test]
fn between_all_families_random_pieces_arrive_through_tiny_buffers() {
    families("--splice auto --buffer-size 1KiB --pipe-size 4KiB");
}

#[test]
fn three_gigabytes_arrive_while_one_comes_back() {
    const GIB: u64 = 1 << 30;
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    let client = Peer::connect(proxy.address());
    let upstream = server.accept();
    thread::scope(|scope| {
        scope.spawn(|| send_pattern(&upstream, 3 * GIB, None));
        scope.spawn(|| receive_pattern(&client, 3 * GIB, None));
        scope.spawn(|| send_pattern(&client, GIB, None));
        scope.spawn(|| receive_pattern(&upstream, GIB, None));
    });
    let record = proxy.record();
    assert_eq!(record.bytes("to_client_bytes"), 3 * GIB);
    assert_eq!(record.bytes("to_upstream_bytes"), GIB);
    assert!(
        record.number("spliced") > 0.5,
        "most of a bulk stream was to be spliced: {}",
        record.get("spliced")
    );
}

/// The share of spliced bytes of a session that has carried a megabyte of bulk and some small messages.
fn spliced_share(flags: &str) -> f64 {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags(flags).start();
    let (client, upstream) = pair(&proxy, &server);
    thread::scope(|scope| {
        scope.spawn(|| send_pattern(&upstream, 64 << 20, None));
        scope.spawn(|| receive_pattern(&client, 64 << 20, None));
    });
    drop((client, upstream));
    proxy.record().number("spliced")
}

#[test]
fn short_messages_are_copied_whatever_came_first() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--accept-proxy").start();
    let client = Peer::connect(proxy.address());
    // The first bytes are there before the relay begins.
    client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nfirst");
    let upstream = server.accept();
    upstream.expect(b"first");
    for _ in 0..10 {
        exchange(&client, &upstream);
    }
    drop((client, upstream));
    let share = proxy.record().number("spliced");
    assert!(share <= 0.0, "nothing was to be spliced, not {share}");
}

#[test]
fn messages_of_some_buffers_are_spliced() {
    const MESSAGES: usize = 50;
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    let (client, upstream) = pair(&proxy, &server);
    let message = vec![b'm'; 64 << 10];
    for _ in 0..MESSAGES {
        client.send(b"short");
        upstream.expect(b"short");
        thread::scope(|scope| {
            scope.spawn(|| upstream.send(&message));
            client.expect(&message);
        });
    }
    drop((client, upstream));
    let share = proxy.record().number("spliced");
    assert!(share > 0.5, "most bytes of messages of 64 KiB were to be spliced, not {share}");
}

#[test]
fn what_is_spliced_follows_the_flag() {
    let never = spliced_share("--splice never");
    assert!(never <= 0.0, "with never nothing was to be spliced, not {never}");
    let auto = spliced_share("--splice auto");
    assert!(auto > 0.5, "with auto most of 64 MiB was to be spliced, not {auto}");
    let always = spliced_share("--splice always");
    assert!(always > 0.9, "with always nearly all of 64 MiB was to be spliced, not {always}");
}

#[test]
fn a_direction_goes_from_small_to_bulk_and_back_and_loses_nothing() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    let (client, upstream) = pair(&proxy, &server);
    let block: Vec<u8> = (0..4u32 << 20).map(|at| (at % 251) as u8).collect();
    for _ in 0..5 {
        thread::scope(|scope| {
            scope.spawn(|| upstream.send(&block));
            scope.spawn(|| client.expect(&block));
        });
        for _ in 0..50 {
            exchange(&client, &upstream);
        }
    }
    drop((client, upstream));
    let spliced = proxy.record().number("spliced");
    assert!(spliced > 0.0, "nothing was spliced, so nothing changed");
}

#[test]
fn small_exchanges_go_on_beside_bulk_on_the_same_worker() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    let small = pair(&proxy, &server);
    let bulk: Vec<_> = (0..4).map(|_| pair(&proxy, &server)).collect();
    thread::scope(|scope| {
        for (client, upstream) in &bulk {
            scope.spawn(|| send_pattern(upstream, 128 << 20, None));
            scope.spawn(|| receive_pattern(client, 128 << 20, None));
        }
        for _ in 0..300 {
            exchange(&small.0, &small.1);
        }
    });
}
