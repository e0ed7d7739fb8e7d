//! The thread that writes the access log.
//!
//! ```text
//! workers --Record--> channel --> lines (memory) --write(2)--> file or standard output
//! ```
//!
//! The first line after a pause waits a moment for the next ones, so that the thread wakes up once and makes one write(2)
//! for many: waking it for each line costs more than the line. No other thread waits for this one: lines that it cannot
//! write are dropped, counted, and reported in the process's log at most once a second.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{AccessLog, LogTarget};
use crate::proxy::access_log::{self, Entry, Format, LogSender};

/// Most records that wait: a fraction of a second of the busiest worker; about 4 MB.
const RECORDS_MAX: usize = 16384;

/// Lines are written once they take this much, even if more are waiting.
const BUFFERED_BYTES: usize = 64 * 1024;

/// How long the first line after a pause waits for more. A worker sends some hundred meanwhile; the channel holds far more.
const GATHERING: Duration = Duration::from_millis(2);

/// Shortest interval between two reports of trouble with the log.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// A target that is open and not written to yet.
pub struct Opened {
    output: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    format: Format,
}

impl Opened {
    /// Opens the target. `made` sees the file of one that is a file.
    ///
    /// # Errors
    /// Those of open(2) and of `made`, or a FIFO without a reader.
    pub fn open(log: &AccessLog, made: impl FnOnce(&File, &Path) -> io::Result<()>) -> Result<Self, NoLog> {
        let (output, path): (Box<dyn Write + Send>, _) = match &log.target {
            // Not std's handle, which takes a lock and holds back text without a line feed.
            LogTarget::Stdout => {
                let copy = nix::unistd::dup(io::stdout()).map_err(io::Error::from)?;
                (Box::new(File::from(copy)), None)
            }
            LogTarget::File(path) => {
                let file = open(path)?;
                made(&file, path)?;
                (Box::new(file), Some(path.clone()))
            }
        };
        Ok(Self { output, path, format: log.format })
    }

    /// Starts the thread that writes.
    ///
    /// # Errors
    /// No thread.
    pub fn start(self) -> io::Result<LogWriter> {
        LogWriter::spawn(self.output, self.path, self.format)
    }
}

/// The supervising thread's handle to the writer.
pub struct LogWriter {
    sender: LogSender,
    reopen: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl LogWriter {
    /// Opens the target and starts the thread.
    ///
    /// # Errors
    /// As for [`Opened`].
    pub fn start(log: &AccessLog) -> Result<Self, NoLog> {
        Ok(Opened::open(log, |_, _| Ok(()))?.start()?)
    }

    fn spawn(output: Box<dyn Write + Send>, path: Option<PathBuf>, format: Format) -> io::Result<Self> {
        let (sender, entries) = access_log::channel(RECORDS_MAX);
        let reopen = Arc::new(AtomicBool::new(false));
        let (ending, ended) = channel();
        let writer = Writer {
            format,
            path,
            reopen: Arc::clone(&reopen),
            lines: Lines::new(output, Arc::clone(sender.dropped_lines())),
            complaint: Complaint::default(),
        };
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            writer.run(&entries);
            drop(ending);
        })?;
        Ok(Self { sender, reopen, ended })
    }

    /// A sender for a worker.
    pub fn sender(&self) -> LogSender {
        self.sender.clone()
    }

    /// How many lines it has lost.
    pub fn dropped_lines(&self) -> Arc<AtomicU64> {
        Arc::clone(self.sender.dropped_lines())
    }

    /// Reopens the file, so that a file that was moved away is no longer written to.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        self.sender.wake();
    }

    /// Writes what is waiting, for at most `patience`; every other sender must be gone. Returns the number of lines
    /// that were never written.
    pub fn finish(self, patience: Duration) -> u64 {
        let dropped_lines = Arc::clone(self.sender.dropped_lines());
        drop(self.sender);
        // Nothing is ever sent: this returns when the thread drops its end, or when `patience` ends.
        let _ = self.ended.recv_timeout(patience);
        dropped_lines.load(Ordering::Relaxed)
    }
}

/// Why the access log has no output.
#[derive(Debug, thiserror::Error)]
pub enum NoLog {
    /// Opening a FIFO waits for its reader (fifo(7)), with no time limit.
    #[error("it is a FIFO without a reader")]
    Unread,
    /// Any other error.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// Opens without waiting for a reader. Writes may wait: only this thread does them, and lines for a slow reader are
/// kept as long as there is room.
fn open(path: &Path) -> Result<File, NoLog> {
    let opened = OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| {
        let is_fifo = || path.metadata().is_ok_and(|found| found.file_type().is_fifo());
        if error.raw_os_error() == Some(libc::ENXIO) && is_fifo() { NoLog::Unread } else { error.into() }
    })?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND)).map_err(io::Error::from)?;
    Ok(file)
}

struct Writer {
    format: Format,
    path: Option<PathBuf>,
    reopen: Arc<AtomicBool>,
    lines: Lines,
    complaint: Complaint,
}

impl Writer {
    /// Runs until every sender is gone.
    fn run(mut self, entries: &Receiver<Entry>) {
        loop {
            let entry = match entries.try_recv() {
                Ok(entry) => entry,
                Err(TryRecvError::Empty) => {
                    self.flush();
                    let Ok(entry) = entries.recv() else { return };
                    thread::sleep(GATHERING);
                    entry
                }
                Err(TryRecvError::Disconnected) => {
                    self.flush();
                    return;
                }
            };
            if self.reopen.swap(false, Ordering::Acquire) {
                self.reopen();
            }
            let lines = &mut self.lines.buffered;
            match entry {
                Entry::Record(record) => self.format.append_line(&record, lines),
                Entry::Request(record) => self.format.append_request_line(&record, lines),
                Entry::Wake => continue,
            }
            if self.lines.buffered.len() >= BUFFERED_BYTES {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let failed = self.lines.flush().err();
        self.complaint.about(&self.lines.dropped, failed);
    }

    fn reopen(&mut self) {
        self.flush();
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => {
                self.lines.replace(Box::new(file));
                tracing::info!(path = %path.display(), "access log reopened");
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot reopen the access log; continuing with the old file");
            }
        }
    }
}

/// Whole lines that are being written.
struct Lines {
    output: Box<dyn Write + Send>,
    buffered: String,
    /// Whether the last write ended within a line; a line feed then ends it before the next one.
    torn: bool,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    fn new(output: Box<dyn Write + Send>, dropped: Arc<AtomicU64>) -> Self {
        Self { output, buffered: String::new(), torn: false, dropped }
    }

    fn replace(&mut self, output: Box<dyn Write + Send>) {
        self.output = output;
        self.torn = false;
    }

    /// Writes the buffer; after an error the rest is dropped and counted, because it would only grow.
    fn flush(&mut self) -> io::Result<()> {
        let result = self.write_out();
        self.buffered.clear();
        result
    }

    fn write_out(&mut self) -> io::Result<()> {
        let mut bytes = self.buffered.as_bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        let result = loop {
            if bytes.is_empty() {
                break Ok(());
            }
            let rest = if self.torn { b"\n".as_slice() } else { bytes };
            match self.output.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(_) if self.torn => self.torn = false,
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let written = self.buffered.len() - bytes.len();
        self.torn |= written > 0 && self.buffered.as_bytes()[written - 1] != b'\n';
        let dropped = bytes.split(|byte| *byte == b'\n').count() - 1;
        self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        result
    }
}

/// Reports that lines are missing, at most once a second.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
    failed: Option<io::Error>,
    told_lines: u64,
}

impl Complaint {
    fn about(&mut self, dropped: &AtomicU64, failed: Option<io::Error>) {
        self.failed = failed.or(self.failed.take());
        let dropped_lines = dropped.load(Ordering::Relaxed);
        if dropped_lines == self.told_lines
            || self.last.is_some_and(|last| last.elapsed() < COMPLAINT_INTERVAL)
        {
            return;
        }
        let lines = dropped_lines - self.told_lines;
        if let Some(error) = self.failed.take() {
            tracing::error!(lines, %error, "cannot write the access log; dropping lines");
        } else {
            tracing::warn!(lines, "access log target is too slow; dropping lines");
        }
        self.last = Some(Instant::now());
        self.told_lines = dropped_lines;
    }
}

#[cfg(test)]
mod tests;
