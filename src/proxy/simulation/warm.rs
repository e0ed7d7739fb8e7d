//! Connections that are opened ahead, for an hour: none grows as old as IIS lets it, clients that come now and then get one
//! each, and an idle proxy soon has none.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockAddr;

use super::choices::LATE_DRAIN;
use super::stage::{DESCRIPTORS_PLENTY, Generation, Stage};
use crate::proxy::access_log::Entry;
use crate::proxy::record::Connect;
use crate::proxy::routes::Routes;
use crate::proxy::settings::{Listener, Service};
use crate::upstream::{Ejection, GroupSettings, Server};
use crate::uring::Address;
use crate::uring::sim::{Accepted, Answer, Arrival, Dice, Far, Faults, Heard, Next, Peer, Servers, Supplies};

const WARM_MAX: u32 = 3;
const CLIENTS: u64 = 60;
const BETWEEN_CLIENTS: Duration = Duration::from_secs(10);
const SESSION: Duration = Duration::from_secs(1);
/// IIS closes a connection without a request after 120 s.
const AGE_MAX: Duration = Duration::from_secs(95);
/// How long after the last client connections are opened.
const IDLE_AFTER: Duration = Duration::from_secs(700);

/// A server's end: it closes when the other end does.
struct Listening;

impl Peer for Listening {
    fn turn(&mut self, far: &mut Far<'_>) -> Next {
        match far.receive(&mut Vec::new(), 100) {
            Heard::Nothing => return Next::ChangeOr(None),
            Heard::Bytes(_) => return Next::After(Duration::ZERO),
            Heard::End => far.close(),
            Heard::Reset => {}
        }
        Next::Done
    }
}

/// A server that takes a millisecond to accept.
struct Site;

impl Servers for Site {
    fn answer(&mut self, _to: &SockAddr, _dice: &mut Dice) -> Answer {
        Answer { after: Duration::from_millis(1), error: None }
    }

    fn accept(&mut self, _to: &SockAddr, _dice: &mut Dice) -> Accepted {
        Accepted { peer: Box::new(Listening), socket_bytes: (100, 100) }
    }
}

/// A client that says something and closes a little later.
struct Guest(Option<Instant>);

impl Peer for Guest {
    fn turn(&mut self, far: &mut Far<'_>) -> Next {
        let leaves_at = *self.0.get_or_insert_with(|| {
            far.send(b"ask");
            far.now + SESSION
        });
        if far.now < leaves_at {
            return Next::After(leaves_at - far.now);
        }
        far.close();
        Next::Done
    }
}

fn stage(group: GroupSettings) -> (Stage, SocketAddr) {
    let address: SocketAddr = (Ipv4Addr::new(203, 0, 113, 1), 80).into();
    let routes = Routes::all(Arc::new(group));
    let service = Service::new("service", vec![Listener::at(Address::Ip(address))], routes);
    let stage = Stage {
        supplies: Supplies { buffers: 8, buffer_bytes: 100, pipes: 0, pipe_bytes: 0 },
        faults: Faults { partial: 0, late: 0, error: 0, descriptor: 0, small_pipe: 0 },
        sessions_max: 100,
        descriptors_max: DESCRIPTORS_PLENTY,
        drain_after: LATE_DRAIN,
        drain_timeout: Duration::ZERO,
        findings: Vec::new(),
        acts: Vec::new(),
        generations: Generation::all(vec![vec![Arc::new(service)]], &mut Dice::new(0)),
    };
    (stage, address)
}

fn group() -> GroupSettings {
    let address = Address::Ip((Ipv4Addr::new(10, 0, 0, 1), 80).into());
    let server = Server::new("iis1:80", address, None).expect("an IP address");
    GroupSettings { warm_max: WARM_MAX, ..GroupSettings::new("iis", vec![Arc::new(server)]) }
}

#[test]
fn they_are_replaced_in_time_as_long_as_clients_come() {
    let (stage, to) = stage(group());
    let arrival = |nth: u64| {
        let address: SocketAddr = (Ipv4Addr::new(192, 0, 2, 1), 10_000 + nth as u16).into();
        let (to, address) = (to.into(), address.into());
        let arrival = Arrival { to, address, peer: Box::new(Guest(None)), socket_bytes: (100, 100) };
        (BETWEEN_CLIENTS * nth as u32, arrival)
    };
    let played = stage.play(1, Box::new(Site), (1..=CLIENTS).map(arrival).collect());
    let connects: Vec<_> = played
        .entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Record(record) => record.connect,
            Entry::Request(_) | Entry::Wake => None,
        })
        .collect();
    assert_eq!(connects, [Connect::Warm; CLIENTS as usize]);
    let world = played.world.borrow();
    let mut last = played.begin;
    for served in &world.served {
        let closed = world.connections[served.id].near_close.expect("all descriptors are closed").at;
        let age = closed - served.began;
        assert!(age <= AGE_MAX + SESSION, "{age:?}: as old as that");
        last = last.max(served.began);
    }
    let count = world.served.len();
    let idle_from = played.begin + BETWEEN_CLIENTS * CLIENTS as u32 + IDLE_AFTER;
    assert!(last <= idle_from, "one was opened long after the last client");
    // Each client's, a new one for each of those that grow old, and the first ones.
    assert!(count as u64 <= CLIENTS + 20, "{count} connections");
}

/// A server that responds to attempts to connect in these ways, one after the other, and refuses those after them.
struct Moody(VecDeque<Answer>);

impl Servers for Moody {
    fn answer(&mut self, _to: &SockAddr, _dice: &mut Dice) -> Answer {
        self.0.pop_front().unwrap_or(Answer { after: Duration::ZERO, error: Some(libc::ECONNREFUSED) })
    }

    fn accept(&mut self, to: &SockAddr, dice: &mut Dice) -> Accepted {
        Site.accept(to, dice)
    }
}

/// The first client takes the connection that there is. The second one comes before that is replaced; the server refuses
/// its own and is left out for that, which the keeper looks for once a second only. The third one comes before.
#[test]
fn what_a_client_meets_after_its_server_was_left_out_is_closed_at_once() {
    let ejection = Ejection { after: 1, time: Duration::from_secs(600), time_max: Duration::from_secs(600) };
    let mut group = GroupSettings { warm_max: 1, ..group() };
    group.servers = vec![Arc::new(Server::clone(&group.servers[0]).with_ejection(ejection))];
    let (stage, to) = stage(group);
    let (first, third) = (Duration::from_millis(100), Duration::from_millis(110));
    let second = first + Duration::from_micros(300);
    let arrival = |(nth, after): (u16, Duration)| {
        let address: SocketAddr = (Ipv4Addr::new(192, 0, 2, 1), 10_000 + nth).into();
        let (to, address) = (to.into(), address.into());
        (after, Arrival { to, address, peer: Box::new(Guest(None)), socket_bytes: (100, 100) })
    };
    let accepts = || Answer { after: Duration::from_millis(1), error: None };
    let refuses = Answer { after: Duration::from_millis(4), error: Some(libc::ECONNREFUSED) };
    let servers = Moody([accepts(), accepts(), refuses].into());
    let arrivals = [(1, first), (2, second), (3, third)].map(arrival);
    let played = stage.play(1, Box::new(servers), arrivals.into());
    let world = played.world.borrow();
    assert_eq!(world.served.len(), 2, "the first client's connection and what replaced it");
    let closes = world.served.iter().map(|one| world.connections[one.id].near_close.as_ref());
    let last = closes.map(|close| close.expect("all descriptors are closed").at).max();
    let lasted = last.expect("there are some") - played.begin;
    assert!(lasted <= first + SESSION + Duration::from_millis(10), "one was open for {lasted:?}");
}

#[test]
fn without_clients_those_of_the_start_are_all_that_are_opened() {
    let (stage, _) = stage(group());
    let played = stage.play(1, Box::new(Site), Vec::new());
    assert_eq!(played.world.borrow().served.len(), WARM_MAX as usize);
}
