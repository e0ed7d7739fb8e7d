//! Tasks and the queue of those to run.
//!
//! A [`Waker`] must be `Send`, while everything here stays on one thread. So a waker carries no pointer: its data word
//! names the task, and waking puts that word on the queue of the thread that wakes. On another thread that word is
//! never read, or causes one needless poll of a task; never a data race.
//!
//! A task may have [`Parts`], which its wakers name as well: a session with two directions polls only the one that was
//! woken.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static WOKEN: RefCell<VecDeque<Name>> = const { RefCell::new(VecDeque::new()) };
}

/// The target of a wake: a task, and in the lowest bits one of its parts, or all of them. Never 0, so that an idle
/// session's places for a waker are small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(NonZeroU32);

const PART_BITS: u32 = 2;

impl Name {
    fn whole(id: usize) -> Self {
        let number = u32::try_from(id + 1).ok().and_then(|number| number.checked_mul(1 << PART_BITS));
        Self(
            number
                .and_then(NonZeroU32::new)
                .expect("a task for each of a billion takes more memory than there is"),
        )
    }

    #[cfg(test)]
    pub(super) fn for_test(number: u32) -> Self {
        Self::whole(number as usize)
    }

    /// This part of the same task, whichever part is named now.
    fn with_part(self, part: usize) -> Self {
        let word = self.0.get() >> PART_BITS << PART_BITS | part as u32;
        NonZeroU32::new(word).map_or(self, Self)
    }

    fn id(self) -> usize {
        (self.0.get() >> PART_BITS) as usize - 1
    }

    fn is_for_part_other_than(self, part: usize) -> bool {
        let named = self.0.get() as usize & ((1 << PART_BITS) - 1);
        named != 0 && named != part
    }

    /// Has the task polled.
    pub(super) fn wake(self) {
        WOKEN.with_borrow_mut(|woken| {
            // Completions of one task's operations often arrive together.
            if woken.back() != Some(&self) {
                woken.push_back(self);
            }
        });
    }
}

/// The task, or its part, that is polled with this context: a quarter of the size of a [`Waker`]. None with a context that only
/// looks ([`Waker::noop`]); tasks of other executors do not wait for a ring.
pub(super) fn polled(cx: &Context<'_>) -> Option<Name> {
    let name = name(cx.waker());
    // The one that only looks has no data. Its table can have several addresses in one program.
    debug_assert!(name.is_some() || cx.waker().data().is_null(), "a task of another executor");
    name
}

/// The tasks of one ring.
#[derive(Default)]
pub(super) struct Tasks {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    living: Cell<usize>,
    /// The one that is polled now.
    current: Cell<usize>,
}

/// A task of a ring, until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskId(Name);

/// A finished task's slot is reused, so a late wake may reach the wrong task: that costs one needless poll.
struct Slot {
    future: Option<TaskFuture>,
}

impl Tasks {
    /// Creates an empty set, and drops wakes that another ring left behind on this thread.
    pub(super) fn new() -> Self {
        WOKEN.with_borrow_mut(VecDeque::clear);
        Self::default()
    }

    /// Number of unfinished tasks.
    pub(super) fn living(&self) -> usize {
        self.living.get()
    }

    /// Adds a task and queues its first poll.
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
        Name::whole(id).wake();
    }

    /// Whether a task waits to be polled.
    pub(super) fn any_woken() -> bool {
        WOKEN.with_borrow(|woken| !woken.is_empty())
    }

    /// Polls every woken task, and those that they wake.
    pub(super) fn run_woken(&self) {
        while let Some(name) = WOKEN.with_borrow_mut(VecDeque::pop_front) {
            let id = name.id();
            // Taken out of its slot while it runs: it may spawn, which moves the slots.
            let Some(mut future) = self.slots.borrow_mut().get_mut(id).and_then(|slot| slot.future.take())
            else {
                continue;
            };
            self.current.set(id);
            let waker = waker(name);
            if future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
                self.slots.borrow_mut()[id].future = Some(future);
            } else {
                self.living.set(self.living.get() - 1);
                self.free.borrow_mut().push(id);
            }
        }
    }

    /// The task that is polled now.
    pub(super) fn current(&self) -> TaskId {
        TaskId(Name::whole(self.current.get()))
    }

    /// Drops a task at its current point. It must not have ended: its slot may be another's then. Nothing happens to the
    /// task that is polled now.
    pub(super) fn end(&self, TaskId(task): TaskId) {
        let id = task.id();
        let future = self.slots.borrow_mut().get_mut(id).and_then(|slot| slot.future.take());
        if future.is_some() {
            // It may wake others, and spawn.
            drop(future);
            self.living.set(self.living.get() - 1);
            self.free.borrow_mut().push(id);
        }
    }

    /// Drops every task, at its current point. Must not be called from within one.
    pub(super) fn clear(&self) {
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        self.free.borrow_mut().clear();
        self.living.set(0);
        drop(slots);
    }
}

/// The parts of a task: futures that are each polled for their own wakes and skipped for those of the others. Most
/// wakes of a session concern one direction of two, and polling both took a seventh of a worker's own time with small
/// messages.
#[derive(Default)]
pub struct Parts {
    /// A bit for each part that has been polled.
    begun: u8,
}

impl Parts {
    /// Polls the future of this part, 1 to 3, if the wake was for it or for the whole task, or if it was never polled.
    pub fn poll<F: Future>(
        &mut self,
        part: usize,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        debug_assert!(0 < part && part < 1 << PART_BITS);
        // The waker of another executor names no part.
        let Some(name) = name(cx.waker()) else { return future.poll(cx) };
        if self.begun & 1 << part != 0 && name.is_for_part_other_than(part) {
            return Poll::Pending;
        }
        self.begun |= 1 << part;
        future.poll(&mut Context::from_waker(&waker(name.with_part(part))))
    }
}

static TABLE: RawWakerVTable = RawWakerVTable::new(raw_waker, wake, wake, |_name| ());

fn wake(name: *const ()) {
    if let Some(name) = from_word(name) {
        name.wake();
    }
}

/// The name in a waker's data word.
fn from_word(word: *const ()) -> Option<Name> {
    NonZeroU32::new(word.addr() as u32).map(Name)
}

fn raw_waker(name: *const ()) -> RawWaker {
    RawWaker::new(name, &TABLE)
}

fn waker(name: Name) -> Waker {
    // SAFETY: the data word is a number and is never dereferenced, so every function of the table may be called from
    // any thread and any number of times, and there is nothing to free.
    unsafe { Waker::from_raw(raw_waker(std::ptr::without_provenance(name.0.get() as usize))) }
}

/// The target of one of this module's wakers; none for another waker.
fn name(waker: &Waker) -> Option<Name> {
    if std::ptr::eq(waker.vtable(), &raw const TABLE) { from_word(waker.data()) } else { None }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::rc::Rc;

    use super::*;

    /// Counts its polls and stores its waker.
    fn counted(polls: &Cell<u32>, waker: &RefCell<Option<Waker>>) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            *waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    /// Wakes this one, runs what is woken, and returns how often each part was polled by then.
    fn run_after(
        tasks: &Tasks,
        waker: Option<usize>,
        wakers: &[RefCell<Option<Waker>>],
        polls: &[Cell<u32>; 2],
    ) -> (u32, u32) {
        if let Some(index) = waker {
            wakers[index].borrow().as_ref().expect("it was polled").wake_by_ref();
        }
        tasks.run_woken();
        (polls[0].get(), polls[1].get())
    }

    #[test]
    fn a_part_is_polled_first_and_for_its_own_wakes() {
        let tasks = Tasks::new();
        let polls: Rc<[Cell<u32>; 2]> = Rc::default();
        let wakers: Rc<[RefCell<Option<Waker>>; 3]> = Rc::default();
        let (counts, left) = (Rc::clone(&polls), Rc::clone(&wakers));
        tasks.spawn(async move {
            let mut first = pin!(counted(&counts[0], &left[0]));
            let mut second = pin!(counted(&counts[1], &left[1]));
            let mut parts = Parts::default();
            poll_fn(|cx| {
                *left[2].borrow_mut() = Some(cx.waker().clone());
                parts.poll(1, first.as_mut(), cx).is_ready();
                parts.poll(2, second.as_mut(), cx).map(|()| ())
            })
            .await;
            pending::<()>().await;
        });
        let after = |waker| run_after(&tasks, waker, &*wakers, &polls);
        let whole = {
            assert_eq!(after(None), (1, 1), "both at first");
            wakers[2].borrow().clone()
        };
        assert_eq!(after(Some(0)), (2, 1), "a wake for the first");
        assert_eq!(after(Some(1)), (2, 2), "a wake for the second");
        whole.expect("it was polled").wake();
        assert_eq!(after(None), (3, 3), "a wake for the whole task");
        tasks.clear();
    }

    #[test]
    fn a_part_that_begins_in_a_turn_of_another_is_woken_for_itself() {
        let tasks = Tasks::new();
        let polls: Rc<[Cell<u32>; 2]> = Rc::default();
        let wakers: Rc<[RefCell<Option<Waker>>; 2]> = Rc::default();
        let has_second = Rc::new(Cell::new(false));
        let (counts, left, begins) = (Rc::clone(&polls), Rc::clone(&wakers), Rc::clone(&has_second));
        tasks.spawn(async move {
            let mut first = pin!(counted(&counts[0], &left[0]));
            let mut second = pin!(counted(&counts[1], &left[1]));
            let mut parts = Parts::default();
            poll_fn(|cx| {
                parts.poll(1, first.as_mut(), cx).is_ready();
                if begins.get() { parts.poll(2, second.as_mut(), cx) } else { Poll::Pending }
            })
            .await;
        });
        let after = |waker| run_after(&tasks, waker, &*wakers, &polls);
        assert_eq!(after(None), (1, 0), "the first alone");
        has_second.set(true);
        assert_eq!(after(Some(0)), (2, 1), "the second begins in a turn of the first");
        assert_eq!(after(Some(1)), (2, 2), "a wake for the second");
        tasks.clear();
    }
}
