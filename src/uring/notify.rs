//! Waking tasks from other tasks of the same ring.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A condition that tasks wait for and another one makes true.
#[derive(Default)]
pub struct Notify {
    waiting: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes everyone who waits; each looks at its condition again.
    pub fn notify(&self) {
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Waits until `condition` holds. It is looked at now and after each [`Notify::notify`].
    pub async fn until(&self, mut condition: impl FnMut() -> bool) {
        poll_fn(|cx| {
            if condition() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            // A task that waits for other things too comes by more than once.
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
