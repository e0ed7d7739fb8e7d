//! `--peek-memory`: clients that begin to talk and do not finish cannot take all the memory.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{Identity, Launch, Peer, Proxy, Server, TlsPeer, exchange};

const TALK_BYTES: usize = 60_000;
/// All together they would take 24 MB.
const CROWD: usize = 400;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A head, without its end.
fn begun_head() -> Vec<u8> {
    let mut head = b"GET / HTTP/1.1\r\nHost: web\r\nX-Long: ".to_vec();
    head.resize(TALK_BYTES, b'x');
    head
}

/// A TLS hello, without its end: its last extension is padding of 61,000 bytes (RFC 7685).
fn begun_hello() -> Vec<u8> {
    const PADDING: u16 = 61_000;
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend((PADDING + 4).to_be_bytes());
    body.extend([0, 21]);
    body.extend(PADDING.to_be_bytes());
    let length = body.len() as u32 + u32::from(PADDING);
    let mut message = vec![1];
    message.extend(&length.to_be_bytes()[1..]);
    message.extend(body);
    message.resize(TALK_BYTES, 0);
    let mut records = Vec::new();
    for part in message.chunks(16_000) {
        records.extend([22, 3, 1]);
        records.extend((part.len() as u16).to_be_bytes());
        records.extend(part);
    }
    records
}

/// Waits until no connection of the proxy comes or goes for a while: what was sent has arrived then.
fn wait_until_settled(proxy: &Proxy) {
    let (mut sockets, mut times) = (0, 0);
    while times < 10 {
        thread::sleep(Duration::from_millis(30));
        let now = proxy.sockets();
        times = if now == sockets { times + 1 } else { 0 };
        sockets = now;
    }
}

/// Clients that begin one after the other. The first are reset; one that begins when the others have said what they say
/// is not, and has its say; what they take has a limit and comes back.
fn expect_the_oldest_to_close(mut proxy: Proxy, begun: &[u8], has_its_say: impl FnOnce(&Peer)) {
    // The heap keeps what sessions took, for as many as were open at once; that is not what this is about.
    let silent: Vec<_> = (0..CROWD).map(|_| Peer::connect(proxy.address())).collect();
    wait_until_settled(&proxy);
    silent.into_iter().for_each(Peer::reset);
    wait_until_settled(&proxy);
    let before = proxy.memory();
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let client = Peer::connect(proxy.address());
            client.send(begun);
            client
        })
        .collect();
    proxy.wait_to_say("exceed their memory (setting peek-memory); closing the oldest");
    // A megabyte holds 16 of them; bytes of some may still be on their way.
    for client in &crowd[..CROWD / 2] {
        client.expect_reset();
    }
    wait_until_settled(&proxy);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 8 << 20, "the proxy has grown by {grown} bytes");
    let last = Peer::connect(proxy.address());
    last.send(begun);
    has_its_say(&last);
    last.reset();
    crowd.into_iter().for_each(Peer::reset);
    proxy.wait_until_idle();
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more are in use when all is over");
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    let line = proxy.wait_to_say("stopped; all connections have ended");
    let (_, closed) = line.split_once(" peek-memory=").unwrap_or_else(|| panic!("not counted: {line}"));
    let closed: usize = closed.split(' ').next().unwrap_or_default().parse().expect("a number");
    assert!((CROWD / 2..CROWD).contains(&closed), "{closed} of {CROWD} were closed");
}

#[test]
fn of_unfinished_heads_beyond_the_limit_the_oldest_are_closed() {
    let server = Server::v4();
    let flags = "--mode http --buffers 64 --peek-memory 1MiB";
    let proxy = Launch::to(server.address()).flags(flags).start();
    let request = b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n";
    let established = Peer::connect(proxy.address());
    established.send(request);
    let upstream = server.accept();
    let mut head = [0; 512];
    let answer = |upstream: &Peer, head: &mut [u8]| {
        assert!(upstream.receive(head).expect("a request") > 0);
        upstream.send(OK);
    };
    answer(&upstream, &mut head);
    established.expect(OK);
    let begun = begun_head();
    expect_the_oldest_to_close(proxy, &begun, |last| {
        last.send(b"\r\n\r\n");
        let last_upstream = server.accept();
        let mut received = 0;
        let mut whole = vec![0; 2 * TALK_BYTES];
        while received < TALK_BYTES {
            received += last_upstream.receive(&mut whole[received..]).expect("the request");
        }
        last_upstream.send(OK);
        last.expect(OK);
        established.send(request);
        answer(&upstream, &mut head);
        established.expect(OK);
        drop((established, upstream));
    });
}

#[test]
fn of_unfinished_handshakes_beyond_the_limit_the_oldest_are_closed() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let front = Identity::make(directory.path(), "front", &["front.test"]);
    let server = Server::v4();
    let flags = format!("--buffers 64 --peek-memory 1MiB {}", front.flags());
    let proxy = Launch::to(server.address()).flags(&flags).start();
    let config = Arc::new(front.client(None));
    let established = TlsPeer::connect(proxy.address(), &config, "front.test");
    let upstream = server.accept();
    exchange(&established.plain, &upstream);
    expect_the_oldest_to_close(proxy, &begun_hello(), |_last| {
        exchange(&established.plain, &upstream);
        drop((established, upstream));
    });
}

#[test]
fn of_unfinished_hellos_beyond_the_limit_the_oldest_are_closed() {
    let server = Server::v4();
    let flags = format!(
        "--buffers 64 --peek-memory 1MiB --peek-timeout 1h --sni-route a.example={}",
        server.address()
    );
    let proxy = Launch::to(server.address()).flags(&flags).start();
    let begun = begun_hello();
    expect_the_oldest_to_close(proxy, &begun, |last| {
        // No hello any more: the server's to judge.
        last.finish();
        let upstream = server.accept();
        upstream.expect(&begun);
        upstream.send(b"no");
        last.expect(b"no");
    });
}
