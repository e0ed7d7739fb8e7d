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
//! All that became suspect within a period (100 ms) are checked together, a period later:
//!
//! ```text
//!   |  young: added  |  old: wait  |  checked, some a turn
//!   '---- period ----'-------------'
//! ```
//!
//! The periods end at instants that all of the ring share: `deadline.rs` says why.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use super::deadline::Deadlines;
#[cfg(test)]
use super::deadline::SHARED;
use super::ops::Key;

/// How long after the last bytes a connection is checked, at most: two periods. It is checked once in a period at most, however
/// many messages it carries.
#[cfg(test)]
pub(crate) const SUSPECT_DELAY: std::time::Duration = std::time::Duration::from_nanos(2 * SHARED);

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
    pub(super) fn add(&self, receive: Key, now: Instant, deadlines: &Deadlines) {
        self.young.borrow_mut().push(receive);
        if self.period_ends.get().is_none() {
            self.period_ends.set(Some(deadlines.next_shared(now)));
        }
    }

    /// When the next receives are due to be checked, or collected for that.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.period_ends.get()
    }

    /// Removes receives that are due to be checked, as many as one turn checks. They may be over.
    pub(super) fn take_due(&self, now: Instant, deadlines: &Deadlines) -> Vec<Key> {
        if self.period_ends.get().is_none_or(|ends| ends > now) {
            return Vec::new();
        }
        let (mut young, mut old) = (self.young.borrow_mut(), self.old.borrow_mut());
        let rest = old.len().saturating_sub(CHECKS_A_TURN);
        let due = old.split_off(rest);
        // Otherwise the period goes on until all are checked, a turn later or some.
        if old.is_empty() {
            std::mem::swap(&mut *young, &mut *old);
            self.period_ends.set((!old.is_empty()).then(|| deadlines.next_shared(now)));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_of_a_period_are_due_together_and_one_turn_checks_some() {
        let begin = Instant::now();
        let deadlines = Deadlines::new(begin);
        let end = |periods: u64| begin + Duration::from_nanos(periods * SHARED);
        let moment = Duration::from_nanos(1);
        let suspects = Suspects::default();
        assert_eq!((suspects.earliest(), suspects.take_due(begin, &deadlines).len()), (None, 0));
        for ms in 0..100 {
            suspects.add(Key::for_test(ms), begin + Duration::from_millis(u64::from(ms)), &deadlines);
        }
        assert_eq!(suspects.earliest(), Some(end(1)));
        assert_eq!(suspects.take_due(begin + Duration::from_nanos(SHARED - 1), &deadlines).len(), 0);
        assert_eq!(suspects.take_due(end(1), &deadlines).len(), 0, "some became suspect just now");
        suspects.add(Key::for_test(100), end(1) + moment, &deadlines);
        assert_eq!(suspects.earliest(), Some(end(2)));
        assert_eq!(suspects.take_due(end(2), &deadlines).len(), CHECKS_A_TURN);
        assert_eq!(suspects.earliest(), Some(end(2)), "the others are due at once");
        assert_eq!(suspects.take_due(end(2) + moment, &deadlines).len(), 100 - CHECKS_A_TURN);
        assert_eq!(suspects.earliest(), Some(end(3)));
        assert_eq!(suspects.take_due(end(3), &deadlines).len(), 1);
        assert_eq!(suspects.earliest(), None, "nothing is waited for without any");
    }
}
