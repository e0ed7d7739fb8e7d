//! The ring and its turn: the loop that everything on a worker runs in.
//!
//! ```text
//!   +-> run woken tasks -> grant bulk turns -> enter the kernel -> completions -> doubts -> deadlines -+
//!   +--------------------------------------------------------------------------------------------------+
//! ```
//!
//! Small directions are woken by completions and run first. Bulk directions wait in a queue of their own
//! ([`Ring::bulk_turn`]) and get a bounded share each turn: whoever is fast at bulk would starve the rest.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::buffers::{Loans, Region};
use super::deadline::{Deadlines, Sleep};
use super::doubt::Doubts;
use super::kernel::{Completion, Kernel, Operation, Wait};
use super::ops::{NOBODY, Ops};
use super::pipe::Pipes;
use super::shortage::{Shortage, Shortages};
use super::task::Tasks;

/// Bulk directions that get their share in one turn; the others go first in the next one. Measured with 64 small
/// connections beside 8 bulk streams: with 8 a turn bulk is a tenth faster and the small ones' p99 twice as
/// long; with 1 it is the other way round.
const BULK_GRANTS_A_TURN: usize = 2;

/// A worker's handle on its ring, its tasks, buffers, pipes and deadlines. Clones are the same ring; it stays
/// on the thread that made it.
#[derive(Clone)]
pub struct Ring(Rc<Inner>);

pub(super) struct Inner {
    pub(super) kernel: RefCell<Box<dyn Kernel>>,
    pub(super) ops: RefCell<Ops>,
    pub(super) loans: Loans,
    pub(super) pipes: Pipes,
    pub(super) deadlines: Deadlines,
    pub(super) shortages: Shortages,
    doubts: Doubts,
    tasks: Tasks,
    bulk: BulkQueue,
    now: Cell<Instant>,
    ending: Cell<bool>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pipes.close(&mut **self.kernel.get_mut());
    }
}

impl Ring {
    /// A ring over `kernel`, which knows `region` already.
    pub(super) fn new(kernel: Box<dyn Kernel>, region: Rc<Region>, pipes: Pipes) -> Self {
        let now = Cell::new(kernel.now());
        Self(Rc::new(Inner {
            kernel: RefCell::new(kernel),
            ops: RefCell::default(),
            loans: Loans::new(region),
            pipes,
            deadlines: Deadlines::default(),
            shortages: Shortages::default(),
            doubts: Doubts::default(),
            tasks: Tasks::new(),
            bulk: BulkQueue::default(),
            now,
            ending: Cell::new(false),
        }))
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Starts a task on this ring.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.0.tasks.spawn(future);
    }

    /// The time at which this turn began.
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// Completes at `at`.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep::new(self.clone(), at)
    }

    /// Completes after `duration`. One that reaches past the end of time (an idle time-out of centuries)
    /// completes in a year.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let now = self.now();
        self.sleep_until(now.checked_add(duration).unwrap_or(now + YEAR))
    }

    /// Completes when this direction may move its next share of bulk.
    pub async fn bulk_turn(&self) {
        let bulk = &self.0.bulk;
        let mut ticket = None;
        poll_fn(|cx| match ticket {
            None => {
                ticket = Some(bulk.enqueue(cx.waker().clone()));
                Poll::Pending
            }
            Some(ticket) if bulk.granted.get() == Some(ticket) => {
                bulk.granted.set(None);
                Poll::Ready(())
            }
            Some(_) => Poll::Pending,
        })
        .await;
    }

    /// Counts a shortage, and logs it at most once a second.
    pub fn note_shortage(&self, shortage: Shortage) {
        self.0.shortages.note(shortage, self.now());
    }

    /// Has every task dropped where it stands, at the end of this turn.
    pub fn end_tasks(&self) {
        self.0.ending.set(true);
    }

    /// Takes turns until no task is left and the kernel has nothing of ours any more.
    ///
    /// # Errors
    /// When the kernel cannot be entered: our bug, or the kernel's; nothing can go on.
    pub fn run(&self) -> io::Result<()> {
        let inner = &*self.0;
        let mut completions = Vec::new();
        loop {
            inner.tasks.run_woken();
            self.grant_bulk_turns();
            if inner.ending.take() {
                inner.tasks.clear();
            }
            if inner.tasks.living() == 0 && inner.ops.borrow().in_flight() == 0 {
                return Ok(());
            }
            // After the tasks, which return buffers: nobody may sleep over one that is free.
            inner.loans.serve_waiting();
            let wait = self.wait();
            inner.kernel.borrow_mut().enter(wait)?;
            inner.kernel.borrow_mut().completions(&mut completions);
            inner.now.set(inner.kernel.borrow().now());
            self.dispatch(&mut completions);
            self.resolve_doubts();
            inner.deadlines.expire(self.now());
        }
    }

    /// Gives the bulk directions that have waited longest one share each.
    fn grant_bulk_turns(&self) {
        let bulk = &self.0.bulk;
        let waiting = bulk.queue.borrow().len();
        for _ in 0..waiting.min(BULK_GRANTS_A_TURN) {
            let Some((ticket, waker)) = bulk.queue.borrow_mut().pop_front() else { return };
            bulk.granted.set(Some(ticket));
            waker.wake();
            self.0.tasks.run_woken();
            // A direction that was dropped in the queue leaves its grant unused.
            bulk.granted.set(None);
        }
    }

    fn wait(&self) -> Wait {
        if Tasks::any_woken() || !self.0.bulk.queue.borrow().is_empty() {
            return Wait::No;
        }
        match earlier(self.0.deadlines.earliest(), self.0.doubts.earliest()) {
            None => Wait::Completion,
            Some(at) => Wait::AtMost(at.saturating_duration_since(self.0.kernel.borrow().now())),
        }
    }

    fn dispatch(&self, completions: &mut Vec<Completion>) {
        for completion in completions.drain(..) {
            if completion.user_data == NOBODY {
                continue;
            }
            let len = completion.result.max(0) as u32;
            let buffer = completion.buffer.map(|index| self.0.loans.lend(self, index, len));
            if let Some(receive) = self.0.ops.borrow_mut().complete(&completion, buffer) {
                self.0.doubts.add(receive, self.now());
            }
        }
    }

    /// Cancels receives that wait for an event of a connection that is dead.
    fn resolve_doubts(&self) {
        while let Some(receive) = self.0.doubts.pop_due(self.now()) {
            let Some(fd) = self.0.ops.borrow_mut().end_doubt(receive) else { continue };
            let kernel = &mut *self.0.kernel.borrow_mut();
            if !kernel.is_connected(fd) {
                kernel.push(Operation::Cancel { target: receive.user_data() }, NOBODY);
            }
        }
    }

    /// What the kernel or a peer could still have of ours: for tests that all came back.
    #[cfg(test)]
    pub(crate) fn outstanding(&self) -> Outstanding {
        Outstanding {
            operations: self.0.ops.borrow().in_flight(),
            buffers: usize::from(self.0.loans.lent()),
            pipes: self.0.pipes.lent(),
            tasks: self.0.tasks.living(),
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// What is out on loan or in flight.
#[cfg(test)]
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub(crate) operations: usize,
    pub(crate) buffers: usize,
    pub(crate) pipes: usize,
    pub(crate) tasks: usize,
}

/// Directions in bulk that want their next share, first come first served.
#[derive(Default)]
struct BulkQueue {
    queue: RefCell<VecDeque<(u64, Waker)>>,
    next_ticket: Cell<u64>,
    granted: Cell<Option<u64>>,
}

impl BulkQueue {
    fn enqueue(&self, waker: Waker) -> u64 {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.queue.borrow_mut().push_back((ticket, waker));
        ticket
    }
}
