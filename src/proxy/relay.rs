//! Both directions of a session at once, from the first byte to the last.

mod direction;
mod meter;
mod pair;
mod side;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::uring::Parts;

pub(super) use direction::{Broken, Direction, TO_THE_END};
pub(super) use meter::Meter;
pub(super) use pair::{Outcome, Relay, Reset};
pub(super) use side::Side;

impl Relay<'_> {
    /// Relays until both streams have ended, one breaks, or nothing moves for too long.
    #[allow(
        clippy::manual_async_fn,
        reason = "an idle session would carry the arguments of an `async fn` twice"
    )]
    pub(super) fn run(&self) -> impl Future<Output = Outcome> {
        async move {
            self.reset.set(Reset::InFlight);
            // The time that connecting took does not count as idle.
            self.meter.begin(self.ring.now());
            let up = Direction { relay: self, from: Side::Client, to: Side::Upstream };
            let down = Direction { relay: self, from: Side::Upstream, to: Side::Client };
            let (up, down) = (up.carry_and_end(), down.carry_and_end());
            let outcome = Both { up, down, idle: self.idle(), parts: Parts::default() }.await;
            self.reset.set(Reset::Nothing);
            outcome
        }
    }

    /// Completes when nothing has moved for the idle time-out. Checks only when the time could be over: activity costs
    /// a store, never a timer.
    #[allow(
        clippy::manual_async_fn,
        reason = "an idle session would carry the arguments of an `async fn` twice"
    )]
    fn idle(&self) -> impl Future<Output = ()> {
        async move {
            loop {
                let quiet = self.ring.now().duration_since(self.meter.last_activity());
                match self.timeouts.idle.checked_sub(quiet) {
                    None | Some(Duration::ZERO) => return,
                    Some(left) => self.ring.sleep(left).await,
                }
            }
        }
    }
}

pin_project! {
    /// Completes when both directions have ended, one breaks, or the idle time is over. It holds each future once, and
    /// nothing else: an idle session is little more than this.
    struct Both<U, D, I> {
        #[pin]
        up: U,
        #[pin]
        down: D,
        #[pin]
        idle: I,
        parts: Parts,
    }
}

impl<U, D, I> Future for Both<U, D, I>
where
    U: Future<Output = Result<Side, Broken>>,
    D: Future<Output = Result<Side, Broken>>,
    I: Future<Output = ()>,
{
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        let ended = match this.parts.poll(1, this.up, cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => this.parts.poll(2, this.down, cx),
        };
        match ended {
            Poll::Ready(Ok(first)) => Poll::Ready(Outcome::Closed { first }),
            Poll::Ready(Err((side, error))) => Poll::Ready(Outcome::Broken { side, error }),
            Poll::Pending => this.parts.poll(3, this.idle, cx).map(|()| Outcome::Idle),
        }
    }
}
