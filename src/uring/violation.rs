//! What happens when a seccomp filter traps a system call: the process says which, and ends.

use std::ffi::{c_int, c_uint, c_void};
use std::io::{self, Write as _};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use syscalls::Sysno;

/// The exit code after a violation: that of a shell for a process that SIGSYS ended.
pub const VIOLATION_EXIT_CODE: i32 = 128 + libc::SIGSYS;

/// `siginfo_t` of a trapped call (sigaction(2)).
#[repr(C)]
struct Trapped {
    signo: c_int,
    errno: c_int,
    code: c_int,
    call_address: *const c_void,
    call: c_int,
    arch: c_uint,
}

/// Has every call that a filter traps named on standard error before the process ends.
///
/// # Errors
/// None for this signal, according to sigaction(2) and sigprocmask(2).
pub fn name_violations() -> io::Result<()> {
    let handler = SigHandler::SigAction(end);
    // The kernel ends what blocks it, and names nothing. This process may have inherited that.
    SigSet::from(Signal::SIGSYS).thread_unblock()?;
    let action = SigAction::new(handler, SaFlags::SA_ONSTACK, SigSet::empty());
    // SAFETY: the handler calls only what is async-signal-safe (signal-safety(7)): it formats numbers and static strings into
    // its own frame, without memory of the heap and without locks, and calls write(2) and _exit(2). It never returns, so it
    // leaves nothing of the interrupted code in an unexpected state.
    unsafe { sigaction(Signal::SIGSYS, &action) }?;
    Ok(())
}

extern "C" fn end(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes the siginfo_t of this signal, which has at least this size, and for a trapped call these
    // fields. Another process can send the signal as well: then `call` is some number, which is named all the same.
    let call = unsafe { (*info.cast::<Trapped>()).call };
    let name = usize::try_from(call).ok().and_then(Sysno::new).map_or("a call", |call| call.name());
    let mut line = [0; 200];
    let mut rest = &mut line[..];
    // A line that does not fit ends early.
    let _ =
        writeln!(rest, "iisplice: the sandbox does not allow {name} (system call {call}); the process ends");
    let left = rest.len();
    let line = &line[..200 - left];
    // SAFETY: the pointer and the length are those of the line; _exit has no precondition.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        libc::_exit(VIOLATION_EXIT_CODE);
    }
}
