//! Deadlines, kept in user space and passed to the kernel as the maximum length of one wait, so that setting and
//! dropping a deadline costs no operation.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

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

impl Drop for Sleep {
    fn drop(&mut self) {
        if self.queued {
            self.ring.inner().deadlines.waiting.borrow_mut().remove(&self.key);
        }
    }
}
