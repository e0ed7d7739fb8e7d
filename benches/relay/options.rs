//! The command line, and the roles in which the program runs as its own child.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::scenarios::Scenario;

/// Compares `iisplice proxy` with nginx stream and haproxy tcp on this host and prints the figures.
#[derive(Debug, Parser)]
#[command(name = "relay", bin_name = "cargo bench --bench relay --")]
pub(crate) struct Options {
    /// Relay to measure; repeatable [default: all]
    #[arg(long = "arm", value_enum, value_name = "NAME")]
    pub(crate) arms: Vec<ArmName>,

    /// Load to measure under; repeatable [default: all]
    #[arg(long = "scenario", value_enum, value_name = "NAME")]
    scenarios: Vec<Scenario>,

    /// Number of rounds; the report shows the median and the range of their figures
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// Length of each measurement in seconds, without the warm-up
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,

    /// Number of connections in the idle scenario
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) idle_connections: u32,

    /// Core that the proxy is pinned to
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    pub(crate) proxy_cpu: usize,

    /// Core that the clients and the server are pinned to
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    pub(crate) load_cpu: usize,

    /// The `iisplice` program to measure [default: the one of this build]
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_iisplice"), hide_default_value = true)]
    pub(crate) iisplice: PathBuf,

    /// Add an arm that runs iisplice with these flags, given as one argument: `--iisplice-flags "--some-flag 1"`;
    /// repeatable
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    pub(crate) iisplice_flags: Vec<String>,

    /// Print JSON instead of Markdown
    #[arg(long)]
    pub(crate) json: bool,

    /// The flag that `cargo bench` adds.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,

    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// The relays to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArmName {
    /// No proxy: the limit of the load itself
    Direct,
    /// `iisplice proxy --workers 1 --no-pin`
    Iisplice,
    /// nginx stream with its default buffer of 16 KiB
    Nginx,
    /// nginx stream with `proxy_buffer_size 256k`
    #[value(name = "nginx-256k")]
    Nginx256k,
    /// haproxy in tcp mode, copying
    Haproxy,
    /// haproxy in tcp mode with `option splice-response` and pipes of 1 MiB
    HaproxySplice,
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
        #[arg(long)]
        cpu: usize,
        #[arg(long)]
        parent: i32,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
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
        chosen(&self.arms)
    }

    /// The selected scenarios without repetitions; all scenarios if none is selected.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        chosen(&self.scenarios)
    }
}

/// The selection in the order of the report.
fn chosen<T: ValueEnum + PartialEq>(named: &[T]) -> Vec<T> {
    T::value_variants().iter().filter(|one| named.is_empty() || named.contains(one)).cloned().collect()
}
