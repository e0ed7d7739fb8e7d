//! Receives that may have missed the death of their connection.
//!
//! A multishot receive waits for the next event as soon as the kernel reports that no more bytes are there. That report
//! accounts for the end of the stream (`tcp_inq_hint`) but not for a reset; a reset that has already arrived causes no
//! further event, and the receive would wait forever (measured on Linux 6.18: 2,481 of 3,000 streams of 40 KB that were
//! reset at their end). So some time after a receive has delivered the last available bytes, the connection is checked,
//! and the receive is cancelled if the connection is dead: the next receive reports why. On Unix sockets the end of the
//! stream is missed as well (2,493 of 3,000; <https://github.com/axboe/liburing/issues/1549>): their receives complete
//! once.
//!
//! All that became suspect within a period are checked together, a period later:
//!
//! ```text
//!   |  young: added  |  old: wait  |  checked, some a turn
//!   '---- PERIOD ----'-------------'
//! ```
//!
//! A worker that waits for each of them by itself has a deadline within a millisecond all the time, as soon as it has some dozens of
//! busy connections. A wait that ends before the next tick of the kernel's clock sets the processor's timer twice, and on a
//! virtual machine each of these leaves the machine (8,000 requests a second in HTTP mode: 21,400 such writes a second, 3,950 by nginx).

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use super::ops::Key;

/// How long suspects are collected. It also bounds the checks of a connection to one per this time, however many messages
/// it carries.
const PERIOD: Duration = Duration::from_millis(100);

/// How long after the last bytes a connection is checked, at most; at least a [`PERIOD`] after them.
#[cfg(test)]
pub(crate) const SUSPECT_DELAY: Duration = Duration::from_millis(200);

/// Suspects that are checked in one turn. A check is a system call of less than a microsecond.
const CHECKS_A_TURN: usize = 64;

/// The suspect receives, each once.
#[derive(Default)]
pub(super) struct Suspects {
    young: RefCell<Vec<Key>>,
    old: RefCell<Vec<Key>>,
    /// When the period ends, while there are any.
    period_ends: Cell<Option<Instant>>,
}

impl Suspects {
    /// Adds a receive that has delivered all available bytes and continues.
    pub(super) fn add(&self, receive: Key, now: Instant) {
        self.young.borrow_mut().push(receive);
        if self.period_ends.get().is_none() {
            self.period_ends.set(Some(now + PERIOD));
        }
    }

    /// When the next receives are due to be checked, or collected for that.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.period_ends.get()
    }

    /// Removes receives that are due to be checked, as many as one turn checks. They may be over.
    pub(super) fn take_due(&self, now: Instant) -> Vec<Key> {
        if self.period_ends.get().is_none_or(|ends| ends > now) {
            return Vec::new();
        }
        let (mut young, mut old) = (self.young.borrow_mut(), self.old.borrow_mut());
        let rest = old.len().saturating_sub(CHECKS_A_TURN);
        let due = old.split_off(rest);
        // Otherwise the period goes on until all are checked, a turn later or some.
        if old.is_empty() {
            std::mem::swap(&mut *young, &mut *old);
            self.period_ends.set((!old.is_empty()).then_some(now + PERIOD));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_period_are_due_together_and_one_turn_checks_some() {
        let begin = Instant::now();
        let after = |ms: u64| begin + Duration::from_millis(ms);
        let suspects = Suspects::default();
        assert_eq!((suspects.earliest(), suspects.take_due(begin).len()), (None, 0));
        for ms in 0..100 {
            suspects.add(Key::for_test(ms), after(u64::from(ms)));
        }
        assert_eq!(suspects.earliest(), Some(after(100)), "of the first");
        assert_eq!(suspects.take_due(after(99)).len(), 0);
        assert_eq!(suspects.take_due(after(100)).len(), 0, "the last of them is a millisecond old");
        suspects.add(Key::for_test(100), after(150));
        assert_eq!(suspects.earliest(), Some(after(200)));
        assert_eq!(suspects.take_due(after(200)).len(), CHECKS_A_TURN);
        assert_eq!(suspects.earliest(), Some(after(200)), "the others are due at once");
        assert_eq!(suspects.take_due(after(201)).len(), 100 - CHECKS_A_TURN);
        assert_eq!(suspects.earliest(), Some(after(301)));
        assert_eq!(suspects.take_due(after(301)).len(), 1);
        assert_eq!(suspects.earliest(), None, "nothing is waited for without any");
    }
}
