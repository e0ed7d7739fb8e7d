//! Logging that a resource ran out: at most once a second, with the count since the last line.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A resource that a worker can run out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// `EMFILE`, `ENFILE`, or no memory for a socket: accepting or connecting pauses.
    Descriptors,
    /// All receive buffers are on loan: receiving pauses.
    Buffers,
    /// All pipes are on loan: bulk is copied instead.
    Pipes,
}

/// One [`Notice`] per kind.
#[derive(Default)]
pub(super) struct Shortages([Notice; 3]);

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
