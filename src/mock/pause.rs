//! Waits with microsecond precision: tokio's timers tick in milliseconds, which `/slow/MS` would show.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits this long; not at all for zero.
///
/// # Errors
/// The descriptor limit is reached.
pub(super) async fn pause(duration: Duration) -> io::Result<()> {
    if duration.is_zero() {
        return Ok(());
    }
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
    timer.set(Expiration::OneShot(duration.into()), TimerSetTimeFlags::empty())?;
    // It is readable once it has expired (timerfd_create(2)).
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for types that may close or change their descriptor"
    )]
    let timer = AsyncFd::with_interest(timer.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
    timer.readable().await.map(drop)
}
