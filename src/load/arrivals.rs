//! The open loop's timer: puts due requests into the thread's queue on time.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio_uring::fs::File;

use super::plan::{Arrivals, Length, Rate};
use super::schedule::Schedule;
use super::worker::{Clock, Worker};

/// Releases this thread's arrivals until the run stops.
///
/// Tokio's timers tick in milliseconds: a hundred requests at 100,000 a second. A timerfd has the kernel's resolution.
pub(super) async fn release(worker: Rc<Worker>, timer: Timer, rate: Rate, arrivals: Arrivals, clock: Clock) {
    let plan = &worker.plan;
    let ramp = match plan.length {
        Length::Time(duration) => duration,
        Length::Requests(_) => Duration::ZERO,
    };
    let schedule = Schedule::new(rate, arrivals, plan.warmup, ramp, worker.index, plan.threads);
    for after_start in schedule {
        let due = clock.start + after_start;
        if timer.sleep_until(due).await.is_err() || !worker.may_begin(due) {
            break;
        }
        let mut recorder = worker.recorder.borrow_mut();
        recorder.send_lag(due, Instant::now());
        if let Some(counts) = recorder.counts(due) {
            counts.arrivals += 1;
        }
        drop(recorder);
        worker.due.borrow_mut().push_back(due);
        worker.due_changed.notify_one();
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
