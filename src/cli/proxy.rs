//! `iisplice proxy`.

mod http;
mod timeouts;
mod tls;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::http::HttpArgs;
use super::Error;
use super::address::{Unresolved, network};
use super::quantity::{OrOff, duration, number, or_off, power_of_two, size};
use crate::control::limits::Host;
use crate::control::{AccessLog, DESCRIPTORS_A_SESSION, LogTarget, Plan};
use crate::protocol::proxy_protocol::Version;
use crate::proxy::access_log::Format;
use crate::proxy::settings::{Listener, Mode, Network, Service, Splice, UNIX_MODE, WorkerSettings};
use crate::upstream::GroupSettings;
use crate::uring::{Address, SocketOptions};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The kernel accepts whole seconds up to 32,767 for `TCP_KEEPIDLE` (`MAX_TCP_KEEPIDLE`).
const KEEPALIVE_MAX: Duration = Duration::from_secs(9 * 3600);

/// The largest default for connections, on hosts with an unlimited number of descriptors.
const SESSIONS_MAX: u32 = 1_000_000;

/// The share of the process's memory (one part in this many) for incomplete heads, hellos and handshakes.
const PEEK_MEMORY_SHARE: u64 = 16;
const PEEK_BYTES_DEFAULT_MAX: u64 = 1024 * 1024 * 1024;
/// A TLS hello may have 64 KiB, and so may an HTTP head by default.
const PEEK_BYTES_A_WORKER_MIN: usize = 256 * 1024;

/// Descriptors that are neither sockets of sessions nor counted below: standard streams, logs, the resolver's, spare.
const DESCRIPTORS_RESERVED: u64 = 32;

/// Descriptors of a worker besides its listeners and pipes: its ring, its wake-up, a socket that is being refused.
const WORKER_DESCRIPTORS_RESERVED: u64 = 8;

/// The flags of `iisplice proxy`; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Address to listen on: HOST:PORT, [IPv6]:PORT or unix:PATH; [::]:PORT accepts IPv6 only; repeatable [nginx: listen]
    #[arg(long, value_name = "ADDR", required = true, help_heading = "Addresses")]
    listen: Vec<Unresolved>,
    /// Permissions of the Unix listeners' files, octal [default: 0660] [nginx: -]
    #[arg(long, value_name = "MODE", help_heading = "Addresses", value_parser = mode)]
    unix_mode: Option<u32>,
    /// Server to relay to; with several, connections are assigned in turn; names are resolved at start [default:
    /// required without routes] [nginx: proxy_pass, upstream]
    #[arg(
        long, value_name = "ADDR", required_unless_present = "routes", help_heading = "Addresses",
        value_parser = connectable
    )]
    upstream: Vec<Unresolved>,
    /// Send servers a PROXY header with the client's address; IIS answers it with 400 [nginx: proxy_protocol]
    #[arg(long, value_name = "VERSION", default_value = "off", help_heading = "Addresses")]
    send_proxy: SendProxy,
    /// Require a PROXY header, v1 or v2, from every client; refuse connections without one [default: off] [nginx:
    /// listen proxy_protocol]
    #[arg(long, help_heading = "Addresses")]
    accept_proxy: bool,
    /// Senders of PROXY headers; connections from elsewhere are treated as clients and send none; repeatable; unix: for
    /// Unix sockets [default: all] [nginx: set_real_ip_from]
    #[arg(
        long, value_name = "CIDR", requires = "accept_proxy", help_heading = "Addresses",
        value_parser = network
    )]
    accept_proxy_from: Vec<Network>,
    /// Longest time for a client to send its PROXY header [nginx: proxy_protocol_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "3s", requires = "accept_proxy", help_heading = "Addresses",
        value_parser = duration(MILLISECOND..=HOUR)
    )]
    accept_proxy_timeout: Duration,

    #[command(flatten)]
    tls: tls::TlsArgs,

    /// Worker threads, each with its own ring and listeners [default: the CPUs in the affinity mask] [nginx:
    /// worker_processes]
    #[arg(long, value_name = "N", help_heading = "Workers", value_parser = number(1..=1024))]
    workers: Option<u32>,
    /// Do not pin workers to CPUs of the affinity mask [default: off] [nginx: worker_cpu_affinity]
    #[arg(long, help_heading = "Workers")]
    no_pin: bool,
    /// How a new connection is assigned to a worker: by a hash, or by the CPU that its packets arrive on [nginx: listen
    /// reuseport]
    #[arg(long, value_name = "BY", default_value = "hash", help_heading = "Workers")]
    steer: Steer,
    /// Most concurrent connections of all workers together; more wait in the backlog [default: from the descriptor
    /// limit] [nginx: worker_connections]
    #[arg(long, value_name = "N", help_heading = "Workers", value_parser = number(1..=SESSIONS_MAX))]
    max_connections: Option<u32>,
    /// Entries of each worker's ring, a power of two [nginx: -]
    #[arg(
        long, value_name = "N", default_value = "4096", help_heading = "Workers",
        value_parser = power_of_two(64..=32768)
    )]
    ring_entries: u32,
    /// Poll this long before sleeping: lower latency at low load, but a busy CPU [nginx: -]
    #[arg(
        long, value_name = "DURATION", default_value = "0", help_heading = "Workers",
        value_parser = duration(Duration::ZERO..=SECOND)
    )]
    spin: Duration,

    /// Longest time for a server to accept a connection before the next one is tried [nginx: proxy_connect_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "3s", help_heading = "Time-outs",
        value_parser = duration(MILLISECOND..=HOUR)
    )]
    connect_timeout: Duration,
    /// Longest time that a connection may be idle in both directions [nginx: proxy_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "3h", help_heading = "Time-outs",
        value_parser = duration(MILLISECOND..=LONGEST)
    )]
    idle_timeout: Duration,
    /// Longest time that connections may continue after SIGTERM or SIGINT [nginx: worker_shutdown_timeout]
    #[arg(
        long, value_name = "DURATION", default_value = "30s", help_heading = "Time-outs",
        value_parser = duration(Duration::ZERO..=LONGEST)
    )]
    drain_timeout: Duration,

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
    /// Move bytes inside the kernel, through a pipe: for bulk transfers, never, or always [nginx: -]
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Relay")]
    splice: WhenToSplice,
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

    /// Most bytes of all incomplete heads, hellos and handshakes, over all workers; beyond it the oldest connections
    /// are closed [default: a sixteenth of the memory of the host or the control group, at most 1GiB] [nginx: -]
    #[arg(long, value_name = "SIZE", help_heading = "Relay", value_parser = size(1024 * 1024..=2048 * 1024 * 1024))]
    peek_memory: Option<u32>,

    #[command(flatten)]
    http: HttpArgs,

    /// Most connections that wait to be accepted [nginx: listen backlog=]
    #[arg(
        long, value_name = "N", default_value = "4096", help_heading = "TCP",
        value_parser = number(1..=65535)
    )]
    backlog: u32,
    /// Idle time before the first keep-alive probe, on both sides; a dead connection is detected after about twice this
    /// time; or off [nginx: listen so_keepalive=, proxy_socket_keepalive]
    #[arg(
        long, value_name = "DURATION", default_value = "60s", help_heading = "TCP",
        value_parser = or_off(duration(SECOND..=KEEPALIVE_MAX))
    )]
    tcp_keepalive: OrOff<Duration>,
    /// Longest time that sent data may stay unacknowledged, on both sides; or off [nginx: -]
    #[arg(
        long, value_name = "DURATION", default_value = "off", help_heading = "TCP",
        value_parser = or_off(duration(MILLISECOND..=DAY))
    )]
    tcp_user_timeout: OrOff<Duration>,
    /// Accept data in the first packet (TCP Fast Open), with a queue of this length; or off [nginx: listen fastopen=]
    #[arg(
        long, value_name = "N", default_value = "off", help_heading = "TCP",
        value_parser = or_off(number(1..=65535))
    )]
    tcp_fastopen: OrOff<u32>,
    /// Accept a connection only when its first bytes have arrived [default: off] [nginx: listen deferred]
    #[arg(long, help_heading = "TCP")]
    defer_accept: bool,

    /// Log a line per closed connection, or per request with --mode http: to a file, to standard output (-), or off
    /// [nginx: access_log]
    #[arg(long, value_name = "PATH", default_value = "off", help_heading = "Logging")]
    access_log: OsString,
    /// Format of access log lines; combined is nginx's, for requests [nginx: log_format]
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Logging")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SendProxy {
    Off,
    V1,
    V2,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WhenToSplice {
    Auto,
    Never,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Steer {
    Hash,
    Cpu,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
    Combined,
}

impl ProxyArgs {
    /// Builds settings and workers for this host. Resolves names, which can take seconds.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn plan(self, host: &Host) -> Result<Plan, Error> {
        if self.no_pin && self.steer == Steer::Cpu {
            return Err(Error::SteerUnpinned);
        }
        let listeners = listeners(&self.listen)?;
        if self.unix_mode.is_some() && !listeners.iter().any(|listener| matches!(listener, Address::Unix(_)))
        {
            return Err(Error::UnixModeWithoutSocket);
        }
        self.tls.check(self.http.is_http())?;
        let group = GroupSettings {
            name: "default".into(),
            servers: Vec::new(),
            tls: self.tls.upstream_tls()?,
            send_proxy: match self.send_proxy {
                SendProxy::Off => None,
                SendProxy::V1 => Some(Version::V1),
                SendProxy::V2 => Some(Version::V2),
            },
            connect_timeout: self.connect_timeout,
        };
        let routes = self.tls.routes(&self.upstream, &group)?;
        let (certificates, client_tls) = match self.tls.client_tls()? {
            None => (None, None),
            Some((files, terminated, client_tls)) => (Some((files, terminated)), Some(client_tls)),
        };
        let (sessions_max, mut workers, descriptors_reserved) = self.workers(host, listeners.len())?;
        let access_log = self.access_log();
        let is_combined = matches!(self.log_format, LogFormat::Combined);
        let mode = self.http.mode(client_tls.is_some())?;
        if is_combined && matches!(mode, Mode::Stream) {
            return Err(Error::NeedsHttp("--log-format combined"));
        }
        let reads_first = matches!(mode, Mode::Http(_))
            || self.accept_proxy
            || client_tls.is_some()
            || routes.depend_on_hello();
        if self.peek_memory.is_some() && !reads_first {
            return Err(Error::Usage(
                "--peek-memory limits what clients send before they are served; add --mode http, --accept-proxy, \
                 --tls-cert or a route, or remove it"
                    .to_owned(),
            ));
        }
        let peek_bytes_max = peek_bytes_max(self.peek_memory, host, workers.len(), &mode)?;
        for worker in &mut workers {
            worker.peek_bytes_max = peek_bytes_max;
        }
        let service = Service {
            name: "default".into(),
            listeners: listeners
                .into_iter()
                .map(|address| Listener {
                    address,
                    backlog: self.backlog,
                    fastopen_queue: self.tcp_fastopen.0,
                    defer_accept: self.defer_accept,
                    steer_by_cpu: self.steer == Steer::Cpu,
                    unix_mode: self.unix_mode.unwrap_or(UNIX_MODE),
                })
                .collect(),
            routes,
            peek_timeout: self.tls.peek_timeout(),
            client_tls,
            accepts_missing_close_notify: self.tls.accepts_missing_close_notify(),
            idle_timeout: self.idle_timeout,
            accept_proxy_timeout: self.accept_proxy.then_some(self.accept_proxy_timeout),
            accept_proxy_from: self.accept_proxy_from,
            splice: match self.splice {
                WhenToSplice::Auto => Splice::Auto,
                WhenToSplice::Never => Splice::Never,
                WhenToSplice::Always => Splice::Always,
            },
            tcp: SocketOptions { keepalive: self.tcp_keepalive.0, user_timeout: self.tcp_user_timeout.0 },
            mode,
        };
        let descriptors_max = host.descriptors_max;
        Ok(Plan {
            service,
            sessions_max,
            workers,
            access_log,
            certificates,
            descriptors_max,
            descriptors_reserved,
        })
    }

    /// The number of connections, the workers and their CPUs, and the number of descriptors that connections cannot
    /// use.
    fn workers(&self, host: &Host, listeners: usize) -> Result<(usize, Vec<WorkerSettings>, u64), Error> {
        let number = self.workers.map_or(host.cpus.len(), |number| number as usize);
        let pipes = if matches!(self.splice, WhenToSplice::Never) { 0 } else { self.pipes as u16 };
        let reserved = descriptors_reserved(number, listeners, pipes);
        let sessions_max = match self.max_connections {
            Some(sessions_max) => sessions_max as usize,
            None => sessions_that_fit(host.descriptors_max, reserved, number)?,
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
                drain_timeout: self.drain_timeout,
                ..WorkerSettings::default()
            })
            .collect();
        Ok((sessions_max, workers, reserved))
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

/// Parses a file's permissions.
fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| u32::from_str_radix(digits, 8).ok());
    let wanted = || "give permissions as an octal number from 0 to 0777, such as 0660".to_owned();
    mode.flatten().filter(|mode| *mode <= 0o777).ok_or_else(wanted)
}

/// Most bytes of incomplete input in one worker: enough for a few of the longest.
fn peek_bytes_max(asked: Option<u32>, host: &Host, workers: usize, mode: &Mode) -> Result<usize, Error> {
    let head_bytes_max = match mode {
        Mode::Stream => 0,
        Mode::Http(http) => http.head_bytes_max,
    };
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

/// Parses an address to connect to.
fn connectable(text: &str) -> Result<Unresolved, String> {
    let address: Unresolved =
        text.parse().map_err(|error: super::address::AddressError| error.to_string())?;
    if address.has_port_zero() {
        return Err("port 0 cannot be connected to; give the server's port".to_owned());
    }
    Ok(address)
}

fn listeners(written: &[Unresolved]) -> Result<Vec<Address>, Error> {
    let mut listeners = Vec::new();
    for listener in written {
        for address in listener.resolve("listen")? {
            // Port 0 is a different port each time.
            if listeners.contains(&address) && !listener.has_port_zero() {
                return Err(Error::ListenTwice(address.to_string()));
            }
            if let Address::Ip(address) = address {
                check_listener(address, &listeners)?;
            }
            listeners.push(address);
        }
    }
    Ok(listeners)
}

/// An address that cannot be bound, whatever this host is, beside those before it.
fn check_listener(address: SocketAddr, others: &[Address]) -> Result<(), Error> {
    if let IpAddr::V6(ip) = address.ip()
        && let Some(ipv4) = ip.to_ipv4_mapped()
    {
        let port = address.port();
        return Err(Error::Usage(format!(
            "--listen {address} is an IPv4 address in the form of IPv6; write {ipv4}:{port}"
        )));
    }
    let overlaps = |other: &&SocketAddr| {
        other.port() == address.port()
            && address.port() != 0
            && other.is_ipv4() == address.is_ipv4()
            && other.ip().is_unspecified() != address.ip().is_unspecified()
    };
    let ip = |other: &Address| match other {
        Address::Ip(other) => Some(*other),
        Address::Unix(_) => None,
    };
    let others: Vec<_> = others.iter().filter_map(ip).collect();
    match others.iter().find(overlaps) {
        None => Ok(()),
        Some(other) => {
            let (all, one) =
                if address.ip().is_unspecified() { (&address, other) } else { (other, &address) };
            Err(Error::Usage(format!("--listen {all} includes --listen {one}; leave one of them out")))
        }
    }
}

/// The descriptors that listeners, rings and pipes take.
fn descriptors_reserved(workers: usize, listeners: usize, pipes: u16) -> u64 {
    let per_worker = listeners as u64 + WORKER_DESCRIPTORS_RESERVED + 2 * u64::from(pipes);
    DESCRIPTORS_RESERVED + workers as u64 * per_worker
}

/// The sessions that fit into the remaining descriptors, at two each; at least one per worker.
fn sessions_that_fit(limit: u64, reserved: u64, workers: usize) -> Result<usize, Error> {
    let sessions = limit.saturating_sub(reserved) / DESCRIPTORS_A_SESSION;
    if sessions < workers as u64 {
        return Err(Error::Descriptors { limit, reserved });
    }
    Ok(sessions.min(SESSIONS_MAX.into()) as usize)
}

#[cfg(test)]
mod tests;
