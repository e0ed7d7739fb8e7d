//! Accepting: every client gets a seat and a session of its own.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future::{or, yield_now};

use super::context::Context;
use super::drain::Drain;
use super::service::Listening;
use super::session;
use crate::uring::{Listener, NewClient, Shortage, is_out_of_descriptors};

/// How long accepting pauses when no descriptor is free. Any worker, or another process, may free one, so there is no
/// event to wait for.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// How long accepting pauses after an error that is not specific to one client; doubled after each further error, up to
/// the maximum.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
const ERROR_PAUSE_MAX: Duration = Duration::from_secs(1);

/// From one look to the next whether a client has come that began to connect before a listener was to close.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// More clients in a row than this that left before they were accepted are not a coincidence.
const GONE_IN_A_ROW_MAX: u32 = 64;

/// A listener that accepts clients, and what they get.
pub(super) struct Open {
    listening: RefCell<Rc<Listening>>,
    closing: Drain,
    /// When it closes, at the earliest.
    closes_at: Cell<Option<Instant>>,
    left: Drain,
}

impl Open {
    /// Clients get the service of `listening`.
    pub(super) fn new(listening: Rc<Listening>) -> Self {
        let (closing, closes_at, left) = Default::default();
        Self { listening: RefCell::new(listening), closing, closes_at, left }
    }

    /// Clients that are accepted from now on get the service of `listening`.
    pub(super) fn serve(&self, listening: Rc<Listening>) {
        self.listening.replace(listening);
    }

    /// It accepts the clients that wait, with those that come until `at`, and none after them.
    pub(super) fn close(&self, at: Option<Instant>) {
        self.closes_at.set(at);
        self.closing.begin();
    }

    /// It accepts no more clients at once: another process has the same socket, with those that wait.
    pub(super) fn leave(&self) {
        self.left.begin();
    }

    /// Whether none more is to come.
    fn has_closed(&self, now: Instant) -> bool {
        self.closes_at.get().is_none_or(|at| at <= now)
    }

    /// What the next client gets.
    pub(super) fn listening(&self) -> Rc<Listening> {
        Rc::clone(&self.listening.borrow())
    }
}

/// Accepts until the listener is left to another process, or closes or the worker drains, and no client waits: closing
/// earlier would reset the clients in the queue. In the end no operation waits for more of them: the socket
/// would stay open with it, and clients that came meanwhile would be reset.
///
/// # Errors
/// The listening socket has become unusable.
pub(super) async fn run(context: &Rc<Context>, open: &Open, listener: Listener) -> io::Result<()> {
    // A client that is accepted has its session before anything is waited for.
    or(accept(context, open, listener), async {
        open.left.begun().await;
        Ok(())
    })
    .await
}

async fn accept(context: &Rc<Context>, open: &Open, listener: Listener) -> io::Result<()> {
    let mut pause = ERROR_PAUSE;
    let is_ending = || context.is_draining() || open.closing.has_begun();
    loop {
        descriptors(context).await;
        if !is_ending() {
            let readable = or(listener.readable(), async {
                or(context.draining(), open.closing.begun()).await;
                Ok(())
            });
            readable.await?;
        }
        // Without this look it would listen until a session ends, where there are as many as there may be.
        if is_ending() && !listener.has_waiting() {
            if open.has_closed(context.ring.now()) {
                return Ok(());
            }
            context.ring.sleep(LOOK_PAUSE).await;
            continue;
        }
        context.room().await;
        match accept_waiting(context, open, &listener).await? {
            Accepted::All | Accepted::Failed if is_ending() && open.has_closed(context.ring.now()) => {
                return Ok(());
            }
            Accepted::All | Accepted::Some => pause = ERROR_PAUSE,
            Accepted::OutOfDescriptors => {
                context.stocks.make_room();
                context.ring.sleep(DESCRIPTOR_PAUSE).await;
            }
            Accepted::Failed => {
                context.ring.sleep(pause).await;
                pause = ERROR_PAUSE_MAX.min(2 * pause);
            }
        }
    }
}

/// Waits until no session waits for a descriptor.
pub(super) async fn descriptors(context: &Context) {
    while context.descriptor_waits.any() {
        context.stocks.make_room();
        context.ring.sleep(DESCRIPTOR_PAUSE).await;
    }
}

/// The result of accepting.
enum Accepted {
    /// No client waits any more.
    All,
    /// More clients may wait, but all seats are taken.
    Some,
    /// More clients may wait, but no descriptor is free.
    OutOfDescriptors,
    /// More clients may wait; the error may occur again.
    Failed,
}

async fn accept_waiting(context: &Rc<Context>, open: &Open, listener: &Listener) -> io::Result<Accepted> {
    let mut gone_in_a_row = 0;
    while gone_in_a_row < GONE_IN_A_ROW_MAX {
        // One turn for each client: when connecting takes long, the other clients wait in the backlog, and those that
        // leave meanwhile cost no connect.
        context.ring.set_up_turn().await;
        let Some(seat) = context.seat() else { return Ok(Accepted::Some) };
        match listener.accept() {
            Ok(client) => {
                gone_in_a_row = 0;
                let listening = open.listening();
                let Some(client) = keep_or_give(context, open, &listening, client) else {
                    seat.leave();
                    continue;
                };
                let (client, address) = client.stay();
                context.ring.spawn(session::run(seat.take(), listening, client, address));
                // The session runs first and takes the descriptor for its upstream side: a session without one would
                // hold its client for nothing, and so would the sessions accepted after it.
                yield_now().await;
                if context.descriptor_waits.any() {
                    return Ok(Accepted::OutOfDescriptors);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Accepted::All),
            Err(error) if is_out_of_descriptors(&error) => {
                context.ring.note_shortage(Shortage::Descriptors);
                return Ok(Accepted::OutOfDescriptors);
            }
            Err(error) if concerns_one_client(&error) => {
                tracing::debug!(%error, "client left before it was accepted; accepting the next");
                gone_in_a_row += 1;
            }
            Err(error) if is_permanent(&error) => return Err(error),
            Err(error) => {
                let listener = &*open.listening().name;
                tracing::warn!(listener, %error, "cannot accept a client; retrying after a pause");
                return Ok(Accepted::Failed);
            }
        }
    }
    Ok(Accepted::Failed)
}

/// The client, unless another worker was given it. A listener that closes is no listener of the other workers any more.
fn keep_or_give(
    context: &Context,
    open: &Open,
    listening: &Listening,
    client: NewClient,
) -> Option<NewClient> {
    if listening.is_steered || open.closing.has_begun() {
        return Some(client);
    }
    match context.receiver() {
        Some(worker) => context.give(client, &listening.name, worker),
        None => Some(client),
    }
}

/// Errors of accept(2) that concern one connection; the next one may succeed.
fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EPROTO
                | libc::ETIMEDOUT
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EINTR
        )
    )
}

/// Errors of accept(2) for a descriptor that is not, or no longer, a listening socket.
fn is_permanent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT)
    )
}
