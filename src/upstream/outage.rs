//! Clients of a group that has no server left: said when it begins and when it ends, and counted in between.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// See the module docs. All workers share it.
#[derive(Debug, Default)]
pub struct Outage {
    has_begun: AtomicBool,
    refused: AtomicU64,
}

impl Outage {
    /// A client is refused.
    pub(super) fn refuse(&self, group: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.begin(group);
    }

    /// No server is left.
    pub(super) fn begin(&self, group: &str) {
        if !self.has_begun.swap(true, Ordering::Relaxed) {
            tracing::error!(group, "group has no server left; refusing its clients");
        }
    }

    /// A server is there.
    pub(super) fn end(&self, group: &str) {
        // Usually there was always one: then nothing is written, which other workers would have to read again.
        if self.has_begun.load(Ordering::Relaxed) && self.has_begun.swap(false, Ordering::Relaxed) {
            let refused = self.refused.swap(0, Ordering::Relaxed);
            tracing::info!(group, refused, "group has a server again");
        }
    }
}
