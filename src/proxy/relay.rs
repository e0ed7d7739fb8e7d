//! Both directions of a session at once, from the first byte to the last.

mod direction;
mod meter;
mod pair;
mod side;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::uring::Parts;

pub(super) use direction::{Broken, Direction, TO_THE_END};
pub(super) use meter::Meter;
pub(super) use pair::{Outcome, Relay, Reset};
pub(super) use side::Side;

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
            match self.timeouts.idle.checked_sub(quiet) {
                None | Some(Duration::ZERO) => return,
                Some(left) => self.ring.sleep(left).await,
            }
        }
    }
}
