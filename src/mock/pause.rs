//! Waits with microsecond precision: tokio's timers tick in milliseconds, which `/slow/MS` would show.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use tokio_uring::fs::File;

/// Waits this long; not at all for zero.
///
/// # Errors
/// The descriptor limit is reached.
pub(super) async fn pause(duration: Duration) -> io::Result<()> {
    if duration.is_zero() {
        return Ok(());
    }
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    timer.set(Expiration::OneShot(duration.into()), TimerSetTimeFlags::empty())?;
    // Reading waits for the timer and returns the number of its expirations, 8 bytes (timerfd_create(2)).
    let timer = File::from_std(fs::File::from(timer.as_fd().try_clone_to_owned()?));
    let (result, _) = timer.read_at(Vec::with_capacity(8), 0).await;
    result.map(drop)
}
