//! What every topic needs: the proxy as a process, scripted peers on both of its sides, bytes that can be checked,
//! and waiting for conditions.

mod dns;
mod echo;
mod namespace;
mod pattern;
mod peer;
mod proxy;
mod random;
mod server;
mod sites;
mod tls;

use std::io;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use dns::Dns;
pub(crate) use echo::{connect, echo, failures_during, talk};
pub(crate) use namespace::{Network, in_own_network, run, set_parameter};
pub(crate) use pattern::{
    both_ways, expect_pattern, receive_pattern, send_pattern, stuff, stuff_all, try_stuff,
};
pub(crate) use peer::Peer;
pub(crate) use proxy::{Launch, Proxy, WITHOUT};
pub(crate) use random::Random;
pub(crate) use server::{Farm, Server, Unanswering, refusing};
pub(crate) use sites::Site;
pub(crate) use tls::{Authority, Identity, TlsPeer, WireEnd};

/// How long anything may take that is sure to happen: machines that run tests are slow and busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// Waits until `look` finds something; fails with what was waited for.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Before looking: this process may have stood still since it looked last.
        let is_over = Instant::now() > deadline;
        if let Some(found) = look() {
            return found;
        }
        assert!(!is_over, "waited {PATIENCE:?} in vain for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A system call with a time-out ends early when the process is stopped and goes on (signal(7)).
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Waits until `holds` does.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// A client and the server that it was connected to, which have exchanged a message each.
pub(crate) fn pair(proxy: &Proxy, server: &Server) -> (Peer, Peer) {
    let client = Peer::connect(proxy.address());
    client.send(b"first");
    let upstream = server.accept();
    upstream.expect(b"first");
    exchange(&client, &upstream);
    (client, upstream)
}

/// Has clients send that were waiting to be accepted, and the server answer each. Returns its connections.
pub(crate) fn serve_waiting(server: &Server, clients: &[Peer]) -> Vec<Peer> {
    for client in clients {
        client.send(b"waited");
    }
    let upstreams: Vec<_> = clients.iter().map(|_| server.accept()).collect();
    for upstream in &upstreams {
        upstream.expect(b"waited");
        upstream.send(b"served");
    }
    for client in clients {
        client.expect(b"served");
    }
    upstreams
}

/// A message each way.
pub(crate) fn exchange(client: &Peer, upstream: &Peer) {
    client.send(b"ask");
    upstream.expect(b"ask");
    upstream.send(b"answer");
    client.expect(b"answer");
}
