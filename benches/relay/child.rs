//! A program as a child process: it is pinned, observed by its pid, and always ends with the benchmark.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getppid};

use crate::host;

/// How long a child may take to end after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The real-time priority of cases that ask for one: above all ordinary processes, below the kernel's own threads.
const PRIORITY: &str = "10";

/// A running program. Dropping it ends the program and its children.
#[derive(Debug)]
pub(crate) struct Program {
    process: Child,
    log: PathBuf,
}

/// Where a program runs, and before whom.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) cpus: Vec<usize>,
    pub(crate) realtime: bool,
}

impl Program {
    /// Starts the command in its seat, with its output in `log`.
    pub(crate) fn start(command: &[OsString], seat: &Seat, log: &Path) -> Result<Self> {
        let cpus: Vec<String> = seat.cpus.iter().map(usize::to_string).collect();
        let own = std::env::current_exe().context("cannot find the benchmark's own program")?;
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let process = Command::new(own)
            .args(["launch", "--cpus", &cpus.join(","), "--parent", &std::process::id().to_string()])
            .args(seat.realtime.then_some("--realtime"))
            .arg("--")
            .args(command)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share the log file")?)
            .stderr(output)
            .spawn()
            .context("cannot start a child")?;
        Ok(Self { process, log: log.to_owned() })
    }

    /// The pids of the program and its children.
    pub(crate) fn pids(&self) -> Result<Vec<i32>> {
        host::family(self.pid())
    }

    /// Returns an error with the last lines of the log if the program has exited.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        let Some(status) = self.exit_status()? else { return Ok(()) };
        bail!("the program has ended ({status}): {}", self.last_words());
    }

    /// How the program ended, if it has.
    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().context("cannot wait for a child")
    }

    /// The last lines of its log in one.
    pub(crate) fn last_words(&self) -> String {
        let log = self.output();
        let mut last_lines: Vec<&str> = log.lines().rev().take(3).collect();
        last_lines.reverse();
        if last_lines.is_empty() { "no output".to_owned() } else { last_lines.join(" / ") }
    }

    /// Its output so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn pid(&self) -> i32 {
        self.process.id() as i32
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        let family = host::family(self.pid()).unwrap_or_default();
        // An error means that the proxy has ended already.
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let asked_at = Instant::now();
        while asked_at.elapsed() < END_TIMEOUT {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        // Workers first: as long as their parent lives, no other process gets their pids.
        for pid in family.into_iter().rev() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.process.wait();
    }
}

/// The child's side of [`Program::start`]: pins itself, requests to end with its parent, and becomes the command.
///
/// exec(3) keeps these settings, so that no code has to run between fork and exec.
pub(crate) fn launch(seat: &Seat, parent: i32, command: &[OsString]) -> Result<()> {
    set_pdeathsig(Signal::SIGTERM).context("cannot request a signal for the parent's end")?;
    if getppid() != Pid::from_raw(parent) {
        bail!("the benchmark ended before its child started");
    }
    pin(&seat.cpus)?;
    // The benchmark blocks its signals, because it reads them from a descriptor. A program must get them.
    SigSet::all().thread_unblock().context("cannot unblock signals")?;
    let Some((program, arguments)) = command.split_first() else { bail!("no command to launch") };
    let error = if seat.realtime {
        Command::new("chrt").args(["-f", PRIORITY]).args(command).exec()
    } else {
        Command::new(program).args(arguments).exec()
    };
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// Pins the calling thread, and the threads and processes that it starts later, to cores.
pub(crate) fn pin(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).with_context(|| format!("core {cpu} does not exist"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| {
        format!("cannot run on core {cpus:?}; choose other cores with --proxy-cpu and --load-cpus")
    })
}

/// Gives this process real-time priority (chrt(1)), or takes it away. Its children are started with or without on their own.
pub(crate) fn go_first(realtime: bool) -> Result<()> {
    let policy = if realtime { ["-f", "-p", PRIORITY] } else { ["-o", "-p", "0"] };
    let output = Command::new("chrt")
        .args(policy)
        .arg(std::process::id().to_string())
        .output()
        .context("real-time priority: cannot run chrt")?;
    if !output.status.success() {
        bail!("real-time priority: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
