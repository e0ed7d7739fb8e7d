//! Waking a worker from another thread.

use std::io;
use std::os::fd::{AsFd, IntoRawFd};
use std::rc::Rc;
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

    /// The receiving end, in a ring. It has a descriptor of its own, so that hearing the bell needs none later, when
    /// there may be none.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn listen(&self, ring: &Ring) -> io::Result<Hearing> {
        let own = self.0.as_fd().try_clone_to_owned()?;
        Ok(Hearing { bell: self.clone(), descriptor: Descriptor::new(ring, own.into_raw_fd()) })
    }
}

/// The end of a [`Bell`] that hears it.
pub struct Hearing {
    bell: Bell,
    descriptor: Rc<Descriptor>,
}

impl Hearing {
    /// Completes when the bell rings or has rung; the bell is silent again afterwards.
    ///
    /// # Errors
    /// Those of poll(2).
    pub async fn rung(&self) -> io::Result<()> {
        self.descriptor.poll(libc::POLLIN).await?;
        let Bell(event) = &self.bell;
        let _ = event.read();
        Ok(())
    }
}
