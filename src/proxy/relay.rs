//! Both directions of a session at once, from the first byte to the last.

mod copied;
mod direction;
mod meter;
mod pair;
mod side;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::uring::{Parts, Sleep};

pub(super) use direction::{Broken, Direction, TO_THE_END};
pub(super) use meter::Meter;
pub(super) use pair::{Outcome, Relay, Reset};
pub(super) use side::Side;

impl Relay<'_> {
    /// Relays until both streams have ended, one breaks, or nothing moves for too long. The idle time begins now: the time
    /// that connecting took does not count.
    pub(super) fn run(&self) -> impl Future<Output = Outcome> {
        self.reset.set(Reset::InFlight);
        self.meter.begin(self.ring.now());
        let up = Direction { relay: self, from: Side::Client, to: Side::Upstream };
        let down = Direction { relay: self, from: Side::Upstream, to: Side::Client };
        let (up, down) = (up.carry_and_end(), down.carry_and_end());
        Both { relay: self, up, down, idle: self.ring.sleep(self.timeouts.idle), parts: Parts::default() }
    }

    /// What is left of the idle time-out; nothing when no byte has moved for that long.
    fn idle_time_left(&self) -> Option<Duration> {
        let quiet = self.ring.now().duration_since(self.meter.last_activity());
        self.timeouts.idle.checked_sub(quiet).filter(|left| !left.is_zero())
    }
}

pin_project! {
    /// Completes when both directions have ended, one breaks, or the idle time is over. It holds each future once, and
    /// little else, because an idle session is little more than this.
    struct Both<'a, U, D> {
        relay: &'a Relay<'a>,
        #[pin]
        up: U,
        #[pin]
        down: D,
        idle: Sleep,
        parts: Parts,
    }
}

impl<U, D> Future for Both<'_, U, D>
where
    U: Future<Output = Result<Side, Broken>>,
    D: Future<Output = Result<Side, Broken>>,
{
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        let ended = match this.parts.poll(1, this.up, cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => this.parts.poll(2, this.down, cx),
        };
        let outcome = match ended {
            Poll::Ready(Ok(first)) => Outcome::Closed { first },
            Poll::Ready(Err((side, error))) => Outcome::Broken { side, error },
            Poll::Pending => {
                ready!(poll_idle(this.relay, this.idle, this.parts, cx));
                Outcome::Idle
            }
        };
        this.relay.reset.set(Reset::Nothing);
        Poll::Ready(outcome)
    }
}

/// Completes when the idle time is over. Activity costs a store, never a timer: what is left of the time is looked at when
/// it could be over.
fn poll_idle(relay: &Relay<'_>, idle: &mut Sleep, parts: &mut Parts, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        ready!(parts.poll(3, Pin::new(&mut *idle), cx));
        match relay.idle_time_left() {
            None => return Poll::Ready(()),
            Some(left) => *idle = relay.ring.sleep(left),
        }
    }
}
