//! TCP socket options that the crates do not offer, or that belong together.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::kernel::LocalEnd;

/// Probes to a peer that answers none before it counts as dead; more where whole seconds require it.
const PROBES: u64 = 6;

/// The most probes that the kernel sends (`MAX_TCP_KEEPCNT`).
const PROBES_MAX: u64 = 127;

/// Sets `SO_KEEPALIVE` with `TCP_KEEPIDLE`, `TCP_KEEPINTVL` and `TCP_KEEPCNT` (tcp(7)): a peer that has not answered
/// for `idle` is probed for about the same time again, and then counts as dead. The kernel's own interval and count
/// would add eleven minutes.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_keepalive(socket: &impl AsFd, idle: Duration) -> io::Result<()> {
    let (interval, probes) = probing(idle);
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// The interval and number of probes that take about as long as `idle` in total: the kernel takes whole seconds.
fn probing(idle: Duration) -> (Duration, u32) {
    let idle = idle.as_secs().max(1);
    let interval = ((idle + PROBES / 2) / PROBES).max(1);
    let probes = ((idle + interval / 2) / interval).clamp(1, PROBES_MAX);
    (Duration::from_secs(interval), probes as u32)
}

/// Sets `TCP_DEFER_ACCEPT` (tcp(7)): a connection that sends nothing is held back for this long.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_defer_accept(socket: &impl AsFd, seconds: c_int) -> io::Result<()> {
    set_tcp_option(socket, libc::TCP_DEFER_ACCEPT, seconds)
}

/// Sets `TCP_FASTOPEN` (tcp(7)): how many connections with data in their first packet may wait.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_fastopen_queue(socket: &impl AsFd, queue: c_int) -> io::Result<()> {
    set_tcp_option(socket, libc::TCP_FASTOPEN, queue)
}

/// Detaches the program that picks a socket of a `SO_REUSEPORT` group (socket(7)): the kernel picks by hash again.
///
/// # Errors
/// Those of setsockopt(2).
pub fn detach_reuseport_program(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, 0)
}

/// An interface that no host has.
const NO_INTERFACE: c_int = c_int::MAX;

/// Has a TCP socket that listens get no new clients: the kernel offers them to those that listen to the interface from which
/// they come (`SO_BINDTOIFINDEX`), and this one listens to none from now on. A client that has begun to connect still gets into
/// its queue, also where its last packet comes later. It takes more rights than this process has to undo it.
///
/// # Errors
/// Those of setsockopt(2): it listened to one interface only.
pub fn turn_new_clients_away(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, NO_INTERFACE)
}

/// Whether [`turn_new_clients_away`] was called for a socket.
pub fn turns_new_clients_away(socket: &impl AsFd) -> bool {
    let (fd, mut interface) = (socket.as_fd().as_raw_fd(), 0);
    let mut len = size_of::<c_int>() as libc::socklen_t;
    let (level, option, value) = (libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, (&raw mut interface).cast());
    // SAFETY: the option is an int, and the pointer and length are those of one.
    unsafe { libc::getsockopt(fd, level, option, value, &raw mut len) == 0 && interface == NO_INTERFACE }
}

/// Binds a socket that will connect from there. The port is chosen by connect(2), which only needs one that no other
/// connection to the same server has.
///
/// # Errors
/// Those of setsockopt(2) and bind(2): the host does not have the address, or another host's may not be used.
pub fn bind_local_end(socket: &impl AsFd, from: LocalEnd) -> io::Result<()> {
    let LocalEnd { address, is_foreign } = from;
    let socket = SockRef::from(socket);
    // It holds for both families.
    set_option(&*socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    match address {
        IpAddr::V4(_) if is_foreign => socket.set_ip_transparent_v4(true)?,
        IpAddr::V6(_) if is_foreign => socket.set_ip_transparent_v6(true)?,
        _ => {}
    }
    socket.bind(&SocketAddr::new(address, 0).into())
}

fn set_tcp_option(socket: &impl AsFd, option: c_int, value: c_int) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, option, value)
}

fn set_option(socket: &impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the option is an int, and the pointer and length are those of one.
    match unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_comes_is_turned_away_and_who_has_begun_to_connect_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        set_defer_accept(&listener, 1).expect("a TCP socket");
        // It has begun for as long as it sends nothing.
        let mut silent = TcpStream::connect(address).expect("it listens");
        assert!(!turns_new_clients_away(&listener));
        turn_new_clients_away(&listener).expect("a TCP socket");
        assert!(turns_new_clients_away(&listener));
        let refused = TcpStream::connect(address).expect_err("it listens to no interface").kind();
        assert_eq!(refused, io::ErrorKind::ConnectionRefused);
        silent.write_all(b"x").expect("it is connected");
        let (accepted, _) = listener.accept().expect("a client");
        assert!(!turns_new_clients_away(&accepted), "its packets come from where they came from");
    }

    #[test]
    fn probes_take_about_as_long_as_the_silence_before_them() {
        for (idle, interval, probes) in
            [(60, 10, 6), (1, 1, 1), (2, 1, 2), (7, 1, 7), (10, 2, 5), (32400, 5400, 6)]
        {
            assert_eq!(
                probing(Duration::from_secs(idle)),
                (Duration::from_secs(interval), probes),
                "{idle} s"
            );
        }
        for idle in 1..=32400 {
            let (interval, count) = probing(Duration::from_secs(idle));
            let probed = interval.as_secs() * u64::from(count);
            assert!(probed.abs_diff(idle) <= interval.as_secs() / 2, "{idle} s: {probed} s");
            assert!(interval.as_secs() <= 32767, "MAX_TCP_KEEPINTVL");
        }
    }
}
