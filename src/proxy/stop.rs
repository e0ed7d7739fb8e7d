//! The request to stop that another thread sends to a worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::uring::{Bell, Ring};

/// Nothing requested, a drain, an immediate end: each includes the one before.
const NOTHING: u8 = 0;
const DRAIN: u8 = 1;
const END: u8 = 2;

/// A request to drain and then to end; clones share one request.
#[derive(Debug, Clone)]
pub struct Stop {
    bell: Bell,
    requested: Arc<AtomicU8>,
}

impl Stop {
    /// Nothing requested yet.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self { bell: Bell::new()?, requested: Arc::new(AtomicU8::new(NOTHING)) })
    }

    /// Asks the worker to stop accepting, and to end when its sessions have ended.
    pub fn drain(&self) {
        self.request(DRAIN);
    }

    /// Asks the worker to end its sessions immediately.
    pub fn end(&self) {
        self.request(END);
    }

    fn request(&self, what: u8) {
        self.requested.fetch_max(what, Ordering::Release);
        self.bell.ring();
    }

    /// Completes when a drain was requested, or can never be requested.
    pub(super) async fn drain_requested(&self, ring: &Ring) {
        self.requested(DRAIN, ring).await;
    }

    /// Completes when an end was requested, or can never be requested.
    pub(super) async fn end_requested(&self, ring: &Ring) {
        self.requested(END, ring).await;
    }

    async fn requested(&self, what: u8, ring: &Ring) {
        while self.requested.load(Ordering::Acquire) < what {
            if let Err(error) = self.bell.rung(ring).await {
                tracing::error!(%error, "worker cannot receive stop requests; stopping now");
                return;
            }
        }
    }
}
