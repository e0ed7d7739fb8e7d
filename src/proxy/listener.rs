//! Accepting: every client gets a seat and a session of its own.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::{or, yield_now};

use super::session;
use super::worker::Worker;
use crate::uring::{Listener, Shortage, is_out_of_descriptors};

/// How long accepting pauses without a descriptor. They are freed by any worker and even by other processes,
/// so there is no event to wait for.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the worker drains and nobody waits any more: closing earlier would reset those in the queue.
pub(super) async fn run(worker: &Rc<Worker>, index: usize, listener: Listener) {
    loop {
        worker.room().await;
        while worker.wants_descriptors() {
            worker.ring.sleep(DESCRIPTOR_PAUSE).await;
        }
        if !worker.is_draining() {
            let readable = or(listener.readable(), async {
                worker.draining().await;
                Ok(())
            });
            if let Err(error) = readable.await {
                tracing::error!(listener = %worker.settings.listeners[index], %error, "cannot wait for clients");
                return;
            }
        }
        match accept_waiting(worker, index, &listener).await {
            Accepted::All if worker.is_draining() => return,
            Accepted::All | Accepted::Some => {}
            Accepted::OutOfDescriptors => worker.ring.sleep(DESCRIPTOR_PAUSE).await,
        }
    }
}

/// How accepting went.
enum Accepted {
    /// Nobody waits any more.
    All,
    /// Others may wait, but the seats are taken.
    Some,
    /// Others may wait, but there is no descriptor for them.
    OutOfDescriptors,
}

async fn accept_waiting(worker: &Rc<Worker>, index: usize, listener: &Listener) -> Accepted {
    loop {
        // One for each client: where connecting takes long, the others wait in the backlog, and those that leave by
        // then cost no connect.
        worker.ring.set_up_turn().await;
        let Some(seat) = worker.seat() else { return Accepted::Some };
        match listener.accept() {
            Ok((client, address)) => {
                worker.ring.spawn(session::run(seat, index, client, address));
                // The session goes first and takes the descriptor for its upstream: one without it would hold
                // its client for nothing, and so would those accepted after it.
                yield_now().await;
                if worker.wants_descriptors() {
                    return Accepted::OutOfDescriptors;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Accepted::All,
            Err(error) if is_out_of_descriptors(&error) => {
                worker.ring.note_shortage(Shortage::Descriptors);
                return Accepted::OutOfDescriptors;
            }
            // accept(2): errors of the connection that was to be accepted; the next one may be sound.
            Err(error) => tracing::debug!(%error, "a client was gone before it was accepted"),
        }
    }
}
