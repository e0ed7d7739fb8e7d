//! Tasks and the queue of those to run.
//!
//! A [`Waker`] must be `Send`, while everything here stays on one thread. So a waker carries no pointer: its
//! data word is the task's number, and waking puts that number on the queue of the thread that wakes. On a
//! foreign thread that is a number nobody reads, or a task polled once for nothing; never a data race.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static WOKEN: RefCell<VecDeque<usize>> = const { RefCell::new(VecDeque::new()) };
}

/// The tasks of one ring.
#[derive(Default)]
pub(super) struct Tasks {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    living: Cell<usize>,
}

/// A finished task's slot is used again, so a late wake may reach the wrong task: a poll too many, no more.
struct Slot {
    future: Option<TaskFuture>,
}

impl Tasks {
    /// Forgets wakes that another ring left behind on this thread.
    pub(super) fn new() -> Self {
        WOKEN.with_borrow_mut(VecDeque::clear);
        Self::default()
    }

    /// How many have not finished.
    pub(super) fn living(&self) -> usize {
        self.living.get()
    }

    /// Takes a future in and queues its first poll.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let slot = Slot { future: Some(Box::pin(future)) };
        let mut slots = self.slots.borrow_mut();
        let id = if let Some(id) = self.free.borrow_mut().pop() {
            slots[id] = slot;
            id
        } else {
            slots.push(slot);
            slots.len() - 1
        };
        self.living.set(self.living.get() + 1);
        wake(id);
    }

    /// Is anyone waiting to be polled?
    pub(super) fn any_woken() -> bool {
        WOKEN.with_borrow(|woken| !woken.is_empty())
    }

    /// Polls every woken task, and those that they wake.
    pub(super) fn run_woken(&self) {
        while let Some(id) = WOKEN.with_borrow_mut(VecDeque::pop_front) {
            // Out of its slot while it runs: it may spawn, which moves the slots.
            let Some(mut future) = self.slots.borrow_mut().get_mut(id).and_then(|slot| slot.future.take())
            else {
                continue;
            };
            let waker = waker(id);
            if future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
                self.slots.borrow_mut()[id].future = Some(future);
            } else {
                self.living.set(self.living.get() - 1);
                self.free.borrow_mut().push(id);
            }
        }
    }

    /// Drops every task where it stands. Must not be called from within one.
    pub(super) fn clear(&self) {
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        self.free.borrow_mut().clear();
        self.living.set(0);
        drop(slots);
    }
}

fn wake(id: usize) {
    WOKEN.with_borrow_mut(|woken| {
        // Completions of one task's operations often arrive together.
        if woken.back() != Some(&id) {
            woken.push_back(id);
        }
    });
}

fn waker(id: usize) -> Waker {
    // SAFETY: the data word is a number and is never dereferenced, so every function of the table may be
    // called from any thread and any number of times, and there is nothing to free.
    unsafe { Waker::from_raw(raw_waker(std::ptr::without_provenance(id))) }
}

fn raw_waker(id: *const ()) -> RawWaker {
    const TABLE: RawWakerVTable =
        RawWakerVTable::new(raw_waker, |id| wake(id.addr()), |id| wake(id.addr()), |_id| ());
    RawWaker::new(id, &TABLE)
}
