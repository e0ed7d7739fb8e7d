//! Whether a worker drains, for its listeners and, in HTTP mode, for every session between two requests.
//!
//! There are many such sessions, and each starts and stops waiting with every request: both take constant time however
//! many wait, unlike with a [`Notify`](crate::uring::Notify).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// See the module docs.
#[derive(Default)]
pub(super) struct Drain {
    has_begun: Cell<bool>,
    waiting: RefCell<Slab<Waker>>,
}

impl Drain {
    pub(super) fn begin(&self) {
        self.has_begun.set(true);
        for (_place, waker) in &*self.waiting.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    /// Completes when the drain has begun.
    pub(super) fn begun(&self) -> Begun<'_> {
        Begun { drain: self, place: None }
    }
}

/// See [`Drain::begun`].
pub(super) struct Begun<'a> {
    drain: &'a Drain,
    place: Option<usize>,
}

impl Future for Begun<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let drain = self.drain;
        if drain.has_begun() {
            return Poll::Ready(());
        }
        let mut waiting = drain.waiting.borrow_mut();
        match self.place {
            Some(place) => waiting[place].clone_from(cx.waker()),
            None => self.place = Some(waiting.insert(cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.drain.waiting.borrow_mut().remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_drain_wakes_waiting_tasks_only() {
        let drain = Drain::default();
        let counted = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&counted));
        let mut cx = Context::from_waker(&waker);
        let mut waits = pin!(drain.begun());
        for _ in 0..3 {
            assert!(waits.as_mut().poll(&mut cx).is_pending());
            let mut ceases = Box::pin(drain.begun());
            assert!(ceases.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(drain.waiting.borrow().len(), 1, "places taken (left)");
        drain.begin();
        assert_eq!(counted.0.load(Ordering::Relaxed), 1, "wakes (left)");
        assert!(waits.as_mut().poll(&mut cx).is_ready());
        assert!(pin!(drain.begun()).poll(&mut cx).is_ready(), "the drain has begun already");
    }
}
