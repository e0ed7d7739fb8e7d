//! How a worker is told to stop, from another thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::uring::{Bell, Ring};

/// Nothing is asked for, a drain, an end at once: each includes the one before.
const NOTHING: u8 = 0;
const DRAIN: u8 = 1;
const END: u8 = 2;

/// A request to drain, and then to end; clones are the same request.
#[derive(Debug, Clone)]
pub struct Stop {
    bell: Bell,
    requested: Arc<AtomicU8>,
}

impl Stop {
    /// No request yet.
    ///
    /// # Errors
    /// As eventfd(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self { bell: Bell::new()?, requested: Arc::new(AtomicU8::new(NOTHING)) })
    }

    /// Asks the worker to accept nobody any more, and to end when its sessions have.
    pub fn drain(&self) {
        self.request(DRAIN);
    }

    /// Asks the worker to end its sessions where they stand.
    pub fn end(&self) {
        self.request(END);
    }

    fn request(&self, what: u8) {
        self.requested.fetch_max(what, Ordering::Release);
        self.bell.ring();
    }

    /// Completes when draining was asked for, or can never be asked for.
    pub(super) async fn drain_requested(&self, ring: &Ring) {
        self.requested(DRAIN, ring).await;
    }

    /// Completes when an end was asked for, or can never be asked for.
    pub(super) async fn end_requested(&self, ring: &Ring) {
        self.requested(END, ring).await;
    }

    async fn requested(&self, what: u8, ring: &Ring) {
        while self.requested.load(Ordering::Acquire) < what {
            if let Err(error) = self.bell.heard(ring).await {
                tracing::error!(%error, "a worker cannot hear when it is to stop, and stops now");
                return;
            }
        }
    }
}
