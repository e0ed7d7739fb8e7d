//! Receives that may have missed the death of their connection.
//!
//! A multishot receive waits for the next event as soon as the kernel reports that no more bytes are there. That report
//! accounts for the end of the stream (`tcp_inq_hint`) but not for a reset; a reset that has already arrived causes no
//! further event, and the receive would wait forever (measured on Linux 6.18: 2,481 of 3,000 streams of 40 KB that were
//! reset at their end). So some time after a receive has delivered the last available bytes, the connection is checked,
//! and the receive is cancelled if the connection is dead: the next receive reports why. On Unix sockets the end of the
//! stream is missed as well (2,493 of 3,000; <https://github.com/axboe/liburing/issues/1549>): their receives complete
//! once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ops::Key;

/// How long after the last bytes a connection is checked. It also bounds the checks to one call per this time, however
/// many messages the connection carries.
pub(crate) const SUSPECT_DELAY: Duration = Duration::from_millis(100);

/// The suspect receives, each once.
#[derive(Default)]
pub(super) struct Suspects(RefCell<VecDeque<(Instant, Key)>>);

impl Suspects {
    /// Adds a receive that has delivered all available bytes and continues.
    pub(super) fn add(&self, receive: Key, now: Instant) {
        self.0.borrow_mut().push_back((now + SUSPECT_DELAY, receive));
    }

    /// When the next receive is due to be checked.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.0.borrow().front().map(|(at, _)| *at)
    }

    /// Removes a receive that is due to be checked. It may be over.
    pub(super) fn pop_due(&self, now: Instant) -> Option<Key> {
        if self.earliest()? > now {
            return None;
        }
        self.0.borrow_mut().pop_front().map(|(_, receive)| receive)
    }
}
