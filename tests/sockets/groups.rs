//! How connections are assigned to the servers of a group.

use crate::support::{Farm, Launch, Peer, Proxy};

fn two_workers(farm: &Farm, flags: &str) -> Proxy {
    let launch = Launch::default().flags("--workers 2 --no-pin").flags(flags);
    farm.addresses
        .iter()
        .fold(launch, |launch, address| launch.argument("--upstream").argument(address))
        .start()
}

#[test]
fn workers_take_servers_in_turn_by_weight() {
    let farm = Farm::of(3);
    let proxy = two_workers(&farm, "");
    let mut counts = [0_i32; 3];
    for _ in 0..60 {
        counts[Farm::greeted(&Peer::connect(proxy.address()))] += 1;
    }
    // Each of the workers is at most one turn ahead with any of them.
    assert!(counts.iter().all(|count| (count - 20).abs() <= 2), "{counts:?}");
}

#[test]
fn the_least_connections_of_all_workers_count() {
    let farm = Farm::of(3);
    let proxy = two_workers(&farm, "--balance least-connections");
    let mut held = [const { Vec::new() }; 3];
    let connect = |held: &mut [Vec<Peer>; 3]| {
        let client = Peer::connect(proxy.address());
        held[Farm::greeted(&client)].push(client);
    };
    for _ in 0..30 {
        connect(&mut held);
    }
    assert_eq!(held.each_ref().map(Vec::len), [10, 10, 10]);
    held[1].drain(4..).for_each(Peer::reset);
    proxy.records(6);
    for _ in 0..6 {
        connect(&mut held);
    }
    assert_eq!(held.each_ref().map(Vec::len), [10, 10, 10], "all went to the one with the fewest");
}
