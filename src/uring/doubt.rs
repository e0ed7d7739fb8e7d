//! Receives that may have missed the death of their connection.
//!
//! One that completes several times waits for the next event as soon as the kernel says that nothing more is there.
//! That takes an end of the stream into account (`tcp_inq_hint`) and a reset not; a reset that was there already
//! brings no other event, and the receive would wait for ever (measured on Linux 6.18: 2,481 of 3,000 streams of 40 KB
//! that were reset at their end). So a while after it has brought the last bytes there were, the connection is
//! looked at, and the receive is cancelled if that is dead: the next one is told why. On Unix sockets the end of the
//! stream is missed as well (2,493 of 3,000; <https://github.com/axboe/liburing/issues/1549>): their receives
//! complete once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ops::Key;

/// How long after the last bytes a connection is looked at: a call for each that often at most, however many messages
/// go over it.
pub(crate) const DOUBT: Duration = Duration::from_millis(100);

/// The receives in doubt, each once.
#[derive(Default)]
pub(super) struct Doubts(RefCell<VecDeque<(Instant, Key)>>);

impl Doubts {
    /// This receive has brought what there was, and goes on.
    pub(super) fn add(&self, receive: Key, now: Instant) {
        self.0.borrow_mut().push_back((now + DOUBT, receive));
    }

    /// When the next one is to be looked at.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.0.borrow().front().map(|(at, _)| *at)
    }

    /// Takes one out that is to be looked at now. It may be over.
    pub(super) fn pop_due(&self, now: Instant) -> Option<Key> {
        if self.earliest()? > now {
            return None;
        }
        self.0.borrow_mut().pop_front().map(|(_, receive)| receive)
    }
}
