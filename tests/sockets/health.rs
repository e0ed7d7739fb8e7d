//! Servers that fail: how long clients wait for them, when they are left out, and how they come back.

use crate::support::{Launch, Peer, Server, Unanswering};

#[test]
fn the_connects_of_one_client_are_bounded_in_sum() {
    let silent: Vec<_> = (0..5).map(|_| Unanswering::new()).collect();
    let mut launch = Launch::to(silent[0].address());
    for server in &silent[1..] {
        launch = launch.flags(&format!("--upstream {}", server.address()));
    }
    let good = Server::v4();
    let proxy = launch
        .flags(&format!("--upstream {} --connect-timeout 400ms --connect-budget 500ms", good.address()))
        .start();
    Peer::connect(proxy.address()).expect_close();
    proxy.record().expect_end("connect-timeout");
    proxy.wait_to_say("no server was ready within the connect budget; not trying the others");
    let tried = proxy.said("cannot connect to server; trying the next, if any").len();
    assert!((1..=2).contains(&tried), "{tried} servers were tried within the budget of one and a bit");
    good.expect_no_connection();
    proxy.wait_until_idle();
}
