//! Connections that are opened ahead: each for one client, noticed when its server ends it, and closed when it is not
//! wanted.

mod logins;
mod places;

use std::mem::MaybeUninit;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Farm, Launch, Peer, Proxy, Server, exchange, pair, refusing, wait_for};

/// What the log says of a client for whom no server has a place.
const FULL: &str = "every server has as many connections as it may have; refusing the client";

/// A server with its ends of connections on which nothing has arrived.
struct Site {
    server: Server,
    unused: Vec<Peer>,
}

impl Site {
    fn new() -> Self {
        Self { server: Server::v4(), unused: Vec::new() }
    }

    fn launch(&self, warm: usize) -> Launch {
        Launch::to(self.server.address()).flags(&format!("--warm {warm}"))
    }

    /// Waits until so many connections are there on which nothing has arrived.
    fn accept(&mut self, count: usize) {
        while self.unused.len() < count {
            self.unused.push(self.server.accept());
        }
    }

    /// Waits until a client's first bytes arrive on a connection, and takes that out.
    fn used(&mut self) -> Peer {
        let has_bytes = |peer: &Peer| {
            let socket = peer.socket();
            socket.set_nonblocking(true).expect("a socket");
            let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
            socket.set_nonblocking(false).expect("a socket");
            peeked.is_ok_and(|bytes| bytes > 0)
        };
        let nth = wait_for("the bytes of a client", || {
            self.unused.extend(self.server.try_accept());
            self.unused.iter().position(has_bytes)
        });
        self.unused.remove(nth)
    }

    /// A new client is served.
    fn serve(&mut self, proxy: &Proxy) -> (Peer, Peer) {
        let client = Peer::connect(proxy.address());
        client.send(b"first");
        let upstream = self.used();
        upstream.expect(b"first");
        exchange(&client, &upstream);
        (client, upstream)
    }
}

fn connects(proxy: &Proxy, count: usize) -> Vec<String> {
    proxy.records(count).iter().map(|record| record.get("connect").to_owned()).collect()
}

#[test]
fn they_are_there_before_any_client_and_each_serves_one() {
    let mut site = Site::new();
    let proxy = site.launch(4).start();
    site.accept(4);
    let mut served = Vec::new();
    for nth in 0..8 {
        site.server.expect_no_connection();
        let pair = site.serve(&proxy);
        // Another takes its place. What has served a client serves no other.
        site.accept(4);
        assert_eq!(site.unused.len(), 4);
        if nth % 2 == 0 { drop(pair) } else { served.push(pair) }
    }
    for (client, upstream) in &served {
        exchange(client, upstream);
    }
    drop(served);
    assert_eq!(connects(&proxy, 8), ["warm"; 8]);
    site.server.expect_no_connection();
}

#[test]
fn without_the_setting_none_is_opened_ahead() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    drop(pair(&proxy, &server));
    server.expect_no_connection();
    assert_eq!(connects(&proxy, 1), ["cold"]);
}

#[test]
fn workers_share_the_number() {
    let mut site = Site::new();
    let proxy = site.launch(5).flags("--workers 3 --no-pin").start();
    site.accept(5);
    for _ in 0..20 {
        drop(site.serve(&proxy));
    }
    assert_eq!(connects(&proxy, 20), ["warm"; 20]);
    site.accept(5);
    site.server.expect_no_connection();
}

#[test]
fn more_clients_at_once_than_connections_get_new_ones() {
    let mut site = Site::new();
    let proxy = site.launch(2).start();
    site.accept(2);
    let clients: Vec<_> = (0..20).map(|_| Peer::connect(proxy.address())).collect();
    for client in &clients {
        client.send(b"first");
    }
    let served: Vec<_> = (0..20).map(|_| site.used()).collect();
    drop((clients, served));
    let connects = connects(&proxy, 20);
    assert!(connects.iter().filter(|how| *how == "warm").count() >= 2, "{connects:?}");
}

#[test]
fn what_its_server_has_ended_is_not_lent() {
    let ends: [fn(Peer) -> Option<Peer>; 3] = [
        |peer| {
            peer.reset();
            None
        },
        |peer| {
            drop(peer);
            None
        },
        |peer| {
            peer.finish();
            Some(peer)
        },
    ];
    for end in ends {
        let mut site = Site::new();
        let proxy = site.launch(3).start();
        site.accept(3);
        let kept: Vec<_> = site.unused.drain(..).filter_map(end).collect();
        drop(pair(&proxy, &site.server));
        assert_eq!(connects(&proxy, 1), ["cold"]);
        assert_eq!(proxy.said("upstream connection failed").len(), 0);
        kept.iter().for_each(Peer::expect_close);
    }
}

#[test]
fn what_its_server_has_sent_something_on_is_not_lent() {
    let mut site = Site::new();
    let proxy = site.launch(3).start();
    site.accept(3);
    let spoken: Vec<_> = site.unused.drain(..).collect();
    for peer in &spoken {
        peer.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n");
    }
    let (client, upstream) = pair(&proxy, &site.server);
    spoken.iter().for_each(Peer::expect_close);
    proxy.wait_to_say("server sent bytes on a connection opened ahead, before its client did");
    exchange(&client, &upstream);
    drop((client, upstream));
    assert_eq!(connects(&proxy, 1), ["cold"]);
}

#[test]
fn a_server_that_speaks_first_serves_its_clients_all_the_same() {
    let farm = Farm::of(1);
    let proxy = Launch::to(&farm.addresses[0]).flags("--warm 4").start();
    for _ in 0..20 {
        assert_eq!(Farm::greeted(&Peer::connect(proxy.address())), 0);
    }
    // It is told from one that is broken by nothing, so attempts pause.
    assert!(proxy.said("server sent bytes on a connection opened ahead").len() < 4);
    proxy.expect_sleep();
}

#[test]
fn failures_pause_and_are_said_once_a_pause() {
    let (held, address) = refusing();
    let good = Server::v4();
    let flags = format!("--upstream {} --warm 64 --eject-time 1h --eject-time-max 1h", good.address());
    let proxy = Launch::to(&address).flags(&flags).start();
    let said = proxy.wait_to_say_times("cannot open a connection ahead; pausing", 2);
    assert!(said.len() <= 3 && said[0].contains("pause=1s") && said[1].contains("pause=2s"), "{said:?}");
    // Its attempts together count as one failure each time: three in a row are the reason.
    assert_eq!(proxy.said("server ejected").len(), 0);
    let line = proxy.wait_to_say("server ejected; using it only where no other is left");
    assert!(line.contains("failures=3"), "{line}");
    drop(held);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(proxy.said("cannot open a connection ahead").len(), 3, "none to a server that is left out");
}

#[test]
fn a_proxy_that_stops_closes_them_at_once() {
    let mut site = Site::new();
    let mut proxy = site.launch(3).start();
    site.accept(3);
    let (client, upstream) = site.serve(&proxy);
    site.accept(3);
    proxy.signal(Signal::SIGTERM);
    site.unused.iter().for_each(Peer::expect_end);
    exchange(&client, &upstream);
    drop((client, upstream));
    assert_eq!(proxy.exit_code(), Some(0));
    site.server.expect_no_connection();
}

#[test]
fn those_to_a_server_that_is_down_are_closed() {
    let mut site = Site::new();
    let other = Server::v4();
    let health = "--health tcp --health-interval 100ms --health-fall 1";
    let flags = format!("--upstream {} --balance least-connections {health}", other.address());
    let proxy = site.launch(2).flags(&flags).start();
    // The checks connect as well.
    site.accept(2);
    other.accept();
    let Site { server, unused } = site;
    drop(server);
    proxy.wait_to_say("server is unhealthy; not using it");
    unused.iter().for_each(Peer::expect_close);
}

#[test]
fn requests_go_over_them_also_to_a_second_group() {
    let (mut one, mut two) = (Site::new(), Site::new());
    let flags = format!("--mode http --forwarded off --path-route /two={}", two.server.address());
    let proxy = one.launch(2).flags(&flags).start();
    one.accept(2);
    two.accept(2);
    let client = Peer::connect(proxy.address());
    let request = |path: &str| client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let answer = |upstream: &Peer| {
        upstream.expect(b"GET ");
        upstream.receive(&mut [0; 100]).expect("the rest of the head");
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n");
        client.expect(b"HTTP/1.1 204 No Content\r\n\r\n");
    };
    let ask = |site: &mut Site, path: &str| {
        request(path);
        let upstream = site.used();
        answer(&upstream);
        upstream
    };
    let first = ask(&mut one, "/");
    let second = ask(&mut two, "/two");
    request("/");
    answer(&first);
    // A connection in place of one that its server closed is a warm one as well.
    drop(second);
    two.accept(2);
    let third = ask(&mut two, "/two");
    assert_eq!(connects(&proxy, 4), ["warm"; 4]);
    drop((first, third));
}

#[test]
fn a_proxy_header_is_sent_when_the_client_is_known() {
    let mut site = Site::new();
    let proxy = site.launch(2).flags("--send-proxy v1").start();
    site.accept(2);
    let client = Peer::connect(proxy.address());
    let upstream = site.used();
    let local = client.socket().local_addr().ok().and_then(|address| address.as_socket()).expect("connected");
    let port = proxy.address().rsplit_once(':').expect("an address").1;
    upstream.expect(format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {port}\r\n", local.port()).as_bytes());
    exchange(&client, &upstream);
    drop((client, upstream));
    assert_eq!(connects(&proxy, 1), ["warm"]);
}

#[test]
fn sessions_get_descriptors_before_them() {
    let mut site = Site::new();
    let warm = 40;
    let proxy = site.launch(warm).flags("--max-connections 60 --pipes 1").start();
    site.accept(16);
    let most = proxy.descriptors();
    drop(proxy);
    // Enough for the proxy itself and some of the connections.
    let mut site = Site::new();
    let proxy = site.launch(warm).flags("--max-connections 60 --pipes 1").descriptors_max(most + 4).start();
    site.accept(16);
    let served: Vec<_> = (0..10).map(|_| site.serve(&proxy)).collect();
    for (client, upstream) in &served {
        exchange(client, upstream);
    }
}
