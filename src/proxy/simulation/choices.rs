//! What a seed decides, for runs of all kinds: addresses, settings, resources, faults and scripts.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::pace::Leaving;
use super::peer::{Fin, Script};
use crate::proxy::routes::Routes;
use crate::proxy::settings::{Listener, Service, Splice, Timeouts};
use crate::upstream::GroupSettings;
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

/// A service that listens on one or two of its two addresses.
pub(super) fn service(number: usize, routes: Routes<Arc<GroupSettings>>, dice: &mut Dice) -> Service {
    let listener = |at: u16| {
        let address = (Ipv4Addr::new(203, 0, 113, 1 + number as u8), 80 + at).into();
        Listener::at(Address::Ip(address))
    };
    let listeners =
        dice.one_of(&[&[0][..], &[0], &[1], &[0, 1], &[0, 1]]).iter().copied().map(listener).collect();
    let idle = milliseconds(dice, &[50, 2000, 20_000]);
    Service {
        timeouts: Timeouts { idle, accept_proxy: milliseconds(dice, &[3000, 30]), ..Timeouts::default() },
        splice: dice.one_of(&[Splice::Auto, Splice::Auto, Splice::Never, Splice::Always]),
        tcp: SocketOptions::default(),
        ..Service::new(format!("service{number}"), listeners, routes)
    }
}

/// The address of one of the service's listeners.
pub(super) fn entrance(service: &Service, dice: &mut Dice) -> SocketAddr {
    let listener = &service.listeners[dice.number(0, service.listeners.len() - 1)];
    ip(&listener.address)
}

/// An address, which is one of IP.
pub(super) fn ip(address: &Address) -> SocketAddr {
    match address {
        Address::Ip(address) => *address,
        Address::Unix(path) => panic!("{path:?} is no IP address"),
    }
}

/// How often the settings change: in half of the runs not at all.
pub(super) fn changes(dice: &mut Dice) -> usize {
    dice.one_of(&[0, 0, 0, 1, 2, 4])
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
