//! Listening sockets: one per worker and listener, so that workers share nothing.
//!
//! TCP listeners are `SO_REUSEPORT` groups (socket(7)): the kernel gives each new connection to one member. Unix
//! sockets have no such groups, so the workers share one. Both leave few connections uneven: see `desks.rs`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{AccessFlags, Gid, Uid, access, fchown, fchownat, geteuid};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::Error;
use super::settings::Listener;
use crate::uring::{
    self, Address, SocketOptions, detach_reuseport_program, set_defer_accept, set_fastopen_queue,
    set_keepalive,
};

/// How long the kernel holds back a connection that sends nothing (`TCP_DEFER_ACCEPT`, tcp(7)); same as nginx.
const DEFER_ACCEPT_SECONDS: i32 = 1;

/// A listener that is bound.
#[derive(Debug)]
pub struct Bound {
    /// The address as bound: port 0 is replaced by the port that the kernel chose.
    pub address: Address,
    /// A socket for each worker.
    pub sockets: Vec<Arc<OwnedFd>>,
    /// The file of a Unix socket, removed when this is dropped.
    pub file: Option<SocketFile>,
}

/// Binds a listener once for each of the workers; it does not [`listen`] yet. Accepted sockets take the options `tcp` over.
/// `shared_with`: the [`owner`] of another listener of this process, or of the one that it takes over from, that has clients of
/// this address for as long as both are there.
///
/// # Errors
/// The address could not be bound, with the cause.
pub fn bind(
    listener: &Listener,
    tcp: &SocketOptions,
    workers: usize,
    shared_with: Option<Uid>,
) -> Result<Bound, Error> {
    let bound = match &listener.address {
        Address::Ip(_) => bind_tcp(listener, tcp, workers, shared_with),
        Address::Unix(path) => bind_unix(path, listener, workers),
    };
    bound.map_err(|source| Error::Bind { address: listener.address.clone(), source })
}

/// Has a listener accept clients into its queues. `worker_cpus` holds the CPU that each worker is pinned to, if any. Sockets
/// after those of the workers get no more clients; those of another process (`are_given`) get the options of this one.
///
/// # Errors
/// An option could not be set, or the address is taken by now, with the cause.
pub fn listen(
    sockets: &[Arc<OwnedFd>],
    listener: &Listener,
    tcp: &SocketOptions,
    worker_cpus: &[Option<usize>],
    are_given: bool,
) -> Result<(), Error> {
    let begun = match &listener.address {
        Address::Ip(_) => listen_tcp(sockets, listener, tcp, worker_cpus, are_given),
        Address::Unix(_) => sockets.first().map_or(Ok(()), |shared| queue(&SockRef::from(shared), listener)),
    };
    begun.map_err(|source| Error::Bind { address: listener.address.clone(), source })
}

fn listen_tcp(
    sockets: &[Arc<OwnedFd>],
    listener: &Listener,
    tcp: &SocketOptions,
    worker_cpus: &[Option<usize>],
    are_given: bool,
) -> io::Result<()> {
    if are_given {
        set_all_options(sockets, listener, tcp)?;
    }
    if let Some(first) = sockets.first() {
        steer(first, sockets.len(), listener, worker_cpus, are_given)?;
    }
    sockets.iter().try_for_each(|socket| queue(&SockRef::from(socket), listener))
}

/// Directs clients to the sockets of the workers, which come first in the group.
fn steer(
    first: &OwnedFd,
    sockets: usize,
    listener: &Listener,
    worker_cpus: &[Option<usize>],
    was_steered: bool,
) -> io::Result<()> {
    if listener.steer_by_cpu {
        steer_by_cpu(&first, worker_cpus)
    } else if sockets > worker_cpus.len() {
        steer_by_chance(&first, worker_cpus.len())
    } else if was_steered {
        cease_to_steer(first)
    } else {
        Ok(())
    }
}

/// Has the sockets of a listener that is to be closed get no new clients. It cannot be undone.
///
/// # Errors
/// Those of setsockopt(2).
pub fn turn_new_clients_away(sockets: &[Arc<OwnedFd>], address: &Address) -> io::Result<()> {
    match address {
        Address::Ip(_) => sockets.iter().try_for_each(uring::turn_new_clients_away),
        // None reaches one whose file is removed.
        Address::Unix(_) => Ok(()),
    }
}

/// Ends what [`listen`] does where there are more sockets than workers: the others are closed.
///
/// # Errors
/// The socket is of another kind.
pub fn cease_to_steer(first: &OwnedFd) -> io::Result<()> {
    match detach_reuseport_program(&first) {
        // There is no program, or no group of sockets (one that a service manager passed on).
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(()),
        detached => detached,
    }
}

/// Gives sockets of a listener, among them the first of its group, the options of `to` in place of those of `from`.
/// Clients that wait in their queues stay there, with the options that they have.
///
/// # Errors
/// An option could not be set, with the cause; some may be set.
pub fn tune(
    sockets: &[Arc<OwnedFd>],
    from: (&Listener, &SocketOptions),
    to: (&Listener, &SocketOptions),
    worker_cpus: &[Option<usize>],
) -> Result<(), Error> {
    let (listener, tcp) = to;
    let tuned = match &listener.address {
        Address::Ip(_) => tune_tcp(sockets, from.0, listener, tcp, worker_cpus),
        Address::Unix(path) => fs::set_permissions(path, Permissions::from_mode(listener.unix_mode)),
    };
    let backlog = || sockets.iter().try_for_each(|socket| queue(&SockRef::from(socket), listener));
    tuned.and_then(|()| backlog()).map_err(|source| Error::Bind { address: listener.address.clone(), source })
}

fn tune_tcp(
    sockets: &[Arc<OwnedFd>],
    from: &Listener,
    to: &Listener,
    tcp: &SocketOptions,
    worker_cpus: &[Option<usize>],
) -> io::Result<()> {
    set_all_options(sockets, to, tcp)?;
    match sockets.first() {
        Some(first) if to.steer_by_cpu && !from.steer_by_cpu => steer_by_cpu(first, worker_cpus),
        Some(first) if from.steer_by_cpu && !to.steer_by_cpu => detach_reuseport_program(first),
        _ => Ok(()),
    }
}

/// Sets options, and takes back those that are off.
fn set_all_options(sockets: &[Arc<OwnedFd>], to: &Listener, tcp: &SocketOptions) -> io::Result<()> {
    for socket in sockets {
        let socket = SockRef::from(socket);
        if tcp.keepalive.is_none() {
            socket.set_keepalive(false)?;
        }
        if !to.defer_accept {
            set_defer_accept(&*socket, 0)?;
        }
        if to.fastopen_queue.is_none() {
            set_fastopen_queue(&*socket, 0)?;
        }
        set_options(&socket, to, tcp)?;
    }
    Ok(())
}

/// Whether it is a socket that listens at this address.
pub fn listens_at(socket: &impl AsFd, address: &Address) -> bool {
    let socket = SockRef::from(socket);
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let is_there = || {
        let at = socket.local_addr().ok()?;
        Some(match address {
            Address::Ip(address) => at.as_socket() == Some(*address),
            // The path may be written in another way.
            Address::Unix(_) => at.as_pathname().is_some(),
        })
    };
    is_stream && socket.is_listener().unwrap_or(false) && is_there() == Some(true)
}

/// The user of a socket: others cannot bind to its address (`SO_REUSEPORT`, socket(7)).
pub fn owner(socket: &impl AsFd) -> Uid {
    fstat(socket).map_or_else(|_| geteuid(), |found| Uid::from_raw(found.st_uid))
}

/// Gives a socket to a user, so that this user can bind more of them to its address.
///
/// # Errors
/// Those of chown(2).
pub fn give(socket: &impl AsFd, user: Uid) -> Result<(), Errno> {
    fchown(socket, Some(user), None)
}

/// Listens, or sets how many clients may wait from now on.
fn queue(socket: &Socket, listener: &Listener) -> io::Result<()> {
    socket.listen(i32::try_from(listener.backlog).unwrap_or(i32::MAX))
}

/// Checks that a listener can be bound, without listening, and leaves nothing behind. What another process of the same
/// user shares counts as free, or of `owner`: it is usually the proxy that runs with these settings.
///
/// # Errors
/// The address could not be bound, with the cause.
pub fn check(listener: &Listener, tcp: &SocketOptions, owner: Option<Uid>) -> Result<(), Error> {
    let checked = match &listener.address {
        Address::Ip(_) => check_tcp(listener, tcp, owner),
        Address::Unix(path) => check_unix(path, listener, owner),
    };
    checked.map_err(|source| Error::Bind { address: listener.address.clone(), source })
}

fn check_tcp(listener: &Listener, tcp: &SocketOptions, owner: Option<Uid>) -> io::Result<()> {
    let at = listener.address.to_sock_addr()?;
    let is_in_use =
        |bound: &io::Result<()>| bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    let share = |owner: Option<Uid>| {
        let socket = tcp_socket(&at, listener, tcp)?;
        socket.set_reuse_port(true)?;
        if let Some(owner) = owner {
            give(&socket, owner)?;
        }
        // It does not listen: the kernel gives it no connection of those that do.
        socket.bind(&at)
    };
    let mut bound = tcp_socket(&at, listener, tcp)?.bind(&at);
    for owner in std::iter::once(None).chain(owner.map(Some)) {
        if is_in_use(&bound) {
            bound = share(owner);
        }
    }
    bound
}

fn check_unix(path: &Path, listener: &Listener, owner: Option<Uid>) -> io::Result<()> {
    let at = listener.address.to_sock_addr()?;
    if let Ok(found) = fs::symlink_metadata(path) {
        let is_own = [Some(geteuid()), owner].contains(&Some(Uid::from_raw(found.uid())));
        let is_alive = || {
            Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)
                .and_then(|socket| socket.connect(&at))
                .is_ok()
        };
        if !found.file_type().is_socket() || (!is_own && is_alive()) {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(access(directory.unwrap_or(Path::new(".")), AccessFlags::W_OK | AccessFlags::X_OK)?)
}

/// The file of a Unix socket that was bound here, or by the process that this one takes over from. Dropping this removes
/// it, unless another file has its name by then, or another process goes on with it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Opened as a path only (`O_PATH`): while this is held, no other file gets its inode number.
    own: File,
    is_kept: AtomicBool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let own = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
        Ok(Self { path: path.to_owned(), own, is_kept: AtomicBool::new(false) })
    }

    /// The file of a socket that another process has bound, which keeps it until [`remove_at_end`](Self::remove_at_end).
    ///
    /// # Errors
    /// There is none.
    pub fn of_another(path: &Path) -> io::Result<Self> {
        let file = Self::of(path)?;
        file.keep();
        Ok(file)
    }

    /// Gives it the permissions of these settings.
    ///
    /// # Errors
    /// It has another owner.
    pub fn set_mode(&self, listener: &Listener) -> Result<(), Error> {
        let set = fs::set_permissions(&self.path, Permissions::from_mode(listener.unix_mode));
        set.map_err(|source| Error::Bind { address: listener.address.clone(), source })
    }

    /// Leaves it to another process: it is not removed when this is dropped.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// It is this process's to remove.
    pub fn remove_at_end(&self) {
        self.is_kept.store(false, Ordering::Relaxed);
    }

    /// Device and inode.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn id(&self) -> io::Result<(u64, u64)> {
        self.own.metadata().map(|own| (own.dev(), own.ino()))
    }

    /// Whether `path` leads to this file.
    pub fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| self.is(&found))
    }

    /// Where it was bound.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file another owner; not one that has its name now.
    ///
    /// # Errors
    /// Those of chown(2).
    pub fn give(&self, user: Uid, group: Gid) -> Result<(), Errno> {
        fchownat(&self.own, "", Some(user), Some(group), AtFlags::AT_EMPTY_PATH)
    }

    fn is(&self, found: &fs::Metadata) -> bool {
        self.own.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = || fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found));
        if !self.is_kept.load(Ordering::Relaxed) && is_own() {
            // The file may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_tcp(
    listener: &Listener,
    tcp: &SocketOptions,
    workers: usize,
    shared_with: Option<Uid>,
) -> io::Result<Bound> {
    let mut at = listener.address.to_sock_addr()?;
    // Any process of the same user may join the group: without this probe a second proxy would silently take half of
    // the first one's clients.
    if shared_with.is_none() {
        tcp_socket(&at, listener, tcp)?.bind(&at)?;
    }
    let mut sockets = Vec::with_capacity(workers);
    for _worker in 0..workers {
        let socket = tcp_socket(&at, listener, tcp)?;
        socket.set_reuse_port(true)?;
        // Root can join the sockets of a user that it has started a proxy as.
        if let Some(owner) = shared_with.filter(|owner| *owner != geteuid()) {
            give(&socket, owner)?;
        }
        socket.bind(&at)?;
        // The other sockets join the port that the kernel chose for the first.
        at = socket.local_addr()?;
        sockets.push(socket);
    }
    let address = at.as_socket().map_or_else(|| listener.address.clone(), Address::Ip);
    let sockets = sockets.into_iter().map(|socket| Arc::new(OwnedFd::from(socket))).collect();
    Ok(Bound { address, sockets, file: None })
}

/// A socket with all options that accepted sockets inherit.
fn tcp_socket(at: &SockAddr, listener: &Listener, tcp: &SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(at.domain(), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    if at.domain() == Domain::IPV6 {
        // Same as nginx: `[::]:80` and `0.0.0.0:80` are two listeners.
        socket.set_only_v6(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    set_options(&socket, listener, tcp)?;
    Ok(socket)
}

/// Sets the options that are on.
fn set_options(socket: &Socket, listener: &Listener, tcp: &SocketOptions) -> io::Result<()> {
    if let Some(idle) = tcp.keepalive {
        set_keepalive(socket, idle)?;
    }
    socket.set_tcp_user_timeout(tcp.user_timeout)?;
    if listener.defer_accept {
        set_defer_accept(socket, DEFER_ACCEPT_SECONDS)?;
    }
    if let Some(queue) = listener.fastopen_queue {
        set_fastopen_queue(socket, i32::try_from(queue).unwrap_or(i32::MAX))?;
    }
    Ok(())
}

/// Directs each connection to the worker on the CPU that received its packet. Without such a worker the connection is
/// assigned by the CPU's number modulo the number of workers.
fn steer_by_cpu(group: &impl AsFd, worker_cpus: &[Option<usize>]) -> io::Result<()> {
    const ACCUMULATOR_FROM_CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program =
        vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, ACCUMULATOR_FROM_CPU)];
    for (worker, cpu) in worker_cpus.iter().enumerate() {
        if let Some(cpu) = cpu {
            // Equal: continue with the return instruction; otherwise skip it.
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

/// Directs each connection to one of the first `workers` sockets of a group.
fn steer_by_chance(group: &impl AsFd, workers: usize) -> io::Result<()> {
    const ACCUMULATOR_FROM_CHANCE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;
    let instruction = |code: u32, k| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, ACCUMULATOR_FROM_CHANCE),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, workers as u32),
        instruction(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    Ok(setsockopt(group, AttachReusePortCbpf, &program)?)
}

fn bind_unix(path: &Path, listener: &Listener, workers: usize) -> io::Result<Bound> {
    let at = listener.address.to_sock_addr()?;
    remove_stale(path, &at)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    // The file is created with these permissions less the umask: it is never more open than configured.
    fchmod(&socket, Mode::from_bits_truncate(listener.unix_mode))?;
    socket.bind(&at)?;
    let file = SocketFile::of(path)?;
    fs::set_permissions(path, Permissions::from_mode(listener.unix_mode))?;
    let socket = Arc::new(OwnedFd::from(socket));
    // A descriptor for all workers, which is closed when the last of them closes it.
    let sockets = vec![socket; workers];
    Ok(Bound { address: listener.address.clone(), sockets, file: Some(file) })
}

/// Removes a socket file left behind by a process that did not shut down cleanly. A socket that a process listens on,
/// or a file of another kind, stays, and binding fails.
fn remove_stale(path: &Path, at: &SockAddr) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    let found = SocketFile::of_another(path)?;
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    if probe.connect(at).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        // Not one that has come in its place meanwhile.
        found.remove_at_end();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
