//! Accepting: every client gets a seat and a session of its own.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;

use super::session;
use super::worker::Worker;
use crate::uring::{Listener, Shortage, is_out_of_descriptors};

/// Clients accepted in one go, before others of the worker get their turn.
const ACCEPTS_A_TURN: usize = 64;
/// How long accepting pauses without a descriptor. They are freed by any worker and even by other processes,
/// so there is no event to wait for.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the worker drains and nobody waits any more: closing earlier would reset those in the queue.
pub(super) async fn run(worker: &Rc<Worker>, index: usize, listener: Listener) {
    loop {
        worker.room().await;
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
        match accept_waiting(worker, index, &listener) {
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
    /// Others may wait: the seats are taken, or it was a full turn.
    Some,
    /// Others may wait, but there is no descriptor for them.
    OutOfDescriptors,
}

fn accept_waiting(worker: &Rc<Worker>, index: usize, listener: &Listener) -> Accepted {
    for _ in 0..ACCEPTS_A_TURN {
        let Some(seat) = worker.seat() else { return Accepted::Some };
        match listener.accept() {
            Ok((client, address)) => worker.ring.spawn(session::run(seat, index, client, address)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Accepted::All,
            Err(error) if is_out_of_descriptors(&error) => {
                worker.ring.note_shortage(Shortage::Descriptors);
                return Accepted::OutOfDescriptors;
            }
            // accept(2): errors of the connection that was to be accepted; the next one may be sound.
            Err(error) => tracing::debug!(%error, "a client was gone before it was accepted"),
        }
    }
    Accepted::Some
}
