//! Streams of which every byte follows from its position, so that one lost, doubled or moved is found.

use std::io::{self, ErrorKind, Write};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use super::{Peer, Random, uninterrupted};

/// A prime, so that no power of two is a multiple of it: chunks that change places do not match.
const PERIOD: usize = 1_048_583;
/// The longest piece that is sent or received at once.
const PIECE_MAX: usize = 256 * 1024;

/// One period and a piece more: any piece of the stream is a slice of this.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = vec![0; PERIOD];
    Random::seeded(1).fill(&mut bytes);
    bytes.extend_from_within(..PIECE_MAX);
    bytes
});

/// The stream from `position` on.
fn piece(position: u64, bytes: usize) -> &'static [u8] {
    let start = (position % PERIOD as u64) as usize;
    &PATTERN[start..start + bytes]
}

/// Sends the first `total` bytes of the stream, cut up and with pauses if `random`, then ends it.
pub(crate) fn send_pattern(peer: &Peer, total: u64, mut random: Option<Random>) {
    let mut sent = 0;
    while sent < total {
        let most = PIECE_MAX.min((total - sent) as usize);
        let bytes = random.as_mut().map_or(most, |random| random.size(most));
        peer.send(piece(sent, bytes));
        sent += bytes as u64;
        if let Some(pause) = random.as_mut().and_then(Random::pause) {
            thread::sleep(pause);
        }
    }
    peer.finish();
}

/// Receives the first `total` bytes of the stream; more may follow.
pub(crate) fn expect_pattern(peer: &Peer, total: u64) {
    receive(peer, total, None, |received| received == total);
}

/// Receives the first `total` bytes of the stream, and nothing after them.
pub(crate) fn receive_pattern(peer: &Peer, total: u64, random: Option<Random>) {
    receive(peer, total, random, |_| false);
}

fn receive(peer: &Peer, total: u64, mut random: Option<Random>, is_enough: impl Fn(u64) -> bool) {
    let mut buffer = vec![0; PIECE_MAX];
    let mut received = 0;
    while !is_enough(received) {
        let most = random.as_mut().map_or(PIECE_MAX, |random| random.size(PIECE_MAX));
        let bytes = peer
            .receive(&mut buffer[..most])
            .unwrap_or_else(|error| panic!("receiving failed at byte {received} of {total}: {error}"));
        if bytes == 0 {
            break;
        }
        let expected = piece(received, bytes);
        if buffer[..bytes] != *expected {
            let wrong = (0..bytes).find(|at| buffer[*at] != expected[*at]).unwrap_or_default();
            panic!("byte {} of {total} is not what was sent", received + wrong as u64);
        }
        received += bytes as u64;
        assert!(received <= total, "more than the {total} bytes arrived that were sent");
        if let Some(pause) = random.as_mut().and_then(Random::pause) {
            thread::sleep(pause);
        }
    }
    assert_eq!(received, total, "the stream ended early (left: bytes that arrived)");
}

/// Sends a stream each way at the same time, cut up at random, and receives both to their ends.
pub(crate) fn both_ways(client: &Peer, upstream: &Peer, up: u64, down: u64, random: &mut Random) {
    let [sends_up, takes_up, sends_down, takes_down] = [(); 4].map(|()| Some(random.fork()));
    thread::scope(|scope| {
        scope.spawn(move || send_pattern(client, up, sends_up));
        scope.spawn(move || receive_pattern(upstream, up, takes_up));
        scope.spawn(move || send_pattern(upstream, down, sends_down));
        scope.spawn(move || receive_pattern(client, down, takes_down));
    });
}

/// Sends the stream until nothing more is taken: everything between here and the reader is full. Gives how much
/// went out.
pub(crate) fn stuff(peer: &Peer) -> u64 {
    try_stuff(peer).unwrap_or_else(|error| panic!("sending failed: {error}"))
}

/// Same as [`stuff`], for a connection that the proxy may end meanwhile.
pub(crate) fn try_stuff(peer: &Peer) -> io::Result<u64> {
    let mut sent = 0;
    peer.socket().set_write_timeout(Some(Duration::from_millis(400))).expect("a valid time");
    loop {
        match uninterrupted(|| peer.socket().write(piece(sent, 64 * 1024))) {
            Ok(bytes) => sent += bytes as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    peer.be_patient();
    Ok(sent)
}

/// [`stuff`]s all of them at once.
pub(crate) fn stuff_all<'a>(peers: impl Iterator<Item = &'a Peer>) -> Vec<u64> {
    thread::scope(|scope| {
        let stuffed: Vec<_> = peers.map(|peer| scope.spawn(|| stuff(peer))).collect();
        stuffed.into_iter().map(|thread| thread.join().expect("it could send")).collect()
    })
}
