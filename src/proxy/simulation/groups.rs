//! Groups of servers, and how they change with the settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::choices::{TLS_NAME, milliseconds};
use crate::protocol::http1::cookie::SameSite;
use crate::protocol::proxy_protocol::Version;
use crate::upstream::{Affinity, Balance, Ejection, GroupSettings, Server, ServerOptions, Sources};
use crate::uring::Address;
use crate::uring::sim::Dice;

/// What the proxy's own cookies begin with.
const OWN_COOKIE: &str = "own-";

/// Makes groups, each server with a name and an address of its own for ever.
pub(super) struct Founder {
    /// Whether every server takes all connections that it gets.
    is_calm: bool,
    first_number: usize,
    /// Number of groups and of names so far.
    groups: usize,
    names: usize,
}

impl Founder {
    pub(super) fn new(is_calm: bool, first_number: usize) -> Self {
        Self { is_calm, first_number, groups: 0, names: 0 }
    }

    /// A group of one to three servers, each with one or two addresses. The order of the dice decides what a seed stands
    /// for.
    pub(super) fn group(&mut self, dice: &mut Dice) -> GroupSettings {
        let number = self.first_number + self.groups;
        self.groups += 1;
        let names = dice.number(1, 3);
        let servers = (0..names).flat_map(|_| self.servers(number, dice)).collect();
        let send_proxy = dice.one_of(&[None, None, Some(Version::V1), Some(Version::V2)]);
        let group = GroupSettings { send_proxy, ..GroupSettings::new(format!("group{number}"), servers) };
        self.with_choices(group, dice)
    }

    /// What a group becomes when the settings change: some of its servers, with what is known of them, some that it had
    /// before, perhaps another one, and other settings.
    pub(super) fn changed(&mut self, group: &GroupSettings, dice: &mut Dice) -> GroupSettings {
        let number = group.name.strip_prefix("group").and_then(|number| number.parse().ok());
        let number = number.expect("groups have numbers");
        let mut new = |server: &Arc<Server>| {
            let (name, tls_name) = (Arc::clone(server.name()), server.tls_name().cloned());
            let new = Server::new(name, server.address().clone(), tls_name).expect("an IP address");
            Arc::new(new.with_options(server.options()).with_ejection(ejection(dice)))
        };
        let kept: Vec<_> = group.servers.iter().map(&mut new).collect();
        let back: Vec<_> = group.departed().map(&mut new).collect();
        let mut servers: Vec<_> = kept.into_iter().filter(|_| dice.chance(700)).collect();
        servers.extend(back.into_iter().filter(|_| dice.chance(300)));
        if servers.is_empty() || dice.chance(400) {
            servers.extend(self.servers(number, dice));
        }
        self.with_choices(GroupSettings { servers, ..group.clone() }, dice).inherit(group)
    }

    /// A server for each of the addresses of a name.
    fn servers(&mut self, group: usize, dice: &mut Dice) -> Vec<Arc<Server>> {
        let name = self.names;
        self.names += 1;
        let (options, count) = (self.options(dice), dice.one_of(&[1, 1, 1, 2]));
        let server = |at: usize| {
            let address = Address::Ip((Ipv4Addr::new(10, group as u8, name as u8, at as u8), 80).into());
            let tls_name = Some(TLS_NAME.try_into().expect("a name"));
            let server = Server::new(format!("server{name}"), address, tls_name).expect("an IP address");
            Arc::new(server.with_options(options).with_ejection(ejection(dice)))
        };
        (0..count).map(server).collect()
    }

    fn options(&self, dice: &mut Dice) -> ServerOptions {
        ServerOptions {
            weight: dice.one_of(&[1, 1, 2, 5].map(|weight| NonZeroU16::new(weight).expect("over 0"))),
            connections_max: NonZeroU32::new(dice.one_of(&[0, 0, 0, 1, 1, 2])).filter(|_| !self.is_calm),
            backup: dice.chance(150),
            disabled: !self.is_calm && dice.chance(50),
        }
    }

    fn with_choices(&self, group: GroupSettings, dice: &mut Dice) -> GroupSettings {
        let connect_timeout = milliseconds(dice, &[5, 100, 3000]);
        let connect_budget = milliseconds(dice, &[5, 150, 6000]);
        let queue_timeout = milliseconds(dice, &[0, 0, 20, 2000]);
        let balance = dice.one_of(&Balance::ALL);
        let own = |last: &[u8]| Sources::Own(last.iter().map(|last| [10, 255, 0, *last].into()).collect());
        let sources = match dice.number(0, 5) {
            0 => own(&[1]),
            1 => own(&[1, 2, 3]),
            // Some clients have IPv6 addresses, and no server has.
            2 if !self.is_calm => Sources::Client,
            _ => Sources::Kernel,
        };
        let warm_max = dice.one_of(&[0, 0, 0, 1, 2, 5]);
        // Only those of HTTP make use of it.
        let cookie = format!("{OWN_COOKIE}{}", group.name);
        let affinity = dice.chance(400).then(|| Affinity::new(Some(&cookie), SameSite::Lax, b""));
        let group = GroupSettings { balance, affinity, sources, ..group };
        GroupSettings { connect_timeout, connect_budget, queue_timeout, warm_max, ..group }
    }
}

fn ejection(dice: &mut Dice) -> Ejection {
    let time = milliseconds(dice, &[1, 20, 200]);
    Ejection { after: dice.one_of(&[0, 1, 1, 2, 3]), time, time_max: time * 4 }
}

/// The server of the group at this address.
pub(super) fn server_at(group: &GroupSettings, address: SocketAddr) -> Option<&Server> {
    group.servers.iter().map(|server| &**server).find(|server| *server.address() == Address::Ip(address))
}
