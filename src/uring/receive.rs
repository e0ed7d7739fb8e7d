//! Receiving: the one operation that stays with its socket and may complete several times.
//!
//! ```text
//!              bytes                        bytes (the last)          the end, an error, no buffer
//!   Armed ------------> Armed, arrived ------------------> arrived ---+
//!     |                    | taken                            | taken |
//!     |                    v                                  v       v
//!     |                  Armed                              none    reported, none
//! ```
//!
//! Where the kernel supports it (see [`Operation::Receive`]) a receive that waited for bytes stays armed until half a
//! buffer has arrived: the messages of an exchange then cost one send each, and a receive now and then. Bytes that
//! arrive while no task takes them are collected in one buffer, which has room for all of them: a connection holds no
//! more than that, however many small pieces its peer sends, and none of the worker's buffers when those are scarce.
//! Such a receive may miss that its connection is dead: `suspect.rs` then has it cancelled, and the next receive reports
//! it.

use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::buffers::{Buffer, BufferReturned};
use super::kernel::{Completion, Operation};
use super::ops::{Held, Slot, abandon};
use super::shortage::Shortage;
use super::socket::{Descriptor, Socket, errno};
use super::task::{Name, polled};

/// When bytes are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Probably some have arrived: try first.
    Now,
    /// Probably none have arrived: wait before trying, which saves a failed attempt.
    Later,
}

/// Bytes from a socket.
pub struct Received {
    /// The bytes, at least one.
    pub buffer: Buffer,
    /// Whether more bytes were waiting.
    pub more: bool,
}

/// A receive in the table of operations, and what it has delivered.
pub(super) struct Receive {
    descriptor: Rc<Descriptor>,
    course: Course,
    /// Bytes that have arrived and were not taken.
    arrived: Option<Received>,
}

/// Where a receive stands.
#[derive(Clone, Copy)]
enum Course {
    /// The kernel has it. The next completion wakes the waiter.
    Armed { waiter: Option<Name> },
    /// The same, and its connection must be checked; see `suspect.rs`.
    Suspect { waiter: Option<Name> },
    /// Over, with the result of its last completion.
    Over(i32),
}

/// The result of polling a receive.
enum News {
    Bytes(Received),
    /// No bytes: 0 for the end of the stream, otherwise a negative errno.
    NoBytes(i32),
}

impl Receive {
    /// Whether the kernel may still name it.
    pub(super) fn is_armed(&self) -> bool {
        !matches!(self.course, Course::Over(_))
    }

    /// What must live on until its last completion.
    pub(super) fn into_held(self) -> Held {
        Held { _descriptor: self.descriptor, _socket: None }
    }

    /// Handles a completion with the buffer that it names, and wakes the waiting task. True when the receive is
    /// suspect from now on.
    pub(super) fn complete(&mut self, completion: &Completion, buffer: Option<Buffer>) -> bool {
        let waiter = self.set_waiter(None);
        if completion.last {
            self.course = Course::Over(completion.result);
        }
        let more = completion.more;
        match (buffer, &mut self.arrived) {
            // A buffer that was picked and not written to.
            (Some(_), _) if completion.result <= 0 => {}
            (Some(buffer), None) => self.arrived = Some(Received { buffer, more }),
            (Some(buffer), Some(arrived)) => {
                arrived.buffer.append(&buffer);
                arrived.more = more;
            }
            (None, _) => {}
        }
        match (waiter, &mut self.arrived) {
            (Some(waiter), _) => waiter.wake(),
            // No task waits: a busy task may stay busy for long.
            (None, Some(arrived)) => arrived.buffer.park_when_scarce(),
            (None, None) => {}
        }
        let Course::Armed { waiter } = self.course else { return false };
        if !more {
            self.course = Course::Suspect { waiter };
        }
        !more
    }

    /// Clears the suspect mark and returns the descriptor, if the receive is still armed.
    pub(super) fn clear_suspect(&mut self) -> Option<RawFd> {
        if let Course::Suspect { waiter } = self.course {
            self.course = Course::Armed { waiter };
        }
        self.is_armed().then_some(self.descriptor.fd)
    }

    /// Sets who waits for the next completion, if there will be one, and returns who did.
    fn set_waiter(&mut self, next: Option<Name>) -> Option<Name> {
        match &mut self.course {
            Course::Armed { waiter } | Course::Suspect { waiter } => std::mem::replace(waiter, next),
            Course::Over(_) => None,
        }
    }
}

impl Socket {
    /// Receives what has arrived, at most one buffer; nothing at the end of the stream. When the worker has no buffer
    /// left it waits for one, first come first served. Errors are those of recv(2).
    pub fn receive(&self, expect: Expect) -> Receiving<'_> {
        Receiving { socket: self, poll_first: expect == Expect::Later, waits: false, short: None }
    }

    /// Whether the kernel receives for this socket or received bytes are pending. Nothing else may take bytes from it
    /// then.
    pub fn is_receiving(&self) -> bool {
        self.0.receive.get().is_some()
    }

    /// Whether a receive has delivered bytes that were not taken.
    pub fn holds_bytes(&self) -> bool {
        matches!(self.has_received(), Ok(true))
    }

    /// Whether a receive has delivered bytes that were not taken; fails with the error that ended the receive.
    pub(super) fn has_received(&self) -> io::Result<bool> {
        let Some(key) = self.0.receive.get() else { return Ok(false) };
        let mut ops = self.0.ring.inner().ops.borrow_mut();
        match &ops.entry(key).slot {
            Slot::Receiving(Receive { arrived: Some(_), .. }) => Ok(true),
            Slot::Receiving(Receive { course: Course::Over(result), .. }) if !must_retry(*result) => {
                errno(*result).map(|_zero| false)
            }
            _ => Ok(false),
        }
    }

    fn poll_receive(&self, cx: &mut Context<'_>, poll_first: bool) -> Poll<News> {
        let inner = self.0.ring.inner();
        let mut ops = inner.ops.borrow_mut();
        let Some(key) = self.0.receive.get() else {
            let receive = Receive {
                descriptor: Rc::clone(&self.0),
                course: Course::Armed { waiter: polled(cx) },
                arrived: None,
            };
            let key = ops.insert(Slot::Receiving(receive));
            self.0.receive.set(Some(key));
            let operation = if poll_first && self.0.receives_several {
                Operation::ReceiveSeveral { fd: self.0.fd }
            } else {
                Operation::Receive { fd: self.0.fd, poll_first }
            };
            inner.kernel.borrow_mut().push(operation, key.user_data());
            return Poll::Pending;
        };
        let Slot::Receiving(receive) = &mut ops.entry(key).slot else {
            unreachable!("a receive is one until it is given up")
        };
        let news = match (receive.arrived.take(), receive.course) {
            (Some(received), Course::Over(1..)) => News::Bytes(received),
            // It continues, or the next poll reports what ended it.
            (Some(received), _) => return Poll::Ready(News::Bytes(received)),
            (None, Course::Over(result)) => News::NoBytes(result),
            (None, Course::Armed { .. } | Course::Suspect { .. }) => {
                receive.set_waiter(polled(cx));
                return Poll::Pending;
            }
        };
        ops.free(key);
        self.0.receive.set(None);
        Poll::Ready(news)
    }
}

impl Socket {
    /// Notes that no task waits for the receive for now.
    fn stop_waiting(&self) {
        let Some(key) = self.0.receive.get() else { return };
        let mut ops = self.0.ring.inner().ops.borrow_mut();
        if let Slot::Receiving(receive) = &mut ops.entry(key).slot {
            receive.set_waiter(None);
            if let Some(arrived) = &mut receive.arrived {
                arrived.buffer.park_when_scarce();
            }
        }
    }
}

/// Whether a result concerns the worker's ring and not the connection.
fn must_retry(result: i32) -> bool {
    // A receive is cancelled because it had missed that its connection is dead.
    result == -libc::ENOBUFS || result == -libc::ECANCELED
}

/// Completes with bytes, or nothing at the end of the stream. Dropping it loses no bytes: the next one gets them.
#[must_use = "futures do nothing unless awaited"]
pub struct Receiving<'a> {
    socket: &'a Socket,
    poll_first: bool,
    /// Whether a completion wakes it.
    waits: bool,
    /// Set while no buffer is free; boxed, since that is rare and idle connections carry this.
    short: Option<Box<BufferReturned>>,
}

impl Future for Receiving<'_> {
    type Output = io::Result<Option<Received>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(short) = &mut this.short {
                ready!(Pin::new(&mut **short).poll(cx));
                this.short = None;
                this.poll_first = false;
            }
            let news = this.socket.poll_receive(cx, this.poll_first);
            this.waits = news.is_pending();
            match ready!(news) {
                News::Bytes(received) => return Poll::Ready(Ok(Some(received))),
                News::NoBytes(result) if !must_retry(result) => {
                    return Poll::Ready(errno(result).map(|_zero| None));
                }
                News::NoBytes(result) if result == -libc::ECANCELED => this.poll_first = false,
                // When tried without waiting, a receive fails for lack of a buffer even if there is nothing to receive.
                // After waiting, the failure means that bytes have arrived.
                News::NoBytes(_) if !this.poll_first => this.poll_first = true,
                News::NoBytes(_) => {
                    let ring = &this.socket.0.ring;
                    if ring.inner().loans.all_lent() {
                        ring.note_shortage(Shortage::Buffers);
                    }
                    this.short = Some(Box::new(BufferReturned::new(ring)));
                }
            }
        }
    }
}

/// While the task does something else, arriving bytes must not occupy one of the worker's buffers.
impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        if self.waits {
            self.socket.stop_waiting();
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(key) = self.0.receive.get() {
            abandon(&self.0.ring, key);
        }
        if let Some(key) = self.0.send.get() {
            self.0.ring.inner().ops.borrow_mut().detach(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpStream};
    use std::time::Duration;

    use futures_lite::future::{or, zip};

    use super::*;
    use crate::uring::Ring;
    use crate::uring::testing::{BUFFER_BYTES, BUFFERS, with_peer, with_unix_peer};

    async fn a_while(ring: &Ring) {
        ring.sleep(Duration::from_millis(20)).await;
    }

    /// Sends pieces that do not merge on the way.
    async fn send_pieces(ring: &Ring, peer: &mut TcpStream, pieces: &[&[u8]]) {
        peer.set_nodelay(true).expect("a socket");
        for piece in pieces {
            peer.write_all(piece).expect("a socket with room");
            a_while(ring).await;
        }
    }

    /// Leaves a receive armed afterwards, where the kernel can do that.
    async fn exchange_one_byte(ring: &Ring, socket: &Socket, peer: &mut TcpStream) {
        let (received, ()) = zip(socket.receive(Expect::Later), send_pieces(ring, peer, &[b"1"])).await;
        assert_eq!(&*received.expect("alive").expect("not ended").buffer, b"1");
    }

    /// Receives to the end of the stream.
    async fn receive_all(socket: &Socket) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(received) = socket.receive(Expect::Later).await.expect("an orderly end") {
            all.extend_from_slice(&received.buffer);
        }
        all
    }

    #[test]
    fn untaken_pieces_are_collected_in_one_buffer() {
        with_peer(|ring, socket, mut peer| async move {
            exchange_one_byte(&ring, &socket, &mut peer).await;
            send_pieces(&ring, &mut peer, &[b"2", b"34", b"5", b"6", b"7"]).await;
            let held = ring.outstanding().buffers;
            assert!(held <= 1, "{held} buffers were held");
            peer.shutdown(Shutdown::Write).expect("connected");
            assert_eq!(receive_all(&socket).await, b"234567");
            assert_eq!(ring.outstanding().buffers, 0);
        });
    }

    #[test]
    fn a_receive_that_is_dropped_loses_nothing() {
        with_peer(|ring, socket, mut peer| async move {
            let dropped = async {
                let _never = socket.receive(Expect::Later).await;
                true
            };
            let waited = async {
                a_while(&ring).await;
                false
            };
            assert!(!or(dropped, waited).await, "there was nothing to receive");
            assert!(socket.is_receiving());
            send_pieces(&ring, &mut peer, &[b"kept"]).await;
            assert!(socket.has_bytes().expect("alive"));
            peer.shutdown(Shutdown::Write).expect("connected");
            assert_eq!(receive_all(&socket).await, b"kept");
        });
    }

    #[test]
    fn an_untaken_flood_stays_in_the_kernel_except_for_one_buffer() {
        with_peer(|ring, socket, mut peer| async move {
            exchange_one_byte(&ring, &socket, &mut peer).await;
            peer.set_nonblocking(true).expect("a socket");
            let flood = vec![7; 4 * BUFFER_BYTES as usize];
            while peer.write(&flood).is_ok() {}
            a_while(&ring).await;
            let held = ring.outstanding().buffers;
            assert!(held <= 1, "{held} buffers were held");
            let next = socket.receive(Expect::Now).await.expect("alive").expect("not ended");
            assert!(next.buffer.len() <= BUFFER_BYTES as usize, "{} bytes were held", next.buffer.len());
            assert!(!socket.is_receiving(), "a receive continues after half a buffer");
        });
    }

    #[test]
    fn bytes_are_parked_when_buffers_are_scarce() {
        with_peer(|ring, socket, mut peer| async move {
            let mut held = Vec::new();
            for _ in 0..BUFFERS {
                send_pieces(&ring, &mut peer, &[b"held"]).await;
                let received = socket.receive(Expect::Now).await.expect("alive").expect("not ended");
                held.push(received.buffer);
            }
            for buffer in &mut held {
                buffer.park_when_scarce();
            }
            assert_eq!(ring.outstanding().buffers, usize::from(BUFFERS / 2));
            assert!(held.iter().all(|buffer| **buffer == *b"held"));
            held[0].advance(2);
            assert_eq!(&*held[0], b"ld");
        });
    }

    #[test]
    fn bytes_for_a_receive_that_was_dropped_are_parked_when_buffers_are_scarce() {
        with_peer(|ring, socket, mut peer| async move {
            let mut held = Vec::new();
            for _ in 1..BUFFERS {
                send_pieces(&ring, &mut peer, &[b"held"]).await;
                let received = socket.receive(Expect::Now).await.expect("alive").expect("not ended");
                held.push(received.buffer);
            }
            let dropped = async { socket.receive(Expect::Later).await.is_ok() };
            let waited = async {
                a_while(&ring).await;
                false
            };
            assert!(!or(dropped, waited).await, "there was nothing to receive");
            send_pieces(&ring, &mut peer, &[b"late"]).await;
            assert_eq!(ring.outstanding().buffers, usize::from(BUFFERS) - 1, "buffers that are lent (left)");
            peer.shutdown(Shutdown::Write).expect("connected");
            assert_eq!(receive_all(&socket).await, b"late");
        });
    }

    /// Receives to the end, with the error if there was one; nothing when no end is reported for long.
    async fn receive_to_the_end(ring: &Ring, socket: &Socket) -> Option<(Vec<u8>, Option<io::ErrorKind>)> {
        let received = async {
            let mut all = Vec::new();
            let error = loop {
                match socket.receive(Expect::Later).await {
                    Ok(Some(received)) => all.extend_from_slice(&received.buffer),
                    Ok(None) => break None,
                    Err(error) => break Some(error.kind()),
                }
            };
            Some((all, error))
        };
        let waited = async {
            ring.sleep(Duration::from_secs(10)).await;
            None
        };
        or(received, waited).await
    }

    #[test]
    fn a_reset_that_is_there_with_the_last_bytes_is_reported_after_them() {
        with_peer(|ring, socket, mut peer| async move {
            peer.write_all(b"last").expect("a socket with room");
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a socket");
            drop(peer);
            let (all, error) = receive_to_the_end(&ring, &socket).await.expect("the reset is missed");
            assert_eq!((&*all, error), (&b"last"[..], Some(io::ErrorKind::ConnectionReset)));
        });
    }

    #[test]
    fn an_end_that_is_there_with_the_last_bytes_is_reported_after_them() {
        with_peer(|ring, socket, mut peer| async move {
            peer.write_all(b"last").expect("a socket with room");
            peer.shutdown(Shutdown::Write).expect("connected");
            let (all, error) = receive_to_the_end(&ring, &socket).await.expect("the end is missed");
            assert_eq!((&*all, error), (&b"last"[..], None));
        });
    }

    #[test]
    fn the_end_of_a_unix_stream_that_is_there_with_the_last_bytes_is_reported_after_them() {
        with_unix_peer(|ring, socket, mut peer| async move {
            peer.write_all(b"last").expect("a socket with room");
            peer.shutdown(Shutdown::Write).expect("connected");
            let (all, error) = receive_to_the_end(&ring, &socket).await.expect("the end is missed");
            assert_eq!((&*all, error), (&b"last"[..], None));
        });
    }
}
