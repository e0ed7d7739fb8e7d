//! Waking a worker from another thread.

use std::io;
use std::os::fd::{AsFd, IntoRawFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::ring::Ring;
use super::socket::Descriptor;

/// Rung by any thread, heard by one ring. An eventfd(2).
#[derive(Debug, Clone)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// A bell that is silent.
    ///
    /// # Errors
    /// As eventfd(2).
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self(Arc::new(event)))
    }

    /// Rings, until it was heard. Ringing it again before that changes nothing.
    pub fn ring(&self) {
        // It can only fail when the counter is full, and then it rings.
        let _ = self.0.write(1);
    }

    /// Completes when the bell rings or has rung; silent again afterwards.
    ///
    /// # Errors
    /// As dup(2) and poll(2).
    pub async fn heard(&self, ring: &Ring) -> io::Result<()> {
        let own = self.0.as_fd().try_clone_to_owned()?;
        Descriptor::new(ring, own.into_raw_fd()).poll(libc::POLLIN).await?;
        let _ = self.0.read();
        Ok(())
    }
}
