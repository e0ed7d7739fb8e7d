//! A proxy as a child process: it is pinned, observed by its pid, and always ends with the benchmark.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getppid};

use crate::host;

/// How long a proxy may take to end after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// A running proxy. Dropping it ends the proxy and its children.
#[derive(Debug)]
pub(crate) struct Proxy {
    process: Child,
    log: PathBuf,
}

impl Proxy {
    /// Starts the command on one core, with its output in `log`.
    pub(crate) fn start(command: &[OsString], cpu: usize, log: &Path) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find the benchmark's own program")?;
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let process = Command::new(own)
            .args(["launch", "--cpu", &cpu.to_string(), "--parent", &std::process::id().to_string(), "--"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share the log file")?)
            .stderr(output)
            .spawn()
            .context("cannot start a child")?;
        Ok(Self { process, log: log.to_owned() })
    }

    /// The pids of the proxy and its workers.
    pub(crate) fn pids(&self) -> Result<Vec<i32>> {
        host::family(self.pid())
    }

    /// Returns an error with the last lines of the log if the proxy has exited.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        let Some(status) = self.process.try_wait().context("cannot wait for the proxy")? else {
            return Ok(());
        };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let mut last_lines: Vec<&str> = log.lines().rev().take(3).collect();
        last_lines.reverse();
        let said = if last_lines.is_empty() { "no output".to_owned() } else { last_lines.join(" / ") };
        bail!("the proxy exited ({status}): {said}");
    }

    fn pid(&self) -> i32 {
        self.process.id() as i32
    }
}

impl Drop for Proxy {
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

/// The child's side of [`Proxy::start`]: pins itself, requests to end with its parent, and becomes the command.
///
/// exec(3) keeps these settings, so that no code has to run between fork and exec.
pub(crate) fn launch(cpu: usize, parent: i32, command: &[OsString]) -> Result<()> {
    set_pdeathsig(Signal::SIGTERM).context("cannot request a signal for the parent's end")?;
    if getppid() != Pid::from_raw(parent) {
        bail!("the benchmark ended before its child started");
    }
    pin(cpu)?;
    // The benchmark blocks its signals, because it reads them from a descriptor. A proxy must get them.
    SigSet::all().thread_unblock().context("cannot unblock signals")?;
    let Some((program, arguments)) = command.split_first() else { bail!("no command to launch") };
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// Pins the calling thread, and the threads and processes that it starts later, to one core.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).with_context(|| format!("core {cpu} does not exist"))?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| {
        format!("cannot run on core {cpu}; choose other cores with --proxy-cpu and --load-cpu")
    })
}
