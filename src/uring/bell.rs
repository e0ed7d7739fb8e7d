//! Waking a worker from another thread.

use std::io;
use std::os::fd::{AsFd, IntoRawFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::ring::Ring;
use super::socket::Descriptor;

/// A signal that any thread sends and one ring receives. An eventfd(2).
#[derive(Debug, Clone)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// A bell that is silent.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self(Arc::new(event)))
    }

    /// Rings the bell until the ring has heard it. Ringing again before that changes nothing.
    pub fn ring(&self) {
        // It can fail only when the counter is full; the bell rings then already.
        let _ = self.0.write(1);
    }

    /// Completes when the bell rings or has rung; the bell is silent again afterwards.
    ///
    /// # Errors
    /// Those of dup(2) and poll(2).
    pub async fn rung(&self, ring: &Ring) -> io::Result<()> {
        let own = self.0.as_fd().try_clone_to_owned()?;
        Descriptor::new(ring, own.into_raw_fd()).poll(libc::POLLIN).await?;
        let _ = self.0.read();
        Ok(())
    }
}
