//! The slow path: what the process needs around its workers.
//!
//! This room never touches a session and nothing on the data path waits for it. Start at [`Plan`].

use std::path::PathBuf;

use crate::proxy::access_log::Format;
use crate::proxy::settings::{Settings, WorkerSettings};

pub mod limits;

/// Everything that `iisplice proxy` was told, validated.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The same for all workers.
    pub settings: Settings,
    /// One for each worker; never empty.
    pub workers: Vec<WorkerSettings>,
    /// Where the access log goes, if it is kept.
    pub access_log: Option<AccessLog>,
}

/// The access log as the operator wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where it goes.
    pub target: LogTarget,
    /// What a line looks like.
    pub format: Format,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Appended to a file, which is opened anew on SIGUSR1.
    File(PathBuf),
}
