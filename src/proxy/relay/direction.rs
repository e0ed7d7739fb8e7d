//! Bytes one way, from one of a session's connections to the other.
//!
//! A direction is in one of two states and changes between them by the traffic:
//!
//! ```text
//!          two full receives in a row, or a long stretch of known length; a free pipe
//!    small: receive ------------------------------------------------------> bulk: wait for a turn,
//!           into a buffer, send it  <---------------------------------------      splice in, splice out
//!                              several thin turns, no pipe, the end, urgent data
//! ```
//!
//! Small holds a buffer only while bytes are in it; bulk holds a pipe only during its turn and while bytes are in it.
//! Neither reads further before the last bytes are taken, except the rest of half a buffer that the kernel may receive
//! ahead (`Socket::receive`): that is the back-pressure.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::pair::Relay;
use super::side::Side;
use crate::proxy::connection::Connection;
use crate::proxy::settings::Splice;
use crate::uring::{Buffer, Expect, Moved, Pipe, Received, Socket, Unsent};

/// How long the other side of a half-closed session is not watched: nearly all sessions close both ways at once, and
/// are spared the operation.
const HALF_CLOSED_GRACE: Duration = Duration::from_secs(1);

/// More bytes than any stream carries.
pub(in crate::proxy) const TO_THE_END: u64 = u64::MAX;
/// Full receives in a row that switch a direction to bulk.
pub(super) const FULL_RECEIVES_TO_BULK: u32 = 2;
/// The least known length that makes a direction bulk from its start. Measured with messages of 64 KiB: splicing takes a
/// third of the CPU of copying through buffers of 16 KiB.
pub(super) const BULK_BYTES_MIN: u64 = 32 * 1024;
/// Turns in a row with less than [`THIN_BYTES`] that switch it back to small.
pub(super) const THIN_TURNS_TO_SMALL: u32 = 4;
pub(super) const THIN_BYTES: usize = 16 * 1024;
/// The most that a direction in bulk reads in one turn of its worker.
const BULK_TURN_BYTES_MAX: usize = 1024 * 1024;
/// The side whose connection failed, and its error.
pub(in crate::proxy) type Broken = (Side, io::Error);

/// Bytes one way.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct Direction<'a> {
    pub(in crate::proxy) relay: &'a Relay<'a>,
    pub(in crate::proxy) from: Side,
    pub(in crate::proxy) to: Side,
}

impl Direction<'_> {
    /// Relays to the end of the stream, forwards the end, and completes when the other direction has ended as well.
    /// Returns the side that ended first.
    #[allow(
        clippy::manual_async_fn,
        reason = "an idle session would carry the arguments of an `async fn` twice"
    )]
    pub(super) fn carry_and_end(self) -> impl Future<Output = Result<Side, Broken>> {
        async move {
            self.carry(TO_THE_END).await?;
            // Boxed: a stream ends once.
            Box::pin(self.end()).await
        }
    }

    /// Forwards the end of the stream.
    async fn end(&self) -> Result<Side, Broken> {
        let first_end = &self.relay.first_end;
        if let Some(first) = first_end.get() {
            if self.is_truncated() {
                self.to().reset_on_close();
            } else if self.to().has_tls() {
                // Without this everything sent would look cut off: wait for room, unless the peer is gone.
                self.to().end();
                let _ = self.to().flush().await;
            }
            if self.from().has_tls() {
                // The end of the other direction's stream may still wait for room.
                let _ = self.from().flush().await;
            }
            return Ok(first);
        }
        self.ended_in_order()?;
        first_end.set(Some(self.from));
        self.to().end_stream().await.map_err(|error| (self.to, error))?;
        // The other direction continues as long as it needs and completes the session. But when a peer has ended its
        // stream and then dies, no read would notice.
        self.relay.ring.sleep(HALF_CLOSED_GRACE).await;
        self.from().socket().dead().await.map_err(|error| (self.from, error))?;
        Err((self.from, io::ErrorKind::ConnectionReset.into()))
    }

    /// Relays `left` bytes, starting with those that have arrived already, by small and bulk in turns. Returns how many
    /// are missing when the stream ended early; [`TO_THE_END`] is never reached.
    pub(in crate::proxy) fn carry(&self, mut left: u64) -> impl Future<Output = Result<u64, Broken>> {
        let this = Discounted(self);
        // What is awaited and rare is boxed, so that an idle session between plain connections does not carry it. A
        // block, because an idle session would carry the arguments of an `async fn` twice.
        async move {
            let is_length_known = left != TO_THE_END;
            if !this.from().unread().is_empty() {
                Box::pin(this.send_unread(&mut left)).await?;
            }
            if this.from().has_tls() || this.to().has_tls() {
                return Box::pin(this.carry_copied(left)).await;
            }
            let mut pace = this.first_pace(is_length_known && left >= BULK_BYTES_MIN);
            while left > 0 {
                // An armed receive continues beside the send. A new one would read bytes ahead that may find no room.
                if !this.from().socket().is_receiving() {
                    this.settle().await?;
                    if pace.full_in_a_row >= FULL_RECEIVES_TO_BULK {
                        pace = Pace { full_in_a_row: 0, expect: Expect::Now };
                        if let Some(bulk) = this.bulk_if_free(&mut left) {
                            bulk.await?;
                            continue;
                        }
                    }
                }
                let Some(received) = this.receive(pace.expect).await else {
                    this.settle().await?;
                    continue;
                };
                match this.forward(received, &mut pace, &mut left)? {
                    Forwarded::Sent => continue,
                    Forwarded::PutBack => {}
                    Forwarded::End => break,
                }
                // Behind the match, whose value an idle session would carry if something were awaited in it.
                this.settle().await?;
                Box::pin(this.send_unread(&mut left)).await?;
            }
            this.settle().await?;
            Ok(left)
        }
    }

    fn first_pace(&self, is_long: bool) -> Pace {
        let expect = if self.from == Side::Client { Expect::Now } else { Expect::Later };
        let full_in_a_row = match self.relay.splice {
            Splice::Always => FULL_RECEIVES_TO_BULK,
            Splice::Auto if is_long => FULL_RECEIVES_TO_BULK,
            Splice::Auto | Splice::Never => 0,
        };
        Pace { full_in_a_row, expect }
    }

    /// Sends what was received, or puts it back. Usually the last send is over before the next message arrives, and more
    /// is left than a message.
    fn forward(
        &self,
        received: io::Result<Option<Received>>,
        pace: &mut Pace,
        left: &mut u64,
    ) -> Result<Forwarded, Broken> {
        let Some(Received { buffer, more }) = received.map_err(|error| (self.from, error))? else {
            return Ok(Forwarded::End);
        };
        self.relay.received(self.from, self.relay.ring.now());
        pace.full_in_a_row = match self.relay.splice {
            Splice::Always => FULL_RECEIVES_TO_BULK,
            Splice::Auto if buffer.is_full() && more => pace.full_in_a_row + 1,
            Splice::Auto | Splice::Never => 0,
        };
        pace.expect = if more { Expect::Now } else { Expect::Later };
        if self.to().socket().unsent_bytes() > 0 || buffer.len() as u64 > *left {
            self.from().put_back(buffer);
            return Ok(Forwarded::PutBack);
        }
        *left -= buffer.len() as u64;
        self.send(buffer);
        Ok(Forwarded::Sent)
    }

    /// The future of [`bulk`](Self::bulk), if a pipe is free.
    fn bulk_if_free<'a>(
        &'a self,
        left: &'a mut u64,
    ) -> Option<Pin<Box<impl Future<Output = Result<(), Broken>>>>> {
        self.relay.ring.lend_pipe().map(|pipe| Box::pin(self.bulk(pipe, left)))
    }

    /// Checks that the sender ended the stream that is over now. A reset that was reported to the other direction looks
    /// like an end and must not be forwarded as one; nor may the end of a TLS connection without `close_notify`.
    ///
    /// # Errors
    /// `UnexpectedEof` for a missing `close_notify`, `ConnectionReset` for a reset.
    pub(in crate::proxy) fn ended_in_order(&self) -> Result<(), Broken> {
        if self.is_truncated() {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "TLS ended without close_notify");
            Err((self.from, error))
        } else if self.from().has_received_close_notify() || self.from().socket().is_connected() {
            Ok(())
        } else {
            Err((self.from, io::ErrorKind::ConnectionReset.into()))
        }
    }

    /// Whether the stream ended without `close_notify`, which anyone on the path can cause (RFC 8446 section 6.1), and
    /// the operator does not accept that.
    pub(in crate::proxy) fn is_truncated(&self) -> bool {
        let from = self.from();
        from.has_tls() && !from.has_received_close_notify() && !self.relay.accepts_missing_close_notify
    }

    /// Receives the next bytes while the last ones are being sent; nothing when a send left some unsent.
    fn receive(&self, expect: Expect) -> impl Future<Output = Option<io::Result<Option<Received>>>> {
        let (mut receiving, to) = (self.from().socket().receive(expect), self.to().socket());
        poll_fn(move |cx| match to.poll_unsent(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => Pin::new(&mut receiving).poll(cx).map(Some),
        })
    }

    /// Sends a buffer; its bytes count as sent until the send settles.
    fn send(&self, buffer: Buffer) {
        self.relay.meter.sent(self.to, buffer.len(), self.relay.ring.now());
        self.to().socket().send(buffer);
    }

    /// Waits until the kernel has taken all that was sent, because bytes sent another way would overtake it.
    async fn settle(&self) -> Result<(), Broken> {
        if self.to().socket().sent().await {
            return Ok(());
        }
        // Boxed, so that a session whose messages find room does not carry it.
        Box::pin(self.send_rest()).await
    }

    async fn send_rest(&self) -> Result<(), Broken> {
        let socket = self.to().socket();
        while let Some(Unsent { mut buffer, error }) = socket.take_unsent() {
            self.relay.meter.not_sent(self.to, buffer.len());
            if let Some(error) = error {
                return Err((self.to, error));
            }
            buffer.park_when_scarce();
            socket.set_held(true);
            socket.writable().await.map_err(|error| (self.to, error))?;
            socket.set_held(false);
            self.send(buffer);
            socket.sent().await;
        }
        Ok(())
    }

    /// Sends what was received by a peek, or decrypted.
    pub(super) async fn send_unread(&self, left: &mut u64) -> Result<(), Broken> {
        loop {
            let due = self.from().unread().len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            if due == 0 {
                break;
            }
            let sent = self.to().send_now(&self.from().unread()[..due]).map_err(|error| (self.to, error))?;
            if sent > 0 {
                self.from().take(sent);
                *left -= sent as u64;
                self.relay.meter.sent(self.to, sent, self.relay.ring.now());
            }
            if sent < due {
                self.to().socket().writable().await.map_err(|error| (self.to, error))?;
            }
        }
        self.to().flush().await.map_err(|error| (self.to, error))
    }

    /// Splices through `pipe`, a bounded share each turn, until all is carried or a receive is due: bytes come thin, or
    /// none come though the socket is readable. The pipe goes back while there is nothing to read.
    ///
    /// splice(2) stops in front of urgent data (tcp(7), `MSG_OOB`), which only a receive can pass: it then moves
    /// nothing and reports `EAGAIN` on a socket that stays readable, the end of the stream where that is queued behind,
    /// or the error of a reset that came with it. So the end that it reports is never trusted.
    async fn bulk(&self, mut pipe: Pipe, left: &mut u64) -> Result<(), Broken> {
        let (from, to) = (self.from().socket(), self.to().socket());
        let ring = self.relay.ring;
        let mut thin_turns = 0;
        let mut is_readable = false;
        loop {
            ring.bulk_turn().await;
            let share = BULK_TURN_BYTES_MAX.min(usize::try_from(*left).unwrap_or(usize::MAX));
            match pipe.fill(from, share) {
                Ok(Moved::Bytes(bytes)) => {
                    self.relay.received(self.from, ring.now());
                    self.to().socket().set_held(pipe.queued_bytes() > 0);
                    *left -= bytes as u64;
                    thin_turns = if bytes < THIN_BYTES { thin_turns + 1 } else { 0 };
                    is_readable = false;
                }
                Ok(Moved::Blocked) if pipe.queued_bytes() > 0 => {
                    // The pipe is full, or holds the bytes before urgent data.
                }
                Ok(Moved::Blocked) if is_readable => break,
                Ok(Moved::Blocked) => {
                    drop(pipe);
                    from.readable().await.map_err(|error| (self.from, error))?;
                    is_readable = true;
                    match ring.lend_pipe() {
                        Some(again) => pipe = again,
                        None => return Ok(()),
                    }
                    continue;
                }
                Ok(Moved::End) => break,
                Err(error) if matches!(from.has_bytes(), Ok(true)) => {
                    self.flush_pipe(&mut pipe, to).await?;
                    // The error is reported once: the end that a receive finds behind the last bytes is not an orderly
                    // one.
                    *left = self.carry_copied(*left).await?;
                    return if *left == 0 { Ok(()) } else { Err((self.from, error)) };
                }
                Err(error) => return Err((self.from, error)),
            }
            if *left == 0 {
                break;
            }
            self.flush_some(&mut pipe, to).await?;
            if thin_turns >= THIN_TURNS_TO_SMALL && pipe.queued_bytes() == 0 {
                return Ok(());
            }
        }
        self.flush_pipe(&mut pipe, to).await
    }

    async fn flush_pipe(&self, pipe: &mut Pipe, to: &Socket) -> Result<(), Broken> {
        while pipe.queued_bytes() > 0 {
            self.flush_some(pipe, to).await?;
        }
        Ok(())
    }

    /// Moves bytes from the pipe to the receiver as far as it has room now, and waits for more room when bytes remain.
    /// The kernel reports a socket writable when a third of its buffer is free: retrying immediately would move the
    /// same bytes in many small pieces.
    async fn flush_some(&self, pipe: &mut Pipe, to: &Socket) -> Result<(), Broken> {
        match pipe.flush(to).map_err(|error| (self.to, error))? {
            Moved::Bytes(bytes) => {
                self.relay.meter.sent(self.to, bytes, self.relay.ring.now());
                self.to().socket().set_held(pipe.queued_bytes() > 0);
                self.relay.meter.spliced(bytes);
            }
            Moved::Blocked => {}
            Moved::End => return Err((self.to, io::ErrorKind::WriteZero.into())),
        }
        if pipe.queued_bytes() > 0 {
            to.writable().await.map_err(|error| (self.to, error))?;
        }
        Ok(())
    }

    pub(in crate::proxy) fn from(&self) -> &Connection {
        self.relay.connection(self.from)
    }

    pub(in crate::proxy) fn to(&self) -> &Connection {
        self.relay.connection(self.to)
    }
}

/// What the last receives say of the next one.
struct Pace {
    full_in_a_row: u32,
    expect: Expect,
}

/// What became of received bytes.
enum Forwarded {
    Sent,
    /// They are unread: the last send is not over, or fewer are left to relay.
    PutBack,
    /// There were none: the stream has ended.
    End,
}

/// A direction while it relays. Takes unsent bytes off the count of sent ones, however that ends.
struct Discounted<'a>(&'a Direction<'a>);

impl<'a> Deref for Discounted<'a> {
    type Target = Direction<'a>;

    fn deref(&self) -> &Direction<'a> {
        self.0
    }
}

impl Drop for Discounted<'_> {
    fn drop(&mut self) {
        self.relay.meter.not_sent(self.to, self.to().socket().unsent_bytes());
    }
}
