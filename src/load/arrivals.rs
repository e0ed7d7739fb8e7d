//! The open loop's timer: puts due requests into the thread's queue on time.

use std::cell::RefCell;
use std::io;
use std::iter::Peekable;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio_uring::fs::File;

use super::plan::{Arrivals, Length, Plan, Rate};
use super::schedule::Schedule;
use super::worker::{Clock, Worker};

/// This thread's arrivals that its clients do not know of yet.
pub(super) struct Unreleased {
    start: Instant,
    schedule: RefCell<Peekable<Schedule>>,
}

impl Unreleased {
    pub(super) fn new(plan: &Plan, thread: usize, rate: Rate, arrivals: Arrivals, clock: Clock) -> Self {
        let ramp = match plan.length {
            Length::Time(duration) => duration,
            Length::Requests(_) => Duration::ZERO,
        };
        let schedule = Schedule::new(rate, arrivals, plan.warmup, ramp, thread, plan.threads);
        Self { start: clock.start, schedule: RefCell::new(schedule.peekable()) }
    }

    /// When the next one is due; `None`: there is none.
    fn next_due(&self) -> Option<Instant> {
        self.schedule.borrow_mut().peek().map(|after_start| self.start + *after_start)
    }

    /// Puts the next one, due at `due`, into the thread's queue; false: it is not part of the run.
    fn release_next(&self, worker: &Worker, due: Instant) -> bool {
        self.schedule.borrow_mut().next();
        if !worker.may_begin(due) {
            return false;
        }
        let mut recorder = worker.recorder.borrow_mut();
        recorder.send_lag(due, Instant::now());
        if let Some(counts) = recorder.counts(due) {
            counts.arrivals += 1;
        }
        drop(recorder);
        worker.due.borrow_mut().push_back(due);
        worker.due_changed.notify_one();
        true
    }

    /// Puts those that were due before `end` into the thread's queue. The thread may have stood still as the run ended.
    /// Without this, nothing would count the requests that were due in that time, and the result would be too good.
    pub(super) fn release_overdue(&self, worker: &Worker, end: Instant) {
        while let Some(due) = self.next_due().filter(|due| *due < end) {
            if !self.release_next(worker, due) {
                break;
            }
        }
    }
}

/// Releases this thread's arrivals until the run stops.
///
/// Tokio's timers tick in milliseconds: a hundred requests at 100,000 a second. A timerfd has the kernel's resolution.
pub(super) async fn release(worker: Rc<Worker>, timer: Timer, unreleased: Rc<Unreleased>) {
    while let Some(due) = unreleased.next_due() {
        if timer.sleep_until(due).await.is_err() || !unreleased.release_next(&worker, due) {
            break;
        }
    }
    worker.no_more_due();
}

/// A timer for this thread's arrivals.
pub(super) struct Timer {
    timer: TimerFd,
    /// The same timer, read through the ring.
    expiries: File,
}

impl Timer {
    /// Created before the clock starts, while a failure can still end the run.
    pub(super) fn new() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        let expiries = File::from_std(timer.as_fd().try_clone_to_owned()?.into());
        Ok(Self { timer, expiries })
    }

    async fn sleep_until(&self, due: Instant) -> io::Result<()> {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        self.timer.set(once, TimerSetTimeFlags::empty())?;
        // timerfd_create(2): a read waits for the expiry and takes its count, 8 bytes.
        self.expiries.read_at(Vec::with_capacity(8), 0).await.0.map(|_| ())
    }
}
