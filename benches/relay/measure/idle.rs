//! The memory of a proxy's idle connections.

use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::{Set, Stage};
use crate::cases::Idle;
use crate::child::Program;
use crate::figures::Measured;
use crate::host;
use crate::load::{Errand, TlsClients};

/// How many connections open at a time.
const GROUP: u32 = 64;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For all TLS connections together.
const TLS_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for the proxy to release what it used for an exchange, before its memory is read.
const SETTLE_TIME: Duration = Duration::from_millis(500);

/// What the thread of TLS clients is asked to do.
enum Task {
    Open(u32),
    AskAgain,
}

/// The thread of TLS clients, which wait for their replies while this one serves.
struct TlsThread {
    tasks: Option<Sender<Task>>,
    done: Receiver<Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stage<'_> {
    /// Opens the connections with one exchange each, reads the proxy's memory, makes one more exchange on each, and reads
    /// the memory again.
    pub(super) fn idle(&mut self, kind: Idle, set: &Set) -> Result<Measured> {
        let pids = set.proxy.as_ref().map(Program::pids).context("the arm has no proxy")??;
        self.load.take_tally()?;
        let before_bytes = host::memory_bytes(&pids)?;
        let count = self.options.idle_connections();
        let clients = match kind {
            Idle::Tls => {
                let clients = TlsThread::start(TlsClients::new(set.target, &self.certificate)?);
                self.have(&clients, Task::Open(count))?;
                Some(clients)
            }
            Idle::Tcp => self.open_idle(Errand::Once, count).map(|()| None)?,
            Idle::Http => self.open_idle(Errand::HttpOnce, count).map(|()| None)?,
        };
        let first = self.growth_per_connection(&pids, before_bytes)?;
        match &clients {
            Some(clients) => self.have(clients, Task::AskAgain)?,
            None => self.load.ask_again(GROUP as usize, ANSWER_TIMEOUT)?,
        }
        let second = self.growth_per_connection(&pids, before_bytes)?;
        let mut measured = Measured::default();
        measured.push("bytes_per_connection", first);
        measured.push("bytes_per_connection_second_use", second);
        measured.push("errors", self.load.tally().errors as f64);
        Ok(measured)
    }

    fn open_idle(&mut self, errand: Errand, count: u32) -> Result<()> {
        let mut opened = 0;
        while opened < count {
            let group = GROUP.min(count - opened);
            opened += group;
            self.load.open(errand, group)?;
            self.load.run_until(|tally| tally.replies + tally.errors >= opened.into(), ANSWER_TIMEOUT)?;
        }
        Ok(())
    }

    /// Serves until the thread has done the task.
    fn have(&mut self, clients: &TlsThread, task: Task) -> Result<()> {
        let tasks = clients.tasks.as_ref().context("the TLS clients have ended")?;
        tasks.send(task).map_err(|_| anyhow!("the TLS clients have ended"))?;
        let began_at = Instant::now();
        loop {
            self.load.run_for(Duration::from_millis(2))?;
            match clients.done.try_recv() {
                Ok(outcome) => return outcome.context("a TLS client"),
                Err(TryRecvError::Disconnected) => bail!("the TLS clients have ended"),
                Err(TryRecvError::Empty) if began_at.elapsed() > TLS_TIMEOUT => {
                    bail!("the TLS clients have no reply after {TLS_TIMEOUT:?}")
                }
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    fn growth_per_connection(&mut self, pids: &[i32], before_bytes: u64) -> Result<f64> {
        self.load.run_for(SETTLE_TIME)?;
        let grown_bytes = host::memory_bytes(pids)?.saturating_sub(before_bytes);
        Ok(grown_bytes as f64 / f64::from(self.options.idle_connections()))
    }
}

impl TlsThread {
    fn start(mut clients: TlsClients) -> Self {
        let (tasks, to_do) = mpsc::channel();
        let (report, done) = mpsc::channel();
        let thread = thread::spawn(move || {
            while let Ok(task) = to_do.recv() {
                let outcome = match task {
                    Task::Open(count) => clients.open(count),
                    Task::AskAgain => clients.ask_again(),
                };
                if report.send(outcome).is_err() {
                    return;
                }
            }
        });
        Self { tasks: Some(tasks), done, thread: Some(thread) }
    }
}

impl Drop for TlsThread {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // It has a time-out for every reply. A panic of it has shown itself.
            let _ = thread.join();
        }
    }
}
