//! Whether an address of a server is worth a connection: what sessions found out, and what checks did. All workers share
//! it, without a lock; one checker writes what checks find.
//!
//! ```text
//!   in use --failures in a row--> ejected --its time--> due --one session tries--> in use
//!                                    ^                             '--fails--> ejected for twice as long
//! ```

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When an address that fails is left out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row after which it is left out; 0: never.
    pub after: u32,
    /// How long the first time; twice as long each further time in a row.
    pub time: Duration,
    /// How long at most.
    pub time_max: Duration,
}

impl Ejection {
    /// Addresses are never left out.
    pub const NEVER: Self = Self { after: 0, time: Duration::ZERO, time_max: Duration::ZERO };

    /// How long after so many ejections in a row before this one.
    fn time_after(&self, ejections: u32) -> Duration {
        self.time.saturating_mul(1 << ejections.min(31)).min(self.time_max.max(self.time))
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self { after: 3, time: Duration::from_secs(10), time_max: Duration::from_secs(300) }
    }
}

/// Whether to use an address now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// In its turn.
    InUse,
    /// Its time is over: one session is to try it before others use it.
    Due,
    /// Only where no other address is left.
    Ejected,
    /// Not at all: its checks fail.
    Down,
}

/// See [`Health::share`].
pub(super) const FULL_SHARE: u64 = 256;

/// What checks have found, in a byte.
const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

/// What the failure of an address led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    /// Failures in a row, this one included.
    pub(super) in_a_row: u64,
    /// How long the address is left out from now on, if this failure is the reason.
    pub(super) ejected_for: Option<Duration>,
}

/// See the module docs.
#[derive(Debug)]
pub(super) struct Health {
    /// What times are counted from.
    origin: Instant,
    /// Attempts to connect that have failed since the last one that did not.
    failures: AtomicU64,
    /// Connections that the server ended before its first byte, since the last one on which it sent one.
    unanswered: AtomicU64,
    /// When the ejection is over, in nanoseconds after `origin`; 0 when the address is in use.
    ejected_until: AtomicU64,
    /// Ejections in a row.
    ejections: AtomicU32,
    /// Whether a session tries the address whose time is over.
    on_trial: AtomicBool,
    /// What checks have found.
    checked: AtomicU8,
    /// When it came back, in nanoseconds after `origin`; 0 when it was always there.
    back_since: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            failures: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            on_trial: AtomicBool::new(false),
            checked: AtomicU8::new(UNKNOWN),
            back_since: AtomicU64::new(0),
        }
    }
}

impl Health {
    pub(super) fn standing(&self, now: Instant) -> Standing {
        if self.is_down() {
            return Standing::Down;
        }
        match self.ejected_until.load(Ordering::Relaxed) {
            0 => Standing::InUse,
            until if until <= self.nanoseconds(now) => Standing::Due,
            _ => Standing::Ejected,
        }
    }

    /// Whether it gets connections in its turn, whatever the time is.
    pub(super) fn is_in_use(&self) -> bool {
        !self.is_down() && self.ejected_until.load(Ordering::Relaxed) == 0
    }

    /// Whether its checks fail.
    pub(super) fn is_down(&self) -> bool {
        self.checked.load(Ordering::Relaxed) == DOWN
    }

    /// Whether checks have found anything yet.
    pub(super) fn is_checked(&self) -> bool {
        self.checked.load(Ordering::Relaxed) != UNKNOWN
    }

    /// Checks found that it is up, or down. True if it was not before; an address counts as up until its first check.
    pub(super) fn note_check(&self, is_up: bool, now: Instant) -> bool {
        let before = self.checked.swap(if is_up { UP } else { DOWN }, Ordering::Relaxed);
        let is_change = is_up == (before == DOWN);
        if is_up && is_change {
            // What failed before it was down says nothing any more.
            self.failures.store(0, Ordering::Relaxed);
            self.unanswered.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
            self.come_back(now);
        }
        is_change
    }

    /// It is not checked any more.
    pub(super) fn forget_checks(&self) {
        self.checked.store(UNKNOWN, Ordering::Relaxed);
    }

    /// Begins a trial of an address that is due. False when another session tries it; otherwise the caller ends it.
    pub(super) fn begin_trial(&self) -> bool {
        !self.on_trial.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_on_trial(&self) -> bool {
        self.on_trial.load(Ordering::Relaxed)
    }

    pub(super) fn end_trial(&self) {
        self.on_trial.store(false, Ordering::Relaxed);
    }

    /// An attempt to connect failed.
    pub(super) fn note_failure(&self, ejection: &Ejection, is_trial: bool, now: Instant) -> Failed {
        let in_a_row = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let until = self.ejected_until.load(Ordering::Relaxed);
        // Attempts that began before the ejection say nothing new.
        let is_reason = if until == 0 { in_a_row >= u64::from(ejection.after) } else { is_trial };
        Failed { in_a_row, ejected_for: is_reason.then(|| self.eject(ejection, until, now)).flatten() }
    }

    /// The server ended a connection before its first byte.
    pub(super) fn note_unanswered(&self, ejection: &Ejection, now: Instant) -> Failed {
        let in_a_row = self.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        let until = self.ejected_until.load(Ordering::Relaxed);
        let is_reason = until == 0 && in_a_row >= u64::from(ejection.after);
        Failed { in_a_row, ejected_for: is_reason.then(|| self.eject(ejection, until, now)).flatten() }
    }

    /// Ejects the address whose state was `until`; nothing if another session has just done so.
    fn eject(&self, ejection: &Ejection, until: u64, now: Instant) -> Option<Duration> {
        if ejection.after == 0 {
            return None;
        }
        let time = ejection.time_after(self.ejections.load(Ordering::Relaxed));
        let end = self.nanoseconds(now).saturating_add(nanoseconds(time)).max(1);
        let swapped =
            self.ejected_until.compare_exchange(until, end, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        swapped.then(|| {
            self.ejections.fetch_add(1, Ordering::Relaxed);
            time
        })
    }

    /// An attempt to connect succeeded. Returns how many failed before it, or were not answered, if it is the first one
    /// after those or after an ejection.
    pub(super) fn note_success(&self, now: Instant) -> Option<u64> {
        // Usually nothing has failed: then nothing is written, which other workers would have to read again.
        let has_failed = self.failures.load(Ordering::Relaxed) > 0;
        let was_ejected = self.ejected_until.load(Ordering::Relaxed) != 0;
        if !has_failed && !was_ejected {
            return None;
        }
        let failures = self.failures.swap(0, Ordering::Relaxed);
        let was_ejected = was_ejected && self.ejected_until.swap(0, Ordering::Relaxed) != 0;
        if was_ejected {
            self.come_back(now);
        }
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        if unanswered == 0 {
            self.ejections.store(0, Ordering::Relaxed);
        }
        // Another session may have been faster.
        (failures > 0 || was_ejected).then_some(failures.max(unanswered))
    }

    /// The server sent the first byte of a connection.
    pub(super) fn note_answer(&self) {
        if self.unanswered.load(Ordering::Relaxed) > 0 {
            self.unanswered.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    fn come_back(&self, now: Instant) {
        self.back_since.store(self.nanoseconds(now).max(1), Ordering::Relaxed);
    }

    /// The part of its share that it gets, of [`FULL_SHARE`]: it grows from when it came back, for this time.
    pub(super) fn share(&self, slow_start: Duration, now: Instant) -> u64 {
        let back_since = self.back_since.load(Ordering::Relaxed);
        if back_since == 0 {
            return FULL_SHARE;
        }
        let (since, whole) = (self.nanoseconds(now).saturating_sub(back_since), nanoseconds(slow_start));
        if since >= whole {
            return FULL_SHARE;
        }
        ((u128::from(since) * u128::from(FULL_SHARE) / u128::from(whole)) as u64).max(1)
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.origin))
    }
}

/// Covers 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EJECTION: Ejection =
        Ejection { after: 3, time: Duration::from_secs(10), time_max: Duration::from_secs(25) };

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn failures_in_a_row_eject_and_each_failed_trial_doubles_the_time_up_to_the_maximum() {
        let health = Health::default();
        let begin = health.origin;
        let fail = |is_trial, at| health.note_failure(&EJECTION, is_trial, at).ejected_for;
        assert_eq!((fail(false, begin), fail(false, begin)), (None, None));
        assert_eq!(health.note_success(begin), Some(2), "a success begins the count anew");
        assert_eq!((fail(false, begin), fail(false, begin)), (None, None));
        assert_eq!(health.standing(begin), Standing::InUse);
        assert_eq!(fail(false, begin), Some(seconds(10)));
        let mut now = begin;
        for (time, next) in [(10, 20), (20, 25), (25, 25)] {
            assert_eq!(health.standing(now + seconds(time - 1)), Standing::Ejected);
            assert_eq!(fail(false, now), None, "of an attempt that began before");
            now += seconds(time);
            assert_eq!(health.standing(now), Standing::Due);
            assert!(health.begin_trial());
            assert!(!health.begin_trial(), "one session tries");
            assert_eq!(fail(true, now), Some(seconds(next)));
            health.end_trial();
        }
        assert_eq!(health.note_success(begin), Some(9));
        assert_eq!(health.standing(now), Standing::InUse);
        assert_eq!(health.note_success(begin), None);
        assert_eq!(
            (0..3).filter_map(|_| fail(false, now)).collect::<Vec<_>>(),
            [seconds(10)],
            "from the start"
        );
    }

    #[test]
    fn connections_ended_without_an_answer_eject_until_one_is_answered() {
        let health = Health::default();
        let begin = health.origin;
        let end_one = |at| health.note_unanswered(&EJECTION, at).ejected_for;
        let end_all = |at| (0..3).filter_map(|_| end_one(at)).collect::<Vec<_>>();
        assert_eq!(end_one(begin), None);
        health.note_answer();
        assert_eq!(end_all(begin), [seconds(10)]);
        assert_eq!(health.note_success(begin), Some(3));
        assert_eq!(health.standing(begin), Standing::InUse);
        assert_eq!(end_one(begin), Some(seconds(20)), "at once, as long as it answers nothing");
        health.note_success(begin);
        health.note_answer();
        assert_eq!(end_all(begin), [seconds(10)]);
    }

    #[test]
    fn a_check_that_finds_it_up_again_ends_the_ejection() {
        let health = Health::default();
        let now = health.origin;
        for _ in 0..3 {
            health.note_failure(&EJECTION, false, now);
        }
        assert!(!health.note_check(true, now), "it counted as up before");
        assert_eq!(health.standing(now), Standing::Ejected, "what checks do not find sessions do");
        assert!(health.note_check(false, now) && !health.note_check(false, now));
        assert_eq!(health.standing(now + seconds(1000)), Standing::Down);
        assert!(health.note_check(true, now));
        assert_eq!(health.standing(now), Standing::InUse);
        assert!(health.note_check(false, now));
        health.forget_checks();
        assert_eq!((health.standing(now), health.is_checked()), (Standing::InUse, false));
    }

    #[test]
    fn the_share_grows_from_when_it_came_back() {
        let health = Health::default();
        let now = health.origin + seconds(100);
        let share = |after| health.share(seconds(10), now + seconds(after));
        assert_eq!(share(0), FULL_SHARE, "it was always there");
        health.note_check(false, now);
        health.note_check(true, now);
        assert_eq!([0, 5, 10, 11].map(share), [1, FULL_SHARE / 2, FULL_SHARE, FULL_SHARE]);
        let later = now + seconds(100);
        for _ in 0..3 {
            health.note_failure(&EJECTION, false, later);
        }
        health.note_success(later);
        assert_eq!([100, 105].map(share), [1, FULL_SHARE / 2], "an ejection is one reason to come back");
        assert_eq!(health.share(Duration::ZERO, later), FULL_SHARE);
    }

    #[test]
    fn zero_ejects_nothing() {
        let health = Health::default();
        for _ in 0..100 {
            assert_eq!(health.note_failure(&Ejection::NEVER, false, health.origin).ejected_for, None);
            assert_eq!(health.note_unanswered(&Ejection::NEVER, health.origin).ejected_for, None);
        }
        assert_eq!(health.standing(health.origin), Standing::InUse);
    }
}
