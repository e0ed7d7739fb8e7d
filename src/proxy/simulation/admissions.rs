//! Clients that are not admitted: by their addresses, or because they have as much as each may have.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::choices::milliseconds;
use crate::proxy::record::End;
use crate::proxy::settings::{Admission, ClientLimits, Network, Rate, Service};
use crate::uring::sim::Dice;

/// Connections are closed when their last operation has completed, which may be this long after their end.
const LATE_CLOSE: Duration = Duration::from_millis(10);

/// Where all clients are.
const NETWORKS: [&str; 2] = ["192.0.2.0/24", "2001:db8::/32"];

/// Whom a service admits; mostly all.
pub(super) fn admission(dice: &mut Dice) -> Option<Box<Admission>> {
    if dice.chance(600) {
        return None;
    }
    let one = |nth: usize| vec![Network::Ip(NETWORKS[nth].parse().expect("a network"))];
    let some = |dice: &mut Dice| match dice.number(0, 9) {
        nth @ 0..=1 => one(nth),
        _ => Vec::new(),
    };
    let (allow, deny) = (some(dice), some(dice));
    let connections = dice.one_of(&[None, Some(1), Some(1), Some(2), Some(3)]);
    let interval = milliseconds(dice, &[1, 30, 1000]);
    let burst = dice.one_of(&[1, 2, 3]);
    let rate = dice.chance(300).then_some(Rate { interval, burst });
    let limits = (connections.is_some() || rate.is_some()).then(|| ClientLimits::new(connections, rate));
    Some(Box::new(Admission { allow, deny, limits }))
}

/// Whether the lists of a service let a client in.
pub(super) fn is_let_in(service: &Service, client: IpAddr) -> bool {
    let has = |networks: &[Network]| {
        networks.iter().any(|network| match network {
            Network::Ip(network) => network.contains(&client),
            Network::Unix => false,
        })
    };
    let Some(admission) = &service.admission else { return true };
    !has(&admission.deny) && (admission.allow.is_empty() || has(&admission.allow))
}

/// When a client of a service with limits had its connection.
pub(super) struct Stay {
    /// When it was accepted, at the latest.
    accepted: Instant,
    /// From then to the accept of its server, if there was one.
    connect_time: Option<Duration>,
    duration: Duration,
    closed: Instant,
    end: End,
}

impl Stay {
    pub(super) fn new(closed: Instant, duration: Duration, connect_time: Option<Duration>, end: End) -> Self {
        let accepted = closed.checked_sub(duration).expect("sessions are not older than the run");
        Self { accepted, connect_time, duration, closed, end }
    }

    /// Whether it may have counted for its client while the other one began.
    pub(super) fn may_count_for(&self, other: &Self) -> bool {
        let was_admitted =
            !matches!(self.end, End::Denied | End::ClientConnections | End::ClientRate | End::ProxyHeader);
        was_admitted
            && self.accepted <= other.closed + LATE_CLOSE
            && other.accepted <= self.closed + LATE_CLOSE * 2
    }

    /// Whether it was admitted before the other one ended.
    pub(super) fn may_have_come_before(&self, other: &Self) -> bool {
        let was_admitted =
            !matches!(self.end, End::Denied | End::ClientConnections | End::ClientRate | End::ProxyHeader);
        was_admitted && self.accepted <= other.closed + LATE_CLOSE
    }

    /// Whether it counted for its client from before the other one was accepted until after that one was connected.
    pub(super) fn counts_for(&self, other: &Self) -> bool {
        let (Some(own), Some(connect_time)) = (self.connect_time, other.connect_time) else { return false };
        self.accepted + own + LATE_CLOSE < other.accepted
            && other.accepted + connect_time + LATE_CLOSE < self.accepted + self.duration
    }
}
