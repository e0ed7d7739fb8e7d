//! Recorded logins, written to their file during the run.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use super::ReportError;
use crate::load::recording::Recorded;

/// Only the user may read the file: a recorded proof allows guessing the password offline.
const MODE: u32 = 0o600;

/// A file of recorded logins, and the thread that writes it, so that measuring threads do not wait for a disk.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    writing: JoinHandle<io::Result<()>>,
}

impl Recording {
    /// Creates the file. What is sent is written, a line for each login. One that is there is refused: it would keep its
    /// mode, or be another's behind a link.
    ///
    /// # Errors
    /// [`ReportError::Write`] and [`ReportError::Exists`].
    pub fn create(path: &Path) -> Result<(Self, Sender<Recorded>), ReportError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
        let file = file.map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => ReportError::Exists { path: path.to_owned() },
            _ => ReportError::Write { path: path.to_owned(), cause },
        })?;
        Self::start(path, file)
    }

    fn start(path: &Path, file: File) -> Result<(Self, Sender<Recorded>), ReportError> {
        let fail = |cause| ReportError::Write { path: path.to_owned(), cause };
        let (sender, logins) = mpsc::channel();
        let thread = thread::Builder::new().name("recording".to_owned());
        let writing = thread.spawn(move || write(file, &logins)).map_err(fail)?;
        Ok((Self { path: path.to_owned(), writing }, sender))
    }

    /// Waits until everything is written, which is when every copy of the sender is gone.
    ///
    /// # Errors
    /// [`ReportError::Write`].
    pub fn finish(self) -> Result<(), ReportError> {
        // The thread does nothing that can panic.
        let written =
            self.writing.join().unwrap_or_else(|_| Err(io::Error::other("the writer thread ended")));
        written.map_err(|cause| ReportError::Write { path: self.path, cause })
    }
}

fn write(file: File, logins: &Receiver<Recorded>) -> io::Result<()> {
    let mut to = BufWriter::new(file);
    for login in logins {
        writeln!(to, "{}", login.to_line())?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_a_full_disk() -> (Recording, Sender<Recorded>) {
        let path = Path::new("/dev/full");
        Recording::start(path, File::options().write(true).open(path).unwrap()).unwrap()
    }

    #[test]
    fn a_full_disk_is_reported_at_the_end_and_stops_no_run() {
        let (recording, sender) = to_a_full_disk();
        drop(sender);
        assert!(recording.finish().is_ok(), "nothing was to be written");
        let (recording, sender) = to_a_full_disk();
        let login = crate::load::recording::tests::recorded(crate::load::plan::Scheme::Ntlm);
        for _ in 0..100 {
            // Fails if the thread has ended, which does not matter here.
            let _ = sender.send(login.clone());
        }
        drop(sender);
        let complaint = recording.finish().unwrap_err().to_string();
        assert!(complaint.starts_with("/dev/full: cannot be written: No space left"), "{complaint}");
    }
}
