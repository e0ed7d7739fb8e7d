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

/// How long accepting pauses after an error that says nothing of the next client; twice as long after each that follows,
/// up to the longest.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
const ERROR_PAUSE_MAX: Duration = Duration::from_secs(1);

/// So many clients in a row that were gone before they were accepted are no chance.
const GONE_IN_A_ROW_MAX: u32 = 64;

/// Accepts until the worker drains and nobody waits any more: closing earlier would reset those in the queue.
///
/// # Errors
/// The listening socket is of no use any more.
pub(super) async fn run(worker: &Rc<Worker>, index: usize, listener: Listener) -> io::Result<()> {
    let mut pause = ERROR_PAUSE;
    loop {
        while worker.wants_descriptors() {
            worker.ring.sleep(DESCRIPTOR_PAUSE).await;
        }
        if !worker.is_draining() {
            let readable = or(listener.readable(), async {
                worker.draining().await;
                Ok(())
            });
            readable.await?;
        }
        worker.room().await;
        match accept_waiting(worker, index, &listener).await? {
            Accepted::All | Accepted::Failed if worker.is_draining() => return Ok(()),
            Accepted::All | Accepted::Some => pause = ERROR_PAUSE,
            Accepted::OutOfDescriptors => worker.ring.sleep(DESCRIPTOR_PAUSE).await,
            Accepted::Failed => {
                worker.ring.sleep(pause).await;
                pause = ERROR_PAUSE_MAX.min(2 * pause);
            }
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
    /// Others may wait; what happened may happen again.
    Failed,
}

async fn accept_waiting(worker: &Rc<Worker>, index: usize, listener: &Listener) -> io::Result<Accepted> {
    let mut gone_in_a_row = 0;
    while gone_in_a_row < GONE_IN_A_ROW_MAX {
        // One for each client: where connecting takes long, the others wait in the backlog, and those that leave by
        // then cost no connect.
        worker.ring.set_up_turn().await;
        let Some(seat) = worker.seat() else { return Ok(Accepted::Some) };
        match listener.accept() {
            Ok((client, address)) => {
                gone_in_a_row = 0;
                worker.ring.spawn(session::run(seat, index, client, address));
                // The session goes first and takes the descriptor for its upstream: one without it would hold
                // its client for nothing, and so would those accepted after it.
                yield_now().await;
                if worker.wants_descriptors() {
                    return Ok(Accepted::OutOfDescriptors);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Accepted::All),
            Err(error) if is_out_of_descriptors(&error) => {
                worker.ring.note_shortage(Shortage::Descriptors);
                return Ok(Accepted::OutOfDescriptors);
            }
            Err(error) if is_of_the_client(&error) => {
                tracing::debug!(%error, "a client was gone before it was accepted");
                gone_in_a_row += 1;
            }
            Err(error) if is_for_good(&error) => return Err(error),
            Err(error) => {
                let listener = &worker.settings.listeners[index];
                tracing::warn!(%listener, %error, "cannot accept a client; trying again after a pause");
                return Ok(Accepted::Failed);
            }
        }
    }
    Ok(Accepted::Failed)
}

/// accept(2): errors of the connection that was to be accepted; the next one may be sound.
fn is_of_the_client(error: &io::Error) -> bool {
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

/// accept(2): the descriptor is no listening socket, or not any more.
fn is_for_good(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT)
    )
}
