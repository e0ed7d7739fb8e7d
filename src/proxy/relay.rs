//! Both directions of a session at once, from the first byte to the last.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::connection::{Connection, cut};
use super::direction::{Broken, Direction, TO_THE_END};
use super::meter::{Meter, Side};
use super::settings::Splice;
use crate::uring::{Parts, Ring};

/// How long the other side of a half-closed session is not watched: nearly all sessions close both ways at once, and
/// are spared the operation.
const HALF_CLOSED_GRACE: Duration = Duration::from_secs(1);

/// How a relay ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Both streams ended and were delivered; `first` is the side that ended its stream first.
    Closed { first: Side },
    /// This side's connection failed.
    Broken { side: Side, error: io::Error },
    /// No byte moved either way for the idle time-out.
    Idle,
}

/// What is reset when a session is dropped before its end, because the drain time-out expired or the process stops
/// immediately. An incomplete stream must not look complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    /// Nothing: the session has reached an end that decides how the connections are closed.
    Nothing,
    /// Both connections, if any bytes are on the way; nothing else is known of the streams.
    InFlight,
    /// Both connections: a message is in progress, even if all bytes of it so far have arrived.
    All,
}

/// A session's two connections and how to treat them.
pub(super) struct Relay<'a> {
    pub(super) ring: &'a Ring,
    pub(super) client: &'a Connection,
    pub(super) upstream: &'a Connection,
    pub(super) meter: &'a Meter,
    pub(super) splice: Splice,
    pub(super) idle_timeout: Duration,
    pub(super) accepts_missing_close_notify: bool,
    pub(super) reset: Cell<Reset>,
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        match self.reset.get() {
            Reset::Nothing => {}
            Reset::InFlight => cut(self.client, self.upstream),
            Reset::All => {
                self.client.reset_on_close();
                self.upstream.reset_on_close();
            }
        }
    }
}

impl Relay<'_> {
    /// Relays until both streams have ended, one breaks, or nothing moves for too long.
    pub(super) async fn run(&self) -> Outcome {
        self.reset.set(Reset::InFlight);
        // The time that connecting took does not count as idle.
        self.meter.begin(self.ring.now());
        let first_end = Cell::new(None);
        let up = Direction { relay: self, from: Side::Client, to: Side::Upstream };
        let down = Direction { relay: self, from: Side::Upstream, to: Side::Client };
        // Each future is pinned in place and polled there: combinators that take futures by value would keep several
        // copies of them in every idle session.
        let mut up = pin!(up.carry_and_end(&first_end));
        let mut down = pin!(down.carry_and_end(&first_end));
        let mut idle = pin!(self.idle());
        let mut parts = Parts::default();
        let outcome = poll_fn(move |cx| {
            let ended = match parts.poll(1, up.as_mut(), cx) {
                Poll::Ready(ended) => Poll::Ready(ended),
                Poll::Pending => parts.poll(2, down.as_mut(), cx),
            };
            match ended {
                Poll::Ready(Ok(first)) => Poll::Ready(Outcome::Closed { first }),
                Poll::Ready(Err((side, error))) => Poll::Ready(Outcome::Broken { side, error }),
                Poll::Pending => parts.poll(3, idle.as_mut(), cx).map(|()| Outcome::Idle),
            }
        })
        .await;
        self.reset.set(Reset::Nothing);
        outcome
    }

    /// Completes when nothing has moved for the idle time-out. Checks only when the time could be over: activity costs
    /// a store, never a timer.
    async fn idle(&self) {
        loop {
            let quiet = self.ring.now().duration_since(self.meter.last_activity());
            match self.idle_timeout.checked_sub(quiet) {
                None | Some(Duration::ZERO) => return,
                Some(left) => self.ring.sleep(left).await,
            }
        }
    }

    pub(super) fn connection(&self, side: Side) -> &Connection {
        match side {
            Side::Client => self.client,
            Side::Upstream => self.upstream,
        }
    }
}

impl Direction<'_> {
    /// Relays to the end of the stream, forwards the end, and completes when the other direction has ended as well.
    /// Returns the side that ended first.
    async fn carry_and_end(&self, first_end: &Cell<Option<Side>>) -> Result<Side, Broken> {
        self.carry(TO_THE_END).await?;
        if let Some(first) = first_end.get() {
            if self.is_truncated() {
                self.to().reset_on_close();
            } else if self.to().has_tls() {
                // Without this everything sent would look cut off: wait for room, unless the peer is gone.
                self.to().end();
                let _ = Box::pin(self.to().flush()).await;
            }
            if self.from().has_tls() {
                // The end of the other direction's stream may still wait for room.
                let _ = Box::pin(self.from().flush()).await;
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
}
