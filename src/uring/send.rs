//! Sending: an operation that no task has to wait for.
//!
//! ```text
//!                 all of it is sent
//!    In flight ----------------------> none            wakes only a task that waits for exactly this
//!        |
//!        |    no room, or an error                        taken
//!        +---------------------------> something unsent ---------> none
//! ```
//!
//! A small message is usually sent completely, and then its direction has nothing to do: waking it for that took every
//! other poll of a session. So a send belongs to its socket, one at a time, and is checked before the next.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::buffers::Buffer;
use super::kernel::Operation;
use super::ops::Slot;
use super::socket::{Descriptor, Socket, errno};
use super::task::{Name, polled};

/// The unsent rest of a send.
pub struct Unsent {
    /// The bytes that were not sent, at least one.
    pub buffer: Buffer,
    /// The error of send(2), or none when there is no room now: see [`Socket::writable`].
    pub error: Option<io::Error>,
}

/// A send in the table of operations.
pub(super) struct Send {
    descriptor: Rc<Descriptor>,
    buffer: Buffer,
    course: Course,
}

/// Where a send stands.
enum Course {
    /// The kernel may still read from the buffer. The completion wakes the waiter if it leaves a rest, or in any case.
    InFlight { waiter: Option<Name>, wakes_when_sent: bool },
    /// Over, with its result: not everything was sent.
    Over(i32),
}

impl Send {
    /// Handles the completion and wakes the waiting task. True when everything was sent: the result is not needed then.
    pub(super) fn complete(&mut self, result: i32) -> bool {
        let is_whole = usize::try_from(result) == Ok(self.buffer.len());
        if let Course::InFlight { waiter: Some(waiter), wakes_when_sent } = self.course
            && (!is_whole || wakes_when_sent)
        {
            waiter.wake();
        }
        if is_whole {
            self.descriptor.send.set(None);
        } else {
            self.course = Course::Over(result);
        }
        is_whole
    }

    /// Whether the kernel may still read from the buffer.
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.course, Course::InFlight { .. })
    }

    /// The unsent bytes and the result, if the send is over.
    pub(super) fn into_unsent(self) -> Option<(Buffer, i32)> {
        match self.course {
            Course::InFlight { .. } => None,
            Course::Over(result) => Some((self.buffer, result)),
        }
    }

    /// What must live on until its completion.
    pub(super) fn into_detached(self) -> Slot {
        Slot::Detached { _descriptor: self.descriptor, _buffer: self.buffer }
    }
}

impl Socket {
    /// Sends what there is room for, in one operation. [`sent`](Self::sent) reports the result, and must be called
    /// before the next send.
    ///
    /// # Panics
    /// When a send is in progress already.
    pub fn send(&self, buffer: Buffer) {
        assert!(self.0.send.get().is_none(), "one send at a time: the next could overtake it");
        let operation = Operation::Send { fd: self.0.fd, bytes: buffer.as_ptr(), len: buffer.len() as u32 };
        let send = Send {
            descriptor: Rc::clone(&self.0),
            buffer,
            course: Course::InFlight { waiter: None, wakes_when_sent: false },
        };
        let inner = self.0.ring.inner();
        let key = inner.ops.borrow_mut().insert(Slot::Sending(send));
        self.0.send.set(Some(key));
        inner.kernel.borrow_mut().push(operation, key.user_data());
    }

    /// Waits until the last send is over. True when everything was sent, otherwise
    /// [`take_unsent`](Self::take_unsent) has the rest.
    pub fn sent(&self) -> Sent<'_> {
        Sent(self)
    }

    /// How many bytes of the last send are not known to be sent.
    pub fn unsent_bytes(&self) -> usize {
        let Some(key) = self.0.send.get() else { return 0 };
        match &self.0.ring.inner().ops.borrow_mut().entry(key).slot {
            Slot::Sending(Send { buffer, course: Course::Over(result), .. }) => {
                buffer.len() - (*result).max(0) as usize
            }
            Slot::Sending(send) => send.buffer.len(),
            _ => unreachable!("a send is one until it is over"),
        }
    }

    /// Takes the unsent rest of the last send, if the send is over.
    pub fn take_unsent(&self) -> Option<Unsent> {
        let key = self.0.send.get()?;
        let mut ops = self.0.ring.inner().ops.borrow_mut();
        let (mut buffer, result) = ops.take_unsent(key)?;
        self.0.send.set(None);
        let error = match errno(result) {
            Ok(sent_bytes) => {
                buffer.advance(sent_bytes);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(error),
        };
        Some(Unsent { buffer, error })
    }

    /// Ready when the last send has left a rest; for tasks that wait for something else at the same time.
    pub fn poll_unsent(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.send.get().is_some() && self.set_send_waker(cx, false) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Makes the last send wake the task of `cx`, when it leaves a rest or in any case. True when the send is over.
    fn set_send_waker(&self, cx: &mut Context<'_>, wakes_when_sent: bool) -> bool {
        let Some(key) = self.0.send.get() else { return true };
        let mut ops = self.0.ring.inner().ops.borrow_mut();
        let Slot::Sending(send) = &mut ops.entry(key).slot else {
            unreachable!("a send is one until it is over")
        };
        if send.is_in_flight() {
            send.course = Course::InFlight { waiter: polled(cx), wakes_when_sent };
        }
        !send.is_in_flight()
    }
}

/// Completes when a send is over, with whether everything was sent.
#[must_use = "futures do nothing unless awaited"]
pub struct Sent<'a>(&'a Socket);

impl Future for Sent<'_> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        if self.0.set_send_waker(cx, true) {
            Poll::Ready(self.0.0.send.get().is_none())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::uring::testing::with_peer;
    use crate::uring::{Expect, Ring};

    /// A buffer to send, obtained by receiving, which is the only way.
    async fn a_buffer(socket: &Socket, peer: &mut TcpStream) -> Buffer {
        peer.write_all(b"bytes").expect("a socket with room");
        socket.receive(Expect::Now).await.expect("alive").expect("not ended").buffer
    }

    fn fill(socket: &Socket) {
        while socket.send_now(&[0; 8192]).expect("the peer may still receive") > 0 {}
    }

    fn read_all_available(peer: &mut TcpStream) {
        peer.set_nonblocking(true).expect("a socket");
        while peer.read(&mut [0; 8192]).is_ok() {}
        peer.set_nonblocking(false).expect("a socket");
    }

    #[test]
    fn a_send_that_finds_room_is_complete_and_returns_its_buffer() {
        with_peer(|ring, socket, mut peer| async move {
            socket.send(a_buffer(&socket, &mut peer).await);
            assert_eq!(socket.unsent_bytes(), 5, "the kernel was not entered yet");
            assert!(socket.sent().await);
            assert_eq!((socket.unsent_bytes(), ring.outstanding().buffers), (0, 0));
            let mut arrived = [0; 5];
            peer.read_exact(&mut arrived).expect("connected");
            assert_eq!(&arrived, b"bytes");
        });
    }

    #[test]
    fn a_send_without_room_returns_its_bytes() {
        with_peer(|_ring, socket, mut peer| async move {
            let buffer = a_buffer(&socket, &mut peer).await;
            fill(&socket);
            socket.send(buffer);
            assert!(!socket.sent().await, "there is no room");
            let Unsent { buffer, error } = socket.take_unsent().expect("there is no room");
            assert!(error.is_none(), "{error:?}");
            assert_eq!(&*buffer, b"bytes");
            read_all_available(&mut peer);
            socket.writable().await.expect("a socket can be polled");
            socket.send(buffer);
            assert!(socket.sent().await);
        });
    }

    #[test]
    fn a_failed_send_wakes_a_task_that_waits_for_something_else() {
        with_peer(|ring, socket, mut peer| async move {
            let buffer = a_buffer(&socket, &mut peer).await;
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a socket");
            drop(peer);
            socket.dead().await.expect("a socket can be polled");
            socket.send(buffer);
            std::future::poll_fn(|cx| socket.poll_unsent(cx)).await;
            assert_eq!(socket.unsent_bytes(), 5);
            let unsent = socket.take_unsent().expect("it has failed");
            assert_eq!(unsent.error.map(|error| error.kind()), Some(io::ErrorKind::ConnectionReset));
            drop(unsent.buffer);
            assert_eq!(ring.outstanding().buffers, 0);
        });
    }

    #[test]
    fn a_send_goes_on_when_its_socket_is_dropped() {
        async fn send_and_drop(ring: Ring, socket: Socket, mut peer: TcpStream) {
            socket.send(a_buffer(&socket, &mut peer).await);
            drop(socket);
            ring.sleep(Duration::from_millis(1)).await;
            let mut arrived = Vec::new();
            peer.read_to_end(&mut arrived).expect("closed in order");
            assert_eq!(arrived, b"bytes");
        }
        with_peer(send_and_drop);
    }
}
