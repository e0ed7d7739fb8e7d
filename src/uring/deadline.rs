//! Deadlines, kept in user space and passed to the kernel as the maximum length of one wait, so that setting and
//! dropping a deadline costs no operation.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pin_project_lite::pin_project;

use super::ring::Ring;

/// The deadlines of one ring, earliest first. The number distinguishes deadlines at the same instant.
#[derive(Default)]
pub(super) struct Deadlines {
    waiting: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_number: std::cell::Cell<u64>,
}

impl Deadlines {
    /// The earliest deadline.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.waiting.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes every task whose deadline has passed.
    pub(super) fn expire(&self, now: Instant) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            first.remove().wake();
        }
    }
}

/// Completes at an instant. Made by [`Ring::sleep_until`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    ring: Ring,
    key: (Instant, u64),
    queued: bool,
}

impl Sleep {
    pub(super) fn new(ring: Ring, at: Instant) -> Self {
        let deadlines = &ring.inner().deadlines;
        let number = deadlines.next_number.get();
        deadlines.next_number.set(number + 1);
        Self { ring, key: (at, number), queued: false }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.key.0 <= self.ring.now() {
            return Poll::Ready(());
        }
        // Once queued it stays: a future stays in its task, and any waker of that task wakes it.
        if !self.queued {
            self.queued = true;
            self.ring.inner().deadlines.waiting.borrow_mut().insert(self.key, cx.waker().clone());
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
        if self.queued {
            self.ring.inner().deadlines.waiting.borrow_mut().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use crate::uring::testing::with_peer;

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
