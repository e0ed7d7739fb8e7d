//! How connections are assigned to the servers of a group.

use crate::support::{Farm, Launch, Peer, Proxy, Server, pair, refusing};

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
fn weights_say_how_many_connections_each_server_gets() {
    let farm = Farm::of(3);
    let [one, two, three] = &farm.addresses[..] else { panic!("three servers") };
    let flags =
        format!("--upstream {one},weight=1 --upstream {two},weight=3 --upstream {three},disabled,weight=9");
    let proxy = Launch::default().flags("--workers 2 --no-pin").flags(&flags).start();
    let mut counts = [0_i32; 3];
    for _ in 0..60 {
        counts[Farm::greeted(&Peer::connect(proxy.address()))] += 1;
    }
    assert!((counts[0] - 15).abs() <= 2 && counts[2] == 0, "{counts:?}");
}

#[test]
fn backup_servers_take_over_where_no_other_can() {
    let farm = Farm::of(1);
    let (_port, refusing) = refusing();
    let backup = format!("--upstream {},backup --upstream {refusing}", farm.addresses[0]);
    let proxy = Launch::default().flags(&backup).start();
    for _ in 0..3 {
        Farm::greeted(&Peer::connect(proxy.address()));
    }
    assert_eq!(proxy.said("every server of the group is a backup").len(), 0);

    let server = Server::v4();
    let flags = format!("--upstream {}", server.address());
    let proxy = Launch::to(&format!("{},backup", farm.addresses[0])).flags(&flags).start();
    for _ in 0..3 {
        pair(&proxy, &server);
    }

    let proxy = Launch::to(&format!("{},backup", farm.addresses[0])).start();
    proxy.wait_to_say("every server of the group is a backup server or disabled");
    Farm::greeted(&Peer::connect(proxy.address()));
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
