//! How connections are assigned to the servers of a group.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use crate::admin::Admin;
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
fn random_choices_spread_and_leave_none_out() {
    let farm = Farm::of(3);
    let proxy = two_workers(&farm, "--balance random-two");
    let mut held = [const { Vec::new() }; 3];
    for _ in 0..90 {
        let client = Peer::connect(proxy.address());
        held[Farm::greeted(&client)].push(client);
    }
    // A server that is several connections ahead wins no draw.
    let counts = held.each_ref().map(Vec::len);
    assert!(counts.iter().all(|count| (25..=35).contains(count)), "{counts:?}");
}

/// The host's address with this number; all of 127.0.0.0/8 are.
fn loopback(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, number).into()
}

#[test]
fn an_address_keeps_its_server_at_every_worker_and_in_every_process() {
    let farm = Farm::of(3);
    let first = two_workers(&farm, "--balance source-hash");
    let of = |number: u8| Farm::greeted(&Peer::connect_from(loopback(number), first.address()));
    let servers: Vec<_> = (1..=30).map(of).collect();
    for server in 0..3 {
        assert!(servers.contains(&server), "a server without clients: {servers:?}");
    }
    for _ in 0..4 {
        assert_eq!((1..=30).map(of).collect::<Vec<_>>(), servers);
    }

    let less =
        format!("--balance source-hash --upstream {} --upstream {}", farm.addresses[2], farm.addresses[0]);
    let second = Launch::default().flags(&less).start();
    for (number, server) in (1..=30).zip(servers) {
        let now = Farm::greeted(&Peer::connect_from(loopback(number), second.address()));
        assert!(now == server || server == 1, "a client of a server that stayed has moved");
    }
}

/// Machines share nothing: what they know of servers, and how they list them, may differ.
#[test]
fn an_address_has_the_same_server_at_every_machine() {
    let farm = Farm::of(3);
    let machine = |order: [usize; 3]| {
        let flags = order.map(|server| format!("--upstream {}", farm.addresses[server])).join(" ");
        let flags = format!("--balance source-hash --admin 127.0.0.1:0 {flags}");
        Launch::default().flags(&flags).start()
    };
    let machines = [machine([0, 1, 2]), machine([2, 0, 1])];
    let of = |machine: usize| -> Vec<_> {
        let address = machines[machine].address();
        (1..=30).map(|number| Farm::greeted(&Peer::connect_from(loopback(number), address))).collect()
    };
    let servers = of(0);
    assert_eq!(of(1), servers);
    assert!((0..3).all(|server| servers.contains(&server)), "{servers:?}");

    // One machine knows that a server is not to be used. Its clients have another there, and nobody else has.
    let admin = Admin::of(&machines[1]);
    let order = |order: &str| admin.post(&format!("/v1/servers/{}/{order}", farm.addresses[1])).status;
    assert_eq!(order("disable"), 200);
    for (now, before) in of(1).into_iter().zip(&servers) {
        assert!(if *before == 1 { now != 1 } else { now == *before }, "{now} {before}");
    }
    assert_eq!(of(0), servers);
    assert_eq!(order("enable"), 200);
    assert_eq!(of(1), servers);
}

#[test]
fn the_source_in_a_proxy_header_keeps_its_server() {
    let farm = Farm::of(3);
    let proxy = two_workers(&farm, "--balance source-hash --accept-proxy");
    let of = |number: u8| {
        let client = Peer::connect(proxy.address());
        client.send(format!("PROXY TCP4 192.0.2.{number} 192.0.2.250 4000 80\r\n").as_bytes());
        Farm::greeted(&client)
    };
    let servers: Vec<_> = (1..=20).map(of).collect();
    assert!((0..3).all(|server| servers.contains(&server)), "{servers:?}");
    for _ in 0..3 {
        assert_eq!((1..=20).map(of).collect::<Vec<_>>(), servers);
    }
}

#[test]
fn the_client_that_a_trusted_proxy_names_keeps_its_server() {
    let farm = Farm::of(3);
    let flags = "--balance source-hash --mode http --forwarded append --trust 127.0.0.1";
    let proxy = two_workers(&farm, flags);
    // The farm's greeting is no reply: the log tells which server it was.
    let ask = |source: IpAddr, field: &str| {
        let client = Peer::connect_from(source, proxy.address());
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n").as_bytes());
        client.expect(b"HTTP/1.1 502 ");
    };
    let trusted = Ipv4Addr::LOCALHOST.into();
    for number in (1..=20).chain(1..=20) {
        ask(trusted, &format!("X-Forwarded-For: 198.51.100.9, 192.0.2.{number}, 127.0.0.1\r\n"));
    }
    for number in 1..=20 {
        ask(loopback(1), &format!("X-Forwarded-For: 192.0.2.{number}\r\n"));
    }
    let records = proxy.records(60);
    let servers: Vec<_> = records.iter().map(|record| record.get("upstream").to_owned()).collect();
    assert!(farm.addresses.iter().all(|address| servers[..20].contains(address)), "{servers:?}");
    assert_eq!(servers[..20], servers[20..40]);
    assert!(
        servers[40..].iter().all(|server| *server == servers[40]),
        "this one is not trusted: {servers:?}"
    );
}

#[test]
fn a_server_has_no_more_connections_than_it_may_over_all_workers() {
    let farm = Farm::of(2);
    let [one, two] = &farm.addresses[..] else { panic!("two servers") };
    let flags = format!("--upstream {one},max-connections=3 --upstream {two},max-connections=2");
    let proxy = Launch::default().flags("--workers 2 --no-pin").flags(&flags).start();
    let mut held = [const { Vec::new() }; 2];
    for _ in 0..5 {
        let client = Peer::connect(proxy.address());
        held[Farm::greeted(&client)].push(client);
    }
    assert_eq!(held.each_ref().map(Vec::len), [3, 2]);
    for _ in 0..4 {
        Peer::connect(proxy.address()).expect_close();
    }
    let records = proxy.records(4);
    assert!(records.iter().all(|record| record.get("end") == "full" && record.get("upstream") == "-"));
    let line = proxy.wait_to_say("every server has as many connections as it may have; refusing the client");
    assert!(line.contains("group=\"default\""), "{line}");

    held[1].remove(0).reset();
    proxy.records(5);
    assert_eq!(Farm::greeted(&Peer::connect(proxy.address())), 1, "the place that is free");
}

#[test]
fn a_request_that_no_server_has_a_place_for_gets_503() {
    let server = Server::v4();
    let proxy = Launch::to(&format!("{},max-connections=1", server.address())).flags("--mode http").start();
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let first = Peer::connect(proxy.address());
    first.send(get);
    let upstream = server.accept();
    let second = Peer::connect(proxy.address());
    second.send(get);
    second.expect(b"HTTP/1.1 503 Service Unavailable\r\n");
    proxy.record().expect_end("full");
    upstream.reset();
    first.expect(b"HTTP/1.1 502 ");
    proxy.records(2);
    let third = Peer::connect(proxy.address());
    third.send(get);
    server.accept();
}

const WAITS: &str = "every server has as many connections as it may have; the client waits";

/// Clients that wait, one after the other, for a proxy whose servers are full.
fn queue_up(proxy: &Proxy, count: usize) -> Vec<Peer> {
    let wait = |nth: usize| {
        let client = Peer::connect(proxy.address());
        proxy.wait_to_say_times(WAITS, nth);
        client
    };
    (1..=count).map(wait).collect()
}

#[test]
fn clients_that_wait_get_places_in_turn_whatever_worker_they_are_at() {
    let farm = Farm::of(1);
    let upstream = format!("--upstream {},max-connections=1 --queue-timeout 10m", farm.addresses[0]);
    let proxy = Launch::default().flags("--workers 3 --no-pin").flags(&upstream).start();
    let mut holder = Peer::connect(proxy.address());
    Farm::greeted(&holder);
    for next in queue_up(&proxy, 12) {
        // There is one place: had it gone to another client, this one would not be greeted.
        holder.reset();
        Farm::greeted(&next);
        holder = next;
    }
    holder.reset();
    let records = proxy.records(13);
    assert!(records.iter().all(|record| record.get("upstream") == farm.addresses[0]));
    Farm::greeted(&Peer::connect(proxy.address()));
}

#[test]
fn a_client_that_leaves_the_queue_is_not_waited_for() {
    let farm = Farm::of(1);
    let upstream = format!("--upstream {},max-connections=1 --queue-timeout 10m", farm.addresses[0]);
    let proxy = Launch::default().flags("--workers 2 --no-pin").flags(&upstream).start();
    let holder = Peer::connect(proxy.address());
    Farm::greeted(&holder);
    let mut clients = queue_up(&proxy, 3);
    clients.remove(0).reset();
    drop(clients.remove(0));
    for record in proxy.records(2) {
        record.expect_end("client-left");
    }
    holder.reset();
    Farm::greeted(&clients[0]);
}

#[test]
fn a_client_that_has_waited_long_enough_is_refused() {
    let farm = Farm::of(2);
    let flags = format!(
        "--upstream {},max-connections=1 --upstream {},backup,max-connections=1 --queue-timeout 200ms",
        farm.addresses[0], farm.addresses[1]
    );
    let proxy = Launch::default().flags(&flags).start();
    let held: Vec<_> = (0..2).map(|_| Peer::connect(proxy.address())).collect();
    assert_eq!(held.iter().map(Farm::greeted).collect::<Vec<_>>(), [0, 1], "the backup server as well");
    let late = Peer::connect(proxy.address());
    late.expect_close();
    let record = proxy.record();
    record.expect_end("full");
    assert!(record.number("duration_ms") >= 200.0, "it waited");
    proxy.wait_to_say("the client got no place at a server within its time, or too many wait; refusing it");
}

#[test]
fn a_request_waits_for_its_place() {
    let server = Server::v4();
    let upstream = format!("{},max-connections=1", server.address());
    let proxy = Launch::to(&upstream).flags("--mode http --queue-timeout 10m").start();
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let first = Peer::connect(proxy.address());
    first.send(get);
    let upstream = server.accept();
    let second = Peer::connect(proxy.address());
    second.send(get);
    proxy.wait_to_say(WAITS);
    server.expect_no_connection();
    drop((first, upstream));
    let upstream = server.accept();
    upstream.expect(b"GET / HTTP/1.1\r\n");
    upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n");
    second.expect(b"HTTP/1.1 204 ");
}

#[test]
fn a_client_whose_place_proves_useless_waits_for_another_before_the_rest() {
    let farm = Farm::of(1);
    let broken = Server::v4();
    let flags = format!(
        "--upstream {},max-connections=1 --upstream {},max-connections=1 --queue-timeout 10m",
        broken.address(),
        farm.addresses[0]
    );
    let proxy = Launch::default().flags(&flags).start();
    let at_broken = Peer::connect(proxy.address());
    let end = broken.accept();
    let holder = Peer::connect(proxy.address());
    Farm::greeted(&holder);
    let clients = queue_up(&proxy, 2);
    drop((broken, end, at_broken));
    proxy.wait_to_say_times("cannot connect to server", 1);
    holder.reset();
    Farm::greeted(&clients[0]);
}

/// A proxy with a server that is full and one that was ejected for this time, each with one place.
fn full_and_ejected(full: &str, ejected: &str, eject_time: &str) -> (Proxy, Peer) {
    let flags = format!(
        "--upstream {ejected},max-connections=1 --upstream {full},max-connections=1 --queue-timeout 10m \
         --eject-after 1 --eject-time {eject_time} --eject-time-max {eject_time}"
    );
    let proxy = Launch::default().flags(&flags).start();
    let holder = Peer::connect(proxy.address());
    Farm::greeted(&holder);
    proxy.wait_to_say("server ejected");
    (proxy, holder)
}

#[test]
fn a_client_that_waits_does_not_get_an_ejected_server() {
    let farm = Farm::of(1);
    let (_port, refusing) = refusing();
    let (proxy, holder) = full_and_ejected(&farm.addresses[0], &refusing, "1h");
    let clients = queue_up(&proxy, 2);
    // Long enough for those who wait to look around.
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(proxy.said("cannot connect to server").len(), 1, "the one that ejected it");
    holder.reset();
    Farm::greeted(&clients[0]);
}

#[test]
fn a_client_that_waits_tries_a_server_whose_ejection_is_over() {
    let farm = Farm::of(1);
    let (port, refusing) = refusing();
    let (proxy, _holder) = full_and_ejected(&farm.addresses[0], &refusing, "2s");
    let clients = queue_up(&proxy, 1);
    port.listen(8).expect("a bound socket");
    let server = Server::of(port, refusing);
    let upstream = server.accept();
    upstream.send(b"welcome");
    clients[0].expect(b"welcome");
    proxy.wait_to_say("server is up again");
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
