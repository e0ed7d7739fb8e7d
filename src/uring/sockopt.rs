//! Options of listening TCP sockets that the crates do not name.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `TCP_DEFER_ACCEPT` (tcp(7)): a connection that sends nothing is held back for this long.
///
/// # Errors
/// As setsockopt(2).
pub fn set_defer_accept(socket: &impl AsFd, seconds: c_int) -> io::Result<()> {
    set_tcp_option(socket, libc::TCP_DEFER_ACCEPT, seconds)
}

/// `TCP_FASTOPEN` (tcp(7)): how many connections with data in their first packet may wait.
///
/// # Errors
/// As setsockopt(2).
pub fn set_fastopen_queue(socket: &impl AsFd, queue: c_int) -> io::Result<()> {
    set_tcp_option(socket, libc::TCP_FASTOPEN, queue)
}

fn set_tcp_option(socket: &impl AsFd, option: c_int, value: c_int) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the option is an int, and the pointer and length are those of one.
    match unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, option, (&raw const value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
