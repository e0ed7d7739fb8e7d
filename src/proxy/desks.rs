//! The desks of workers, where they leave clients for each other: few connections are spread evenly over them.
//!
//! ```text
//!   accept --another worker has clearly fewer sessions--> its desk --bell--> a session there
//!         '-otherwise-------------------------------------------------------> a session here
//! ```
//!
//! What chooses the worker that accepts a client is a hash of the addresses, or which worker looks first. Many connections
//! fall evenly, few do not. A client is given before anything is done for it, and once: a session never moves.
//!
//! A desk is open for what its worker serves: a worker that serves something else keeps its client. Each desk has a lock,
//! which is taken when a client is given, and by its worker when its bell has rung or its settings change. Whether one is to
//! be given is read from numbers, one for each worker. With one worker there is no desk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::counter::Gauge;
use crate::uring::LooseClient;

/// Most clients on a desk: a worker that takes no turn collects no more. With this many, 64 connections that come at once
/// end evenly even if a hash gives 48 of them to one of two workers, and each takes its turns while the other takes none.
const CLIENTS_MAX: u64 = 16;

/// A worker gives when it has more than another one by more than this part of its own sessions, and by more than one: a
/// hash spreads many connections as evenly by itself, giving one costs some microseconds, and a lone client that connects
/// again and again stays where it is.
const PART_OF_OWN: u64 = 4;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Desks(Box<[Desk]>);

/// A worker's, in cache lines of its own (a processor may fetch two at once).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Desk {
    /// Sessions of the worker, which sets it.
    sessions: Gauge,
    /// Clients on the desk; set under the lock.
    clients: Gauge,
    drawer: Mutex<Drawer>,
}

#[derive(Debug, Default)]
struct Drawer {
    /// The settings for which it is open, by their number.
    open_for: Option<u64>,
    clients: VecDeque<Given>,
}

/// A client that another worker has accepted. It has a seat, which goes to the session.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) client: LooseClient,
    /// The name of the listener that has accepted it.
    pub(super) listener: Arc<str>,
}

impl Desks {
    /// A closed desk for each of so many workers.
    pub(super) fn new(workers: usize) -> Self {
        let desks = if workers > 1 { workers } else { 0 };
        Self((0..desks).map(|_| Desk::default()).collect())
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Sets how many sessions a worker has; for this worker only.
    pub(super) fn set_sessions(&self, worker: usize, sessions: usize) {
        if let Some(desk) = self.0.get(worker) {
            desk.sessions.set(sessions as u64);
        }
    }

    /// Who is to get the next client of a worker, if it is to give it.
    pub(super) fn receiver(&self, giver: usize) -> Option<usize> {
        let own = self.0.get(giver)?.load();
        let has_room = |(worker, desk): &(usize, &Desk)| *worker != giver && desk.clients.get() < CLIENTS_MAX;
        let all = self.0.iter().enumerate().filter(has_room);
        let (least, worker) = all.map(|(worker, desk)| (desk.load(), worker)).min()?;
        (own > least + (own / PART_OF_OWN).max(1)).then_some(worker)
    }

    /// Leaves a client on the desk of a worker; its bell is to be rung.
    ///
    /// # Errors
    /// The desk is full, or not open for the settings with this number.
    pub(super) fn give(&self, worker: usize, settings: u64, given: Given) -> Result<(), Given> {
        let desk = &self.0[worker];
        let mut drawer = desk.lock();
        if drawer.open_for != Some(settings) || drawer.clients.len() as u64 >= CLIENTS_MAX {
            return Err(given);
        }
        drawer.clients.push_back(given);
        desk.clients.set(drawer.clients.len() as u64);
        Ok(())
    }

    /// Whether there are clients on the desk of a worker.
    pub(super) fn has_clients(&self, worker: usize) -> bool {
        self.0.get(worker).is_some_and(|desk| desk.clients.get() > 0)
    }

    /// The first client on the desk of a worker.
    pub(super) fn take(&self, worker: usize) -> Option<Given> {
        let desk = self.0.get(worker)?;
        let mut drawer = desk.lock();
        let first = drawer.clients.pop_front();
        desk.clients.set(drawer.clients.len() as u64);
        first
    }

    /// Opens the desk of a worker for the settings with this number, or closes it. Returns the clients that are on it.
    pub(super) fn open_for(&self, worker: usize, settings: Option<u64>) -> VecDeque<Given> {
        let Some(desk) = self.0.get(worker) else { return VecDeque::new() };
        let mut drawer = desk.lock();
        drawer.open_for = settings;
        desk.clients.set(0);
        std::mem::take(&mut drawer.clients)
    }
}

impl Desk {
    /// The sessions that its worker has or is about to have.
    fn load(&self) -> u64 {
        self.sessions.get() + self.clients.get()
    }

    fn lock(&self) -> MutexGuard<'_, Drawer> {
        self.drawer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// Open desks.
    fn desks(workers: usize) -> Desks {
        let desks = Desks::new(workers);
        assert!((0..workers).all(|worker| desks.open_for(worker, Some(1)).is_empty()));
        desks
    }

    fn client(name: &str) -> Given {
        let (socket, _peer) = UnixStream::pair().expect("two descriptors");
        Given { client: LooseClient::of(socket.into()), listener: name.into() }
    }

    /// The sessions of each worker when the first one has accepted so many clients.
    fn accepted_by_the_first(workers: usize, clients: usize) -> Vec<usize> {
        let desks = desks(workers);
        let mut sessions = vec![0; workers];
        for _ in 0..clients {
            let worker = desks.receiver(0).unwrap_or(0);
            sessions[worker] += 1;
            desks.set_sessions(worker, sessions[worker]);
        }
        sessions
    }

    #[test]
    fn no_worker_keeps_much_more_than_its_share_even_if_it_accepts_all() {
        for (workers, clients) in [(2, 8), (2, 16), (2, 64), (2, 10_000), (3, 30), (4, 64), (5, 10_000)] {
            let sessions = accepted_by_the_first(workers, clients);
            let most = *sessions.iter().max().expect("a worker");
            assert!(most * workers * 4 <= clients * 5, "{clients} clients: {sessions:?}");
        }
        // However many workers: it has a third more than the least, or two.
        for (workers, clients) in [(2, 2), (2, 5), (8, 64), (64, 640), (64, 10_000)] {
            let sessions = accepted_by_the_first(workers, clients);
            let [least, most] =
                [sessions.iter().min(), sessions.iter().max()].map(|some| *some.expect("a worker"));
            assert!(most <= least + 2 || (most - 1) * 3 <= least * 4, "{clients} clients: {sessions:?}");
        }
    }

    /// A worker with so many sessions serves the clients on its desk, then accepts more while the other takes no turn.
    fn take_turns(desks: &Desks, worker: usize, sessions: &mut u64, accepted: usize) {
        while desks.take(worker).is_some() {
            *sessions += 1;
            desks.set_sessions(worker, *sessions as usize);
        }
        for _ in 0..accepted {
            let is_given = desks.receiver(worker).is_some_and(|to| desks.give(to, 1, client("")).is_ok());
            *sessions += u64::from(!is_given);
            desks.set_sessions(worker, *sessions as usize);
        }
    }

    #[test]
    fn a_burst_ends_evenly_although_workers_take_their_turns_one_after_the_other() {
        // A hash of 64 addresses does no other but once in 40,000 bursts.
        for of_first in 16..=48 {
            let desks = desks(2);
            let [mut first, mut second] = [0, 0];
            take_turns(&desks, 0, &mut first, of_first);
            take_turns(&desks, 1, &mut second, 64 - of_first);
            take_turns(&desks, 0, &mut first, 0);
            assert_eq!(first + second, 64);
            assert!(first.max(second) <= 40, "{of_first} of 64: {first} and {second}");
        }
    }

    #[test]
    fn an_equal_share_stays_where_it_was_accepted() {
        let desks = desks(2);
        for sessions in [0, 1, 8, 64, 1000] {
            desks.set_sessions(0, sessions);
            desks.set_sessions(1, sessions);
            assert_eq!(desks.receiver(0), None, "{sessions} on both");
        }
        // The most that stays, and the least that does not.
        for (other, stays) in [(0, 1), (1, 2), (3, 4), (6, 8), (27, 36), (999, 1332)] {
            desks.set_sessions(1, other);
            desks.set_sessions(0, stays);
            assert_eq!(desks.receiver(0), None, "{stays} and {other}");
            desks.set_sessions(0, stays + 1);
            assert_eq!(desks.receiver(0), Some(1), "{} and {other}", stays + 1);
        }
    }

    #[test]
    fn a_worker_counts_the_clients_that_it_is_about_to_serve() {
        let desks = desks(2);
        desks.set_sessions(0, 4);
        for _ in 0..4 {
            desks.give(1, 1, client("")).expect("there is room");
        }
        assert_eq!((desks.receiver(0), desks.receiver(1)), (None, None), "four on both");
        desks.set_sessions(1, 2);
        assert_eq!((desks.receiver(0), desks.receiver(1)), (None, Some(0)));
    }

    #[test]
    fn a_desk_takes_clients_of_what_its_worker_serves_now() {
        let desks = desks(2);
        desks.give(1, 1, client("first")).expect("the desk is open");
        let refused = desks.give(1, 2, client("second")).expect_err("its worker serves something else yet");
        let left: Vec<_> = desks.open_for(1, Some(2)).into_iter().collect();
        assert!(matches!(&left[..], [first] if &*first.listener == "first"), "{left:?}");
        assert!(!desks.has_clients(1));
        desks.give(1, 2, refused).expect("it does now");
        assert!(desks.give(1, 1, client("third")).is_err(), "it does not any more");
        assert_eq!(desks.open_for(1, None).len(), 1);
        assert!(desks.give(1, 2, client("fourth")).is_err(), "the desk is closed");
        assert!(desks.take(1).is_none());
    }

    #[test]
    fn a_worker_that_takes_no_turn_collects_few_clients_and_does_not_keep_the_others_from_sharing() {
        let desks = desks(3);
        desks.set_sessions(0, 40);
        desks.set_sessions(2, 20);
        for _ in 0..CLIENTS_MAX {
            assert_eq!(desks.receiver(0), Some(1));
            desks.give(1, 1, client("")).expect("there is room");
        }
        assert_eq!(desks.receiver(0), Some(2));
        assert!(desks.give(1, 1, client("")).is_err(), "the desk is full");
        desks.take(1).expect("one of them");
        assert_eq!(desks.receiver(0), Some(1));
    }

    #[test]
    fn with_one_worker_there_is_no_desk() {
        let desks = Desks::new(1);
        desks.set_sessions(0, 5);
        assert!(!desks.any() && !desks.has_clients(0) && desks.take(0).is_none());
        assert_eq!(desks.receiver(0), None);
        assert!(desks.open_for(0, Some(1)).is_empty());
    }

    #[test]
    fn no_client_is_lost_or_taken_twice_among_threads() {
        const CLIENTS: usize = 1_000;
        let desks = desks(3);
        let is_over = AtomicBool::new(false);
        let taken = thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let mut taken = 0;
                for settings in 2.. {
                    let is_last = is_over.load(Ordering::SeqCst);
                    taken += usize::from(desks.take(0).is_some());
                    // Open for those of the givers in one of three turns.
                    taken += desks.open_for(0, Some(settings % 3)).len();
                    if is_last {
                        break;
                    }
                }
                taken
            });
            let give = || {
                for _ in 0..CLIENTS {
                    let mut one = client("");
                    while let Err(refused) = desks.give(0, 1, one) {
                        one = refused;
                        thread::yield_now();
                    }
                }
            };
            for giver in [scope.spawn(give), scope.spawn(give)] {
                giver.join().expect("it gave all");
            }
            is_over.store(true, Ordering::SeqCst);
            receiver.join().expect("it took all")
        });
        assert_eq!(taken, 2 * CLIENTS);
        assert!(!desks.has_clients(0));
    }
}
