//! Deadlines, kept in user space and passed to the kernel as the maximum length of one wait, so that setting and
//! dropping a deadline costs no operation.
//!
//! What needs no exact time waits for one of the instants that all of a ring share ([`Ring::next_shared`]). If each had an
//! instant of its own, a worker with some dozens of busy connections would always have a deadline within the next millisecond.
//! That costs: a wait that ends before the next tick of the kernel's clock sets the processor's timer when it begins and when it
//! ends, and each time a virtual machine is left (`benches/README.md` has the figures).

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::due::{Due, Handle};
use super::ring::Ring;
use super::task::polled;

/// The distance of shared instants in nanoseconds.
pub(super) const SHARED: u64 = 100_000_000;

/// The deadlines of one ring.
pub(super) struct Deadlines {
    begin: Instant,
    due: RefCell<Due>,
}

impl Deadlines {
    pub(super) fn new(begin: Instant) -> Self {
        Self { begin, due: RefCell::default() }
    }

    /// The earliest deadline.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.due.borrow().earliest().map(|at| self.begin + Duration::from_nanos(at))
    }

    /// Wakes every task whose deadline has passed.
    pub(super) fn expire(&self, now: Instant) {
        let now = self.nanoseconds(now);
        while let Some(task) = self.due.borrow_mut().pass(now) {
            task.wake();
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
}

/// Completes at an instant. Made by [`Ring::sleep_until`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    ring: Ring,
    /// Nanoseconds since the ring began.
    at: u64,
    /// Among those that are due, once it was polled.
    handle: Option<Handle>,
}

impl Sleep {
    pub(super) fn new(ring: Ring, at: Instant) -> Self {
        let at = ring.inner().deadlines.nanoseconds(at);
        Self { ring, at, handle: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { ring, at, handle } = &mut *self;
        let deadlines = &ring.inner().deadlines;
        if *at <= deadlines.nanoseconds(ring.now()) {
            return Poll::Ready(());
        }
        // Once queued it stays: a future stays in its task, and any waker of that task wakes it.
        if handle.is_none()
            && let Some(task) = polled(cx)
        {
            *handle = Some(deadlines.due.borrow_mut().insert(*at, task));
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
        if let Some(handle) = self.handle {
            self.ring.inner().deadlines.due.borrow_mut().remove(handle);
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
