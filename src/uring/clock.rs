//! Whether the clock of this host is kept right.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// The kernel's opinion of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The largest error that it may have. It grows while no time service corrects the clock.
    pub error_max: Duration,
}

/// Reads `adjtimex(2)`; changes nothing.
///
/// # Errors
/// When a sandbox forbids the call.
pub fn clock() -> io::Result<Clock> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: the call reads and writes one `timex`, for which zeros are valid; with `modes` 0 it sets nothing.
    let state = unsafe {
        if libc::adjtimex(state.as_mut_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
        state.assume_init()
    };
    Ok(Clock { error_max: Duration::from_micros(u64::try_from(state.maxerror).unwrap_or(0)) })
}
