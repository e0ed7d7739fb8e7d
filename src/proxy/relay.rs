//! Both directions of a session, from the first byte to the last.
//!
//! A direction is in one of two states, and changes between them by what it sees:
//!
//! ```text
//!                    several full receives in a row, and a pipe to be had
//!    small: receive ------------------------------------------------------> bulk: wait for a turn,
//!           into a buffer, send it  <---------------------------------------      splice in, splice out
//!                                     several thin turns, or no pipe
//! ```
//!
//! Small holds a buffer only while bytes are in it; bulk holds a pipe only while bytes are in it or its turn
//! goes on. Neither reads on before what it read was taken: that is the back-pressure.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::connection::{Arrived, Connection};
use super::settings::Splice;
use crate::uring::{Expect, Moved, Pipe, Received, Ring, Socket};

/// Full receives in a row that make a direction bulk.
const FULL_RECEIVES_TO_BULK: u32 = 4;
/// Turns in a row with less than [`THIN_BYTES`] that make it small again.
const THIN_TURNS_TO_SMALL: u32 = 4;
const THIN_BYTES: usize = 16 * 1024;
/// The most that a direction in bulk reads in one turn of its worker.
const BULK_TURN_BYTES_MAX: usize = 1024 * 1024;
/// How long the other side of a half-closed session goes unwatched: nearly all close both ways at once, and
/// are spared the operation.
const HALF_CLOSED_GRACE: Duration = Duration::from_secs(1);

/// One of the two ends of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

/// What went through a session so far.
#[derive(Debug)]
pub(super) struct Meter {
    last_activity: Cell<Instant>,
    pub(super) first_byte: Cell<Option<Instant>>,
    pub(super) upstream_bytes: Cell<u64>,
    pub(super) client_bytes: Cell<u64>,
    pub(super) spliced_bytes: Cell<u64>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_activity: Cell::new(now),
            first_byte: Cell::new(None),
            upstream_bytes: Cell::new(0),
            client_bytes: Cell::new(0),
            spliced_bytes: Cell::new(0),
        }
    }

    fn received(&self, from: Side, now: Instant) {
        self.last_activity.set(now);
        if from == Side::Upstream && self.first_byte.get().is_none() {
            self.first_byte.set(Some(now));
        }
    }

    fn sent(&self, to: Side, bytes: usize, now: Instant) {
        self.last_activity.set(now);
        let total = match to {
            Side::Client => &self.client_bytes,
            Side::Upstream => &self.upstream_bytes,
        };
        total.set(total.get() + bytes as u64);
    }
}

/// How a relay ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Both streams ended and were delivered; this side ended its own first.
    Closed { first: Side },
    /// This side's connection failed.
    Broken { side: Side, error: io::Error },
    /// Nothing went either way for the idle time-out.
    Idle,
}

/// A session's two connections and how to treat them.
pub(super) struct Relay<'a> {
    pub(super) ring: &'a Ring,
    pub(super) client: &'a Connection,
    pub(super) upstream: &'a Connection,
    pub(super) meter: &'a Meter,
    pub(super) splice: Splice,
    pub(super) idle_timeout: Duration,
}

impl Relay<'_> {
    /// Relays until both streams have ended, one breaks, or nothing moves for too long.
    pub(super) async fn run(&self) -> Outcome {
        // How long connecting took has nothing to do with how idle the session is.
        self.meter.last_activity.set(self.ring.now());
        let first_end = Cell::new(None);
        let up = Direction { relay: self, from: Side::Client, to: Side::Upstream, first_end: &first_end };
        let down = Direction { from: Side::Upstream, to: Side::Client, ..up };
        // Each lives in its place and is polled there: combinators that take futures by value would keep
        // several copies of them in every idle session.
        let mut up = pin!(up.run());
        let mut down = pin!(down.run());
        let mut idle = pin!(self.idle());
        poll_fn(|cx| {
            let ended = match up.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(ended),
                Poll::Pending => down.as_mut().poll(cx),
            };
            match ended {
                Poll::Ready(Ok(first)) => Poll::Ready(Outcome::Closed { first }),
                Poll::Ready(Err((side, error))) => Poll::Ready(Outcome::Broken { side, error }),
                Poll::Pending => idle.as_mut().poll(cx).map(|()| Outcome::Idle),
            }
        })
        .await
    }

    /// Completes when nothing has moved for the idle time-out. Looks only when the time could be over: activity
    /// costs a store, never a timer.
    async fn idle(&self) {
        loop {
            let quiet = self.ring.now().duration_since(self.meter.last_activity.get());
            match self.idle_timeout.checked_sub(quiet) {
                None | Some(Duration::ZERO) => return,
                Some(left) => self.ring.sleep(left).await,
            }
        }
    }

    fn connection(&self, side: Side) -> &Connection {
        match side {
            Side::Client => self.client,
            Side::Upstream => self.upstream,
        }
    }
}

type Broken = (Side, io::Error);

/// Bytes one way.
#[derive(Clone, Copy)]
struct Direction<'a> {
    relay: &'a Relay<'a>,
    from: Side,
    to: Side,
    first_end: &'a Cell<Option<Side>>,
}

impl Direction<'_> {
    /// Relays to the end of the stream, passes that on, and completes when the other direction is through as
    /// well. Gives the side that ended first.
    async fn run(&self) -> Result<Side, Broken> {
        self.carry().await?;
        if let Some(first) = self.first_end.get() {
            return Ok(first);
        }
        if !self.from().socket().is_connected() {
            // The other direction got the report of the reset. This end must not be passed on as an orderly one.
            return Err((self.from, io::ErrorKind::ConnectionReset.into()));
        }
        self.first_end.set(Some(self.from));
        self.to().end_stream().await.map_err(|error| (self.to, error))?;
        // The other direction goes on for as long as it likes, and completes the session. But a peer that has
        // ended its stream and then dies has nobody reading from it who would notice.
        self.relay.ring.sleep(HALF_CLOSED_GRACE).await;
        self.from().socket().dead().await.map_err(|error| (self.from, error))?;
        Err((self.from, io::ErrorKind::ConnectionReset.into()))
    }

    /// Relays what has arrived already, and then all that arrives, small and bulk in turns, until the stream ends.
    async fn carry(&self) -> Result<(), Broken> {
        // On the heap what an idle session between plain connections should not carry.
        if !self.from().unread().is_empty() {
            Box::pin(self.send_unread()).await?;
        }
        if self.from().has_tls() || self.to().has_tls() {
            return Box::pin(self.carry_copied()).await;
        }
        let mut expect = if self.from == Side::Client { Expect::Now } else { Expect::Later };
        let mut full_in_a_row = match self.relay.splice {
            Splice::Always => FULL_RECEIVES_TO_BULK,
            Splice::Auto | Splice::Never => 0,
        };
        loop {
            if full_in_a_row >= FULL_RECEIVES_TO_BULK {
                // On the heap: bulk is rare, and an idle session should not carry its state.
                if let Some(pipe) = self.relay.ring.lend_pipe()
                    && Box::pin(self.bulk(pipe)).await? == Bulk::Ended
                {
                    return Ok(());
                }
                full_in_a_row = 0;
                expect = Expect::Now;
            }
            let received = self.from().socket().receive(expect).await.map_err(|error| (self.from, error))?;
            let Some(Received { mut buffer, more }) = received else { return Ok(()) };
            self.relay.meter.received(self.from, self.relay.ring.now());
            full_in_a_row = match self.relay.splice {
                Splice::Always => FULL_RECEIVES_TO_BULK,
                Splice::Auto if buffer.is_full() && more => full_in_a_row + 1,
                Splice::Auto | Splice::Never => 0,
            };
            while !buffer.is_empty() {
                let sent;
                (sent, buffer) = self.to().socket().send(buffer).await.map_err(|error| (self.to, error))?;
                if sent == 0 {
                    self.to().socket().writable().await.map_err(|error| (self.to, error))?;
                    continue;
                }
                buffer.advance(sent);
                self.relay.meter.sent(self.to, sent, self.relay.ring.now());
            }
            expect = if more { Expect::Now } else { Expect::Later };
        }
    }

    /// Sends what was received while somebody looked at it, or decrypted.
    async fn send_unread(&self) -> Result<(), Broken> {
        loop {
            let sent = self.to().send_now(&self.from().unread()).map_err(|error| (self.to, error))?;
            if sent > 0 {
                self.from().take(sent);
                self.relay.meter.sent(self.to, sent, self.relay.ring.now());
            }
            if self.from().unread().is_empty() {
                break;
            }
            self.to().socket().writable().await.map_err(|error| (self.to, error))?;
        }
        self.to().flush().await.map_err(|error| (self.to, error))
    }

    /// Between connections of which at least one speaks TLS.
    async fn carry_copied(&self) -> Result<(), Broken> {
        let mut expect = Expect::Later;
        loop {
            match self.from().receive(expect).await.map_err(|error| (self.from, error))? {
                None => return Ok(()),
                Some(Arrived { more }) => expect = if more { Expect::Now } else { Expect::Later },
            }
            self.relay.meter.received(self.from, self.relay.ring.now());
            self.send_unread().await?;
        }
    }

    /// Splices through `pipe`, a bounded share each turn. The pipe goes back while there is nothing to read.
    async fn bulk(&self, mut pipe: Pipe) -> Result<Bulk, Broken> {
        let (from, to) = (self.from().socket(), self.to().socket());
        let ring = self.relay.ring;
        let mut thin_turns = 0;
        loop {
            ring.bulk_turn().await;
            let filled = pipe.fill(from, BULK_TURN_BYTES_MAX).map_err(|error| (self.from, error))?;
            match filled {
                Moved::Bytes(bytes) => {
                    self.relay.meter.received(self.from, ring.now());
                    thin_turns = if bytes < THIN_BYTES { thin_turns + 1 } else { 0 };
                }
                Moved::End => {
                    while pipe.queued_bytes() > 0 {
                        self.drain(&mut pipe, to).await?;
                    }
                    return Ok(Bulk::Ended);
                }
                Moved::Blocked if pipe.queued_bytes() == 0 => {
                    drop(pipe);
                    from.readable().await.map_err(|error| (self.from, error))?;
                    match ring.lend_pipe() {
                        Some(again) => pipe = again,
                        None => return Ok(Bulk::Thin),
                    }
                    continue;
                }
                // The pipe is full.
                Moved::Blocked => {}
            }
            self.drain(&mut pipe, to).await?;
            if thin_turns >= THIN_TURNS_TO_SMALL && pipe.queued_bytes() == 0 {
                return Ok(Bulk::Thin);
            }
        }
    }

    /// Takes out of the pipe what the receiver has room for now, and waits for more room when that was not all.
    /// The kernel calls a socket writable when a third of its buffer is free: trying again at once would move
    /// the same bytes in many small pieces.
    async fn drain(&self, pipe: &mut Pipe, to: &Socket) -> Result<(), Broken> {
        match pipe.drain(to).map_err(|error| (self.to, error))? {
            Moved::Bytes(bytes) => {
                self.relay.meter.sent(self.to, bytes, self.relay.ring.now());
                let spliced = &self.relay.meter.spliced_bytes;
                spliced.set(spliced.get() + bytes as u64);
            }
            Moved::Blocked => {}
            Moved::End => return Err((self.to, io::ErrorKind::WriteZero.into())),
        }
        if pipe.queued_bytes() > 0 {
            to.writable().await.map_err(|error| (self.to, error))?;
        }
        Ok(())
    }

    fn from(&self) -> &Connection {
        self.relay.connection(self.from)
    }

    fn to(&self) -> &Connection {
        self.relay.connection(self.to)
    }
}

/// Why a direction left bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bulk {
    Ended,
    Thin,
}
