//! Arguments become validated settings, one file a command. Nothing behind this room checks a string again.

use clap::Parser;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "iisplice", version, about)]
pub struct Cli {}
