//! Places at servers for connections that are opened ahead, before any client needs them.
//!
//! Such a place counts like a lease: the server holds the connection. It becomes the lease of one session, or ends; there
//! is no way from a lease to a place. The connections themselves are kept outside: see
//! [`Supply`](super::Supply).

use std::sync::Arc;
use std::time::Instant;

use super::group::GroupSettings;
use super::lease::{self, Lease};
use super::server::Server;

/// A place at a server, for a connection that no client has.
#[derive(Debug)]
pub struct WarmPlace {
    /// None once it is lent.
    server: Option<Arc<Server>>,
}

impl WarmPlace {
    /// A place at the server at this place in the group; none unless the server is in use, has a place left, and no client
    /// waits for one.
    pub fn take(group: &GroupSettings, nth: usize, now: Instant) -> Option<Self> {
        let server = &group.servers[nth];
        if !server.is_in_use(now) || is_wanted(group, server) || !server.lend_ahead() {
            return None;
        }
        let place = Self { server: Some(Arc::clone(server)) };
        // A client may have begun to wait meanwhile, and have seen that no place is warm.
        (!is_wanted(group, server)).then_some(place)
    }

    /// Whether to give it up: its server is not in use any more, or clients wait for places there.
    pub fn is_over(&self, group: &GroupSettings, now: Instant) -> bool {
        self.server.as_ref().is_none_or(|server| !server.is_in_use(now) || is_wanted(group, server))
    }

    /// It becomes the lease of a session.
    pub fn lend(mut self) -> Option<Lease> {
        let server = self.server.take()?;
        server.warm_is_lent();
        Some(Lease::warm(server))
    }

    /// The server, as long as the place is not lent.
    pub fn server(&self) -> Option<&Server> {
        self.server.as_deref()
    }

    /// Notes that a connection to the server could not be opened, as for a session.
    pub fn note_failure(&self, now: Instant) {
        if let Some(server) = self.server() {
            lease::note_failure(server, false, now);
        }
    }

    /// Notes that a connection was opened.
    pub fn note_success(&self, now: Instant) {
        if let Some(server) = self.server() {
            lease::note_success(server, now);
        }
    }
}

impl Drop for WarmPlace {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.take_back_ahead();
        }
    }
}

/// Whether clients wait for places at this server: then every place is theirs.
fn is_wanted(group: &GroupSettings, server: &Server) -> bool {
    server.options().connections_max.is_some() && group.queue.is_in_use()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::Future;
    use std::num::NonZeroU32;
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    use super::*;
    use crate::upstream::Supply;
    use crate::upstream::group::Group;
    use crate::upstream::queue::Waiter;
    use crate::upstream::testing::with_options;
    use crate::upstream::{Balance, Ejection, ServerOptions};
    use crate::uring::{Bell, Pager};

    /// Servers that may have so many connections; 0: any number.
    fn settings(balance: &str, limits: &[u32]) -> GroupSettings {
        let options =
            |max: &u32| ServerOptions { connections_max: NonZeroU32::new(*max), ..ServerOptions::default() };
        let servers = with_options(&limits.iter().map(options).collect::<Vec<_>>());
        let balance = Balance::named(balance).expect("one of the algorithms");
        GroupSettings { balance, ..GroupSettings::new("iis", servers) }
    }

    #[test]
    fn a_place_counts_for_the_limit_of_its_server_and_not_as_one_of_its_sessions() {
        let group = settings("least-connections", &[2]);
        let (server, now) = (&group.servers[0], Instant::now());
        let place = WarmPlace::take(&group, 0, now).expect("a place");
        let other = WarmPlace::take(&group, 0, now).expect("a place");
        assert!(WarmPlace::take(&group, 0, now).is_none(), "the server is full");
        assert_eq!((server.leases(), server.warm(), server.is_full()), (0, 2, true));
        let lease = place.lend().expect("it was not lent before");
        assert!(lease.is_warm());
        assert_eq!((server.leases(), server.warm()), (1, 1));
        drop(other);
        assert_eq!((server.leases(), server.warm(), server.is_full()), (1, 0, false));
        drop(lease);
        assert_eq!((server.leases(), server.warm()), (0, 0));
    }

    #[test]
    fn a_server_that_is_left_out_has_none() {
        let mut group = settings("round-robin", &[0]);
        let ejection = Ejection { after: 1, time: Duration::from_secs(60), ..Ejection::default() };
        group.servers = vec![Arc::new(Server::clone(&group.servers[0]).with_ejection(ejection))];
        let now = Instant::now();
        let place = WarmPlace::take(&group, 0, now).expect("a place");
        assert!(!place.is_over(&group, now));
        place.note_failure(now);
        assert!(place.is_over(&group, now) && WarmPlace::take(&group, 0, now).is_none());
    }

    /// One connection to the server at this place.
    #[derive(Debug)]
    struct One(usize, RefCell<Option<WarmPlace>>);

    impl Supply for One {
        fn has(&self, nth: usize) -> bool {
            nth == self.0 && self.1.borrow().is_some()
        }

        fn take(&self, nth: usize) -> Option<Lease> {
            if self.has(nth) { self.1.take()?.lend() } else { None }
        }
    }

    /// A task that is woken.
    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_full_server_is_chosen_for_its_connection_and_its_place() {
        for balance in Balance::ALL {
            let group = Arc::new(settings(balance.name(), &[1, 1]));
            let view = Group::new(Arc::clone(&group), 0);
            let now = Instant::now();
            let source = Some([192, 0, 2, 7].into());
            let other = WarmPlace::take(&group, 1, now).expect("a place");
            let supply = One(0, RefCell::new(WarmPlace::take(&group, 0, now)));
            assert!(view.pick(source, now).next().is_none(), "both are full");
            let mut pick = view.pick(source, now).supplied(Some(&supply));
            let lease = pick.next().expect("the one with a connection");
            assert!(lease.is_warm() && &**lease.server().name() == "0", "{}", balance.name());
            assert!(pick.next().is_none() && pick.is_held_up_by_warm(), "the other worker's");
            drop(other);
        }
    }

    #[test]
    fn a_client_that_waits_summons_those_that_hold_places() {
        let group = settings("round-robin", &[1]);
        let now = Instant::now();
        let place = WarmPlace::take(&group, 0, now).expect("a place");
        let pager = Pager::new(Bell::new().expect("a descriptor"));
        let holder = Arc::new(Task::default());
        let summons = group.queue.summon(&pager, Arc::clone(&holder).into());
        let waiter = Waiter::new(vec![(0, Arc::clone(&group.servers[0]))], true, &pager);
        let ticket = group.queue.join(None, waiter, now).expect("room in the queue");
        assert!(holder.0.load(Ordering::Relaxed) && place.is_over(&group, now));
        let mut called = pin!(ticket.called());
        let look = &mut Context::from_waker(Waker::noop());
        assert!(called.as_mut().poll(look).is_pending());
        drop(place);
        let Poll::Ready(_lent) = called.as_mut().poll(look) else { panic!("the place is the session's") };
        assert!(WarmPlace::take(&group, 0, now).is_none());
        drop(summons);
    }
}
