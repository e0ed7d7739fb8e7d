//! The time-outs of an exchange.
//!
//! Starting or ending a wait is a store: no timer is set per message. The clock is checked whenever something has
//! happened to the session, and sets a timer only where a wait could expire before the timer that is set.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::request::Manner;
use crate::proxy::relay::Relay;
use crate::proxy::relay::Side;

/// Most replies take far less than this; until then, or up to 0.1 s later, nothing checks whether the client is still there,
/// which saves an operation per request.
const UNWATCHED_WAIT: Duration = Duration::from_millis(250);

/// What a session waits for, besides room to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The next request, or the rest of its head, which has a time-out of its own.
    Request,
    /// The rest of a request's body.
    Body,
    /// The rest of a request's body, from a client that may wait for `100 Continue` first.
    Continue,
    /// The reply, or the rest of it, from an upstream that accepts no more of the request.
    Discarding,
    /// The reply, or the rest of it; its request is complete.
    Reply,
}

/// Which time-out expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Keepalive,
    Body,
    Reply,
    /// The client accepts no bytes.
    Send,
    /// No byte moves either way.
    Idle,
}

/// See the module docs.
pub(super) struct Clock<'a> {
    relay: &'a Relay<'a>,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    /// Whether the current exchange may be silent for long: the idle time-out is its only one.
    is_long: Cell<bool>,
}

impl<'a> Clock<'a> {
    pub(super) fn new(relay: &'a Relay<'a>) -> Self {
        let now = relay.ring.now();
        let (phase, since, is_long) = (Cell::new(Phase::Reply), Cell::new(now), Cell::new(false));
        Self { relay, phase, since, is_long }
    }

    /// Sets what the session waits for from now on.
    pub(super) fn begin(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.relay.ring.now());
    }

    /// Starts forwarding a request.
    pub(super) fn begin_request(&self, manner: Manner) {
        self.is_long.set(manner == Manner::Long);
        self.begin(if manner == Manner::Waiting { Phase::Continue } else { Phase::Body });
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Completes when the reply has been awaited so long that checking whether the client is still there is worth an
    /// operation. It sets no timer: [`over`](Self::over) has the task woken at that time.
    pub(super) async fn client_unwatched(&self) {
        let until = self.since.get() + UNWATCHED_WAIT;
        poll_fn(|_cx| if self.relay.ring.now() >= until { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Completes when a time-out has expired. `has_replied` tells whether the head of the current reply has arrived, or
    /// no reply is due any more.
    pub(super) async fn over(&self, has_replied: impl Fn() -> bool) -> Over {
        let ring = self.relay.ring;
        let mut armed: Option<Instant> = None;
        let mut timer = pin!(None);
        poll_fn(move |cx| {
            loop {
                let now = ring.now();
                let (at, over) = self.earliest(now, has_replied());
                if let Some(over) = over
                    && at <= now
                {
                    return Poll::Ready(over);
                }
                if armed.is_none_or(|armed| at < armed) {
                    armed = Some(at);
                    timer.set(Some(ring.sleep_until(at)));
                }
                let timer: Pin<&mut Option<_>> = timer.as_mut();
                match timer.as_pin_mut().map(|timer| timer.poll(cx)) {
                    Some(Poll::Ready(())) => armed = None,
                    Some(Poll::Pending) | None => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// The time at which the first time-out expires, or the client must be checked.
    fn earliest(&self, now: Instant, has_replied: bool) -> (Instant, Option<Over>) {
        let Relay { client, upstream, meter, timeouts, .. } = *self.relay;
        let since = self.since.get();
        let mut first = (after(meter.last_activity().max(since), timeouts.idle), Some(Over::Idle));
        let mut or = |at: Instant, over: Option<Over>| {
            if at < first.0 {
                first = (at, over);
            }
        };
        if self.phase.get() == Phase::Reply && now < since + UNWATCHED_WAIT {
            or(self.relay.ring.next_shared(since + UNWATCHED_WAIT), None);
        }
        if self.is_long.get() {
            return first;
        }
        if client.socket().awaits_room() {
            or(after(meter.activity(Side::Client), timeouts.send), Some(Over::Send));
        }
        let request_moved = || meter.activity(Side::Upstream).max(since);
        if upstream.socket().awaits_room() {
            or(after(request_moved(), timeouts.reply), Some(Over::Reply));
            return first;
        }
        match self.phase.get() {
            Phase::Request if client.unread().is_empty() => {
                or(after(since, timeouts.keepalive), Some(Over::Keepalive));
            }
            Phase::Continue if request_moved() == since && !has_replied => {
                or(after(since, timeouts.reply), Some(Over::Reply));
            }
            Phase::Body | Phase::Continue => {
                or(after(request_moved(), timeouts.body), Some(Over::Body));
            }
            Phase::Reply | Phase::Discarding if !has_replied => {
                or(after(since, timeouts.reply), Some(Over::Reply));
            }
            Phase::Request | Phase::Reply | Phase::Discarding => {}
        }
        first
    }
}

/// Adds a time-out; one beyond the range of `Instant` expires in a year.
fn after(at: Instant, timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    at.checked_add(timeout).unwrap_or(at + YEAR)
}
