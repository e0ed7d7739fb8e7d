//! The ring and its turn: the loop in which everything on a worker runs.
//!
//! ```text
//!   +-> run woken tasks -> grant set-up turns -> grant bulk turns -> enter the kernel -> completions -> deadlines -+
//!   +--------------------------------------------------------------------------------------------------------------+
//! ```
//!
//! Small directions are woken by completions and run first. Bulk directions wait in a queue of their own
//! ([`Ring::bulk_turn`]) and get a bounded share of each turn: a fast bulk direction would otherwise starve the rest.
//! So do new connections ([`Ring::set_up_turn`]): their cost depends on the kernel and on their peers, so their share
//! is measured in time.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::block::Block;
use super::buffers::{Loans, Region};
use super::counters::RingCounters;
use super::deadline::{Deadlines, Sleep, Timeout};
use super::kernel::{Completion, IGNORED, Kernel, Operation, Wait};
use super::ops::Ops;
use super::pipe::Pipes;
use super::share::Share;
use super::shortage::{Shortage, Shortages};
use super::suspect::Suspects;
use super::task::{TaskId, Tasks};

/// Bulk directions that get their share in one turn; the others go first in the next one. Measured with 64 small
/// connections beside 8 bulk streams: with 8 per turn bulk is a tenth faster and the p99 of the small ones twice as
/// long; with 1 it is the other way round.
const BULK_GRANTS_A_TURN: usize = 2;

/// How long set-ups continue in one turn: the one in progress when this time is over is the last. Most are short
/// (accept: 5 us, connect: 20 us, a signature: 50 us to 1 ms), but a connect takes more than a millisecond when source
/// ports run short. A round trip of an established connection waits for one such share, or two.
pub(super) const SET_UP_TIME_A_TURN: Duration = Duration::from_millis(1);

/// A worker's handle on its ring, tasks, buffers, pipes and deadlines. Clones share one ring; it stays on the thread
/// that created it.
#[derive(Clone)]
pub struct Ring(Rc<Inner>);

pub(super) struct Inner {
    pub(super) kernel: RefCell<Box<dyn Kernel>>,
    pub(super) ops: RefCell<Ops>,
    pub(super) loans: Loans,
    pub(super) pipes: Pipes,
    pub(super) block: Block,
    pub(super) deadlines: Deadlines,
    pub(super) shortages: Shortages,
    counters: Arc<RingCounters>,
    suspects: Suspects,
    tasks: Tasks,
    bulk: Share,
    set_ups: Share,
    set_ups_wait: Cell<bool>,
    now: Cell<Instant>,
    ending: Cell<bool>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pipes.close(&mut **self.kernel.get_mut());
    }
}

impl Ring {
    /// Creates a ring over `kernel`, which knows `region` already.
    pub(super) fn new(kernel: Box<dyn Kernel>, region: Rc<Region>, pipes: Pipes) -> Self {
        let now = Cell::new(kernel.now());
        let loans = Loans::new(region);
        let counters = RingCounters::new(now.get());
        counters.buffers.set(u64::from(loans.count()));
        counters.pipes.set(pipes.count() as u64);
        Self(Rc::new(Inner {
            kernel: RefCell::new(kernel),
            ops: RefCell::default(),
            loans,
            pipes,
            block: Block::default(),
            deadlines: Deadlines::new(now.get()),
            shortages: Shortages::default(),
            counters: Arc::new(counters),
            suspects: Suspects::default(),
            tasks: Tasks::new(),
            bulk: Share::default(),
            set_ups: Share::default(),
            set_ups_wait: Cell::new(false),
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

    /// The next instant after `at` that all deadlines without an exact time share: the worker wakes up once for all of them.
    pub fn next_shared(&self, at: Instant) -> Instant {
        self.0.deadlines.next_shared(at)
    }

    /// Completes at `at`.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep::new(self.clone(), at)
    }

    /// Completes after `duration`. A duration beyond the range of `Instant` (an idle time-out of centuries) completes
    /// in a year.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let now = self.now();
        self.sleep_until(now.checked_add(duration).unwrap_or(now + YEAR))
    }

    /// Completes with the output of `future`, or with none when that takes longer than `duration`.
    pub fn timeout<F: Future>(&self, duration: Duration, future: F) -> Timeout<F> {
        Timeout::new(future, self.sleep(duration))
    }

    /// Completes when this direction may move its next share of bulk.
    pub async fn bulk_turn(&self) {
        self.0.bulk.wait().await;
    }

    /// Completes when the caller may take the next step of setting up a connection: accept it, connect it, sign for it.
    /// The time until the caller next waits counts as set-up time.
    pub async fn set_up_turn(&self) {
        self.0.set_ups.wait().await;
    }

    /// Whether set-ups must wait for later turns. Some may then not be needed any more.
    pub fn set_ups_wait(&self) -> bool {
        self.0.set_ups_wait.get()
    }

    /// What this ring counts of itself.
    pub fn counters(&self) -> &Arc<RingCounters> {
        &self.0.counters
    }

    /// Counts a shortage, and logs it at most once a second.
    pub fn note_shortage(&self, shortage: Shortage) {
        self.0.counters.note_shortage(shortage);
        self.0.shortages.note(shortage, self.now());
    }

    /// The task that runs now.
    pub fn current_task(&self) -> TaskId {
        self.0.tasks.current()
    }

    /// Drops a task that has not ended, at its current point; not the one that runs now.
    pub fn end_task(&self, task: TaskId) {
        self.0.tasks.end(task);
    }

    /// Drops every task at the end of this turn, finished or not.
    pub fn end_tasks(&self) {
        self.0.ending.set(true);
    }

    /// Takes turns until no task is left and the kernel has no operation of this ring any more.
    ///
    /// # Errors
    /// When the kernel cannot be entered: a bug of ours or of the kernel; the ring cannot continue.
    pub fn run(&self) -> io::Result<()> {
        let inner = &*self.0;
        let mut completions = Vec::new();
        loop {
            inner.tasks.run_woken();
            self.grant_set_up_turns();
            self.grant_bulk_turns();
            if inner.ending.take() {
                inner.tasks.clear();
            }
            if inner.tasks.living() == 0 && inner.ops.borrow().in_flight() == 0 {
                inner.counters.end();
                return Ok(());
            }
            // After the tasks, which return buffers: no task may sleep while a buffer is free.
            inner.loans.serve_waiting();
            let wait = self.wait();
            self.count_loans();
            inner.kernel.borrow_mut().enter(wait)?;
            self.count_overflow();
            inner.kernel.borrow_mut().completions(&mut completions);
            inner.now.set(inner.kernel.borrow().now());
            inner.counters.turn_begins(self.now(), completions.len());
            self.dispatch(&mut completions);
            self.check_suspects();
            inner.deadlines.expire(self.now());
        }
    }

    /// Notes what is on loan at the end of a turn.
    fn count_loans(&self) {
        let Inner { counters, loans, pipes, .. } = &*self.0;
        counters.buffers_lent.set(u64::from(loans.lent()));
        counters.pipes_lent.set(pipes.lent() as u64);
        counters.waits();
    }

    fn count_overflow(&self) {
        if self.0.kernel.borrow_mut().is_overflowing() {
            self.0.counters.overflows.increase();
        }
    }

    /// Gives the bulk directions that have waited longest one share each.
    fn grant_bulk_turns(&self) {
        for _ in 0..self.0.bulk.len().min(BULK_GRANTS_A_TURN) {
            self.0.bulk.grant(&self.0.tasks);
        }
    }

    /// Lets set-ups continue until their share of the turn is used up; at least one, however long it takes.
    fn grant_set_up_turns(&self) {
        let Inner { set_ups, tasks, kernel, .. } = &*self.0;
        if !set_ups.is_empty() {
            let end = kernel.borrow().now() + SET_UP_TIME_A_TURN;
            while set_ups.grant(tasks) && kernel.borrow().now() < end {}
        }
        self.0.set_ups_wait.set(!set_ups.is_empty());
    }

    fn wait(&self) -> Wait {
        if Tasks::any_woken() || !self.0.bulk.is_empty() || !self.0.set_ups.is_empty() {
            return Wait::No;
        }
        match earlier(self.0.deadlines.earliest(), self.0.suspects.earliest()) {
            None => Wait::Completion,
            Some(at) => Wait::AtMost(at.saturating_duration_since(self.0.kernel.borrow().now())),
        }
    }

    fn dispatch(&self, completions: &mut Vec<Completion>) {
        for completion in completions.drain(..) {
            if completion.user_data == IGNORED {
                continue;
            }
            let len = completion.result.max(0) as u32;
            let buffer = completion.buffer.map(|index| self.0.loans.lend(self, index, len));
            if let Some(receive) = self.0.ops.borrow_mut().complete(&completion, buffer) {
                self.0.suspects.add(receive, self.now(), &self.0.deadlines);
            }
        }
    }

    /// Cancels receives that wait for an event of a connection that is dead.
    fn check_suspects(&self) {
        for receive in self.0.suspects.take_due(self.now(), &self.0.deadlines) {
            let Some(fd) = self.0.ops.borrow_mut().clear_suspect(receive) else { continue };
            let kernel = &mut *self.0.kernel.borrow_mut();
            if !kernel.is_connected(fd) {
                kernel.push(Operation::Cancel { target: receive.user_data() }, IGNORED);
            }
        }
    }

    /// What the kernel or a peer may still hold; tests check that all of it was returned.
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

/// Resources on loan or in flight.
#[cfg(test)]
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub(crate) operations: usize,
    pub(crate) buffers: usize,
    pub(crate) pipes: usize,
    pub(crate) tasks: usize,
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::uring::testing::with_peer;

    /// Set-ups that each take a whole share, beside a socket that is ready in every turn.
    #[test]
    fn set_ups_take_turns_with_established_sockets() {
        const SET_UPS: usize = 20;
        with_peer(|ring, socket, _peer| async move {
            let done = Rc::new(Cell::new(0));
            for _ in 0..SET_UPS {
                let (own, done) = (ring.clone(), Rc::clone(&done));
                ring.spawn(async move {
                    own.set_up_turn().await;
                    let begin = Instant::now();
                    while begin.elapsed() < SET_UP_TIME_A_TURN {}
                    done.set(done.get() + 1);
                });
            }
            let (mut before, mut waited) = (0, false);
            while done.get() < SET_UPS {
                socket.writable().await.expect("a socket can be polled");
                assert!(done.get() <= before + 1, "{} set-ups in one turn", done.get() - before);
                before = done.get();
                waited |= ring.set_ups_wait();
            }
            assert!(waited && !ring.set_ups_wait(), "they waited, and no longer do");
        });
    }

    #[test]
    fn set_ups_that_take_little_time_share_a_turn() {
        const SET_UPS: usize = 20;
        with_peer(|ring, socket, _peer| async move {
            let done = Rc::new(Cell::new(0));
            for _ in 0..SET_UPS {
                let (own, done) = (ring.clone(), Rc::clone(&done));
                ring.spawn(async move {
                    own.set_up_turn().await;
                    done.set(done.get() + 1);
                });
            }
            let mut turns = 0;
            while done.get() < SET_UPS {
                socket.writable().await.expect("a socket can be polled");
                turns += 1;
            }
            assert!(turns < SET_UPS, "{turns} turns for {SET_UPS} set-ups");
        });
    }
}
