use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn nth(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + number).into()
}

fn most(connections: u32) -> ClientLimits {
    ClientLimits::new(Some(connections), None)
}

fn rate(interval: Duration, burst: u32) -> ClientLimits {
    ClientLimits::new(None, Some(Rate { interval, burst }))
}

/// How many clients it knows, and how many of them it believes to be without connections.
fn known(limits: &ClientLimits) -> (usize, usize) {
    let shards = limits.table.shards.iter().map(|shard| shard.lock().expect("no panic while locked"));
    shards.fold((0, 0), |(all, idle), shard| {
        let counted = shard.clients.values().filter(|client| client.connections == 0).count();
        assert_eq!(counted, shard.idle);
        (all + shard.clients.len(), idle + shard.idle)
    })
}

#[test]
fn a_client_has_its_whole_burst_at_workers_whose_turns_began_at_different_times() {
    let limits = rate(60 * SECOND, 3);
    let now = Instant::now();
    let later = now + Duration::from_millis(1);
    let taken = [later, now, now].map(|now| limits.take(nth(1), now));
    assert!(taken.iter().all(Result::is_ok), "{taken:?}");
    assert_eq!(limits.take(nth(1), later).err(), Some(Excess::Rate));
}

#[test]
fn a_client_is_an_ipv4_address_or_a_network_of_ipv6() {
    let limits = most(1);
    let now = Instant::now();
    let mut taken = Vec::new();
    for (client, is_new) in [
        ("192.0.2.1", true),
        ("192.0.2.2", true),
        ("::ffff:192.0.2.1", false),
        ("2001:db8:0:1::1", true),
        ("2001:db8:0:1:ffff::2", false),
        ("2001:db8:0:2::1", true),
        ("::", true),
        ("::1", false),
    ] {
        let result = limits.take(ip(client), now);
        assert_eq!(result.is_ok(), is_new, "{client}");
        taken.extend(result);
    }
    drop(taken);
    assert_eq!(known(&limits), (0, 0));
}

#[test]
fn what_has_ended_makes_room_and_leaves_nothing() {
    let limits = most(2);
    let now = Instant::now();
    let take = || limits.take(nth(1), now);
    let (one, two) = (take().expect("the first"), take().expect("the second"));
    assert_eq!(take().err(), Some(Excess::Connections));
    drop(one);
    let three = take().expect("room");
    assert_eq!(take().err(), Some(Excess::Connections));
    drop((three, two));
    assert_eq!(known(&limits), (0, 0));
}

#[test]
fn a_rate_has_its_burst_after_a_pause_and_one_in_each_interval() {
    let limits = rate(SECOND, 3);
    let start = Instant::now();
    let admitted = |seconds: f64, tries: usize| {
        let now = start + Duration::from_secs_f64(seconds);
        (0..tries).filter(|_| limits.take(nth(1), now).is_ok()).count()
    };
    assert_eq!(admitted(0.0, 9), 3);
    assert_eq!(admitted(0.9, 9), 0, "what was refused does not count");
    assert_eq!(admitted(1.0, 9), 1);
    assert_eq!(admitted(3.5, 9), 2);
    assert_eq!(admitted(100.0, 9), 3);
    assert_eq!(limits.take(nth(2), start).err(), None, "each for itself");
}

#[test]
fn too_many_connections_take_nothing_of_the_rate() {
    let limits = ClientLimits::new(Some(1), Some(Rate { interval: SECOND, burst: 2 }));
    let now = Instant::now();
    let one = limits.take(nth(1), now).expect("the first");
    for _ in 0..9 {
        assert_eq!(limits.take(nth(1), now).err(), Some(Excess::Connections));
    }
    drop(one);
    drop(limits.take(nth(1), now).expect("the second of the burst"));
    assert_eq!(limits.take(nth(1), now).err(), Some(Excess::Rate));
}

#[test]
fn later_settings_go_on_with_the_same_clients() {
    let start = Instant::now();
    let old = ClientLimits::new(Some(2), Some(Rate { interval: 60 * SECOND, burst: 60 }));
    let held: Vec<_> = (0..2).map(|_| old.take(nth(1), start).expect("one of two")).collect();
    for _ in 0..60 {
        drop(old.take(nth(2), start).expect("the burst"));
    }
    let mut new = ClientLimits::new(Some(3), Some(Rate { interval: SECOND, burst: 1 }));
    new.inherit(&old);
    // An hour of the old rate is a second of the new one.
    assert_eq!(new.take(nth(2), start).err(), Some(Excess::Rate));
    new.take(nth(2), start + SECOND).expect("its interval has passed");
    let more = new.take(nth(1), start + 120 * SECOND).expect("the third");
    assert_eq!(new.take(nth(1), start + 180 * SECOND).err(), Some(Excess::Connections));
    drop((held, more, old));
    assert_eq!(
        new.table.shard(key(nth(1))).clients.get(&key(nth(1))).map_or(0, |client| client.connections),
        0
    );
}

#[test]
fn clients_that_are_gone_are_forgotten_beyond_a_bound_and_others_never() {
    let limits = ClientLimits::new(Some(1), Some(Rate { interval: 3600 * SECOND, burst: 1 }));
    let now = Instant::now();
    let held: Vec<_> = (0..5000).map(|number| limits.take(nth(number), now).expect("it is new")).collect();
    for number in 5000..200_000 {
        drop(limits.take(nth(number), now + Duration::from_nanos(number.into())).expect("it is new"));
        if number % 20_000 == 0 {
            assert!(known(&limits).1 <= SHARDS * IDLE_MAX);
        }
    }
    let (all, idle) = known(&limits);
    assert!(idle <= SHARDS * IDLE_MAX && all == idle + held.len(), "{all} {idle}");
    assert!(idle > SHARDS * IDLE_MAX / 2, "it forgets more than it has to: {idle}");
    assert_eq!(limits.take(nth(199_999), now + SECOND).err(), Some(Excess::Rate), "the last ones are known");
    for number in 0..5000 {
        assert_eq!(limits.take(nth(number), now).err(), Some(Excess::Connections));
    }
    // All rates are full again: the next ones push the old ones out.
    let later = now + 7200 * SECOND;
    for number in 200_000..400_000 {
        drop(limits.take(nth(number), later).expect("it is new"));
    }
    drop(held);
    assert!(known(&limits).0 <= SHARDS * IDLE_MAX);
}

#[test]
fn no_client_ever_has_more_among_threads() {
    const CLIENTS: u32 = 3;
    const MOST: u32 = 2;
    const ROUNDS: u32 = 20_000;
    const WORKERS: u32 = 4;
    let limits =
        ClientLimits::new(Some(MOST), Some(Rate { interval: Duration::from_nanos(1), burst: 1_000_000 }));
    let connected: [AtomicU32; CLIENTS as usize] = Default::default();
    let refused = AtomicU32::new(0);
    // Threads that happen to run one after the other would never reach the limit.
    let begin = Barrier::new(WORKERS as usize + 1);
    let own: Vec<_> =
        (0..MOST).map(|_| limits.take(nth(0), Instant::now()).expect("it is the first")).collect();
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (limits, connected, refused, begin) = (&limits, &connected, &refused, &begin);
            scope.spawn(move || {
                let mut held = Vec::new();
                if limits.take(nth(0), Instant::now()).is_err() {
                    refused.fetch_add(1, Ordering::SeqCst);
                }
                begin.wait();
                for round in 0..ROUNDS {
                    let client = (round + worker) % CLIENTS;
                    match limits.take(nth(client), Instant::now()) {
                        Ok(taken) => {
                            let before = connected[client as usize].fetch_add(1, Ordering::SeqCst);
                            assert!(before < MOST, "{before} before this one");
                            held.push((client, taken));
                        }
                        Err(_) => {
                            refused.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    if held.len() > round as usize % 3 {
                        let (client, taken) = held.remove(0);
                        connected[client as usize].fetch_sub(1, Ordering::SeqCst);
                        drop(taken);
                    }
                }
                for (client, taken) in held {
                    connected[client as usize].fetch_sub(1, Ordering::SeqCst);
                    drop(taken);
                }
            });
        }
        begin.wait();
        drop(own);
    });
    assert!(refused.into_inner() >= WORKERS, "the limit was reached");
    let (all, idle) = known(&limits);
    assert_eq!(all, idle, "no client has a connection left");
}

proptest! {
    /// In any time there are at most the burst and one in each interval, and never fewer than one in each interval.
    #[test]
    fn a_rate_is_kept_in_any_window(
        interval in 1_u64..1000,
        burst in 1_u32..20,
        pauses in prop::collection::vec(0_u64..2000, 1..200),
    ) {
        let limits = rate(Duration::from_millis(interval), burst);
        let start = Instant::now();
        let mut at = 0;
        let mut admitted = Vec::new();
        for pause in pauses {
            at += pause / 4;
            let is_admitted = limits.take(nth(1), start + Duration::from_millis(at)).is_ok();
            prop_assert!(is_admitted || admitted.last().is_some_and(|last| at - last < interval));
            if is_admitted {
                admitted.push(at);
            }
        }
        for (first, begin) in admitted.iter().enumerate() {
            for (last, end) in admitted.iter().enumerate().skip(first) {
                let count = (last - first + 1) as u64;
                prop_assert!(count <= u64::from(burst) + (end - begin) / interval);
            }
        }
    }

    /// What it counts for each client is what was taken and not given back, whatever happens in which order.
    #[test]
    fn it_counts_what_is_held(most in 1_u32..4, steps in prop::collection::vec((0_u32..4, any::<bool>()), 1..200)) {
        let limits = ClientLimits::new(Some(most), Some(Rate { interval: Duration::from_millis(1), burst: 1_000_000 }));
        let now = Instant::now();
        let mut held: [Vec<Taken>; 4] = Default::default();
        for (client, takes) in steps {
            let mine = &mut held[client as usize];
            if takes {
                let result = limits.take(nth(client), now);
                prop_assert_eq!(result.is_ok(), mine.len() < most as usize);
                mine.extend(result);
            } else {
                mine.pop();
            }
        }
        drop(held);
        let (all, idle) = known(&limits);
        prop_assert_eq!(all, idle);
    }
}
