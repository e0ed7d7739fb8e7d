//! Waking tasks from other tasks of the same ring.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A condition that tasks wait for and another task makes true.
#[derive(Default)]
pub struct Notify {
    waiting: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes all waiting tasks; each checks its condition again.
    pub fn notify(&self) {
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Waits until `condition` holds. Checks it now and after each [`Notify::notify`].
    pub async fn until(&self, mut condition: impl FnMut() -> bool) {
        poll_fn(|cx| {
            if condition() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            // A task that also waits for other things is polled more than once.
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
