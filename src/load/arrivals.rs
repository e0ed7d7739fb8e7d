//! The open loop's clock hand: puts what is due into the thread's queue, on time.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::plan::{Arrivals, Length, Rate};
use super::schedule::Schedule;
use super::worker::{Clock, Worker};

/// Releases this thread's arrivals until the run stops.
///
/// Tokio's timers tick in milliseconds, a hundred requests late at 100,000 a second; a timerfd has the kernel's
/// resolution.
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
#[derive(Debug)]
pub(super) struct Timer(AsyncFd<Descriptor>);

/// Gives tokio the number that nix' type does not show.
#[derive(Debug)]
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    /// Made before the clock starts, where a failure can still be told.
    pub(super) fn new() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Self(AsyncFd::with_interest(Descriptor(timer), Interest::READABLE)?))
    }

    async fn sleep_until(&self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let timer = &self.0.get_ref().0;
            timer.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
            let mut ready = self.0.readable().await?;
            // Takes the expiry count, so that the descriptor is no longer readable; not there yet is fine too.
            let _ = timer.wait();
            ready.clear_ready();
        }
    }
}
