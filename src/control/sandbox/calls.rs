//! The system calls in use, found by strace(1) under the tests; with glibc and musl, and what resolvers of names call.
//!
//! What strace does not show is here for a reason: musl makes calls that glibc does not (`readv`, `membarrier`, `nanosleep`, and the
//! older names); `clock_gettime`, `getcpu` and their like are calls only on hosts where no page of the kernel answers them; modules of
//! the name service (LDAP, winbind, sssd) wait by `select`, move descriptors by `dup`, and ask who they are and what a file system is;
//! glibc's `dlopen` of such a module calls `pread64` and `arch_prctl`; what sets priorities may look them up before.
//!
//! Calls on the way of a message are allowed whatever their arguments: the kernel then skips the filter for them.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BackendError, SeccompCondition, SeccompRule};

/// By number: any arguments, or one of the rules.
pub(super) type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// The part of a socket's type that is no flag.
const TYPE: u64 = 0xf;

/// `PR_SET_VMA`: names of memory, which a libc gives to its own.
const PR_SET_VMA: c_int = 0x5356_4d41;

/// Reads what the kernel tells each program at its start.
const PR_GET_AUXV: c_int = 0x4155_5856;

/// The priority of a thread, not of a group of processes or of a user.
const PRIO_PROCESS: c_int = 0;

/// Of later calls a libc may try (`fchmodat2`, `mseal`), and it goes back to earlier ones where the kernel has not got them. This is
/// `cachestat`, of Linux 6.5. Since 5.2 the numbers are those of all architectures.
pub(super) const NEWEST: c_long = 451;

/// Allowed with all arguments.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Rings and bulk.
    libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_io_uring_setup, libc::SYS_splice, libc::SYS_tee,
    // Files and descriptors.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64,
    libc::SYS_write, libc::SYS_writev,
    libc::SYS_openat, libc::SYS_close, libc::SYS_lseek, libc::SYS_dup,
    libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd,
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_unlinkat,
    libc::SYS_pipe2, libc::SYS_eventfd2,
    // Waiting.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_futex, libc::SYS_nanosleep, libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall, libc::SYS_sched_yield,
    // Sockets that are open.
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4, libc::SYS_connect, libc::SYS_shutdown,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_setsockopt, libc::SYS_getsockopt,
    libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg,
    libc::SYS_recvfrom, libc::SYS_recvmsg,
    // Memory.
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_membarrier,
    // Threads and signals.
    libc::SYS_set_robust_list, libc::SYS_rseq,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam, libc::SYS_sched_getscheduler, libc::SYS_getpriority,
    libc::SYS_getcpu, libc::SYS_wait4, libc::SYS_waitid,
    // What it is and where.
    libc::SYS_getpid, libc::SYS_gettid, libc::SYS_getppid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid,
    libc::SYS_getegid, libc::SYS_getgroups, libc::SYS_getresuid, libc::SYS_getresgid,
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom, libc::SYS_getrusage,
    libc::SYS_clock_gettime, libc::SYS_gettimeofday,
];

/// The same by older names, which this architecture has besides.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_chmod,
    libc::SYS_unlink, libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_select,
    libc::SYS_arch_prctl, libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// All that is allowed.
pub(super) fn allowed() -> Result<Rules, BackendError> {
    let mut rules: Rules = ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, sockets()?);
    rules.insert(libc::SYS_socketpair, vec![rule([argument(0, libc::AF_UNIX)?])?]);
    rules.insert(libc::SYS_clone, vec![threads()?]);
    let own = std::process::id().cast_signed();
    // An abort.
    rules.insert(libc::SYS_tgkill, vec![rule([argument(0, own)?])?]);
    rules.insert(libc::SYS_tkill, vec![rule([argument(1, libc::SIGABRT)?])?]);
    // Limits of this process only.
    rules.insert(libc::SYS_prlimit64, vec![rule([argument(0, 0)?])?, rule([argument(0, own)?])?]);
    // The admin endpoint gives way to workers.
    rules.insert(libc::SYS_sched_setscheduler, vec![rule([argument(1, libc::SCHED_IDLE)?])?]);
    rules.insert(libc::SYS_setpriority, vec![rule([argument(0, PRIO_PROCESS)?, argument(1, 0)?])?]);
    // Nothing that was written becomes code. What is mapped from a file can be: modules of the name service.
    let no_code = || SeccompCondition::new(2, Dword, MaskedEq(libc::PROT_EXEC as u64), 0);
    rules.insert(libc::SYS_mprotect, vec![rule([no_code()?])?]);
    let code = SeccompCondition::new(2, Dword, MaskedEq(libc::PROT_WRITE as u64), 0)?;
    let of_a_file = SeccompCondition::new(3, Dword, MaskedEq(libc::MAP_ANONYMOUS as u64), 0)?;
    rules.insert(libc::SYS_mmap, vec![rule([no_code()?])?, rule([code, of_a_file])?]);
    // Further filters can only forbid.
    rules.insert(libc::SYS_seccomp, vec![rule([argument(0, libc::SECCOMP_SET_MODE_FILTER.cast_signed())?])?]);
    let options = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_NO_NEW_PRIVS, PR_SET_VMA, PR_GET_AUXV];
    rules.insert(libc::SYS_prctl, one_of(0, options)?);
    // Not whom the kernel signals when there is something to read.
    let commands = [
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETPIPE_SZ,
        libc::F_SETPIPE_SZ,
    ];
    rules.insert(libc::SYS_fcntl, one_of(1, commands)?);
    // Their type depends on the libc.
    let requests =
        [libc::FIONBIO, libc::FIONREAD, libc::TIOCOUTQ, libc::TCGETS, libc::TIOCGWINSZ, libc::FIOCLEX];
    let requests = requests.map(|request| c_int::try_from(request).unwrap_or_default());
    rules.insert(libc::SYS_ioctl, one_of(1, requests)?);
    Ok(rules)
}

/// TCP, UDP and Unix sockets, and those by which a libc asks for the addresses of this host; none that sees packets.
fn sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let kind = |kind: c_int| SeccompCondition::new(1, Dword, MaskedEq(TYPE), kind as u64);
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (of_kind, protocol) in
            [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)]
        {
            for protocol in [0, protocol] {
                rules.push(rule([argument(0, family)?, kind(of_kind)?, argument(2, protocol)?])?);
            }
        }
    }
    for of_kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
        rules.push(rule([argument(0, libc::AF_UNIX)?, kind(of_kind)?])?);
    }
    rules.push(rule([argument(0, libc::AF_NETLINK)?, argument(2, libc::NETLINK_ROUTE)?])?);
    Ok(rules)
}

/// A thread of this process, in its namespaces.
fn threads() -> Result<SeccompRule, BackendError> {
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let looked_at = namespaces.into_iter().fold(thread, |all, one| all | u64::from(one.cast_unsigned()));
    rule([SeccompCondition::new(0, Qword, MaskedEq(looked_at), thread)?])
}

/// A rule for each of the values of an argument.
fn one_of<const N: usize>(nth: u8, values: [c_int; N]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule([argument(nth, *value)?])).collect()
}

fn argument(nth: u8, value: c_int) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(nth, Dword, Eq, u64::from(value.cast_unsigned()))
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}
