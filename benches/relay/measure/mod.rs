//! One measurement: start the server and an arm, load it, read the clocks before and after the window, stop the arm.

mod generated;
mod idle;
mod spread;
mod window;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::SockRef;
use tempfile::TempDir;

use crate::arms::{self, Arm};
use crate::cases::{Case, Plan, Rate, ServerKind, Work};
use crate::child::{self, Program, Seat};
use crate::figures::Measured;
use crate::front::{Certificate, Setup};
use crate::generators::{self, ACCOUNT};
use crate::load::{Load, free_addresses, listen_on};
use crate::options::Options;

const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that the proxies are set up for besides those of the case.
const SPARE_CONNECTIONS: u32 = 300;

/// The load, the addresses and the directory that all measurements share.
pub(crate) struct Stage<'a> {
    options: &'a Options,
    load: Load,
    listen: SocketAddr,
    upstream: SocketAddr,
    /// The address of a server that is a program of its own.
    other_upstream: SocketAddr,
    directory: TempDir,
    certificate: Certificate,
    load_cpus: Vec<usize>,
    window: Duration,
    /// Excluded from every figure: meanwhile windows open, pools fill, and bulk streams turn to zero-copy.
    warm_up: Duration,
    without_realtime: Option<String>,
    without_wrk: Option<String>,
    /// The rates that were found in the first round; the other rounds keep them.
    rates: BTreeMap<&'static str, f64>,
}

/// A case's programs and where they are.
struct Set {
    directory: TempDir,
    /// The address that clients connect to: the proxy's, or without one the server's.
    target: SocketAddr,
    proxy: Option<Program>,
    server: Option<Program>,
}

impl Set {
    /// The servers that are programs of their own.
    fn servers(&self) -> Vec<&Program> {
        self.server.iter().collect()
    }
}

impl<'a> Stage<'a> {
    /// Pins this process to the first load core, and starts to listen as the server.
    pub(crate) fn new(options: &'a Options, cases: &[&Case]) -> Result<Self> {
        raise_descriptor_limit(options, cases)?;
        let load_cpus = options.load_cpus();
        let Some(first) = load_cpus.first() else {
            bail!("clients and servers need a core besides core {} of the proxy", options.proxy_cpu);
        };
        // A core that does not exist is an error here rather than in the first child.
        child::pin(&[options.proxy_cpu])?;
        child::pin(&load_cpus)?;
        child::pin(&[*first])?;
        let without_realtime = child::go_first(true)
            .and_then(|()| child::go_first(false))
            .err()
            .map(|error| format!("{error:#}"));
        let [listen, upstream, other_upstream] = free_addresses()?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        Ok(Self {
            options,
            load: Load::new(upstream)?,
            listen,
            upstream,
            other_upstream,
            certificate: Certificate::make(directory.path()).context("cannot make a certificate")?,
            directory,
            load_cpus,
            window: options.window(),
            warm_up: Duration::from_millis(if options.quick { 300 } else { 700 }),
            without_realtime,
            without_wrk: generators::wrk_version().is_none().then(|| "wrk is not installed".to_owned()),
            rates: BTreeMap::new(),
        })
    }

    /// Whether a signal has interrupted the benchmark.
    pub(crate) fn interrupted(&self) -> bool {
        self.load.interrupted()
    }

    /// What this host cannot do, for the report.
    pub(crate) fn limits(&self) -> Vec<String> {
        let realtime = self.without_realtime.iter().map(|reason| {
            format!("no real-time priority, so other processes count in the cases that ask for it: {reason}")
        });
        let second = self.without_wrk.iter().map(|reason| format!("no second generator: {reason}"));
        realtime.chain(second).collect()
    }

    /// Takes the rate of a case from the best peer's, for its first round; see [`Rate::ShareOfBestPeer`].
    pub(crate) fn set_rate(&mut self, case: &Case, best_peer_per_s: Option<f64>) {
        if let Work::Generated(Plan { rate: Rate::ShareOfBestPeer { percent, .. }, .. }) = case.work
            && let Some(best) = best_peer_per_s
        {
            self.rates.entry(case.name).or_insert(best * f64::from(percent) / 100.0);
        }
    }

    /// Starts the arm and measures the figures of the case.
    pub(crate) fn measure(&mut self, case: &Case, arm: &Arm) -> Result<Measured> {
        let realtime = case.realtime && self.without_realtime.is_none();
        if realtime {
            child::go_first(true)?;
        }
        let outcome = self.measure_at(case, arm, realtime);
        self.load.reset_all();
        if realtime {
            child::go_first(false)?;
        }
        outcome
    }

    fn measure_at(&mut self, case: &Case, arm: &Arm, realtime: bool) -> Result<Measured> {
        let mut set = self.set_up(case, arm, realtime)?;
        let outcome = match case.work {
            Work::Own(errands) => self.window(errands, &set),
            Work::Generated(plan) => self.generated(case, &plan, &set, realtime),
            Work::Idle(kind) => self.idle(kind, &set),
            Work::Spread(connections) => self.spread(connections, arm, &set),
        };
        self.load.reset_all();
        if let Some(proxy) = &mut set.proxy {
            proxy.check_running().context("the proxy")?;
        }
        outcome
    }

    /// Starts what the case needs besides this process.
    fn set_up(&mut self, case: &Case, arm: &Arm, realtime: bool) -> Result<Set> {
        let directory = tempfile::tempdir_in(&self.directory).context("cannot make a temporary directory")?;
        let kind = if let Work::Generated(plan) = case.work { plan.server } else { ServerKind::Own };
        let upstream = if kind == ServerKind::Own { self.upstream } else { self.other_upstream };
        let setup = Setup {
            front: case.front,
            listen: self.listen,
            upstream,
            directory: directory.path(),
            certificate: &self.certificate,
            workers: if matches!(case.work, Work::Spread(_)) { 2 } else { 1 },
            connections_max: case.connections(self.options.idle_connections()) + SPARE_CONNECTIONS,
        };
        let server = match kind {
            ServerKind::Own => None,
            ServerKind::Mock => Some(mock_command(upstream)),
            ServerKind::Tls => Some(arms::tls_server(self.options, &setup)?),
        };
        let proxy = arm.command(&setup)?;
        let workers = setup.workers;
        let server = server
            .map(|command| {
                start(&command, &self.seat_of_ends(realtime), upstream, directory.path(), "server")
            })
            .transpose()
            .context("the server")?;
        let mut cpus = vec![self.options.proxy_cpu];
        if workers > 1 {
            cpus.extend(self.load_cpus.last());
        }
        let seat = Seat { cpus, realtime };
        let proxy = proxy
            .map(|command| start(&command, &seat, self.listen, directory.path(), "proxy"))
            .transpose()
            .context("the proxy")?;
        let target = if proxy.is_some() { self.listen } else { upstream };
        self.load.aim_at(target);
        Ok(Set { directory, target, proxy, server })
    }

    /// Programs that are ends have the load cores but this process's one, if there are others.
    fn seat_of_ends(&self, realtime: bool) -> Seat {
        let cpus =
            if self.load_cpus.len() > 1 { self.load_cpus[1..].to_vec() } else { self.load_cpus.clone() };
        Seat { cpus, realtime }
    }
}

/// Starts a program and waits until it listens.
fn start(
    command: &[std::ffi::OsString],
    seat: &Seat,
    address: SocketAddr,
    directory: &Path,
    name: &str,
) -> Result<Program> {
    let started_at = Instant::now();
    // The kernel releases a ring some time after its process has ended, and until then the ring's operations hold the
    // listener.
    while let Err(error) = listen_on(address) {
        if started_at.elapsed() > START_TIMEOUT {
            return Err(error).with_context(|| format!("{address} stays in use"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut program = Program::start(command, seat, &directory.join(format!("{name}.out")))?;
    while !listens(address) {
        program.check_running()?;
        if started_at.elapsed() > START_TIMEOUT {
            bail!("it does not listen on {address} after {START_TIMEOUT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    program.check_running()?;
    Ok(program)
}

/// Whether a connection is accepted; it is reset at once.
fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, START_TIMEOUT)
        .map(|stream| SockRef::from(&stream).set_linger(Some(Duration::ZERO)))
        .is_ok()
}

fn mock_command(listen: SocketAddr) -> Vec<std::ffi::OsString> {
    [env!("CARGO_BIN_EXE_iisplice"), "mock", "--listen", &listen.to_string(), "--user", ACCOUNT, "--quiet"]
        .iter()
        .map(Into::into)
        .collect()
}

/// Raises the limit of open files, which the proxy inherits. Both processes hold two descriptors for each connection.
fn raise_descriptor_limit(options: &Options, cases: &[&Case]) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("setrlimit")?;
    for case in cases {
        let connections = case.connections(options.idle_connections());
        let needed = u64::from(connections + SPARE_CONNECTIONS) * 2 + 400;
        if needed > hard {
            bail!(
                "{connections} connections of the case {} need {needed} descriptors and the limit is {hard}; raise it \
                 with `ulimit -n`, or choose other --cases or fewer --idle-connections",
                case.name
            );
        }
    }
    Ok(())
}
