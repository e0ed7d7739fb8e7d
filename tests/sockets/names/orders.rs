//! Orders for a name hold for the addresses that it has, gets, and gets back.

use super::{CHANGED, Host, OFTEN};
use crate::admin::start;
use crate::support::{Dns, Peer, Server, exchange};

#[test]
fn an_order_for_a_name_holds_whatever_its_addresses_are() {
    let (dns, host, other) = (Dns::new(), Host::of(2), Server::v4());
    dns.set("iis.test", &["127.0.0.1"]);
    let both = format!("--upstream {} {OFTEN}", other.address());
    let (proxy, admin) = start(host.launch(&dns, "").flags(&both));
    let order = |word: &str| {
        let path = format!("/v1/servers/iis.test:{}/{word}", host.port);
        assert_eq!(admin.post(&path).status, 200);
    };
    let mut changes = 0;
    let mut move_to = |addresses: &[&str]| {
        dns.set("iis.test", addresses);
        changes += 1;
        proxy.wait_to_say_times(CHANGED, changes);
    };
    let none_gets_there = || {
        for _ in 0..4 {
            let client = Peer::connect(proxy.address());
            exchange(&client, &other.accept());
        }
        assert!(host.servers.iter().all(|server| server.try_accept().is_none()));
    };
    let is_served_by = |nth: usize| {
        let clients: Vec<_> = (0..2).map(|_| Peer::connect(proxy.address())).collect();
        let upstreams = [other.accept(), host.servers[nth - 1].accept()];
        drop((clients, upstreams));
    };

    order("drain");
    none_gets_there();
    move_to(&["127.0.0.2"]);
    none_gets_there();
    // The first one is away, and comes back as the operator wants it.
    order("enable");
    is_served_by(2);
    move_to(&["127.0.0.1"]);
    is_served_by(1);
    order("disable");
    move_to(&["127.0.0.2"]);
    none_gets_there();
}
