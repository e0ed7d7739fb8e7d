//! The command line, and the roles in which the program starts itself again as a child.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::scenarios::Scenario;

/// Compares `iisplice proxy` with nginx stream and haproxy tcp on this machine, and prints what it measured.
#[derive(Debug, Parser)]
#[command(name = "relay", bin_name = "cargo bench --bench relay --")]
pub(crate) struct Options {
    /// A relay to measure; repeatable [default: all of them]
    #[arg(long = "arm", value_enum, value_name = "NAME")]
    pub(crate) arms: Vec<ArmName>,

    /// A load to measure under; repeatable [default: all of them]
    #[arg(long = "scenario", value_enum, value_name = "NAME")]
    scenarios: Vec<Scenario>,

    /// How often each figure is taken; the report shows the median and the range
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// Seconds that each measurement takes, warm-up not counted
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,

    /// Connections that the idle scenario holds open
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) idle_connections: u32,

    /// The core that the proxy is pinned to
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    pub(crate) proxy_cpu: usize,

    /// The core that the clients and the server are pinned to
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    pub(crate) load_cpu: usize,

    /// The iisplice to measure
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_iisplice"), hide_default_value = true)]
    pub(crate) iisplice: PathBuf,

    /// Flags for one more arm with iisplice, as one argument: `--iisplice-flags "--some-flag 1"`; repeatable
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    pub(crate) iisplice_flags: Vec<String>,

    /// Print JSON in place of Markdown
    #[arg(long)]
    pub(crate) json: bool,

    /// What `cargo bench` adds by itself.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,

    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// The relays that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArmName {
    /// No proxy: the ceiling that the load itself sets
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
    /// A plain copy relay on tokio-uring, 16 KiB a direction
    TokioUring,
    /// A relay on `IORING_OP_SPLICE` with pipes of 1 MiB
    OpSplice,
}

/// What a child of the benchmark does.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Pin to a core, die with the parent, and become the command.
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        cpu: usize,
        #[arg(long)]
        parent: i32,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Be the tokio-uring baseline.
    #[command(hide = true)]
    TokioUring {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
    /// Be the `IORING_OP_SPLICE` baseline.
    #[command(hide = true)]
    OpSplice {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
}

impl Options {
    /// The arms that were asked for, each once; all when none was named.
    pub(crate) fn arm_names(&self) -> Vec<ArmName> {
        chosen(&self.arms)
    }

    /// The scenarios that were asked for, each once; all when none was named.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        chosen(&self.scenarios)
    }
}

/// In the order of the report, whatever the order on the command line.
fn chosen<T: ValueEnum + PartialEq>(named: &[T]) -> Vec<T> {
    T::value_variants().iter().filter(|one| named.is_empty() || named.contains(one)).cloned().collect()
}
