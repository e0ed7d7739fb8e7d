//! `--mode http`: requests and replies, as scripted peers see them.

mod affinity;
mod bodies;
mod cases;
mod chunks;
mod connections;
mod draining;
mod early;
mod heads;
mod host;
mod host_routes;
mod identity;
mod leaving;
pub(crate) mod logins;
mod path_logins;
mod path_routes;
mod pieces;
mod references;
mod refusals;
mod replies;
mod strict;
mod targets;
mod timeouts;
mod to_https;
mod trust;
mod twins;
mod upgrade;

use crate::support::{Launch, Peer, Proxy, Server};

/// A proxy in HTTP mode that leaves the client unnamed, so that heads stay as they are.
fn proxy(server: &Server, flags: &str) -> Proxy {
    Launch::to(server.address()).flags("--mode http --forwarded off --log-level debug").flags(flags).start()
}

/// The one session of the proxy has ended like this; its log has lines for requests only.
fn expect_end(proxy: &Proxy, word: &str) {
    let line = proxy.wait_to_say("session ended");
    assert!(line.contains(&format!("end=\"{word}\"")), "{line}");
}

pub(crate) const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n";
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A client and the upstream connection made for it, after one exchange.
fn acquainted(proxy: &Proxy, server: &Server) -> (Peer, Peer) {
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(OK);
    (client, upstream)
}

/// One more exchange over the same two connections.
fn exchange(client: &Peer, upstream: &Peer) {
    client.send(GET);
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(OK);
}
