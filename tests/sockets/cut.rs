//! What the proxy itself ends while bytes are on their way it resets: half of a stream must not look whole. What has
//! arrived is closed in order.

use std::io::ErrorKind;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Launch, Peer, Proxy, Server, pair, refusing, try_stuff};

const MODES: [&str; 2] = ["--splice never", "--splice always"];

/// How the proxy comes to end a session that goes on.
#[derive(Clone, Copy)]
enum Ends {
    Idle,
    DrainTimeout,
    SecondSignal,
}
use Ends::{DrainTimeout, Idle, SecondSignal};

impl Ends {
    fn flags(self) -> &'static str {
        match self {
            Idle => "--idle-timeout 1500ms",
            DrainTimeout => "--drain-timeout 300ms",
            SecondSignal => "--drain-timeout 1h",
        }
    }

    fn end(self, proxy: &Proxy) {
        match self {
            Idle => {}
            DrainTimeout => proxy.signal(Signal::SIGTERM),
            SecondSignal => {
                proxy.signal(Signal::SIGTERM);
                proxy.wait_to_say("received signal");
                // Two that come at once could be one.
                std::thread::sleep(Duration::from_millis(1200));
                proxy.signal(Signal::SIGTERM);
            }
        }
    }
}

fn start(server: &Server, ends: Ends, flags: &str) -> Proxy {
    Launch::to(server.address()).flags(ends.flags()).flags(flags).start()
}

/// The receiver reads nothing while the proxy ends the session.
fn a_stalled_receiver_is_reset(ends: Ends) {
    for mode in MODES {
        for is_up in [true, false] {
            let server = Server::v4();
            let proxy = start(&server, ends, mode);
            let (client, upstream) = pair(&proxy, &server);
            let (from, to) = if is_up { (client, upstream) } else { (upstream, client) };
            // On a busy host the idle time-out can be over before the sender is stuck.
            let sent = try_stuff(&from);
            ends.end(&proxy);
            match sent {
                Ok(_) => from.expect_reset(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
            }
            to.expect_reset();
        }
    }
}

#[test]
fn what_a_receiver_has_not_taken_is_reset_by_the_idle_timeout() {
    a_stalled_receiver_is_reset(Idle);
}

#[test]
fn what_a_receiver_has_not_taken_is_reset_by_the_drain_timeout() {
    a_stalled_receiver_is_reset(DrainTimeout);
}

#[test]
fn what_a_receiver_has_not_taken_is_reset_by_the_second_signal() {
    a_stalled_receiver_is_reset(SecondSignal);
}

/// All of the stream is with the proxy and its kernel, its end too; the receiver has not read it.
#[test]
fn a_stream_that_has_ended_and_not_arrived_is_reset() {
    for ends in [Idle, DrainTimeout, SecondSignal] {
        for mode in MODES {
            let server = Server::v4();
            let proxy = start(&server, ends, mode);
            let (client, upstream) = pair(&proxy, &server);
            client.socket().set_recv_buffer_size(4096).expect("a socket");
            upstream.send(&vec![7; 1_000_000]);
            upstream.finish();
            ends.end(&proxy);
            upstream.expect_reset();
            client.expect_reset();
        }
    }
}

#[test]
fn what_has_arrived_is_closed_in_order() {
    for ends in [Idle, DrainTimeout, SecondSignal] {
        let server = Server::v4();
        let proxy = start(&server, ends, "");
        let (client, upstream) = pair(&proxy, &server);
        ends.end(&proxy);
        client.expect_end();
        upstream.expect_end();
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n";
const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf";

/// All that there is of it has arrived, and still it is not whole.
#[test]
fn half_a_reply_is_reset() {
    for ends in [DrainTimeout, SecondSignal] {
        let server = Server::v4();
        let proxy = start(&server, ends, "--mode http --forwarded off");
        let client = Peer::connect(proxy.address());
        client.send(GET);
        let upstream = server.accept();
        upstream.expect(GET);
        upstream.send(HALF);
        client.expect(HALF);
        ends.end(&proxy);
        client.expect_reset();
        upstream.expect_reset();
    }
}

#[test]
fn what_was_read_of_a_client_without_a_server_is_reset() {
    let (_port, refusing) = refusing();
    let proxy = Launch::to(&refusing).flags("--accept-proxy").start();
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.9 51234 443\r\n";
    let client = Peer::connect(proxy.address());
    client.send(&[&header[..], b"undelivered"].concat());
    client.expect_reset();
    proxy.record().expect_end("refused");
    let client = Peer::connect(proxy.address());
    client.send(header);
    client.expect_end();
    proxy.records(2)[1].expect_end("refused");
}
