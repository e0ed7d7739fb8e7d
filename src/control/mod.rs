//! The slow path: what the process needs besides its workers.
//!
//! This room owns the process: its limits, its signals, its threads, its logs. It must never touch a session, and
//! nothing on the data path waits for it: workers leave records in a bounded channel and are told to stop by a flag.
//!
//! ```text
//!   Plan --> serve --> probe, pipes, bind, logs, privileges, sandbox, start-up line
//!                 |--> workers (proxy::worker), one thread each --Ended--.
//!                 |--> signals --Request--------------------------------> supervise --> orders to workers, exit
//!                 |--> reload --another Plan----------------------------'
//!                 |--> handover: another process, in this one's place
//!                 |--> health: checks of servers
//!                 |--> admin: answers operators and programs
//!                 |--> names: what they stand for now ------------------> orders to workers
//!                 |--> service_manager: told what happens; watches that workers turn
//!                 `--> log_writer <--Record-- workers
//! ```
//!
//! [`check()`] goes the first part of that way without serving.
//!
//! Start at [`serve()`], which is that picture as code; then `supervise.rs`.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::AccessFlags;

use self::names::Resolver;
use self::privileges::UserFault;
use self::setting::Named;
use self::tls::Terminated;
use crate::proxy;
use crate::proxy::access_log::Format;
use crate::proxy::settings::{Service, WorkerSettings};
use crate::uring::{Address, Feature, FeatureSet};

mod admin;
mod certificates;
mod changes;
mod check;
mod given;
pub mod handover;
mod health;
pub mod limits;
mod listeners;
mod log_limit;
pub mod log_writer;
pub mod logging;
mod logins;
mod metrics;
pub mod names;
mod own_listener;
mod places;
mod privileges;
mod reload;
mod running;
mod sandbox;
mod serve;
pub mod service_manager;
pub mod setting;
pub mod signals;
mod sources;
pub mod start;
mod start_up;
pub mod supervise;
mod timeouts;
pub mod tls;
mod totals;

pub use admin::{ADMIN_DESCRIPTORS_MAX, AdminSettings, TokenFault};
pub use changes::Outline;
pub use check::check;
pub(crate) use listeners::Listeners;
pub use places::Places;
pub use privileges::WrittenUser;
pub use reload::Read;
pub(crate) use running::{Workers, start_workers};
pub use sandbox::SandboxMode;
pub use serve::serve;

/// Everything that `iisplice proxy` was told, validated.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Shared by all workers; never empty.
    pub services: Vec<ServicePlan>,
    /// Most connections that the workers serve at once.
    pub sessions_max: usize,
    /// Whether the settings ask for that number; otherwise it is what the descriptor limit allows.
    pub sessions_are_asked: bool,
    /// One for each worker; never empty.
    pub workers: Vec<WorkerSettings>,
    /// Where the access log goes, if it is enabled.
    pub access_log: Option<AccessLog>,
    /// The admin endpoint, if there is one.
    pub admin: Option<AdminSettings>,
    /// How messages name settings.
    pub named: Named,
    /// The descriptor limit that the plan was made for.
    pub descriptors_max: u64,
    /// Descriptors that sessions cannot use.
    pub descriptors_reserved: u64,
    /// Where a settings file names what can be wrong at a start.
    pub places: Places,
    /// The settings as a settings file has them.
    pub outline: Outline,
    /// How names are looked up again.
    pub resolver: Resolver,
    /// How long clients are still accepted after a request to stop.
    pub drain_delay: Duration,
    /// The user that a process which root starts goes on as.
    pub user: Option<WrittenUser>,
    /// What happens to system calls that a proxy does not make.
    pub sandbox: SandboxMode,
    /// The files that the settings name, and the one that they stand in.
    pub files: Vec<PathBuf>,
}

impl Plan {
    /// The features of `io_uring` that rings do without. No sandbox restricts no ring.
    fn without(&self) -> FeatureSet {
        let asked = self.workers[0].without;
        if self.sandbox == SandboxMode::Off { asked.with(Feature::Restrictions) } else { asked }
    }
}

/// A service, and what only this room needs of it.
#[derive(Debug, Clone)]
pub struct ServicePlan {
    /// For workers.
    pub service: Service,
    /// The certificates, if TLS ends here.
    pub terminated: Option<Terminated>,
}

/// The most sockets that a session of any of these services has.
pub fn descriptors_a_session<'a>(services: impl IntoIterator<Item = &'a Service>) -> u64 {
    1 + services.into_iter().map(Service::upstreams_max).max().unwrap_or(1) as u64
}

/// The most sockets of connections that are opened ahead for these services: those of each group, for each set of socket
/// options.
pub fn descriptors_ahead<'a>(services: impl IntoIterator<Item = &'a Service>) -> u64 {
    let mut seen = Vec::new();
    let mut descriptors = 0;
    for service in services {
        for group in service.groups() {
            let stock = (Arc::as_ptr(group), service.tcp);
            if !seen.contains(&stock) {
                descriptors += u64::from(group.warm_max);
                seen.push(stock);
            }
        }
    }
    descriptors
}

/// The access log as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where lines go.
    pub target: LogTarget,
    /// The format of a line.
    pub format: Format,
}

/// The target of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Appended to a file, which SIGUSR1 reopens.
    File(PathBuf),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("-"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Why the proxy does not start, or stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be written to.
    #[error(
        "{log} {target}: {source}; {}",
        advice_on_log(target, source),
        log = setting::setting("access-log")
    )]
    AccessLog {
        /// As given.
        target: LogTarget,
        /// Why.
        source: io::Error,
    },
    /// The access log is a FIFO without a reader.
    #[error(
        "{log} {0} is a FIFO without a reader; start its reader before the proxy, or give a file, - or off",
        log = setting::setting("access-log")
    )]
    UnreadAccessLog(LogTarget),
    /// The admin endpoint has no token where one is asked for.
    #[error("{flag} {} {fault}", path.display(), flag = setting::setting("admin-token-file"))]
    AdminToken {
        /// As given.
        path: PathBuf,
        /// Why not.
        fault: TokenFault,
    },
    /// A socket that the service manager passed on, and no listener wants.
    #[error(transparent)]
    PassedSocket(#[from] service_manager::PassedFault),
    /// A server that is this proxy.
    #[error(
        "server {server} is this proxy's own listener {listener}, so connections would loop; give the server's own \
         address"
    )]
    OwnListener {
        /// As written and as resolved.
        server: String,
        /// As bound.
        listener: Address,
    },
    /// A server that is this proxy's admin endpoint.
    #[error(
        "server {server} is this proxy's admin endpoint {endpoint}, which is not for clients; give the server's own address"
    )]
    OwnAdmin {
        /// As written and as resolved.
        server: String,
        /// As written.
        endpoint: Address,
    },
    /// An address that connections to servers cannot come from.
    #[error("cannot connect to servers from {address}: {source}{hint}", hint = sources::hint(source))]
    SourceAddress {
        /// As written.
        address: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// Connections to servers cannot come from the addresses of clients.
    #[error("cannot connect to servers from the addresses of clients ({transparent}): {0}{hint}", transparent = setting::setting("transparent"), hint = sources::hint_for_clients(.0))]
    Transparent(#[source] io::Error),
    /// A port of servers that the sandbox does not allow.
    #[error(
        "{sandbox} strict: connections to {} are denied; {ADVICE_ON_SANDBOX}",
        port_of_servers(*.0),
        sandbox = setting::setting("sandbox")
    )]
    Port(u16),
    /// A user that the process cannot go on as.
    #[error("{user} {written}: {fault}", user = setting::setting("user"))]
    User {
        /// As given.
        written: WrittenUser,
        /// Why not.
        fault: UserFault,
    },
    /// Rights that cannot be dropped.
    #[error(
        "cannot give up the rights of root: {0}; a container needs the capabilities SETUID, SETGID, SETPCAP and CHOWN for \
         that, or starts the proxy as its user without {user}",
        user = setting::setting("user")
    )]
    Privileges(#[from] privileges::Fault),
    /// What this host does not allow: an address, `io_uring`.
    #[error("{}", setting::advised(.0))]
    Proxy(#[from] proxy::Error),
    /// No descriptor or thread for the workers or the logs.
    #[error("cannot start: {0}; raise the limits on descriptors and threads (ulimit -n, -u)")]
    Resource(#[source] io::Error),
    /// A worker that failed or panicked.
    #[error(transparent)]
    Worker(#[from] supervise::WorkerFailure),
    /// The process before this one hands nothing over.
    #[error("cannot take over: {0}")]
    Predecessor(String),
}

impl Error {
    /// 2 if the command line is at fault, 1 if this host or the program is.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::AccessLog { source, .. }
            | Self::AdminToken { fault: TokenFault::Unreadable(source), .. } => exit_code_of_file(source),
            Self::OwnListener { .. }
            | Self::OwnAdmin { .. }
            | Self::PassedSocket(_)
            | Self::AdminToken { .. } => ExitCode::from(2),
            Self::User { fault, .. } => fault.exit_code(),
            Self::UnreadAccessLog(_)
            | Self::SourceAddress { .. }
            | Self::Transparent(_)
            | Self::Port(_)
            | Self::Privileges(_)
            | Self::Proxy(_)
            | Self::Resource(_)
            | Self::Worker(_)
            | Self::Predecessor(_) => ExitCode::FAILURE,
        }
    }
}

/// The exit code for a file that cannot be opened or read: 2 where nothing of the kind has its name, which is a mistake of
/// the command line; 1 where this host does not let the process have it.
pub fn exit_code_of_file(error: &io::Error) -> ExitCode {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            ExitCode::from(2)
        }
        _ => ExitCode::FAILURE,
    }
}

/// What helps where the sandbox denies what settings name that were read again.
const ADVICE_ON_SANDBOX: &str = "the sandbox allows what settings named at the start, and directories of these; an upgrade \
     takes others (iisplice upgrade, or SIGUSR2)";

/// What helps against that error of a file that settings name, in the words of a command to the operator.
pub fn advice_on(path: &Path, error: &io::Error) -> &'static str {
    if sandbox::denies(path, AccessFlags::R_OK, error) { ADVICE_ON_SANDBOX } else { advice_on_file(error) }
}

fn port_of_servers(port: u16) -> String {
    if port == 0 { "the ports of srv:// names".to_owned() } else { format!("port {port}") }
}

fn advice_on_log(target: &LogTarget, error: &io::Error) -> &'static str {
    match target {
        LogTarget::File(path) if sandbox::denies(path, AccessFlags::W_OK, error) => ADVICE_ON_SANDBOX,
        _ => "give a file that can be created or appended to, - or off",
    }
}

/// What helps against that error, in the words of a command to the operator.
fn advice_on_file(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "let the user that runs iisplice read it (chmod, chgrp; every directory above it needs x)"
        }
        io::ErrorKind::IsADirectory => "give a file in it",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "give the name of a file that exists",
        _ => "give a file that can be read",
    }
}
