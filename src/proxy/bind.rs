//! Listening sockets: one for each worker and listener, so that workers share nothing.
//!
//! TCP listeners are groups by `SO_REUSEPORT` (socket(7)): the kernel gives each new connection to one of them.
//! A Unix socket has no such groups, so its workers share one.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

use super::Error;
use super::settings::Tcp;
use crate::uring::{Address, set_defer_accept, set_fastopen_queue};

/// How long the kernel holds a connection back that sends nothing (`TCP_DEFER_ACCEPT`, tcp(7)); as nginx.
const DEFER_ACCEPT_SECONDS: i32 = 1;

/// Listening sockets of all workers, and where they are.
#[derive(Debug)]
pub struct Bound {
    /// The addresses as bound: with the port that the kernel chose where port 0 was asked for.
    pub addresses: Vec<Address>,
    /// For each worker its sockets, in the order of the addresses.
    pub sockets: Vec<Vec<OwnedFd>>,
}

/// Binds every address for every one of `worker_cpus` (each entry the CPU that the worker is pinned to, if any).
///
/// # Errors
/// The address that could not be bound, with the cause.
pub fn bind(addresses: &[Address], tcp: &Tcp, worker_cpus: &[Option<usize>]) -> Result<Bound, Error> {
    let mut bound =
        Bound { addresses: Vec::new(), sockets: worker_cpus.iter().map(|_| Vec::new()).collect() };
    for address in addresses {
        let failed = |source| Error::Bind { address: address.clone(), source };
        let (actual, sockets) = match address {
            Address::Ip(_) => bind_tcp(address, tcp, worker_cpus).map_err(failed)?,
            Address::Unix(path) => bind_unix(path, tcp, worker_cpus.len()).map_err(failed)?,
        };
        bound.addresses.push(actual);
        for (worker, socket) in bound.sockets.iter_mut().zip(sockets) {
            worker.push(socket);
        }
    }
    Ok(bound)
}

/// Removes the Unix sockets among `addresses` from the file system.
pub fn unbind(addresses: &[Address]) {
    for address in addresses {
        if let Address::Unix(path) = address {
            // Somebody may have removed it already.
            let _ = fs::remove_file(path);
        }
    }
}

fn bind_tcp(
    address: &Address,
    tcp: &Tcp,
    worker_cpus: &[Option<usize>],
) -> io::Result<(Address, Vec<OwnedFd>)> {
    let mut at = address.to_sock_addr()?;
    // Joining a group is allowed to any process of the user: without this probe a second proxy would silently
    // take half of the first one's clients.
    tcp_socket(&at, tcp)?.bind(&at)?;
    let mut sockets = Vec::with_capacity(worker_cpus.len());
    for _worker in worker_cpus {
        let socket = tcp_socket(&at, tcp)?;
        socket.set_reuse_port(true)?;
        socket.bind(&at)?;
        // The others join the port that the kernel chose for the first.
        at = socket.local_addr()?;
        sockets.push(socket);
    }
    if tcp.steer_by_cpu
        && let Some(first) = sockets.first()
    {
        steer_by_cpu(first, worker_cpus)?;
    }
    for socket in &sockets {
        socket.listen(i32::try_from(tcp.backlog).unwrap_or(i32::MAX))?;
    }
    let actual = at.as_socket().map_or_else(|| address.clone(), Address::Ip);
    Ok((actual, sockets.into_iter().map(OwnedFd::from).collect()))
}

/// A socket with everything that accepted ones take over from it.
fn tcp_socket(at: &SockAddr, tcp: &Tcp) -> io::Result<Socket> {
    let socket = Socket::new(at.domain(), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    if at.domain() == Domain::IPV6 {
        // As nginx does: `[::]:80` and `0.0.0.0:80` are two listeners.
        socket.set_only_v6(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = tcp.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    socket.set_tcp_user_timeout(tcp.user_timeout)?;
    if tcp.defer_accept {
        set_defer_accept(&socket, DEFER_ACCEPT_SECONDS)?;
    }
    if let Some(queue) = tcp.fastopen_queue {
        set_fastopen_queue(&socket, i32::try_from(queue).unwrap_or(i32::MAX))?;
    }
    Ok(socket)
}

/// Has a connection go to the worker on the CPU that took its packet. Workers on no CPU of their own, and
/// packets on a CPU without a worker, are spread by the CPU's number.
fn steer_by_cpu(group: &Socket, worker_cpus: &[Option<usize>]) -> io::Result<()> {
    const ACCUMULATOR_FROM_CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program =
        vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, ACCUMULATOR_FROM_CPU)];
    for (worker, cpu) in worker_cpus.iter().enumerate() {
        if let Some(cpu) = cpu {
            // Equal: go on to the return behind it; else: skip that.
            program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, *cpu as u32));
            program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, worker as u32));
        }
    }
    let workers = worker_cpus.len() as u32;
    program.push(instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, workers));
    program.push(instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    Ok(setsockopt(group, AttachReusePortCbpf, &program)?)
}

fn bind_unix(path: &Path, tcp: &Tcp, workers: usize) -> io::Result<(Address, Vec<OwnedFd>)> {
    let address = Address::Unix(path.to_owned());
    let at = address.to_sock_addr()?;
    remove_stale(path, &at)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&at)?;
    socket.listen(i32::try_from(tcp.backlog).unwrap_or(i32::MAX))?;
    let socket = OwnedFd::from(socket);
    let mut sockets = Vec::with_capacity(workers);
    for _worker in 1..workers {
        sockets.push(socket.try_clone()?);
    }
    sockets.push(socket);
    Ok((address, sockets))
}

/// Removes a socket file that a process left behind which did not end in order. One that somebody listens on,
/// or a file of another kind, stays, and binding fails.
fn remove_stale(path: &Path, at: &SockAddr) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    match probe.connect(at) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}
