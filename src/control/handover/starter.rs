//! The starter: a small process with the rights that the proxy was started with, which starts the proxy's successor.
//!
//! ```text
//!   proxy --Order::Start + socket--> starter --exec--> the binary that stands at the path then; the socket is its stdin
//!         <--Started | Failed | Ended--'
//! ```
//!
//! It starts nothing but what its own arguments say, with its own environment and directory, and one process at a time: a
//! proxy that is taken over by an attacker gets no more of it. It holds no descriptor of its proxy, ignores the signals of a
//! terminal and of a service manager, and ends with its proxy, whose end closes their socket.

use std::env::{self, ArgsOs};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signal::{SigSet, Signal};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::wire;

/// The first argument of a starter.
const COMMAND: &str = "starter";

/// In the environment of a successor: its standard input is the socket of the handover.
pub(super) const HANDOVER: &str = "IISPLICE_HANDOVER";

/// What a service manager told the first process only: descriptors that it was given, and whose watchdog it is.
const OF_THE_FIRST: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Longest wait for the other end, which has little else to do.
const ANSWER: Duration = Duration::from_secs(10);

/// Most messages of a starter about processes before the one that is to be started.
const STALE_MAX: usize = 16;

/// This process as `ps` and `top` show it, in at most 15 bytes.
const NAME: &std::ffi::CStr = c"iisplice-start";

/// What a proxy orders.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// To start its successor. The socket of the handover comes with it.
    Start,
    /// To kill the successor that was started last, if it runs.
    Kill,
}

/// What a starter says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Said {
    /// A process runs.
    Started {
        /// Its id.
        pid: u32,
    },
    /// Nothing was started.
    Failed {
        /// Why.
        why: String,
    },
    /// The process has ended.
    Ended {
        /// How.
        how: String,
    },
}

/// The proxy's side of its starter.
#[derive(Debug)]
pub struct Starter(Result<Running, String>);

#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    /// Until it is watched.
    child: Option<Child>,
}

impl Starter {
    /// Starts it. Where that fails the proxy can serve, and says why it cannot be upgraded once it is asked to.
    pub fn start() -> Self {
        Self(start().map_err(|error| error.to_string()))
    }

    /// One that runs already, at the other end of this socket.
    #[cfg(test)]
    pub(super) fn at(socket: OwnedFd) -> Self {
        Self(Ok(Running { socket, child: None }))
    }

    /// Waits for its end in a thread, so that it leaves nothing in the table of processes, and says if it ends before this
    /// process.
    ///
    /// # Errors
    /// No thread.
    pub(in crate::control) fn watch(&mut self) -> io::Result<()> {
        let Some(mut child) = self.0.as_mut().ok().and_then(|running| running.child.take()) else {
            return Ok(());
        };
        let work = move || {
            if let Ok(status) = child.wait()
                && !status.success()
            {
                let how = how(status);
                tracing::warn!(
                    "the process that starts new ones {how}; an upgrade needs a restart from now on"
                );
            }
        };
        thread::Builder::new().name("starter".to_owned()).spawn(work)?;
        Ok(())
    }

    /// Starts the successor, with this socket as its standard input.
    ///
    /// # Errors
    /// Why it does not run.
    pub fn start_successor(&mut self, socket: &OwnedFd) -> Result<u32, String> {
        let gone = || "the process that starts new ones was killed; restart instead".to_owned();
        let running = self.running()?;
        // What was said of one before this.
        for _ in 0..STALE_MAX {
            if !matches!(running.said(), Ok(Some(_))) {
                break;
            }
        }
        let deadline = Instant::now() + ANSWER;
        let asked = wire::send(&running.socket, &Order::Start, &[socket.as_fd()], deadline);
        let mut answered = asked.and_then(|()| wire::receive(&running.socket, deadline));
        if let Ok(Some((Said::Ended { .. }, _))) = answered {
            // That one has ended just now.
            answered = wire::receive(&running.socket, deadline);
        }
        match answered {
            Ok(Some((Said::Started { pid }, _))) => Ok(pid),
            Ok(Some((Said::Failed { why }, _))) => Err(why),
            Ok(Some((Said::Ended { how }, _))) => Err(format!("the new process {how}")),
            Ok(None) => Err(gone()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(gone()),
            Err(error) => Err(format!("the process that starts new ones does not answer: {error}")),
        }
    }

    /// Kills the successor.
    pub fn kill_successor(&mut self) {
        if let Ok(running) = self.running() {
            // Without a starter the successor has lost this process already.
            let _ = wire::send(&running.socket, &Order::Kill, &[], Instant::now() + ANSWER);
        }
    }

    /// What is readable when the starter has said something.
    pub fn socket(&self) -> Option<&OwnedFd> {
        self.0.as_ref().ok().map(|running| &running.socket)
    }

    /// How the successor has ended, if it has.
    pub fn how_it_ended(&self) -> Option<String> {
        match self.0.as_ref().ok()?.said() {
            Ok(Some((Said::Ended { how }, _))) => Some(how),
            _ => None,
        }
    }

    fn running(&mut self) -> Result<&mut Running, String> {
        let why = |why: &mut String| format!("the process that starts new ones does not run: {why}");
        self.0.as_mut().map_err(why)
    }
}

impl Running {
    fn said(&self) -> io::Result<Option<wire::Message<Said>>> {
        wire::receive_now(&self.socket)
    }
}

fn start() -> io::Result<Running> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let (own, other) = wire::pair()?;
    // This binary, whatever stands at its path by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("iisplice").args([COMMAND.as_ref(), path(&name)?.as_os_str(), &name]).args(arguments);
    let child = command.env_remove(HANDOVER).stdin(Stdio::from(other)).spawn()?;
    Ok(Running { socket: own, child: Some(child) })
}

/// Where this binary was started: where an upgrade puts the next one. A name like `/opt/iisplice/current/iisplice` stays as
/// it is written, because upgrades change what it leads to.
fn path(name: &OsStr) -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    let executed = OsStr::from_bytes(rustix::param::linux_execfn().to_bytes());
    // Descriptors and links to processes lead there now only.
    let lasts = |path: &Path| !["/proc", "/dev"].iter().any(|place| path.starts_with(place));
    let leads_here = |path: &Path| {
        let own = fs::metadata("/proc/self/exe").map(|own| (own.dev(), own.ino()));
        let there = fs::metadata(path).map(|there| (there.dev(), there.ino()));
        matches!((own, there), (Ok(own), Ok(there)) if own == there)
    };
    let is_path = |name: &&OsStr| name.as_bytes().contains(&b'/');
    let written = [executed, name].into_iter().filter(is_path).map(std::path::absolute);
    let found = written.flatten().find(|path| lasts(path) && leads_here(path));
    Ok(found.unwrap_or(own))
}

/// What this process is to start, if these are the arguments of a starter and its standard input is its proxy.
pub fn ordered(mut arguments: ArgsOs) -> Option<Successor> {
    let is_starter = arguments.nth(1)? == COMMAND && is_pair(&io::stdin());
    let (path, name) = (arguments.next()?, arguments.next()?);
    is_starter.then(|| Successor { path: path.into(), name, arguments: arguments.collect() })
}

/// Whether it is one end of what [`wire::pair`] makes.
pub(super) fn is_pair(socket: &impl AsFd) -> bool {
    sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::SEQPACKET)
        && sockopt::socket_domain(socket).is_ok_and(|family| family == AddressFamily::UNIX)
}

/// What a starter starts.
#[derive(Debug)]
pub struct Successor {
    path: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

/// Starts successors for as long as the proxy lives.
pub fn run(successor: &Successor) -> ExitCode {
    // They are the proxy's. A successor begins by unblocking them: to do it here would let in what has arrived meanwhile.
    let _ = SigSet::all().thread_block();
    close_others();
    let _ = nix::sys::prctl::set_name(NAME);
    let proxy = io::stdin();
    let mut child: Option<(Child, OwnedFd)> = None;
    loop {
        let ready = [Some(proxy.as_fd()), child.as_ref().map(|(_, ended)| ended.as_fd())];
        if wire::wait(&ready.into_iter().flatten().collect::<Vec<_>>(), PollFlags::POLLIN, None).is_err() {
            return ExitCode::FAILURE;
        }
        if let Some((ended, _)) = &mut child
            && let Ok(Some(status)) = ended.try_wait()
        {
            child = None;
            let _ = say(&Said::Ended { how: how(status) });
        }
        match wire::receive_now(&proxy) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(Some((Order::Start, sockets))) => {
                let said = if child.is_some() {
                    Err(io::Error::other("the new process of an upgrade before this one still runs"))
                } else {
                    successor.start(sockets)
                };
                let said = match said {
                    Ok(started) => Said::Started { pid: child.insert(started).0.id() },
                    Err(error) => {
                        Said::Failed { why: format!("cannot start {}: {error}", successor.path.display()) }
                    }
                };
                let _ = say(&said);
            }
            Ok(Some((Order::Kill, _))) => {
                if let Some((child, _)) = &mut child {
                    let _ = child.kill();
                }
            }
            // The proxy has ended, or is no proxy.
            Ok(None) | Err(_) => return ExitCode::SUCCESS,
        }
    }
}

impl Successor {
    /// Returns what becomes readable when it ends.
    fn start(&self, sockets: Vec<OwnedFd>) -> io::Result<(Child, OwnedFd)> {
        let Some(socket) = sockets.into_iter().next() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments).env(HANDOVER, "stdin").stdin(Stdio::from(socket));
        for name in OF_THE_FIRST {
            command.env_remove(name);
        }
        let mut child = command.spawn()?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(ended) => Ok((child, ended)),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }
}

fn say(said: &Said) -> io::Result<()> {
    wire::send(io::stdin(), said, &[], Instant::now() + ANSWER)
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal().map(Signal::try_from)) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(Ok(signal))) => format!("was ended by {signal}"),
        (None, _) => format!("ended ({status})"),
    }
}

/// Closes what it inherited besides standard input, output and error: what a parent left open for the proxy.
fn close_others() {
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> =
        open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // One of them was the directory's own.
        let _ = nix::unistd::close(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(starter: &OwnedFd, said: &Said) {
        wire::send(starter, said, &[], Instant::now() + ANSWER).expect("it fits");
    }

    #[test]
    fn what_is_said_of_an_earlier_process_is_no_answer() {
        let (own, other) = wire::pair().expect("sockets");
        let (socket, _successor) = wire::pair().expect("sockets");
        let mut starter = Starter::at(own);
        let ended = Said::Ended { how: "ended with exit code 1".to_owned() };
        say(&other, &ended);
        let playing = thread::spawn(move || {
            let order = wire::receive::<Order>(&other, Instant::now() + ANSWER).expect("an order");
            assert!(matches!(order, Some((Order::Start, sockets)) if sockets.len() == 1));
            say(&other, &ended);
            say(&other, &Said::Started { pid: 7 });
            // It is killed at the next order.
            wire::receive::<Order>(&other, Instant::now() + ANSWER).expect("an order");
        });
        assert_eq!(starter.start_successor(&socket), Ok(7));
        let why = starter.start_successor(&socket).expect_err("it was killed");
        assert!(why.contains("was killed; restart instead"), "{why}");
        playing.join().expect("no panic");
    }
}
