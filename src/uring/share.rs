//! A queue for a share of each turn: tasks wait in it until the ring lets them continue, first come first served.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::task::Tasks;

/// See the module docs.
#[derive(Default)]
pub(super) struct Share {
    queue: RefCell<VecDeque<(u64, Waker)>>,
    next_ticket: Cell<u64>,
    granted: Cell<Option<u64>>,
}

impl Share {
    /// Number of waiting entries. Some of their tasks may have been dropped.
    pub(super) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Waits in the queue.
    pub(super) async fn wait(&self) {
        let mut ticket = None;
        poll_fn(|cx| match ticket {
            None => {
                ticket = Some(self.enqueue(cx.waker().clone()));
                Poll::Pending
            }
            Some(ticket) if self.granted.get() == Some(ticket) => {
                self.granted.set(None);
                Poll::Ready(())
            }
            Some(_) => Poll::Pending,
        })
        .await;
    }

    /// Lets the first continue, and runs it and the tasks that it wakes. False when nothing waits.
    pub(super) fn grant(&self, tasks: &Tasks) -> bool {
        let Some((ticket, waker)) = self.queue.borrow_mut().pop_front() else { return false };
        self.granted.set(Some(ticket));
        waker.wake();
        tasks.run_woken();
        // A task dropped in the queue leaves its grant unused.
        self.granted.set(None);
        true
    }

    fn enqueue(&self, waker: Waker) -> u64 {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.queue.borrow_mut().push_back((ticket, waker));
        ticket
    }
}
