//! What the endpoint's thread may take from those who serve clients: it gives way to every thread that has something to
//! do, and rests once it has used more than a small part of a CPU, so that it does not empty the caches of a core that it
//! shares with a worker.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// The part of a CPU that the thread may use for long is one by this.
const SHARE: u32 = 20;

/// Most CPU time that is saved up, for what asks seldom and for much.
const SAVED_MAX: Duration = Duration::from_secs(1);

/// The nice value of the thread, where it cannot be idle.
const LEAST_PRIORITY: i32 = 19;

/// Lets the calling thread run where no other thread wants to, and be interrupted at once when one does. Of this thread
/// only (sched(7), setpriority(2)); being denied it changes nothing else.
pub(super) fn give_way() {
    // A nice value alone leaves a thread that runs its slice, of 3 ms on many kernels, when a worker wakes up.
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    let _ = rustix::process::setpriority_process(None, LEAST_PRIORITY);
}

/// How much CPU time the calling thread may use.
#[derive(Debug)]
pub(super) struct Pace {
    saved: Cell<Duration>,
    looked: Cell<Instant>,
    /// What the thread had used then.
    used: Cell<Duration>,
}

impl Pace {
    /// From now on.
    pub(super) fn new() -> Self {
        Self { saved: Cell::new(SAVED_MAX), looked: Cell::new(Instant::now()), used: Cell::new(used()) }
    }

    /// Rests until the thread may use more. All its clients wait meanwhile.
    pub(super) fn keep(&self) {
        let (now, used) = (Instant::now(), used());
        let elapsed = now.saturating_duration_since(self.looked.get());
        let spent = used.saturating_sub(self.used.replace(used));
        let (saved, rest) = next(self.saved.get(), elapsed, spent);
        self.saved.set(saved);
        // A rest pays for what was used, and earns nothing besides.
        self.looked.set(now + rest);
        if !rest.is_zero() {
            thread::sleep(rest);
        }
    }
}

/// What is saved up, and how long to rest, after this time in which so much CPU time was spent.
fn next(saved: Duration, elapsed: Duration, spent: Duration) -> (Duration, Duration) {
    let saved = (saved + elapsed / SHARE).min(SAVED_MAX);
    (saved.saturating_sub(spent), spent.saturating_sub(saved).saturating_mul(SHARE))
}

/// The CPU time of the calling thread so far.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn what_is_used_beyond_the_savings_is_earned_by_rest() {
        assert_eq!(next(ms(10), ms(0), ms(4)), (ms(6), ms(0)));
        assert_eq!(next(ms(10), ms(200), ms(20)), (ms(0), ms(0)), "ten are earned");
        assert_eq!(next(ms(10), ms(0), ms(15)), (ms(0), ms(100)));
        assert_eq!(next(SAVED_MAX, ms(100_000), ms(0)), (SAVED_MAX, ms(0)), "no more is saved");
    }

    #[test]
    fn who_uses_all_it_can_gets_its_share() {
        let (mut saved, mut elapsed, mut spent) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut since = Duration::ZERO;
        for _ in 0..1000 {
            let (left, rest) = next(saved, since, ms(3));
            (saved, since) = (left, ms(3));
            (elapsed, spent) = (elapsed + ms(3) + rest, spent + ms(3));
        }
        let share = spent.as_secs_f64() / elapsed.as_secs_f64();
        assert!((0.045..=0.055).contains(&share), "{share}");
    }
}
