//! Listening sockets, and the clients that they accept.
//!
//! ```text
//!   Listener::accept --> NewClient --stay--> Socket: it ends with the session that owns it
//!                           '-leave--> LooseClient --on another ring--> NewClient
//! ```

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use super::address::Address;
use super::ring::Ring;
use super::socket::{Descriptor, Socket};

/// A listening socket.
pub struct Listener {
    descriptor: Rc<Descriptor>,
    /// None where a simulated kernel hands out its own descriptors.
    socket: Option<Arc<OwnedFd>>,
}

impl Listener {
    /// Listens on a non-blocking socket, which is closed when this and all other owners are gone.
    pub fn new(ring: &Ring, socket: Arc<OwnedFd>) -> Self {
        Self { descriptor: Descriptor::shared(ring, socket.as_raw_fd()), socket: Some(socket) }
    }

    /// A listener of a kernel that hands out its own descriptors.
    #[cfg(test)]
    pub(super) fn on_descriptor(ring: &Ring, fd: std::os::fd::RawFd) -> Self {
        Self { descriptor: Descriptor::new(ring, fd), socket: None }
    }

    /// Waits until a client can be accepted.
    ///
    /// # Errors
    /// Those of poll(2).
    pub async fn readable(&self) -> io::Result<()> {
        // The kernel may still read the descriptor's number from the queue when the last owner is gone.
        let held = || self.socket.clone();
        self.descriptor.poll_holding(libc::POLLIN, held).await.map(|_events| ())
    }

    /// Whether a client waits to be accepted now.
    pub fn has_waiting(&self) -> bool {
        let Descriptor { ring, fd, .. } = &*self.descriptor;
        ring.inner().kernel.borrow_mut().has_waiting(*fd)
    }

    /// Accepts one client if one waits. Accepted sockets inherit their options from the listening one.
    ///
    /// # Errors
    /// `WouldBlock` when no client waits, otherwise those of accept4(2).
    pub fn accept(&self) -> io::Result<NewClient> {
        let Descriptor { ring, fd, .. } = &*self.descriptor;
        let (fd, address) = ring.inner().kernel.borrow_mut().accept(*fd)?;
        let address = Address::from_sock_addr(&address).unwrap_or(Address::Unix(std::path::PathBuf::new()));
        Ok(NewClient { descriptor: Descriptor::connected(ring, fd, &address), address })
    }
}

/// A client that was accepted and for which nothing has been done: another thread's ring can still serve it.
pub struct NewClient {
    descriptor: Rc<Descriptor>,
    address: Address,
}

impl NewClient {
    /// Its connection, which stays on this ring, and its address.
    pub fn stay(self) -> (Socket, Address) {
        let Self { descriptor, address } = self;
        (Socket(descriptor), address)
    }

    /// Takes it off this ring.
    pub fn leave(self) -> LooseClient {
        let Self { descriptor, address } = self;
        let Some(mut descriptor) = Rc::into_inner(descriptor) else {
            unreachable!("an operation for a client for which nothing has been done")
        };
        descriptor.is_shared = true;
        // SAFETY: accept4(2) has returned it, and its only owner, the descriptor, does not close it any more. (A simulated
        // kernel has one worker, so that no client leaves it.)
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor.fd) };
        LooseClient { socket, address }
    }
}

/// A [`NewClient`] that is on no ring. Dropping it closes the connection.
#[derive(Debug)]
pub struct LooseClient {
    socket: OwnedFd,
    address: Address,
}

impl LooseClient {
    /// One that no listener has accepted.
    #[cfg(test)]
    pub(crate) fn of(socket: OwnedFd) -> Self {
        Self { socket, address: Address::Unix(std::path::PathBuf::new()) }
    }

    /// Puts it on this ring.
    pub fn on(self, ring: &Ring) -> NewClient {
        let Self { socket, address } = self;
        NewClient { descriptor: Descriptor::connected(ring, socket.into_raw_fd(), &address), address }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::uring::testing::with_peer;

    /// Accepts a client of a new listener on `ring`.
    async fn accepted(ring: &Ring) -> (NewClient, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let listener = Listener::new(ring, Arc::new(listener.into()));
        listener.readable().await.expect("a socket can be polled");
        (listener.accept().expect("one waits"), peer)
    }

    #[test]
    fn a_client_can_leave_for_another_ring_and_keeps_its_connection() {
        with_peer(|ring, _socket, _peer| async move {
            let (client, mut peer) = accepted(&ring).await;
            let loose = client.leave();
            let other = thread::spawn(|| {
                with_peer(|ring, _socket, _peer| async move {
                    let (socket, address) = loose.on(&ring).stay();
                    assert_eq!(socket.send_now(b"here").expect("it is connected"), 4, "sent to {address}");
                });
            });
            other.join().expect("it was sent");
            let mut all = Vec::new();
            peer.read_to_end(&mut all).expect("the end, when the other ring is gone");
            assert_eq!(all, b"here");
        });
    }

    #[test]
    fn a_client_that_has_left_and_is_served_by_none_is_closed_once() {
        with_peer(|ring, _socket, _peer| async move {
            let (client, mut peer) = accepted(&ring).await;
            drop(client.leave());
            assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0);
            // Its number is free for another one, which the ring must not close again.
            let (client, mut peer) = accepted(&ring).await;
            peer.write_all(b"here").expect("it is connected");
            let (socket, _) = client.leave().on(&ring).stay();
            socket.readable().await.expect("a socket can be polled");
            assert!(socket.has_bytes().expect("it is alive"));
        });
    }
}
