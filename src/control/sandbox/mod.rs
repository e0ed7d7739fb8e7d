//! The sandbox: after the start the process can make the system calls that it uses, and no others (seccomp(2)).
//!
//! ```text
//!   sockets, logs, keys, rights dropped --enter--> threads, rings --close_rings--> clients' bytes for as long as it runs
//! ```
//!
//! A filter belongs to a thread; threads that it starts inherit it. [`Sandbox::enter`] puts it on all that there are: a lookup of
//! a name may be left. What a ring does passes no filter: rings are restricted by themselves, see `uring`, and
//! [`Sandbox::close_rings_after`] denies further rings once the workers have theirs.
//!
//! It must never be widened, and holds nothing that a reload could need more of.

mod calls;
mod landlock;
mod needs;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads, sock_filter,
};

use self::calls::Rules;
use crate::proxy::counters::Counters;
use crate::uring::{self, Feature, Features};

pub(super) use landlock::{denies, denies_port, first_denied};
pub(super) use needs::Needs;

/// `BPF_LD | BPF_W | BPF_ABS`: loads a word of `seccomp_data`, in which the number of the call comes first.
const LOAD: u16 = 0x20;
const NUMBER: u32 = 0;

/// `BPF_JMP | BPF_JEQ | BPF_K`.
const JUMP_IF_EQUAL: u16 = 0x15;

/// `BPF_JMP | BPF_JGT | BPF_K`.
const JUMP_IF_GREATER: u16 = 0x25;

/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// The answer of a kernel that has not got a call.
const MISSING: SeccompAction = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());

/// How often to look whether the workers have their rings.
const LOOK: Duration = Duration::from_millis(2);

/// What happens to a call outside of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SandboxMode {
    /// The process ends, and names it.
    #[default]
    On,
    /// The same, and TCP ports of a settings file are limited to those that it names at the start.
    Strict,
    /// The kernel logs it.
    Log,
    /// Nothing.
    Off,
}

impl SandboxMode {
    /// Whether anything that it does not allow is denied.
    fn denies(self) -> bool {
        matches!(self, Self::On | Self::Strict)
    }
}

impl fmt::Display for SandboxMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Strict => "strict",
            Self::Log => "log",
            Self::Off => "off",
        })
    }
}

/// What this process is confined by.
#[derive(Debug)]
pub(super) struct Sandbox {
    mode: SandboxMode,
    /// What was applied, as the start-up line has it.
    parts: Vec<&'static str>,
    /// Whether calls are filtered.
    filters: bool,
}

impl Sandbox {
    /// Filters the calls of this process's threads, of those that it has and of those that it will start, and limits what
    /// they reach to these needs. Where the kernel cannot, the process goes on, and says so. Workers' rings, which are
    /// restricted with these features, come later.
    pub(super) fn enter(mode: SandboxMode, features: &Features, needs: &Needs) -> Self {
        let mut this = Self { mode, parts: Vec::new(), filters: false };
        // The calls for it are not in the list, and nothing of it logs what it would deny.
        let limits = if mode.denies() { landlock::limit(needs) } else { Vec::new() };
        let (entered, part) = match mode {
            SandboxMode::Off => return this,
            SandboxMode::Log => (filter_calls(SeccompAction::Log), "seccomp-log"),
            SandboxMode::On | SandboxMode::Strict => {
                let handled = uring::name_violations().map_err(|error| error.to_string());
                (handled.and_then(|()| filter_calls(SeccompAction::Trap)), "seccomp")
            }
        };
        match entered {
            Ok(()) => {
                this.parts.push(part);
                this.filters = true;
            }
            Err(error) => {
                tracing::warn!(error, "system calls cannot be filtered here; serving without that");
            }
        }
        if features.optional.has(Feature::Restrictions) {
            this.parts.push("rings");
        }
        this.parts.extend(limits);
        this
    }

    /// Denies further rings once each of the workers with these counters has its own.
    ///
    /// # Errors
    /// No thread to wait for them.
    pub(super) fn close_rings_after(self, workers: &[Arc<Counters>]) -> io::Result<()> {
        if !self.mode.denies() || !self.filters {
            return Ok(());
        }
        let workers = workers.to_vec();
        thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
            // A worker that gets no ring ends the process.
            while workers.iter().any(|worker| worker.ring().is_none()) {
                thread::sleep(LOOK);
            }
            if let Err(error) = close_rings() {
                tracing::warn!(
                    error,
                    "cannot deny further rings; a thread could open one that is not restricted"
                );
            }
        })?;
        Ok(())
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() {
            return f.write_str(if self.mode == SandboxMode::Off { "off" } else { "none" });
        }
        f.write_str(&self.parts.join(","))
    }
}

/// Denies further rings, in all threads.
fn close_rings() -> Result<(), String> {
    let setup = Rules::from([(libc::SYS_io_uring_setup, Vec::new())]);
    let program = program(setup, SeccompAction::Allow, SeccompAction::Trap, &[])?;
    apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

fn filter_calls(violation: SeccompAction) -> Result<(), String> {
    let allowed = calls::allowed().map_err(|error| error.to_string())?;
    let mut first = vec![
        // The most frequent ones, for kernels that do not remember what a filter says of a call (before Linux 5.11).
        (JUMP_IF_EQUAL, libc::SYS_io_uring_enter, SeccompAction::Allow),
        (JUMP_IF_EQUAL, libc::SYS_splice, SeccompAction::Allow),
        // What it makes is in memory, where no filter looks; libraries go back to clone(2), which says it in a register.
        (JUMP_IF_EQUAL, libc::SYS_clone3, MISSING),
    ];
    if violation != SeccompAction::Log {
        // Later libraries try later calls, and go back to earlier ones where the kernel has not got them.
        first.push((JUMP_IF_GREATER, calls::NEWEST, MISSING));
    }
    let program = program(allowed, violation, SeccompAction::Allow, &first)?;
    apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

/// A filter that looks at `first` before it goes through the rules.
fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
    first: &[(u16, c_long, SeccompAction)],
) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(|error| error.to_string())?;
    let mut program: BpfProgram =
        filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    // Behind the check of the architecture, once the number of the call is loaded. All jumps are relative to their places.
    let number = program.iter().position(|step| step.code == LOAD && step.k == NUMBER);
    let at = number.ok_or("a filter without the number of the call")? + 1;
    let steps = first.iter().flat_map(|(jump, call, action)| {
        let call = u32::try_from(*call).unwrap_or(u32::MAX);
        [
            sock_filter { code: *jump, jt: 0, jf: 1, k: call },
            sock_filter { code: RETURN, jt: 0, jf: 0, k: action.clone().into() },
        ]
    });
    program.splice(at..at, steps);
    Ok(program)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Output};

    use super::*;

    /// In the environment of a process that enters the sandbox: what it does then.
    const DOES: &str = "IISPLICE_TEST_SANDBOX_DOES";

    /// Runs this test again in a process of its own, which does that in the sandbox.
    fn in_a_process(test: &str, does: &str) -> Output {
        let name = format!("{}::{test}", module_path!().split_once("::").expect("a crate").1);
        let binary = std::env::current_exe().expect("a running test has a binary");
        let command = Command::new(binary).args(["--exact", &name, "--nocapture"]).env(DOES, does).output();
        command.expect("it starts")
    }

    fn does() -> Option<String> {
        std::env::var(DOES).ok()
    }

    fn enter(mode: SandboxMode) -> Sandbox {
        let features = crate::uring::probe(crate::uring::FeatureSet::NONE).expect("a ring");
        Sandbox::enter(mode, &features, &Needs::of_this_host())
    }

    /// Standard error takes it whatever the test harness does.
    fn say(text: &str) {
        std::io::stderr().write_all(text.as_bytes()).expect("standard error");
    }

    #[test]
    fn a_violation_ends_the_process_and_is_named() {
        const TEST: &str = "a_violation_ends_the_process_and_is_named";
        if let Some(does) = does() {
            let sandbox = enter(SandboxMode::On);
            assert!(sandbox.to_string().starts_with("seccomp,rings"), "{sandbox}");
            say("entered\n");
            match &*does {
                // A process begins with a clone that makes no thread. The library blocks all signals around it.
                "process" => drop(Command::new("/bin/true").status()),
                "session" => drop(nix::unistd::setsid().ok()),
                "packets" => drop(socket2::Socket::new(
                    socket2::Domain::PACKET,
                    socket2::Type::from(libc::SOCK_RAW),
                    None,
                )),
                "raw" => drop(socket2::Socket::new(
                    socket2::Domain::IPV4,
                    socket2::Type::from(libc::SOCK_RAW),
                    Some(socket2::Protocol::ICMPV4),
                )),
                "namespace" => drop(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)),
                "kill" => drop(nix::sys::signal::kill(nix::unistd::Pid::from_raw(1), None)),
                "thread" => std::thread::spawn(nix::unistd::setsid).join().map(drop).expect("it ends before"),
                "ring" => {
                    close_rings().expect("a further filter");
                    drop(crate::uring::probe(crate::uring::FeatureSet::NONE));
                }
                _ => unreachable!("not one of the cases"),
            }
            say("survived\n");
            return;
        }
        for (does, call) in [
            ("process", "clone"),
            ("session", "setsid"),
            ("packets", "socket"),
            ("raw", "socket"),
            ("namespace", "unshare"),
            ("kill", "kill"),
            ("thread", "setsid"),
            ("ring", "io_uring_setup"),
        ] {
            let output = in_a_process(TEST, does);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("entered") && !said.contains("survived"), "{does}: {said}");
            if output.status.signal() == Some(libc::SIGSYS) {
                assert_eq!(does, "process", "only there signals are blocked: {said}");
                continue;
            }
            assert!(said.contains(&format!("the sandbox does not allow {call} ")), "{does}: {said}");
            assert_eq!(output.status.code(), Some(uring::VIOLATION_EXIT_CODE), "{does}: {said}");
        }
    }

    #[test]
    fn what_a_proxy_does_is_let_through() {
        const TEST: &str = "what_a_proxy_does_is_let_through";
        if does().is_some() {
            let _sandbox = enter(SandboxMode::On);
            drop(crate::uring::probe(crate::uring::FeatureSet::NONE).expect("a ring"));
            close_rings().expect("a further filter");
            std::thread::spawn(|| {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
                drop(
                    std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens"),
                );
                let _ = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 80));
                std::fs::read_to_string("/proc/self/status").expect("a file");
            })
            .join()
            .expect("all of it works");
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("a file");
            assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
            return;
        }
        let output = in_a_process(TEST, "work");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_mode_that_logs_lets_calls_through() {
        const TEST: &str = "a_mode_that_logs_lets_calls_through";
        if does().is_some() {
            assert_eq!(enter(SandboxMode::Log).to_string(), "seccomp-log,rings");
            assert!(Command::new("/bin/true").status().expect("it starts").success());
            return;
        }
        let output = in_a_process(TEST, "exec");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
