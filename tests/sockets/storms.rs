//! Storms: many clients that come at once, and leave before it is their turn.

use nix::sys::signal::Signal;

use crate::support::{Launch, Peer, Server, exchange, pair};

#[test]
fn clients_that_have_left_before_their_turn_cost_no_connect() {
    const CROWD: usize = 600;
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    let (client, upstream) = pair(&proxy, &server);
    proxy.signal(Signal::SIGSTOP);
    for _ in 0..CROWD {
        Peer::connect(proxy.address()).reset();
    }
    let last = Peer::connect(proxy.address());
    last.send(b"last");
    proxy.signal(Signal::SIGCONT);
    let mut connects = 0;
    let last_upstream = loop {
        let upstream = server.accept();
        let mut first = [0; 4];
        let received = upstream.receive(&mut first).unwrap_or_default();
        if &first[..received] == b"last" {
            break upstream;
        }
        connects += 1;
    };
    // Those that are accepted in the first turn are connected: none has to wait yet.
    assert!(connects < CROWD / 2, "{connects} of {CROWD} clients that had left cost a connect");
    exchange(&last, &last_upstream);
    exchange(&client, &upstream);
    drop((client, upstream, last, last_upstream));
    let records = proxy.records(CROWD + 2);
    let left = records.iter().filter(|record| record.get("end") == "client-left").count();
    assert!(left >= CROWD / 2, "{left} of {CROWD} clients are said to have left");
    proxy.wait_until_idle();
}
