//! Logging that a resource ran out: at most once a second, with the count since the last line.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::words::words;

words! {
    /// A resource that a worker can run out of.
    pub enum Shortage {
        /// File descriptors, or memory for a socket: accepting or connecting pauses.
        Descriptors = "descriptors",
        /// Receive buffers, all of which are on loan: receiving pauses.
        Buffers = "buffers",
        /// Pipes, all of which are on loan: bulk is copied instead.
        Pipes = "pipes",
    }
}

/// One [`Notice`] per kind.
#[derive(Default)]
pub(super) struct Shortages([Notice; Shortage::ALL.len()]);

#[derive(Default)]
struct Notice {
    last: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

impl Shortages {
    /// Counts a shortage, and logs it if none was logged in the last second.
    pub(super) fn note(&self, shortage: Shortage, now: Instant) {
        let notice = &self.0[shortage as usize];
        let count = notice.unsaid.get() + 1;
        if notice.last.get().is_some_and(|last| now.duration_since(last) < Duration::from_secs(1)) {
            notice.unsaid.set(count);
            return;
        }
        notice.last.set(Some(now));
        notice.unsaid.set(0);
        match shortage {
            Shortage::Descriptors => tracing::warn!(
                count,
                "out of file descriptors; pausing until one is free (raise the limit: ulimit -n, LimitNOFILE=; \
                 or lower the setting max-connections)"
            ),
            Shortage::Buffers => tracing::warn!(
                count,
                "out of receive buffers; connections wait until one is free (raise the setting buffers)"
            ),
            Shortage::Pipes => {
                tracing::debug!(
                    count,
                    "out of pipes; copying bulk until one is free (raise the setting pipes)"
                );
            }
        }
    }
}
