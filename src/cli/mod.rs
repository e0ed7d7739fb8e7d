//! Arguments become validated settings, one file per command. No lower room checks a string again.
//!
//! ```text
//! arguments --clap--> ProxyArgs --settings(host)--> control::Plan, and the text that --check prints
//!     |                    |
//!     one_line()           Error            one line on standard error, exit code 2
//! ```
//!
//! Errors that show in the text alone (a number out of bounds, an address without a port) are reported by the value's
//! parser, so that the line names the flag; errors that need other flags, the resolver or the host are reported by the
//! command's `plan` or `settings`. Nothing here opens a socket, or a file other than those with arguments. Start at [`Cli`], then
//! [`proxy::ProxyArgs`].

pub mod address;
pub mod demo;
pub mod doctor;
mod error;
mod examples;
pub mod load;
pub mod mock;
mod nearest;
pub mod proxy;
mod quantity;
pub mod report;
pub mod status;
mod text_file;
pub mod top;
pub mod upgrade;
mod verbosity;

use clap::{Parser, Subcommand};

pub use error::{Error, one_line};
pub use verbosity::Verbosity;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "iisplice", version, about, arg_required_else_help = false, propagate_version = true)]
#[command(after_help = examples::IISPLICE)]
pub struct Cli {
    /// What to log, for every command.
    #[command(flatten)]
    pub verbosity: Verbosity,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The command to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a mock IIS, the proxy and the load generator on loopback for a few seconds, and report
    #[command(after_help = examples::DEMO)]
    Demo(demo::DemoArgs),
    /// Run the proxy: every client connection gets an upstream connection of its own, for its whole life
    #[command(after_help = examples::PROXY)]
    Proxy(Box<proxy::ProxyArgs>),
    /// Show what a running proxy does: services, servers and their states
    #[command(after_help = examples::STATUS)]
    Status(status::StatusArgs),
    /// Watch a running proxy on the terminal: rates, logins, times; drain servers
    #[command(after_help = examples::TOP)]
    Top(top::TopArgs),
    /// Have a running proxy hand over to a new process, without a lost connection
    #[command(after_help = examples::UPGRADE)]
    Upgrade(upgrade::UpgradeArgs),
    /// Run a mock IIS site that really verifies NTLM and Negotiate logins
    #[command(after_help = examples::MOCK)]
    Mock(Box<mock::MockArgs>),
    /// Send requests with real logins, and measure rates and latencies
    #[command(after_help = examples::LOAD)]
    Load(Box<load::LoadArgs>),
    /// Probe a site with Windows Authentication, and say what is wrong and what to do about it
    #[command(after_help = examples::DOCTOR)]
    Doctor(Box<doctor::DoctorArgs>),
    /// Show, merge or compare results of `iisplice load`
    #[command(after_help = examples::REPORT)]
    Report(report::ReportArgs),
}
