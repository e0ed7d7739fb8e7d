//! Groups of servers, and how they change with the settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::choices::{TLS_NAME, milliseconds};
use crate::protocol::proxy_protocol::Version;
use crate::upstream::{GroupSettings, Server};
use crate::uring::Address;
use crate::uring::sim::Dice;

/// A group of one to three servers, each with one or two addresses of its own. The order of the dice decides what a seed
/// stands for.
pub(super) fn group(number: usize, dice: &mut Dice) -> GroupSettings {
    let names = dice.number(1, 3);
    let servers = (0..names).flat_map(|name| servers(number, name, dice)).collect();
    let send_proxy = dice.one_of(&[None, None, Some(Version::V1), Some(Version::V2)]);
    let group = GroupSettings { send_proxy, ..GroupSettings::new(format!("group{number}"), servers) };
    with_timeouts(group, dice)
}

/// What a group becomes when the settings change: some of its servers, with what is known of them, perhaps another one,
/// and other time-outs.
pub(super) fn changed(group: &GroupSettings, dice: &mut Dice) -> GroupSettings {
    let number = group.name.strip_prefix("group").and_then(|number| number.parse().ok());
    let number = number.expect("groups have numbers");
    let new = |server: &Arc<Server>| {
        let server =
            Server::new(Arc::clone(server.name()), server.address().clone(), server.tls_name().cloned());
        Arc::new(server.expect("an IP address"))
    };
    let mut all: Vec<_> = group.servers.iter().filter(|_| dice.chance(700)).map(new).collect();
    let name = (0..=group.servers.len())
        .find(|name| group.servers.iter().all(|server| **server.name() != *name_of(number, *name)));
    if all.is_empty() || dice.chance(400) {
        all.extend(servers(number, name.expect("one more than there are is free"), dice));
    }
    with_timeouts(GroupSettings { servers: all, ..group.clone() }, dice).inherit(group)
}

/// The server of the group at this address.
pub(super) fn server_at(group: &GroupSettings, address: SocketAddr) -> Option<&Server> {
    group.servers.iter().map(|server| &**server).find(|server| *server.address() == Address::Ip(address))
}

/// A server for each of the addresses of a name.
fn servers(group: usize, name: usize, dice: &mut Dice) -> Vec<Arc<Server>> {
    let server = |at: usize| {
        let address = Address::Ip((Ipv4Addr::new(10, group as u8, name as u8, at as u8), 80).into());
        let tls_name = Some(TLS_NAME.try_into().expect("a name"));
        Arc::new(Server::new(name_of(group, name), address, tls_name).expect("an IP address"))
    };
    (0..dice.one_of(&[1, 1, 1, 2])).map(server).collect()
}

fn name_of(group: usize, name: usize) -> String {
    format!("server{group}.{name}")
}

fn with_timeouts(group: GroupSettings, dice: &mut Dice) -> GroupSettings {
    let connect_timeout = milliseconds(dice, &[5, 100, 3000]);
    GroupSettings { connect_timeout, connect_budget: milliseconds(dice, &[5, 150, 6000]), ..group }
}
