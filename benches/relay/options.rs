//! The command line, and the roles in which the program runs as its own child.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::baseline::floor::Identity;
use crate::cases::{CASES, Case};

/// Compares `iisplice proxy` with nginx and `HAProxy` on this host, and shows the figures.
#[allow(clippy::struct_excessive_bools, reason = "independent flags")]
#[derive(Debug, Parser)]
#[command(name = "relay", bin_name = "cargo bench --bench relay --")]
pub(crate) struct Options {
    /// Proxies to measure, with commas between them [default: all]
    #[arg(long = "arms", visible_alias = "arm", value_enum, value_name = "LIST", value_delimiter = ',')]
    arms: Vec<ArmName>,

    /// Loads to measure under, with commas between them; --list shows them [default: all]
    #[arg(long = "cases", visible_alias = "case", value_name = "LIST", value_delimiter = ',', value_parser = case)]
    cases: Vec<&'static Case>,

    /// Show the cases, and measure nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// A first look within 5 minutes: one round of half a second, fewer idle connections, fewer arms
    #[arg(long)]
    pub(crate) quick: bool,

    /// Number of rounds; the report shows the median and the range of their figures [default: 5; 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,

    /// Length of each measurement in seconds, without the warm-up [default: 4; 0.5 with --quick]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,

    /// Number of connections in the idle cases [default: 9000; 1000 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    idle_connections: Option<u32>,

    /// Core that the proxy is pinned to
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    pub(crate) proxy_cpu: usize,

    /// Cores that clients and servers are pinned to, with commas between them [default: all others]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    load_cpus: Vec<usize>,

    /// What the order of arms in each round is drawn from
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,

    /// The `iisplice` program to measure [default: the one of this build]
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_iisplice"), hide_default_value = true)]
    pub(crate) iisplice: PathBuf,

    /// The nginx program to measure [default: the installed one]
    #[arg(long, value_name = "PATH")]
    pub(crate) nginx: Option<PathBuf>,

    /// The `HAProxy` program to measure [default: the installed one]
    #[arg(long, value_name = "PATH")]
    pub(crate) haproxy: Option<PathBuf>,

    /// Add an arm that runs iisplice with these flags, given as one argument: `--iisplice-flags "--some-flag 1"`;
    /// repeatable
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    pub(crate) iisplice_flags: Vec<String>,

    /// Print JSON instead of Markdown
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the report as report.md, report.json and report.html into this directory too
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// What the report names as its command [default: this one]
    #[arg(long, hide = true)]
    called_as: Option<String>,

    /// The flag that `cargo bench` adds.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,

    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// The proxies to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArmName {
    /// No proxy: the limit of the load itself
    Direct,
    /// What the bytes cost in bare system calls
    Floor,
    /// `iisplice proxy --workers 1 --no-pin`
    Iisplice,
    /// nginx with its defaults: stream, or http with kept connections to the server
    Nginx,
    /// nginx stream with `proxy_buffer_size 256k`
    #[value(name = "nginx-256k")]
    Nginx256k,
    /// `HAProxy` with its defaults: copying, in HTTP mode `http-reuse safe`
    Haproxy,
    /// `HAProxy` with `option splice-response`, `splice-request` and pipes of 1 MiB
    HaproxySplice,
    /// `HAProxy` in HTTP mode with `http-reuse never`
    HaproxyNever,
    /// Copying relay on tokio-uring, 16 KiB per direction
    TokioUring,
    /// Relay on `IORING_OP_SPLICE` with pipes of 1 MiB
    OpSplice,
}

/// The task of a child of the benchmark.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Pins itself to a core, ends with its parent, and becomes the command.
    #[command(hide = true)]
    Launch {
        #[arg(long, value_delimiter = ',')]
        cpus: Vec<usize>,
        #[arg(long)]
        realtime: bool,
        #[arg(long)]
        parent: i32,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Runs the floor.
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
        /// Never sleeps.
        #[arg(long)]
        polling: bool,
        #[command(flatten)]
        identity: Identity,
    },
    /// Runs the tokio-uring baseline.
    #[command(hide = true)]
    TokioUring {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
    /// Runs the `IORING_OP_SPLICE` baseline.
    #[command(hide = true)]
    OpSplice {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
}

impl Options {
    /// The selected arms without repetitions; all arms if none is selected.
    pub(crate) fn arm_names(&self) -> Vec<ArmName> {
        let chosen = |arm: &ArmName| {
            if self.arms.is_empty() {
                !self.quick || arm.is_for_a_first_look()
            } else {
                self.arms.contains(arm)
            }
        };
        ArmName::value_variants().iter().filter(|arm| chosen(arm)).copied().collect()
    }

    /// The selected cases and those that they need, without repetitions; all cases if none is selected.
    pub(crate) fn cases(&self) -> Vec<&'static Case> {
        let is_chosen = |case: &Case| self.cases.iter().any(|chosen| chosen.name == case.name);
        let is_needed = |case: &Case| {
            self.cases.iter().filter_map(|chosen| chosen.needs()).any(|needed| needed.name == case.name)
        };
        CASES.iter().filter(|case| self.cases.is_empty() || is_chosen(case) || is_needed(case)).collect()
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// The length of a measurement.
    pub(crate) fn window(&self) -> Duration {
        self.seconds.unwrap_or(if self.quick { Duration::from_millis(500) } else { Duration::from_secs(4) })
    }

    pub(crate) fn idle_connections(&self) -> u32 {
        self.idle_connections.unwrap_or(if self.quick { 1_000 } else { 9_000 })
    }

    /// The cores of clients and servers: all that this process may use but the proxy's, if none is selected.
    pub(crate) fn load_cpus(&self) -> Vec<usize> {
        if !self.load_cpus.is_empty() {
            return self.load_cpus.clone();
        }
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let others = (0..CpuSet::count())
            .filter(|cpu| allowed.is_set(*cpu).unwrap_or(false) && *cpu != self.proxy_cpu);
        others.collect()
    }

    /// The command for the report.
    pub(crate) fn command(&self) -> String {
        self.called_as.clone().unwrap_or_else(|| {
            let arguments = std::env::args().skip(1).filter(|one| one != "--bench").map(quoted);
            ["cargo bench --bench relay --".to_owned()]
                .into_iter()
                .chain(arguments)
                .collect::<Vec<_>>()
                .join(" ")
        })
    }
}

impl ArmName {
    /// Whether it is more than a design choice that stays measured.
    fn is_for_a_first_look(self) -> bool {
        !matches!(self, Self::TokioUring | Self::OpSplice | Self::Nginx256k)
    }
}

impl fmt::Display for ArmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

fn case(name: &str) -> Result<&'static Case, String> {
    Case::named(name).ok_or_else(|| format!("no such case; there are {}", names().join(", ")))
}

/// The names of all cases.
pub(crate) fn names() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.1..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds from 0.1 to 3600 is needed".to_owned())
}

fn quoted(argument: String) -> String {
    if argument.contains(char::is_whitespace) { format!("'{argument}'") } else { argument }
}
