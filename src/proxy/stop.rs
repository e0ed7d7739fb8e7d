//! How a worker is told to stop, from another thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::uring::{Bell, Ring};

/// A request to drain; clones are the same request.
#[derive(Debug, Clone)]
pub struct Stop {
    bell: Bell,
    requested: Arc<AtomicBool>,
}

impl Stop {
    /// No request yet.
    ///
    /// # Errors
    /// As eventfd(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self { bell: Bell::new()?, requested: Arc::default() })
    }

    /// Asks the worker to accept nobody any more, and to end when its sessions have.
    pub fn drain(&self) {
        self.requested.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Completes when draining was asked for, or can never be asked for.
    pub(super) async fn drain_requested(&self, ring: &Ring) {
        while !self.requested.load(Ordering::Acquire) {
            if let Err(error) = self.bell.heard(ring).await {
                tracing::error!(%error, "a worker cannot hear when it is to stop, and stops now");
                return;
            }
        }
    }
}
