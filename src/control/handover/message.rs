//! What a process and its successor say to each other.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

use super::generations::Report;
use crate::uring::Address;

/// The version of these messages. Processes of different versions do not hand over to each other.
pub(super) const PROTOCOL: u32 = 1;

/// From the new process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToPredecessor {
    /// The first. Its form stays in every version.
    Hello { protocol: u32, version: String, pid: u32 },
    /// It can serve. `taken` are the sockets that it goes on with, in the order of their arrival.
    Ready { taken: Vec<usize> },
    /// It cannot, and ends.
    Failed { why: String },
    /// It accepts clients.
    Serving,
    /// The access log is to be opened again.
    ReopenLog,
}

/// From the process before it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToSuccessor {
    /// The new process is to take over from this one.
    Welcome { from: Report },
    /// It is not.
    Refused { why: String },
    /// Sockets that listen; their descriptors come along.
    Sockets { sockets: Vec<Description> },
    /// Processes before this one that still drain; the sockets on which they report come along.
    Older { reports: Vec<Report> },
    /// That was everything.
    All,
    /// It is to serve from now on.
    Go,
    /// It is to end, or to stop if it serves already.
    Abort,
    /// It is to read its settings again.
    Reload,
    /// What the one before it still does.
    Report(Report),
}

/// A socket that listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::control) struct Description {
    pub(in crate::control) role: Role,
    /// As bound.
    pub(in crate::control) address: At,
    /// As the settings have it.
    pub(in crate::control) written: At,
    /// The service of its clients.
    pub(in crate::control) service: String,
    /// The number of its worker.
    pub(in crate::control) worker: usize,
    /// Device and inode of a Unix socket's file.
    pub(in crate::control) file: Option<(u64, u64)>,
    /// Whether it is the service manager's: all workers share it, and no more can be bound beside it.
    pub(in crate::control) is_of_unit: bool,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) enum Role {
    /// Clients.
    Listener,
    /// The admin endpoint.
    Admin,
}

/// An address in a message; paths need not be text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::control) enum At {
    Ip(SocketAddr),
    Unix(Vec<u8>),
}

impl From<&Address> for At {
    fn from(address: &Address) -> Self {
        match address {
            Address::Ip(address) => Self::Ip(*address),
            Address::Unix(path) => Self::Unix(path.as_os_str().as_bytes().to_vec()),
        }
    }
}

impl From<At> for Address {
    fn from(at: At) -> Self {
        match at {
            At::Ip(address) => Self::Ip(address),
            At::Unix(path) => Self::Unix(OsString::from_vec(path).into()),
        }
    }
}
