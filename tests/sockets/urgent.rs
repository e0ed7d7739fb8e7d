//! Urgent data (tcp(7), `MSG_OOB`): a byte that is not part of the stream, at which splice(2) stops. Whatever mode a
//! direction is in, all bytes before and behind it arrive, and the proxy sleeps when there is nothing to do.

use std::thread;
use std::time::Duration;

use crate::support::{Launch, Peer, Proxy, Server, pair};

const MODES: [&str; 3] = ["--splice auto", "--splice always", "--splice never"];

/// What is sent as urgent. One that the next overtakes is an ordinary byte to the kernel, so tests do not look for it.
const URGENT: u8 = b'!';

enum Piece {
    Bytes(usize),
    Mark,
}
use Piece::{Bytes, Mark};

/// The ordinary bytes of a stream; none of them looks urgent.
fn ordinary(position: usize) -> u8 {
    b'a' + (position % 23) as u8
}

fn send(from: &Peer, pieces: &[Piece]) {
    let mut position = 0;
    for piece in pieces {
        match piece {
            Bytes(count) => {
                from.send(&(position..position + count).map(ordinary).collect::<Vec<_>>());
                position += count;
            }
            Mark => assert_eq!(from.socket().send_out_of_band(&[URGENT]).expect("there is room"), 1),
        }
    }
}

fn ordinary_bytes(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| if let Bytes(count) = piece { *count } else { 0 }).sum()
}

/// All ordinary bytes arrive.
fn expect(to: &Peer, pieces: &[Piece]) {
    let total = ordinary_bytes(pieces);
    let mut buffer = vec![0; 64 * 1024];
    let mut position = 0;
    while position < total {
        match to.receive(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                for byte in buffer[..count].iter().filter(|byte| **byte != URGENT) {
                    assert_eq!(*byte, ordinary(position), "byte {position} of {total}");
                    position += 1;
                }
            }
            Err(error) => panic!("receiving failed after {position} of {total} bytes: {error}"),
        }
    }
    assert_eq!(position, total, "the stream ended early (left: bytes that arrived)");
}

fn expect_end(to: &Peer) {
    let mut byte = [0];
    loop {
        match to.receive(&mut byte) {
            Ok(0) => return,
            Ok(_) if byte == [URGENT] => {}
            other => panic!("expected the end of the stream, not {other:?} {byte:?}"),
        }
    }
}

/// Runs `check` with a proxy, a sender and a receiver: in every mode and both ways.
fn everywhere(flags: &str, check: impl Fn(&Proxy, Peer, Peer)) {
    in_modes(MODES.iter(), flags, check);
}

fn in_modes<'a>(modes: impl Iterator<Item = &'a &'a str>, flags: &str, check: impl Fn(&Proxy, Peer, Peer)) {
    for mode in modes {
        for is_up in [true, false] {
            let server = Server::v4();
            let proxy = Launch::to(server.address()).flags(mode).flags(flags).start();
            let (client, upstream) = pair(&proxy, &server);
            let (from, to) = if is_up { (client, upstream) } else { (upstream, client) };
            check(&proxy, from, to);
        }
    }
}

#[test]
fn bytes_behind_a_mark_arrive_while_the_stream_goes_on_and_the_proxy_sleeps() {
    everywhere("", |proxy, from, to| {
        let pieces = [Bytes(70_000), Mark, Bytes(1)];
        send(&from, &pieces);
        expect(&to, &pieces);
        proxy.expect_sleep();
        send(&from, &pieces);
        from.finish();
        expect(&to, &pieces);
        expect_end(&to);
    });
}

#[test]
fn a_mark_with_nothing_behind_it_costs_nothing() {
    everywhere("", |proxy, from, to| {
        for pieces in [[Bytes(70_000), Mark], [Bytes(1), Mark], [Mark, Bytes(0)]] {
            send(&from, &pieces);
            expect(&to, &pieces);
            proxy.expect_sleep();
        }
        send(&from, &[Bytes(300_000)]);
        expect(&to, &[Bytes(300_000)]);
    });
}

#[test]
fn an_end_behind_a_mark_is_the_end_after_all_bytes() {
    for pieces in [
        &[Bytes(200_000), Mark, Bytes(50_000)][..],
        &[Bytes(200_000), Mark, Bytes(1)],
        &[Bytes(200_000), Mark],
        &[Mark, Bytes(200_000)],
        &[Mark, Bytes(1)],
        &[Mark],
        &[Bytes(1), Mark, Bytes(1)],
        &[Bytes(3_000_000), Mark, Bytes(3_000_000)],
    ] {
        everywhere("", |proxy, from, to| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    send(&from, pieces);
                    from.finish();
                });
                expect(&to, pieces);
                expect_end(&to);
            });
            to.finish();
            expect_end(&from);
            let record = proxy.record();
            let bytes = record.bytes("to_upstream_bytes") + record.bytes("to_client_bytes");
            assert!(bytes >= ordinary_bytes(pieces) as u64, "{bytes} bytes are in the log");
        });
    }
}

#[test]
fn several_marks_lose_nothing_between_them() {
    let mut pieces = Vec::new();
    for count in [1, 2, 100, 16 * 1024, 64 * 1024, 70_000, 200_000, 1, 65_535, 65_537, 1_000_000] {
        pieces.extend([Bytes(count), Mark]);
    }
    pieces.push(Bytes(1));
    // The pipe is full at some of them.
    for flags in ["", "--pipe-size 64KiB", "--pipe-size 4KiB --buffer-size 1KiB"] {
        // Without splice there is no pipe to size.
        let modes = MODES.iter().filter(|mode| flags.is_empty() || !mode.contains("never"));
        in_modes(modes, flags, |_proxy, from, to| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    send(&from, &pieces);
                    from.finish();
                });
                // It fills whatever there is to fill.
                thread::sleep(Duration::from_millis(100));
                expect(&to, &pieces);
                expect_end(&to);
            });
        });
    }
}

#[test]
fn a_reset_behind_a_mark_is_a_reset() {
    everywhere("", |proxy, from, to| {
        send(&from, &[Bytes(200_000), Mark, Bytes(50_000)]);
        from.reset();
        to.expect_reset();
        proxy.expect_sleep();
        assert!(proxy.record().get("end").ends_with("-reset"));
    });
}

#[test]
fn between_unix_sockets_marks_lose_nothing() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    for (nth, mode) in MODES.into_iter().enumerate() {
        let server = Server::unix(&directory.path().join(format!("server-{nth}")));
        let listener = directory.path().join(format!("proxy-{nth}"));
        let proxy = Launch::to(server.address())
            .flags(mode)
            .flags(&format!("--listen unix:{}", listener.display()))
            .start();
        let (client, upstream) = pair(&proxy, &server);
        for (from, to) in [(&client, &upstream), (&upstream, &client)] {
            let pieces = [Bytes(70_000), Mark, Bytes(1), Mark, Bytes(70_000), Mark];
            thread::scope(|scope| {
                scope.spawn(|| {
                    send(from, &pieces);
                    from.finish();
                });
                expect(to, &pieces);
                expect_end(to);
            });
        }
    }
}

/// A body of known length, and one up to the end of the stream.
#[test]
fn bodies_with_marks_arrive_whole() {
    let pieces = [Bytes(200_000), Mark, Bytes(100_000)];
    for mode in MODES {
        let server = Server::v4();
        let launch = Launch::to(server.address()).flags("--mode http --forwarded off").flags(mode);
        let proxy = launch.start();
        let client = Peer::connect(proxy.address());
        let head = b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 300000\r\n\r\n";
        thread::scope(|scope| {
            scope.spawn(|| {
                client.send(head);
                send(&client, &pieces);
            });
            let upstream = server.accept();
            upstream.expect(head);
            expect(&upstream, &pieces);
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n";
            scope.spawn(move || {
                upstream.send(head);
                send(&upstream, &pieces_again());
                upstream.expect(GET);
                upstream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                send(&upstream, &pieces_again());
                upstream.finish();
            });
            client.expect(head);
            expect(&client, &pieces);
            client.send(GET);
            client.expect(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            expect(&client, &pieces);
            expect_end(&client);
        });
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n";

fn pieces_again() -> [Piece; 3] {
    [Bytes(200_000), Mark, Bytes(100_000)]
}
