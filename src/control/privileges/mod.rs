//! Least privilege: what a process that root starts keeps of root's rights.
//!
//! ```text
//!   root: bind, open logs, read keys, raise limits --> give files and sockets to the user --> drop --> rings, threads, clients
//! ```
//!
//! Rights belong to threads (credentials(7), capabilities(7)): they are dropped while the process has one, and every later
//! thread inherits what is left, those of the kernel for its rings included. Nothing here may run once clients are served.
//!
//! Start with [`go_on_as`].

mod capabilities;
mod files;
mod user;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{setgroups, setresgid, setresuid};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, set_keep_capabilities, set_no_new_privs};

pub(super) use user::UserFault;
pub use user::WrittenUser;

pub(super) use capabilities::needed;
pub(super) use files::give_log;
pub(super) use user::User;

use super::LogTarget;
use crate::proxy::bind::{self, SocketFile};

/// How long threads of lookups that have answered may take to end.
const ALONE: Duration = Duration::from_secs(10);

/// Nothing that the process creates from now on is open to users outside of its group.
const UMASK: Mode = Mode::from_bits_truncate(0o027);

/// A right that could not be dropped.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub struct Fault {
    call: &'static str,
    source: Errno,
}

/// What has to be done while the process is root and has created nothing yet.
pub(super) fn prepare() {
    umask(UMASK);
    // Root locks as much memory as it likes, for rings and buffers; a hard limit cannot be raised afterwards. Where a
    // container denies it, the limit that it sets holds.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}

/// Goes on as this user, with these capabilities of those that the process has: gives it the listening sockets, so that it can
/// bind more to their addresses, and the files of Unix sockets, and warns of `files`, and of the log and these files, where it
/// cannot use them later.
///
/// # Errors
/// See [`Fault`]; the process must end then.
pub(super) fn go_on_as(
    user: &User,
    kept: CapabilitySet,
    files: &[PathBuf],
    log: Option<&LogTarget>,
    sockets: &[&OwnedFd],
    socket_files: &[&SocketFile],
) -> Result<(), Fault> {
    for socket in sockets {
        bind::give(socket, user.uid).map_err(|source| Fault { call: "fchown", source })?;
    }
    for file in socket_files {
        file.give(user.uid, user.gid).map_err(|source| Fault { call: "fchownat", source })?;
    }
    drop_root(user, kept)?;
    tracing::info!(%user, capabilities = capabilities::names(kept), "root's rights are dropped");
    files::warn_of_unreadable(user, files);
    if let Some(LogTarget::File(path)) = log {
        files::warn_of_unwritable(user, path);
    }
    files::warn_of_kept(user, socket_files.iter().map(|file| file.path()));
    Ok(())
}

/// Goes on as this user, with these capabilities of those that the process has, and nothing to get others by.
///
/// # Errors
/// What the kernel denies, for instance in a container that lacks a capability.
fn drop_root(user: &User, kept: CapabilitySet) -> Result<(), Fault> {
    let fault = |call| move |source| Fault { call, source };
    let from_rustix =
        |call| move |error: rustix::io::Errno| Fault { call, source: Errno::from_raw(error.raw_os_error()) };
    wait_until_alone()?;
    let kept = capabilities::bound(kept).map_err(from_rustix("prctl(PR_CAPBSET_DROP)"))?;
    setgroups(&user.groups).map_err(fault("setgroups"))?;
    setresgid(user.gid, user.gid, user.gid).map_err(fault("setresgid"))?;
    // Otherwise the change of the user takes all of them.
    set_keep_capabilities(true).map_err(from_rustix("prctl(PR_SET_KEEPCAPS)"))?;
    setresuid(user.uid, user.uid, user.uid).map_err(fault("setresuid"))?;
    set_keep_capabilities(false).map_err(from_rustix("prctl(PR_SET_KEEPCAPS)"))?;
    capabilities::keep(kept).map_err(from_rustix("capset"))?;
    set_no_new_privs(true).map_err(from_rustix("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    // Keys are in memory: no core file, and no other process of this user may look.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(from_rustix("prctl(PR_SET_DUMPABLE)"))?;
    Ok(())
}

/// Waits until no other thread is left: one that looked up a name may still be ending.
fn wait_until_alone() -> Result<(), Fault> {
    let deadline = Instant::now() + ALONE;
    while threads() > 1 {
        if Instant::now() > deadline {
            return Err(Fault { call: "another thread still runs", source: Errno::ETIMEDOUT });
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The threads of this process; one where `/proc` is missing.
pub(super) fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
