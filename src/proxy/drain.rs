//! Whether a worker drains, for its listeners and, in HTTP mode, for every session between two requests, which also waits
//! for its server to drain.
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
        self.look();
    }

    /// Has those who wait look again at what else they wait for.
    pub(super) fn look(&self) {
        for (_place, waker) in &*self.waiting.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    /// Completes when the drain has begun.
    pub(super) fn begun(&self) -> Begun<'_, fn() -> bool> {
        self.begun_or(|| false)
    }

    /// Completes when the drain has begun, or `also` holds, which changes before a [`look`](Self::look) only.
    pub(super) fn begun_or<F: Fn() -> bool + Unpin>(&self, also: F) -> Begun<'_, F> {
        Begun { drain: self, also, place: None }
    }
}

/// See [`Drain::begun_or`].
pub(super) struct Begun<'a, F> {
    drain: &'a Drain,
    also: F,
    /// Small: every idle session in HTTP mode has one.
    place: Option<u32>,
}

impl<F: Fn() -> bool + Unpin> Future for Begun<'_, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let drain = self.drain;
        if drain.has_begun() || (self.also)() {
            return Poll::Ready(());
        }
        let mut waiting = drain.waiting.borrow_mut();
        match self.place {
            Some(place) => waiting[place as usize].clone_from(cx.waker()),
            None => self.place = Some(waiting.insert(cx.waker().clone()) as u32),
        }
        Poll::Pending
    }
}

impl<F> Drop for Begun<'_, F> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.drain.waiting.borrow_mut().remove(place as usize);
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
    fn a_look_wakes_those_who_wait_for_something_else() {
        let (drain, holds) = (Drain::default(), Cell::new(false));
        let counted = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&counted));
        let mut cx = Context::from_waker(&waker);
        let mut waits = pin!(drain.begun_or(|| holds.get()));
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        drain.look();
        assert_eq!(counted.0.load(Ordering::Relaxed), 1, "wakes (left)");
        assert!(waits.as_mut().poll(&mut cx).is_pending(), "nothing has begun");
        holds.set(true);
        assert!(waits.as_mut().poll(&mut cx).is_ready() && !drain.has_begun());
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
