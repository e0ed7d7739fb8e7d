//! Servers of later settings and answers, and what they keep.

use super::*;
use crate::protocol::login::Symptom;
use crate::upstream::names::Found;
use crate::upstream::testing::{group, servers};
use crate::uring::Address;

#[test]
fn servers_go_on_with_their_states_each_one_with_its_own() {
    let server = |(name, number): &(&str, u8)| {
        let address = Address::Ip(([192, 0, 2, *number], 80).into());
        Arc::new(Server::new(*name, address, None).expect("an IP address"))
    };
    let group = |servers: &[(&str, u8)]| GroupSettings::new("iis", servers.iter().map(server).collect());
    let old = group(&[("a", 1), ("a", 1), ("a", 2), ("b", 3)]);
    for (server, leases) in std::iter::zip(&old.servers, [1, 2, 4, 8]) {
        assert!((0..leases).all(|_| server.lend()));
    }
    let new = group(&[("b", 3), ("c", 3), ("b", 1), ("a", 2), ("a", 1), ("a", 1), ("a", 1)]).inherit(&old);
    let leases: Vec<_> = new.servers.iter().map(|server| server.leases()).collect();
    assert_eq!(leases, [8, 0, 0, 4, 1, 2, 0]);
}

fn answer(numbers: &[u8]) -> Answer {
    let found = |number: &u8| Found::at(([192, 0, 2, *number], 80).into());
    Answer { servers: numbers.iter().map(found).collect(), ..Answer::default() }
}

/// A group of a name and of a server without one.
fn named(numbers: &[u8]) -> (Name, GroupSettings) {
    let name = Name::Host { host: "iis".into(), port: 80 };
    let like = |name: &str, number: u8| {
        let address = Address::Ip(([192, 0, 2, number], 80).into());
        Server::new(name, address, None).expect("an IP address")
    };
    let ejection = Ejection::default();
    let written = vec![
        Written::named(like("iis:80", 0), name.clone(), answer(numbers)),
        Written::at(like("fixed", 99)),
    ];
    let settings = GroupSettings { ejection, ..GroupSettings::new("", Vec::new()) };
    (name, settings.with_servers("iis", written))
}

#[test]
fn changes_that_come_often_do_not_give_the_first_server_more_than_its_share() {
    let servers = servers(&[1, 1, 1]);
    let mut view = group("round-robin", &servers, 0);
    let mut counts = [0; 3];
    for _ in 0..300 {
        let lease = view.pick(None, Instant::now()).next().expect("a server");
        counts[lease.server().name().parse::<usize>().expect("its place")] += 1;
        drop(lease);
        view = view.succeed(Arc::new(view.settings().clone()));
    }
    assert!(counts.iter().all(|count| (90..=110).contains(count)), "{counts:?}");
}

fn leases(group: &GroupSettings) -> Vec<(String, usize)> {
    let server = |server: &Arc<Server>| (server.address().to_string(), server.leases());
    group.servers.iter().map(server).collect()
}

#[test]
fn the_servers_of_a_name_come_and_go_and_those_that_come_back_are_known() {
    let (name, group) = named(&[1, 2]);
    for (server, count) in std::iter::zip(&group.servers, [1, 2, 4]) {
        assert!((0..count).all(|_| server.lend()));
    }
    let less = group.with_answer(&name, &answer(&[2, 3]));
    let at = |number: u8| format!("192.0.2.{number}:80");
    assert_eq!(leases(&less), [(at(2), 2), (at(3), 0), (at(99), 4)]);
    group.servers[0].take_back();
    assert!(group.servers[0].lend());
    let again = less.with_answer(&name, &answer(&[1, 2]));
    assert_eq!(leases(&again), [(at(1), 1), (at(2), 2), (at(99), 4)]);
    let other = Name::Host { host: "other".into(), port: 80 };
    assert_eq!(leases(&again.with_answer(&other, &answer(&[7]))), leases(&again), "of another name");
}

#[test]
fn an_order_for_every_address_of_a_name_holds_for_new_ones() {
    let (name, group) = named(&[1, 2]);
    let orders = |group: &GroupSettings| -> Vec<_> {
        group.servers.iter().map(|server| (server.address().to_string(), server.order())).collect()
    };
    let at = |number: u8, order| (format!("192.0.2.{number}:80"), order);
    let drain = Some(ServerOrder::Drain);
    group.servers[0].set_order(drain);
    let some = group.with_answer(&name, &answer(&[1, 2, 3]));
    assert_eq!(orders(&some), [at(1, drain), at(2, None), at(3, None), at(99, None)]);
    for server in &some.servers[1..3] {
        server.set_order(drain);
    }
    let all = some.with_answer(&name, &answer(&[4]));
    assert_eq!(orders(&all), [at(4, drain), at(99, None)]);
    let reloaded = named(&[5]).1.inherit(&all);
    assert_eq!(orders(&reloaded), [at(5, drain), at(99, None)]);
    reloaded.servers[0].set_order(Some(ServerOrder::Disable));
    let different = reloaded.with_answer(&name, &answer(&[4, 5, 6]));
    assert_eq!(
        orders(&different),
        [at(4, drain), at(5, Some(ServerOrder::Disable)), at(6, Some(ServerOrder::Disable)), at(99, None)]
    );
    assert_eq!(orders(&different.with_answer(&name, &answer(&[4, 7])))[1], at(7, None), "orders differ");
}

#[test]
fn what_is_counted_for_a_name_never_shrinks_whatever_its_addresses_are() {
    let (name, group) = named(&[1, 2]);
    let count = |group: &GroupSettings, name: &str| {
        let of_name = group.servers.iter().filter(|server| **server.name() == *name);
        let counts: Vec<_> =
            of_name.map(|server| server.incidents().symptoms(Symptom::Type3Refused)).collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "its addresses share one: {counts:?}");
        counts[0]
    };
    for server in &group.servers {
        server.count_symptom(Symptom::Type3Refused);
    }
    assert_eq!((count(&group, "iis:80"), count(&group, "fixed")), (2, 1));
    let less = group.with_answer(&name, &answer(&[2]));
    // A session that goes on there.
    group.servers[0].count_symptom(Symptom::Type3Refused);
    assert_eq!((count(&less, "iis:80"), count(&less, "fixed")), (3, 1));
    let others = less.with_answer(&name, &answer(&[7, 8]));
    assert_eq!(count(&others, "iis:80"), 3);
    let reloaded = named(&[9]).1.inherit(&others);
    assert_eq!((count(&reloaded, "iis:80"), count(&reloaded, "fixed")), (3, 1));
    assert_eq!(count(&reloaded.with_answer(&name, &answer(&[1, 9])), "iis:80"), 3);
    // The name leaves the settings, and comes back with another address.
    let without = reloaded.with_servers("iis", vec![reloaded.written[1].clone()]).inherit(&reloaded);
    assert_eq!(count(&named(&[5]).1.inherit(&without), "iis:80"), 3);
    let twice = vec![group.written[0].clone(), group.written[0].clone()];
    let twice = named(&[1]).1.with_servers("iis", twice);
    twice.servers[0].count_symptom(Symptom::Type3Refused);
    count(&twice, "iis:80");
}

#[test]
fn only_a_server_that_is_not_the_only_one_is_left_out_however_many_there_were_before() {
    let name = Name::Host { host: "iis".into(), port: 80 };
    let (_, group) = named(&[1]);
    let alone = group.with_servers("iis", vec![group.written[0].clone()]);
    assert_eq!(*alone.servers[0].ejection(), Ejection::NEVER);
    let two = alone.with_answer(&name, &answer(&[1, 2]));
    assert!(two.servers.iter().all(|server| *server.ejection() == Ejection::default()));
    assert_eq!(*two.with_answer(&name, &answer(&[2])).servers[0].ejection(), Ejection::NEVER);
}

#[test]
fn weights_of_the_answer_count_and_the_options_of_the_name_are_for_each_server() {
    let (name, group) = named(&[1]);
    let mut found = answer(&[1, 2]);
    found.servers[0].weight = 7.try_into().ok();
    found.servers[1].backup = true;
    let options: Vec<_> =
        group.with_answer(&name, &found).servers.iter().map(|server| server.options()).collect();
    let [one, two, _] = options[..] else { panic!("three servers") };
    assert_eq!((one.weight.get(), one.backup, two.weight.get(), two.backup), (7, false, 1, true));
}

#[test]
fn a_client_suits_servers_that_get_connections_only() {
    let server = |text: &str| {
        let address = Address::Ip(text.parse().expect("an address"));
        Arc::new(Server::new(text, address, None).expect("an IP address"))
    };
    let (v4, v6) = (server("10.1.0.2:80"), server("[2001:db8::2]:80"));
    let settings = GroupSettings::new("iis", vec![Arc::clone(&v4), Arc::clone(&v6)]);
    let view = Group::new(Arc::new(GroupSettings { sources: Sources::Client, ..settings }), 0);
    let suits = || view.suits(Some([192, 0, 2, 7].into()));
    assert!(suits());
    v4.set_order(Some(crate::upstream::ServerOrder::Drain));
    assert!(!suits(), "the server of its family is kept out");
    v6.set_order(Some(crate::upstream::ServerOrder::Disable));
    assert!(suits(), "no server is left, whatever its family");
}

#[test]
fn a_lease_counts_its_server_until_it_is_dropped() {
    let group = group("round-robin", &servers(&[1, 1]), 0);
    let in_use = || group.settings.servers.iter().map(|server| server.leases()).collect::<Vec<_>>();
    let lease = group.pick(None, Instant::now()).next();
    assert_eq!(in_use(), [1, 0], "servers that are not tried are not in use");
    let others: Vec<_> = group.pick(None, Instant::now()).collect();
    assert_eq!(in_use(), [2, 1]);
    others[0].end();
    assert_eq!(in_use(), [2, 0], "it ends once");
    drop((lease, others));
    assert_eq!(in_use(), [0, 0]);
}
