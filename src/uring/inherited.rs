//! Descriptors that the process was started with, besides the standard ones.

use std::io;
use std::ops::Range;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The first that is not a standard one.
const FIRST: RawFd = 3;

/// Takes over descriptors with these numbers, that the parent process passed on; children do not get them.
///
/// # Errors
/// A number is none of a descriptor that was passed on, or it was taken before. Those that were taken are closed.
pub fn take_inherited(numbers: Range<RawFd>) -> io::Result<Vec<OwnedFd>> {
    numbers.map(take).collect()
}

fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `F_GETFD` reads flags of whatever has the number, or fails where nothing has.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        // Opened by this process.
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: this changes a flag of a descriptor that is open, and nothing that depends on its being unset.
    if unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nothing else owns it. Without `FD_CLOEXEC` it came through execve(2): all that this program
    // and its libraries open has the flag. Taking one sets it, so none is taken twice.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_what_was_passed_on_is_taken_and_once() {
        let own = File::open("/dev/null").expect("it is there");
        let number = own.as_raw_fd();
        take_inherited(number..number + 1).expect_err("it is the test's");
        take_inherited(1..2).expect_err("standard output");
        take_inherited(100_000..100_001).expect_err("nothing is open there");
        assert_eq!(take_inherited(3..3).expect("nothing is asked for").len(), 0);
        // SAFETY: a copy that nothing else owns, as if it had come through execve(2).
        let passed = unsafe { libc::dup(number) };
        let taken = take_inherited(passed..passed + 1).expect("it has no flag");
        take_inherited(passed..passed + 1).expect_err("it was taken");
        drop(taken);
    }
}
