//! The descriptors of a simulated kernel: numbers as Linux assigns them, the lowest free one.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::time::Instant;

use socket2::SockAddr;

use super::violation::violation;

/// Descriptors begin after the standard streams.
const FD_MIN: usize = 3;

/// What a descriptor names.
#[derive(Clone, Copy)]
pub(super) enum File {
    Listener(usize),
    /// A socket, and its connection once it has one.
    Socket(Option<usize>),
    /// A socket that is being connected.
    Connecting(usize),
    PipeRead(usize),
    PipeWrite(usize),
}

/// An attempt to connect a socket.
pub(super) struct Attempt {
    pub(super) ends_at: Instant,
    pub(super) error: Option<i32>,
    pub(super) to: SockAddr,
    pub(super) from: Option<IpAddr>,
    pub(super) reset_on_close: bool,
}

/// What is in a pipe.
pub(super) struct PipeBytes {
    pub(super) queue: VecDeque<u8>,
    pub(super) bytes_max: usize,
}

/// See the module docs.
pub(super) struct Descriptors {
    files: Vec<Option<File>>,
    most: usize,
}

impl Descriptors {
    /// At most so many, apart from the standard streams.
    pub(super) fn new(most: usize) -> Self {
        Self { files: (0..FD_MIN).map(|_| None).collect(), most }
    }

    /// Number of open ones.
    pub(super) fn open_count(&self) -> usize {
        self.files.iter().flatten().count()
    }

    /// Whether so many more can be opened.
    pub(super) fn have_room(&self, wanted: usize) -> bool {
        self.open_count() + wanted <= self.most
    }

    pub(super) fn open(&mut self, file: File) -> RawFd {
        let free = self.files.iter().skip(FD_MIN).position(Option::is_none).map(|index| index + FD_MIN);
        let fd = free.unwrap_or_else(|| {
            self.files.push(None);
            self.files.len() - 1
        });
        self.files[fd] = Some(file);
        fd as RawFd
    }

    /// The file behind a descriptor. Using one that is not open is a violation.
    pub(super) fn file(&self, fd: RawFd) -> Option<File> {
        let file = usize::try_from(fd).ok().and_then(|fd| self.files.get(fd).copied().flatten());
        if file.is_none() {
            violation(&format!("descriptor {fd} is not open"));
        }
        file
    }

    /// Makes an open descriptor name another file.
    pub(super) fn set(&mut self, fd: RawFd, file: File) {
        self.files[fd as usize] = Some(file);
    }

    /// Closes a descriptor, and returns what it named.
    pub(super) fn close(&mut self, fd: RawFd) -> Option<File> {
        let file = self.file(fd)?;
        self.files[fd as usize] = None;
        Some(file)
    }
}
