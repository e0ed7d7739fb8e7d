//! What a seed decides, for runs of all kinds: addresses, settings, resources, faults and scripts.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockAddr;

use super::pace::Leaving;
use super::peer::{Fin, Script};
use crate::protocol::proxy_protocol::Version;
use crate::proxy::routes::Routes;
use crate::proxy::settings::{Listener, Service, Splice, Timeouts};
use crate::upstream::{GroupSettings, Server};
use crate::uring::sim::{Dice, Faults, Supplies};
use crate::uring::{Address, SocketOptions};

/// A drain so late that every session has ended by itself.
pub(super) const LATE_DRAIN: Duration = Duration::from_secs(3600);

/// The name in every certificate.
pub(super) const TLS_NAME: &str = "web.test";

pub(super) fn source(port: u32, dice: &mut Dice) -> SocketAddr {
    let port = port as u16;
    if dice.chance(700) {
        (Ipv4Addr::new(192, 0, 2, 1), port).into()
    } else {
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), port).into()
    }
}

pub(super) fn milliseconds(dice: &mut Dice, choices: &[u64]) -> Duration {
    Duration::from_millis(dice.one_of(choices))
}

/// A group of one to three servers, each with one or two addresses of its own. The order of the dice decides what a seed
/// stands for.
pub(super) fn group(number: usize, dice: &mut Dice) -> GroupSettings {
    let server = |name: usize, at: usize| {
        let address = Address::Ip((Ipv4Addr::new(10, number as u8, name as u8, at as u8), 80).into());
        let tls_name = Some(TLS_NAME.try_into().expect("a name"));
        let server = Server::new(format!("server{number}.{name}"), address, tls_name);
        Arc::new(server.expect("an IP address"))
    };
    let names = dice.number(1, 3);
    let mut servers = Vec::new();
    for name in 0..names {
        servers.extend((0..dice.one_of(&[1, 1, 1, 2])).map(|at| server(name, at)));
    }
    GroupSettings {
        send_proxy: dice.one_of(&[None, None, Some(Version::V1), Some(Version::V2)]),
        connect_timeout: milliseconds(dice, &[5, 100, 3000]),
        connect_budget: milliseconds(dice, &[5, 150, 6000]),
        ..GroupSettings::new(format!("group{number}"), servers)
    }
}

/// The number of a group.
pub(super) fn group_number(group: &GroupSettings) -> usize {
    group.name.strip_prefix("group").and_then(|number| number.parse().ok()).expect("groups have numbers")
}

/// The number of the group that a server at this address belongs to.
pub(super) fn group_at(address: &SockAddr) -> usize {
    match address.as_socket() {
        Some(SocketAddr::V4(address)) => usize::from(address.ip().octets()[1]),
        address => panic!("{address:?} is not the address of a server"),
    }
}

/// A service with one or two listeners of its own.
pub(super) fn service(number: usize, routes: Routes<Arc<GroupSettings>>, dice: &mut Dice) -> Service {
    let address = |at: usize| (Ipv4Addr::new(203, 0, 113, 1 + number as u8), 80 + at as u16).into();
    let listeners = (0..dice.number(1, 2)).map(|at| Listener::at(Address::Ip(address(at)))).collect();
    let (idle, header) = (milliseconds(dice, &[50, 2000, 20_000]), milliseconds(dice, &[0, 0, 3000, 30]));
    Service {
        timeouts: Timeouts { idle, accept_proxy: header, ..Timeouts::default() },
        accept_proxy: !header.is_zero(),
        splice: dice.one_of(&[Splice::Auto, Splice::Auto, Splice::Never, Splice::Always]),
        tcp: SocketOptions::default(),
        ..Service::new(format!("service{number}"), listeners, routes)
    }
}

/// The address of one of the service's listeners.
pub(super) fn entrance(service: &Service, dice: &mut Dice) -> SockAddr {
    let listener = &service.listeners[dice.number(0, service.listeners.len() - 1)];
    listener.address.to_sock_addr().expect("an IP address is one of the kernel's")
}

pub(super) fn drain_timeout(dice: &mut Dice) -> Duration {
    milliseconds(dice, &[0, 10, 200, 30_000])
}

pub(super) fn supplies(dice: &mut Dice, scale: usize) -> Supplies {
    Supplies {
        buffers: dice.one_of(&[1, 2, 3, 8, 64]),
        buffer_bytes: (scale * dice.number(1, 4)) as u32,
        pipes: dice.one_of(&[0, 1, 2, 2, 16]),
        pipe_bytes: scale * dice.number(1, 32),
    }
}

/// A third of the runs are calm.
pub(super) fn faults(dice: &mut Dice) -> Faults {
    Faults {
        partial: dice.one_of(&[0, 50, 400]),
        late: dice.one_of(&[0, 50, 400]),
        error: dice.one_of(&[0, 0, 2, 20]),
        descriptor: dice.one_of(&[0, 0, 100]),
        small_pipe: dice.one_of(&[0, 0, 500]),
    }
}

pub(super) fn script(dice: &mut Dice, scale: usize, idle_timeout: Duration) -> Script {
    let content = dice.one_of(&[0, 1, 3, scale, scale * 8, scale * 30]);
    let fin = if dice.chance(50) {
        Fin::Never
    } else {
        dice.one_of(&[Fin::AfterContent, Fin::AfterContent, Fin::AfterPeer])
    };
    let leaves = dice.chance(200);
    let longest = dice.one_of(&[Duration::from_millis(5), Duration::from_millis(200), idle_timeout * 2]);
    let stays = dice.time(longest);
    let patience = leaves.then(|| (stays, dice.one_of(&[Leaving::Close, Leaving::Reset])));
    let stalls = dice.one_of(&[0, 0, 5, 1500]);
    Script {
        preamble: Vec::new(),
        content_bytes: dice.number(content / 2, content) as u64,
        send_bytes_max: scale * dice.one_of(&[1, 4, 16]),
        send_pause_max: milliseconds(dice, &[0, 1, 20]),
        urgent: dice.one_of(&[0, 0, 0, 100, 500]),
        receive_bytes_max: scale * dice.one_of(&[1, 4, 16]),
        receive_pause_max: milliseconds(dice, &[0, 1, 20]),
        receive_from: dice.time(Duration::from_millis(stalls)),
        fin,
        patience,
    }
}

pub(super) fn socket_bytes(dice: &mut Dice, scale: usize) -> (usize, usize) {
    let sizes = [scale, scale * 2, scale * 16, scale * 64];
    (dice.one_of(&sizes), dice.one_of(&sizes))
}
