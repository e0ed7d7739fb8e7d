//! Arguments become validated settings, one file a command. Nothing behind this room checks a string again.
//!
//! ```text
//! arguments --clap--> ProxyArgs --plan(host)--> control::Plan
//!     |                    |
//!     one_line()           Error            one line on standard error, exit code 2
//! ```
//!
//! What can be told wrong from the text alone (a number out of bounds, an address without a port) is
//! told by the value's parser, so that the line names the flag; what needs the other flags, the resolver or the
//! host is told by the command's `plan`. Nothing here opens a socket, nor a file but those that arguments are in. Start at [`Cli`], then
//! [`proxy::ProxyArgs`].

pub mod address;
pub mod demo;
mod error;
mod examples;
pub mod load;
pub mod mock;
pub mod proxy;
mod quantity;
pub mod report;
mod text_file;
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
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show all of it at work: a mock IIS, the proxy and a load, here, in some seconds
    #[command(after_help = examples::DEMO)]
    Demo(demo::DemoArgs),
    /// Serve: every client gets an upstream connection of its own, for its whole life
    #[command(after_help = examples::PROXY)]
    Proxy(Box<proxy::ProxyArgs>),
    /// Stand in for an IIS site: verifies NTLM and Negotiate logins for real
    #[command(after_help = examples::MOCK)]
    Mock(Box<mock::MockArgs>),
    /// Send requests, log in for real, and measure
    #[command(after_help = examples::LOAD)]
    Load(Box<load::LoadArgs>),
    /// Show, merge or compare results of load
    #[command(after_help = examples::REPORT)]
    Report(report::ReportArgs),
}
