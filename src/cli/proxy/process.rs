//! The flags of the process: its workers, what they have, and its log.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::bounds::{HOUR, LONGEST, MILLISECOND, SECOND};
use crate::cli::Error;
use crate::cli::address::Unresolved;
use crate::cli::quantity::{duration, number, power_of_two, size};
use crate::control::limits::Host;
use crate::control::names::Resolver;
use crate::control::setting::Named;
use crate::control::{
    ADMIN_DESCRIPTORS_MAX, AccessLog, AdminSettings, LogTarget, Outline, Places, Plan, SandboxMode,
    ServicePlan, WrittenUser, descriptors_a_session, descriptors_ahead,
};
use crate::proxy::access_log::Format;
use crate::proxy::settings::{Mode, Service, Splice, WorkerSettings};
use crate::uring::{Address, Feature, Spin};

const DNS_PORT: u16 = 53;

/// The largest default for connections, on hosts with an unlimited number of descriptors.
const SESSIONS_MAX: u32 = 1_000_000;

/// The defaults of --pipes and --pipe-size.
const PIPES: u32 = 64;
const PIPE_BYTES: u32 = 1024 * 1024;

/// The share of the process's memory (one part in this many) for incomplete heads, hellos and handshakes.
const PEEK_MEMORY_SHARE: u64 = 16;
const PEEK_BYTES_DEFAULT_MAX: u64 = 1024 * 1024 * 1024;
/// A TLS hello may have 64 KiB, and so may an HTTP head by default.
const PEEK_BYTES_A_WORKER_MIN: usize = 256 * 1024;

/// Descriptors that are neither sockets of sessions nor counted below: standard streams, logs, the resolver's, spare.
const DESCRIPTORS_RESERVED: u64 = 32;

/// Descriptors of a worker besides its listeners and pipes: its ring, its wake-up, a socket that is being refused.
const WORKER_DESCRIPTORS_RESERVED: u64 = 8;

/// What belongs to the whole process; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
pub(super) struct ProcessArgs {
    /// Worker threads, each with its own ring and listeners [default: the CPUs in the affinity mask] [nginx:
    /// worker_processes]
    #[arg(long, value_name = "N", help_heading = "Workers", value_parser = number(1..=1024))]
    workers: Option<u32>,
    /// Do not pin workers to CPUs [default: off] [nginx: worker_cpu_affinity]
    #[arg(long, help_heading = "Workers")]
    no_pin: bool,
    /// Maximum number of concurrent connections over all workers; further ones wait in the backlog [default: from the
    /// descriptor limit] [nginx: worker_connections]
    #[arg(long, value_name = "N", help_heading = "Workers", value_parser = number(1..=SESSIONS_MAX))]
    max_connections: Option<u32>,
    /// Entries of each worker's ring, a power of two [nginx: -]
    #[arg(
        long, value_name = "N", default_value = "4096", help_heading = "Workers",
        value_parser = power_of_two(64..=32768)
    )]
    ring_entries: u32,
    /// Poll this long before sleeping: lower latency at low load, but a busy CPU; or auto: 50us (150us when it begins), as long as
    /// few messages come, each soon after the last [nginx: -]
    #[arg(long, value_name = "DURATION", default_value = "auto", help_heading = "Workers", value_parser = parse_spin)]
    spin: Spin,
    /// Do without optional features of io_uring, to work around a bug of the kernel: recv-multishot-limit, no-iowait,
    /// defer-taskrun, coop-taskrun, restrictions; several are separated by commas [nginx: -]
    #[arg(
        long, value_name = "FEATURE", help_heading = "Workers", value_delimiter = ',', value_parser = Feature::from_str
    )]
    io_uring_without: Vec<Feature>,

    /// Longest time that connections may continue after SIGTERM, SIGQUIT or SIGINT [nginx: worker_shutdown_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "30s", help_heading = "Time-outs",
        value_parser = duration(Duration::ZERO..=LONGEST)
    )]
    drain_timeout: Duration,
    /// How long clients are still accepted after SIGTERM, SIGQUIT or SIGINT, while /readyz says no: time for balancers and
    /// routers to send no more; then the drain begins [nginx: -]
    #[arg(
        long, value_name = "DURATION", default_value = "0", help_heading = "Time-outs",
        value_parser = duration(Duration::ZERO..=LONGEST)
    )]
    drain_delay: Duration,

    /// DNS server that looks up names of servers, ADDRESS or ADDRESS:PORT; /etc/hosts and search domains are not looked at
    /// then; repeatable [default: none: as this host looks up names] [nginx: resolver]
    #[arg(long, value_name = "ADDR", help_heading = "Servers", value_parser = dns_server)]
    resolver: Vec<SocketAddr>,
    /// Longest time for a name of servers to be looked up [nginx: resolver_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "10s", help_heading = "Time-outs",
        value_parser = duration(MILLISECOND..=HOUR)
    )]
    resolve_timeout: Duration,

    /// Size of a receive buffer [nginx: proxy_buffer_size]
    #[arg(
        long, value_name = "SIZE", default_value = "16KiB", help_heading = "Relay",
        value_parser = size(1024..=1024 * 1024)
    )]
    buffer_size: u32,
    /// Receive buffers per worker; only data in flight takes one [nginx: -]
    #[arg(
        long, value_name = "N", default_value = "1024", help_heading = "Relay",
        value_parser = number(1..=32768)
    )]
    buffers: u32,
    /// Size of a pipe; the start-up line shows the size granted [nginx: -]
    #[arg(
        long, value_name = "SIZE", default_value = "1MiB", help_heading = "Relay",
        value_parser = size(4096..=64 * 1024 * 1024)
    )]
    pipe_size: u32,
    /// Pipes per worker; when all are in use, bulk data is copied [nginx: -]
    #[arg(
        long, value_name = "N", default_value = "64", help_heading = "Relay",
        value_parser = number(1..=16384)
    )]
    pipes: u32,
    /// Memory for all unfinished heads, hellos and handshakes, over all workers; beyond it, the oldest connections
    /// are reset [default: a sixteenth of the memory of the host or the control group, at most 1GiB] [nginx: -]
    #[arg(long, value_name = "SIZE", help_heading = "Relay", value_parser = size(1024 * 1024..=2048 * 1024 * 1024))]
    peek_memory: Option<u32>,

    /// Answer operators and monitoring over HTTP at a loopback address, or at unix:PATH; another address needs
    /// --admin-token-file [default: off] [nginx: stub_status]
    #[arg(long, value_name = "ADDR", help_heading = "Admin", value_parser = Unresolved::from_str)]
    admin: Option<Unresolved>,
    /// File with a token that admin clients must send as Authorization: Bearer; read again on SIGHUP [default: none]
    /// [nginx: -]
    #[arg(long, value_name = "FILE", requires = "admin", help_heading = "Admin")]
    admin_token_file: Option<PathBuf>,

    /// User that a process started by root goes on as once its sockets and logs are open, with the user's groups or with
    /// GROUP; names or numbers [default: none: it stays root] [nginx: user]
    #[arg(long, value_name = "NAME[:GROUP]", help_heading = "Privileges", value_parser = WrittenUser::from_str)]
    user: Option<WrittenUser>,
    /// After the start, let the process make the system calls of a proxy only: any other ends it (on), is logged by the
    /// kernel (log), or is made (off, which restricts no ring either); on limits files as well, and strict the TCP ports of
    /// a settings file too [nginx: -]
    #[arg(long, value_name = "MODE", default_value = "on", help_heading = "Privileges")]
    sandbox: SandboxMode,

    /// Log a line per closed connection, or per request with --mode http: to a file, to standard output (-), or off
    /// [nginx: access_log]
    #[arg(long, value_name = "PATH", default_value = "off", help_heading = "Logging")]
    access_log: OsString,
    /// Format of access log lines; combined is nginx's, for requests [nginx: log_format]
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Logging")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
    Combined,
}

/// Parses the address of a DNS server.
fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = text.parse().or_else(|_| inside.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)));
    let address = address.map_err(|_| {
        "give the IP address of a DNS server, such as 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:5353"
            .to_owned()
    })?;
    if address.port() == 0 {
        Err("port 0 cannot be asked; give the DNS server's port".to_owned())
    } else {
        Ok(address)
    }
}

impl ProcessArgs {
    /// How names of servers are looked up.
    pub(super) fn resolver(&self) -> Resolver {
        let mut servers = self.resolver.clone();
        let mut seen = BTreeSet::new();
        servers.retain(|server| seen.insert(*server));
        Resolver { servers, timeout: self.resolve_timeout }
    }

    /// Workers for these services on this host. `named`: where the settings come from.
    ///
    /// # Errors
    /// What does not go together, and a host that has no room.
    pub(super) fn plan(&self, services: Vec<ServicePlan>, named: Named, host: &Host) -> Result<Plan, Error> {
        let settings = || services.iter().map(|planned| &planned.service);
        let listeners = || settings().flat_map(|service| &service.listeners);
        if self.no_pin && listeners().any(|listener| listener.steer_by_cpu) {
            return Err(Error::SteerUnpinned);
        }
        let splices = settings().any(|service| service.splice != Splice::Never);
        if let Some(flag) = self.about_pipes().filter(|_| !splices) {
            return Err(Error::Usage(format!(
                "{flag} is about pipes, and --splice never uses none; remove one of them"
            )));
        }
        self.check_log(settings())?;
        let descriptors = (descriptors_a_session(settings()), descriptors_ahead(settings()));
        let (sessions_max, mut workers, descriptors_reserved) =
            self.workers(host, listeners().count(), splices, descriptors)?;
        if self.peek_memory.is_some() && !settings().any(Service::reads_first) {
            return Err(Error::Usage(
                "--peek-memory limits what clients send before they are served; add --mode http, --accept-proxy, \
                 --tls-cert or a route, or remove it"
                    .to_owned(),
            ));
        }
        let head_bytes_max = settings().map(|service| match &service.mode {
            Mode::Stream => 0,
            Mode::Http(http) => http.head_bytes_max,
        });
        let peek_bytes_max =
            peek_bytes_max(self.peek_memory, host, workers.len(), head_bytes_max.max().unwrap_or(0))?;
        for worker in &mut workers {
            worker.peek_bytes_max = peek_bytes_max;
        }
        let admin = self.admin(listeners().map(|listener| &listener.address))?;
        Ok(Plan {
            services,
            sessions_max,
            sessions_are_asked: self.max_connections.is_some(),
            workers,
            access_log: self.access_log(),
            admin,
            named,
            descriptors_max: host.descriptors_max,
            descriptors_reserved,
            places: Places::default(),
            outline: Outline::default(),
            resolver: self.resolver(),
            drain_delay: self.drain_delay,
            user: self.user.clone(),
            sandbox: self.sandbox,
            files: Vec::new(),
        })
    }

    /// A flag about pipes that was given.
    fn about_pipes(&self) -> Option<&'static str> {
        let given = [("--pipes", self.pipes != PIPES), ("--pipe-size", self.pipe_size != PIPE_BYTES)];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// Checks that what is said of the log's lines concerns any.
    fn check_log<'a>(&self, services: impl Iterator<Item = &'a Service>) -> Result<(), Error> {
        let modes: Vec<_> = services.map(|service| &service.mode).collect();
        if self.log_format == LogFormat::Combined && modes.iter().all(|mode| matches!(mode, Mode::Stream)) {
            return Err(Error::NeedsHttp("--log-format combined"));
        }
        if self.access_log().is_some() {
            return Ok(());
        }
        if self.log_format != LogFormat::Text {
            return Err(Error::Usage(
                "--log-format is for lines of the access log, which is off; add --access-log PATH, or remove it"
                    .to_owned(),
            ));
        }
        let names_users = modes.iter().any(|mode| matches!(mode, Mode::Http(http) if http.log_user));
        if names_users && self.admin.is_none() {
            return Err(Error::Usage(
                "--log-user names users in the access log, which is off, and at the admin endpoint; add --access-log PATH \
                 or --admin ADDR, or remove it"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The number of connections, the workers and their CPUs, and the number of descriptors that connections cannot
    /// use.
    fn workers(
        &self,
        host: &Host,
        listeners: usize,
        splices: bool,
        (descriptors_a_session, descriptors_ahead): (u64, u64),
    ) -> Result<(usize, Vec<WorkerSettings>, u64), Error> {
        let number = self.workers.map_or(host.cpus.len(), |number| number as usize);
        let pipes = if splices { self.pipes as u16 } else { 0 };
        let of_admin = if self.admin.is_some() { ADMIN_DESCRIPTORS_MAX } else { 0 };
        let reserved = descriptors_reserved(number, listeners, pipes) + of_admin + descriptors_ahead;
        let sessions_max = match self.max_connections {
            Some(sessions_max) => sessions_max as usize,
            None => sessions_that_fit(host.descriptors_max, reserved, number, descriptors_a_session)?,
        };
        let workers = (0..number)
            .map(|nth| WorkerSettings {
                cpu: (!self.no_pin).then(|| host.cpus[nth % host.cpus.len()]),
                buffers: self.buffers as u16,
                buffer_bytes: self.buffer_size,
                pipes,
                pipe_bytes: self.pipe_size,
                ring_entries: self.ring_entries,
                spin: self.spin,
                without: self.io_uring_without.iter().copied().collect(),
                drain_timeout: self.drain_timeout,
                ..WorkerSettings::default()
            })
            .collect();
        Ok((sessions_max, workers, reserved))
    }

    /// The admin endpoint, which is none of these listeners.
    fn admin<'a>(
        &self,
        mut listeners: impl Iterator<Item = &'a Address>,
    ) -> Result<Option<AdminSettings>, Error> {
        let Some(written) = &self.admin else { return Ok(None) };
        let mut addresses = written.resolve("admin")?;
        // A name of this host usually has an address of either family.
        let nth =
            addresses.iter().position(|one| matches!(one, Address::Ip(one) if one.is_ipv4())).unwrap_or(0);
        let address = addresses.swap_remove(nth);
        if !written.has_port_zero() && listeners.any(|listener| *listener == address) {
            return Err(Error::Usage(format!(
                "--admin {written} is a listener of a service; give the admin endpoint an address of its own"
            )));
        }
        if let Address::Ip(ip) = &address
            && !ip.ip().to_canonical().is_loopback()
            && self.admin_token_file.is_none()
        {
            return Err(Error::Usage(format!(
                "--admin {written} can be reached from other hosts; add --admin-token-file, or give a loopback address \
                 or unix:PATH"
            )));
        }
        Ok(Some(AdminSettings { address, token_file: self.admin_token_file.clone() }))
    }

    fn access_log(&self) -> Option<AccessLog> {
        let target = match self.access_log.to_str() {
            Some("off") => return None,
            Some("-") => LogTarget::Stdout,
            _ => LogTarget::File(PathBuf::from(&self.access_log)),
        };
        let format = match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
            LogFormat::Combined => Format::Combined,
        };
        Some(AccessLog { target, format })
    }
}
/// Most bytes of incomplete input in one worker: enough for a few of the longest.
fn peek_bytes_max(
    asked: Option<u32>,
    host: &Host,
    workers: usize,
    head_bytes_max: usize,
) -> Result<usize, Error> {
    let least = PEEK_BYTES_A_WORKER_MIN.max(4 * head_bytes_max) * workers;
    let bytes = match asked {
        Some(bytes) if (bytes as usize) < least => {
            return Err(Error::Usage(format!(
                "--peek-memory {}KiB is too small for {workers} workers; give at least {}KiB",
                bytes / 1024,
                least / 1024,
            )));
        }
        Some(bytes) => bytes as usize,
        None => {
            let share = host.memory_bytes.map_or(0, |bytes| bytes / PEEK_MEMORY_SHARE);
            (share.min(PEEK_BYTES_DEFAULT_MAX) as usize).max(least)
        }
    };
    Ok(bytes / workers)
}

/// Parses how long to poll before sleeping.
fn parse_spin(text: &str) -> Result<Spin, String> {
    match text {
        "auto" => Ok(Spin::Auto),
        _ => duration(Duration::ZERO..=SECOND)(text)
            .map(Spin::For)
            .map_err(|message| format!("{message}, or auto")),
    }
}

/// The descriptors that listeners, rings and pipes take.
fn descriptors_reserved(workers: usize, listeners: usize, pipes: u16) -> u64 {
    let per_worker = listeners as u64 + WORKER_DESCRIPTORS_RESERVED + 2 * u64::from(pipes);
    DESCRIPTORS_RESERVED + workers as u64 * per_worker
}

/// The sessions that fit into the remaining descriptors; at least one per worker.
fn sessions_that_fit(limit: u64, reserved: u64, workers: usize, each: u64) -> Result<usize, Error> {
    let sessions = limit.saturating_sub(reserved) / each;
    if sessions < workers as u64 {
        return Err(Error::Descriptors { limit, reserved });
    }
    Ok(sessions.min(SESSIONS_MAX.into()) as usize)
}
