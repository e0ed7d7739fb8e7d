//! One measurement: start an arm, load it, read the clocks before and after the window, stop the arm.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use tempfile::TempDir;

use crate::arms::{Arm, Place};
use crate::child::{self, Proxy};
use crate::figures::Sample;
use crate::host;
use crate::load::{Errand, Load, Tally, free_addresses, listen_on};
use crate::options::Options;
use crate::scenarios::Scenario;

const BULK_STREAMS: u32 = 8;
const SMALL_CONNECTIONS: u32 = 64;
/// Excluded from every figure: meanwhile windows open, pools fill, and bulk streams turn to zero-copy.
const WARM_UP: Duration = Duration::from_millis(700);
const START_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the proxy to release what it used for an exchange, before its memory is read.
const SETTLE_TIME: Duration = Duration::from_millis(500);
/// Connections that the proxies are set up for besides those of the idle scenario.
const SPARE_CONNECTIONS: u32 = 300;

/// The load, the addresses and the directory that all measurements share.
pub(crate) struct Stage {
    load: Load,
    listen: SocketAddr,
    upstream: SocketAddr,
    directory: TempDir,
    proxy_cpu: usize,
    window: Duration,
    idle_connections: u32,
}

/// The counts of a window.
struct Window {
    seconds: f64,
    proxy_cpu_seconds: Option<f64>,
    load_cpu_seconds: f64,
    tally: Tally,
}

impl Stage {
    /// Pins this process to the load core, and starts to listen as the server.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        raise_descriptor_limit(options)?;
        // A core that does not exist is an error here rather than in the first child.
        child::pin(options.proxy_cpu)?;
        child::pin(options.load_cpu)?;
        let [listen, upstream] = free_addresses()?;
        Ok(Self {
            load: Load::new(upstream)?,
            listen,
            upstream,
            directory: tempfile::tempdir().context("cannot make a temporary directory")?,
            proxy_cpu: options.proxy_cpu,
            window: Duration::from_secs(options.seconds.into()),
            idle_connections: options.idle_connections,
        })
    }

    /// Whether a signal has interrupted the benchmark.
    pub(crate) fn interrupted(&self) -> bool {
        self.load.interrupted()
    }

    /// Starts the arm and measures the figures of the scenario.
    pub(crate) fn measure(&mut self, scenario: Scenario, arm: &Arm) -> Result<Vec<Sample>> {
        let mut proxy = self.start(arm)?;
        let outcome = match scenario {
            Scenario::Idle => self.idle(proxy.as_ref()),
            _ => self.window(scenario, proxy.as_ref()),
        };
        self.load.reset_all();
        if let Some(proxy) = &mut proxy {
            proxy.check_running()?;
        }
        outcome
    }

    /// Starts the arm, directs the load to it, and waits for the first reply.
    fn start(&mut self, arm: &Arm) -> Result<Option<Proxy>> {
        let place = Place {
            listen: self.listen,
            upstream: self.upstream,
            directory: self.directory.path(),
            connections_max: self.idle_connections + SPARE_CONNECTIONS,
        };
        let Some(command) = arm.command(&place)? else {
            self.load.aim_at(self.upstream);
            return Ok(None);
        };
        self.wait_for_free_port()?;
        let log: &Path = &self.directory.path().join("output.log");
        let mut proxy = Proxy::start(&command, self.proxy_cpu, log)?;
        self.load.aim_at(self.listen);
        let started_at = Instant::now();
        loop {
            proxy.check_running()?;
            // The connection is refused until the proxy listens.
            self.load.take_tally()?;
            self.load.open(Errand::Once, 1)?;
            self.load.run_until(|tally| tally.replies + tally.errors > 0, ANSWER_TIMEOUT)?;
            let answered = self.load.tally().replies > 0;
            self.load.reset_all();
            if answered {
                return Ok(Some(proxy));
            }
            if started_at.elapsed() > START_TIMEOUT {
                bail!("the proxy does not listen on {} after {START_TIMEOUT:?}", self.listen);
            }
            self.load.run_for(Duration::from_millis(10))?;
        }
    }

    /// Waits until the port is free. The kernel releases a ring some time after its process has ended, and until then the
    /// ring's operations hold the listener.
    fn wait_for_free_port(&mut self) -> Result<()> {
        let began_at = Instant::now();
        while let Err(error) = listen_on(self.listen) {
            if began_at.elapsed() > START_TIMEOUT {
                return Err(error).with_context(|| format!("{} stays in use", self.listen));
            }
            self.load.run_for(Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn window(&mut self, scenario: Scenario, proxy: Option<&Proxy>) -> Result<Vec<Sample>> {
        match scenario {
            Scenario::Bulk => self.load.open(Errand::Bulk, BULK_STREAMS)?,
            Scenario::Small => self.load.open(Errand::PingPong, SMALL_CONNECTIONS)?,
            Scenario::Connect => self.load.open(Errand::OneShot, SMALL_CONNECTIONS)?,
            Scenario::Mixed => {
                self.load.open(Errand::PingPong, SMALL_CONNECTIONS)?;
                self.load.open(Errand::Bulk, BULK_STREAMS)?;
            }
            Scenario::Idle => bail!("the idle scenario has no window"),
        }
        self.load.run_for(WARM_UP)?;
        let pids = proxy.map(Proxy::pids).transpose()?;
        let proxy_seconds = || pids.as_deref().map(host::cpu_seconds).transpose();

        self.load.take_tally()?;
        let (began_at, proxy_before, load_before) = (Instant::now(), proxy_seconds()?, own_cpu_seconds()?);
        self.load.run_for(self.window)?;
        let (seconds, proxy_after, load_after) =
            (began_at.elapsed().as_secs_f64(), proxy_seconds()?, own_cpu_seconds()?);
        let window = Window {
            seconds,
            proxy_cpu_seconds: proxy_after.zip(proxy_before).map(|(after, before)| after - before),
            load_cpu_seconds: load_after - load_before,
            tally: self.load.take_tally()?,
        };
        Ok(window.samples())
    }

    /// Opens the connections with one exchange each, reads the proxy's memory, makes one more exchange on each, and reads
    /// the memory again.
    fn idle(&mut self, proxy: Option<&Proxy>) -> Result<Vec<Sample>> {
        let proxy = proxy.context("the arm has no proxy")?;
        let pids = proxy.pids()?;
        self.load.take_tally()?;
        let before_bytes = host::memory_bytes(&pids)?;
        let mut opened = 0;
        while opened < self.idle_connections {
            let group = SMALL_CONNECTIONS.min(self.idle_connections - opened);
            opened += group;
            self.load.open(Errand::Once, group)?;
            self.load.run_until(|tally| tally.replies + tally.errors >= opened.into(), ANSWER_TIMEOUT)?;
        }
        let first = self.growth_per_connection(&pids, before_bytes)?;
        self.load.ask_again(SMALL_CONNECTIONS as usize, ANSWER_TIMEOUT)?;
        let second = self.growth_per_connection(&pids, before_bytes)?;
        Ok(vec![
            Sample { key: "bytes_per_connection", value: first },
            Sample { key: "bytes_per_connection_second_use", value: second },
            Sample { key: "errors", value: self.load.tally().errors as f64 },
        ])
    }

    fn growth_per_connection(&mut self, pids: &[i32], before_bytes: u64) -> Result<f64> {
        self.load.run_for(SETTLE_TIME)?;
        let grown_bytes = host::memory_bytes(pids)?.saturating_sub(before_bytes);
        Ok(grown_bytes as f64 / f64::from(self.idle_connections))
    }
}

impl Window {
    /// The figures of all scenarios; the report picks those of this one.
    fn samples(&self) -> Vec<Sample> {
        let Self { seconds, tally, .. } = self;
        let gigabytes = tally.bulk_bytes as f64 / 1e9;
        let mut samples = Vec::new();
        let mut push = |key, value: f64| {
            // The division is by zero if nothing happened.
            if value.is_finite() {
                samples.push(Sample { key, value });
            }
        };
        push("bulk_gb_per_s", gigabytes / seconds);
        push("requests_per_s", tally.replies as f64 / seconds);
        push("connections_per_s", tally.connections as f64 / seconds);
        push("p50_us", tally.latency_us(50.0));
        push("p99_us", tally.latency_us(99.0));
        push("load_core_busy_percent", self.load_cpu_seconds / seconds * 100.0);
        push("errors", tally.errors as f64);
        if let Some(cpu_seconds) = self.proxy_cpu_seconds {
            push("proxy_core_busy_percent", cpu_seconds / seconds * 100.0);
            push("proxy_cpu_s_per_gb", cpu_seconds / gigabytes);
            push("proxy_cpu_us_per_request", cpu_seconds * 1e6 / tally.replies as f64);
            push("proxy_cpu_us_per_connection", cpu_seconds * 1e6 / tally.connections as f64);
        }
        samples
    }
}

/// The CPU time of this process, which is the load.
fn own_cpu_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

/// Raises the limit of open files, which the proxy inherits. Both processes hold two descriptors for each connection.
fn raise_descriptor_limit(options: &Options) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("setrlimit")?;
    let needed = u64::from(options.idle_connections + SPARE_CONNECTIONS) * 2 + 400;
    if options.scenarios().contains(&Scenario::Idle) && needed > hard {
        bail!(
            "{} idle connections need {needed} descriptors and the limit is {hard}; raise it with `ulimit -n`, \
             or choose fewer --idle-connections",
            options.idle_connections
        );
    }
    Ok(())
}
