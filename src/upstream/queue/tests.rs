use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_once, yield_now};

use super::*;
use crate::upstream::testing::with_options;
use crate::upstream::{Ejection, ServerOptions};
use crate::uring::Bell;

fn pager() -> Arc<Pager> {
    Pager::new(Bell::new().expect("a descriptor"))
}

fn server(max: u32) -> Arc<Server> {
    let options = ServerOptions { connections_max: NonZeroU32::new(max), ..ServerOptions::default() };
    with_options(&[options]).remove(0)
}

fn join<'a>(queue: &'a Arc<Queue>, server: &Arc<Server>) -> Ticket<'a> {
    let waiter = Waiter::new(vec![(0, Arc::clone(server))], true, &pager());
    queue.join(None, waiter, Instant::now()).expect("room in the queue")
}

/// Whether a session has its place, which it goes on to hold.
fn is_called(ticket: &Ticket<'_>) -> bool {
    block_on(poll_once(ticket.called())).map(std::mem::forget).is_some()
}

#[test]
fn places_go_to_those_who_wait_in_the_order_in_which_they_came() {
    let (queue, server) = (Arc::new(Queue::default()), server(2));
    assert!(server.lend() && server.lend());
    let tickets: Vec<_> = (0..4).map(|_| join(&queue, &server)).collect();
    assert!(queue.is_in_use() && !tickets.iter().any(is_called));
    server.take_back();
    assert_eq!(server.leases(), 2, "the place was never free");
    assert_eq!(tickets.iter().map(is_called).collect::<Vec<_>>(), [true, false, false, false]);
    server.take_back();
    server.take_back();
    assert_eq!(tickets.iter().map(is_called).collect::<Vec<_>>(), [false, true, true, false]);
    drop(tickets);
    assert!(!queue.is_in_use());
    server.take_back();
    server.take_back();
    assert_eq!(server.leases(), 0);
}

#[test]
fn who_leaves_is_forgotten_and_what_it_was_lent_goes_to_the_next() {
    let (queue, server) = (Arc::new(Queue::default()), server(1));
    assert!(server.lend());
    let mut tickets: Vec<_> = (0..3).map(|_| join(&queue, &server)).collect();
    drop(tickets.remove(0));
    server.take_back();
    // It was called and has not looked.
    drop(tickets.remove(0));
    assert!(is_called(&tickets[0]) && server.leases() == 1);
}

#[test]
fn who_comes_back_with_its_number_is_first() {
    let (queue, server) = (Arc::new(Queue::default()), server(1));
    assert!(server.lend());
    let (first, second) = (join(&queue, &server), join(&queue, &server));
    server.take_back();
    assert!(is_called(&first));
    let number = first.number();
    drop(first);
    let waiter = Waiter::new(vec![(0, Arc::clone(&server))], true, &pager());
    let again = queue.join(Some(number), waiter, Instant::now()).expect("room");
    server.take_back();
    assert!(is_called(&again) && !is_called(&second));
}

#[test]
fn who_cannot_use_a_server_does_not_hold_up_the_others() {
    let queue = Arc::new(Queue::default());
    let options = ServerOptions { connections_max: NonZeroU32::new(1), ..ServerOptions::default() };
    let servers = with_options(&[options, options]);
    assert!(servers.iter().all(|server| server.lend()));
    let picky = join(&queue, &servers[0]);
    let other = join(&queue, &servers[1]);
    servers[1].take_back();
    assert!(!is_called(&picky) && is_called(&other));
}

#[test]
fn who_waits_gets_places_at_servers_that_the_group_has_got_meanwhile_and_none_at_those_that_left() {
    let options = ServerOptions { connections_max: NonZeroU32::new(1), ..ServerOptions::default() };
    let servers = with_options(&[options, options, options]);
    let queue = Arc::new(Queue::default());
    assert!(servers[0].lend() && servers[1].lend());
    let known = vec![(0, Arc::clone(&servers[0])), (1, Arc::clone(&servers[1]))];
    let mut tickets: Vec<_> = (0..3)
        .map(|_| {
            let waiter = Waiter::new(known.clone(), true, &pager());
            queue.join(None, waiter, Instant::now()).expect("room in the queue")
        })
        .collect();
    queue.renew(&servers[1..], Instant::now());
    assert_eq!(tickets.iter().map(is_called).collect::<Vec<_>>(), [true, false, false], "at the new one");
    servers[0].take_back();
    assert!(!is_called(&tickets[1]), "this one has left");
    servers[2].take_back();
    servers[1].take_back();
    assert_eq!(tickets.drain(1..).filter(is_called).count(), 2);
}

#[test]
fn a_place_that_is_free_already_is_given_at_once() {
    let (queue, server) = (Arc::new(Queue::default()), server(1));
    let ticket = join(&queue, &server);
    assert!(is_called(&ticket) && server.leases() == 1);
}

const EJECTION: Ejection =
    Ejection { after: 1, time: Duration::from_secs(10), time_max: Duration::from_secs(10) };

/// One that is full, and one that is ejected from now on and has places.
fn full_and_ejected() -> ([Arc<Server>; 2], Instant) {
    let options = |max| ServerOptions { connections_max: NonZeroU32::new(max), ..ServerOptions::default() };
    let [full, ejected] = with_options(&[options(1), options(3)]).try_into().expect("two");
    let now = Instant::now();
    let ejected = Arc::new(Server::clone(&ejected).with_ejection(EJECTION));
    assert!(full.lend());
    Lease::of(&ejected).expect("a place").note_failure(now);
    ([full, ejected], now)
}

#[test]
fn an_ejected_server_is_lent_when_it_is_due_and_to_one_who_tries_it() {
    let queue = Arc::new(Queue::default());
    let ([full, ejected], now) = full_and_ejected();
    let join = |may_try_due| {
        let servers = vec![(0, Arc::clone(&full)), (1, Arc::clone(&ejected))];
        queue.join(None, Waiter::new(servers, may_try_due, &pager()), now).expect("room in the queue")
    };
    let tickets = [join(false), join(true), join(true)];
    assert!(ejected.lend());
    ejected.take_back();
    tickets[0].look(now);
    assert!(!tickets.iter().any(is_called), "it is ejected");
    let due = now + EJECTION.time;
    tickets[0].look(due);
    let called = |nth: usize| block_on(poll_once(tickets[nth].called()));
    assert!(called(0).is_none() && called(2).is_none(), "it may not, and one is enough");
    let (place, lease) = called(1).expect("its place");
    assert!(place == Some(1) && lease.is_trial());
    tickets[2].look(due);
    assert!(called(2).is_none());
    lease.note_success(due);
    tickets[2].look(due);
    assert!(called(0).is_some() && called(2).is_some(), "it is in use again");
}

#[test]
fn who_leaves_with_the_trial_of_a_server_leaves_it_to_the_next() {
    let queue = Arc::new(Queue::default());
    let ([full, ejected], now) = full_and_ejected();
    let servers = vec![(0, Arc::clone(&full)), (1, Arc::clone(&ejected))];
    let due = now + EJECTION.time;
    let join = || queue.join(None, Waiter::new(servers.clone(), true, &pager()), due).expect("room");
    let (first, second) = (join(), join());
    assert!(!is_called(&second));
    // It was called and has not looked.
    drop(first);
    second.look(due);
    assert!(is_called(&second));
}

#[test]
fn ejected_servers_are_lent_where_none_is_in_use() {
    let queue = Arc::new(Queue::default());
    let ([_full, ejected], now) = full_and_ejected();
    let waiter = Waiter::new(vec![(1, Arc::clone(&ejected))], true, &pager());
    let ticket = queue.join(None, waiter, now).expect("room in the queue");
    assert!(is_called(&ticket));
}

#[test]
fn later_settings_with_more_places_serve_those_who_know_of_them() {
    let (queue, old) = (Arc::new(Queue::default()), server(1));
    assert!(old.lend());
    let first = join(&queue, &old);
    let new = Arc::new(server(2).inherit(&old));
    let second = join(&queue, &new);
    assert!(!is_called(&first) && is_called(&second), "one of one, and one of two places");
}

#[test]
fn the_queue_has_an_end() {
    let (queue, server) = (Arc::new(Queue::default()), server(1));
    assert!(server.lend());
    let (pager, begun) = (pager(), Instant::now());
    let waiter = || Waiter::new(vec![(0, Arc::clone(&server))], true, &pager);
    let wait = || queue.join(None, waiter(), begun);
    let tickets: Vec<_> = (0..WAITING_MAX).map(|_| wait().expect("room")).collect();
    assert!(wait().is_none());
    drop(tickets);
    assert!(wait().is_some());
}

#[test]
fn workers_lose_no_place_and_forget_no_session() {
    const WORKERS: usize = 4;
    const ROUNDS: usize = 2_000;
    let (queue, server) = (Arc::new(Queue::default()), server(2));
    let in_use = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let work = |worker: usize| {
        let (queue, server, in_use) = (Arc::clone(&queue), Arc::clone(&server), Arc::clone(&in_use));
        thread::spawn(move || {
            let pager = pager();
            for round in 0..ROUNDS {
                let waiter = Waiter::new(vec![(0, Arc::clone(&server))], true, &pager);
                let ticket = queue.join(None, waiter, begun).expect("room in the queue");
                // Some leave before their turn, or without having looked whether it is theirs.
                if (round + worker).is_multiple_of(7) {
                    continue;
                }
                let (_, lent) = block_on(async {
                    loop {
                        match poll_once(ticket.called()).await {
                            Some(place) => return place,
                            None => yield_now().await,
                        }
                        thread::yield_now();
                        assert!(begun.elapsed() < Duration::from_secs(300), "a session was forgotten");
                    }
                });
                assert!(in_use.fetch_add(1, Ordering::SeqCst) < 2);
                in_use.fetch_sub(1, Ordering::SeqCst);
                drop(ticket);
                drop(lent);
            }
        })
    };
    for worker in (0..WORKERS).map(work).collect::<Vec<_>>() {
        worker.join().expect("every session got its place");
    }
    assert_eq!(server.leases(), 0);
    assert!(!queue.is_in_use());
}
