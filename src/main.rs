//! Parse, dispatch, exit code.

use clap::Parser;
use iisplice::cli::Cli;

fn main() {
    Cli::parse();
}
