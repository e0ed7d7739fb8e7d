//! Deadlines, kept in user space and passed to the kernel as the maximum length of one wait, so that setting and
//! dropping a deadline costs no operation.
//!
//! What needs no exact time waits for one of the instants that all of a ring share ([`Ring::next_shared`]). If each had an
//! instant of its own, a worker with some dozens of busy connections would always have a deadline within the next millisecond.
//! That costs: a wait that ends before the next tick of the kernel's clock sets the processor's timer when it begins and when it
//! ends, and each time a virtual machine is left (`benches/README.md` has the figures).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::ring::Ring;
use super::task::{Name, polled};

/// The distance of shared instants in nanoseconds.
pub(super) const SHARED: u64 = 100_000_000;

/// The deadlines of one ring, earliest first. Every idle session has one, so it is small.
pub(super) struct Deadlines {
    begin: Instant,
    waiting: RefCell<BTreeSet<Deadline>>,
    next_number: Cell<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    /// Nanoseconds since the ring began.
    at: u64,
    /// Tells apart those at the same instant, and keeps them in order.
    number: u32,
    /// Who is woken.
    task: Option<Name>,
}

impl Deadlines {
    pub(super) fn new(begin: Instant) -> Self {
        Self { begin, waiting: RefCell::default(), next_number: Cell::new(0) }
    }

    /// The earliest deadline.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.waiting.borrow().first().map(|first| self.begin + Duration::from_nanos(first.at))
    }

    /// Wakes every task whose deadline has passed.
    pub(super) fn expire(&self, now: Instant) {
        let mut waiting = self.waiting.borrow_mut();
        let now = self.nanoseconds(now);
        while waiting.first().is_some_and(|first| first.at <= now)
            && let Some(first) = waiting.pop_first()
        {
            if let Some(task) = first.task {
                task.wake();
            }
        }
    }

    /// The next instant after `at` that all of this ring share.
    pub(super) fn next_shared(&self, at: Instant) -> Instant {
        let ended = self.nanoseconds(at) / SHARED;
        self.begin + Duration::from_nanos(SHARED.saturating_mul(ended + 1))
    }

    /// 584 years at most.
    fn nanoseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begin).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Queues a deadline, unless the same one waits already; its number is another's then.
    fn insert(&self, deadline: Deadline) -> bool {
        self.waiting.borrow_mut().insert(deadline)
    }

    fn number(&self) -> u32 {
        let number = self.next_number.get();
        self.next_number.set(number.wrapping_add(1));
        number
    }
}

/// Completes at an instant. Made by [`Ring::sleep_until`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    ring: Ring,
    /// Without a task until it is queued.
    deadline: Deadline,
}

impl Sleep {
    pub(super) fn new(ring: Ring, at: Instant) -> Self {
        let deadlines = &ring.inner().deadlines;
        let deadline = Deadline { at: deadlines.nanoseconds(at), number: deadlines.number(), task: None };
        Self { ring, deadline }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { ring, deadline } = &mut *self;
        let deadlines = &ring.inner().deadlines;
        if deadline.at <= deadlines.nanoseconds(ring.now()) {
            return Poll::Ready(());
        }
        // Once queued it stays: a future stays in its task, and any waker of that task wakes it.
        if deadline.task.is_none() {
            deadline.task = polled(cx);
            while deadline.task.is_some() && !deadlines.insert(*deadline) {
                deadline.number = deadlines.number();
            }
        }
        Poll::Pending
    }
}

pin_project! {
    /// Completes with the output of a future, or with none when that takes too long. Made by [`Ring::timeout`].
    ///
    /// It takes no more memory than both: an `async` block around the future would hold it twice.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        expired: Sleep,
    }
}

impl<F> Timeout<F> {
    pub(super) fn new(future: F, expired: Sleep) -> Self {
        Self { future, expired }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Pin::new(this.expired).poll(cx).map(|()| None),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if self.deadline.task.is_some() {
            self.ring.inner().deadlines.waiting.borrow_mut().remove(&self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;
    use crate::uring::testing::with_peer;

    #[test]
    fn shared_instants_are_the_same_for_all_and_always_ahead() {
        let begin = Instant::now();
        let deadlines = Deadlines::new(begin);
        let nanoseconds = |at: u64| begin + Duration::from_nanos(at);
        for at in [0, 1, SHARED / 2, SHARED - 1] {
            assert_eq!(deadlines.next_shared(nanoseconds(at)), nanoseconds(SHARED), "{at}");
            assert_eq!(deadlines.next_shared(nanoseconds(7 * SHARED + at)), nanoseconds(8 * SHARED), "{at}");
        }
    }

    #[test]
    fn a_timeout_gives_the_output_or_none() {
        with_peer(|ring, _socket, _peer| async move {
            let short = Duration::from_millis(1);
            assert_eq!(ring.timeout(short, ready(7)).await, Some(7));
            assert_eq!(ring.timeout(short, pending::<u8>()).await, None);
            let slow = async {
                ring.sleep(short).await;
                7
            };
            assert_eq!(ring.timeout(Duration::from_secs(60), slow).await, Some(7));
            assert_eq!(
                ring.timeout(Duration::MAX, ready(7)).await,
                Some(7),
                "beyond the range of an instant"
            );
        });
    }

    #[test]
    fn a_timeout_holds_its_future_once() {
        with_peer(|ring, _socket, _peer| async move {
            let large = async {
                let bytes = [0_u8; 1000];
                pending::<()>().await;
                assert_eq!(bytes[0], 0);
            };
            let bytes = size_of_val(&large);
            let timeout = ring.timeout(Duration::ZERO, large);
            assert!(size_of_val(&timeout) < 2 * bytes, "{}", size_of_val(&timeout));
            drop(timeout);
        });
    }
}
