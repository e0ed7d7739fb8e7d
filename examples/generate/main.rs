//! Writes what a package ships beside the binary: man pages, and completions for bash, zsh and fish.
//!
//! ```text
//! cargo run --locked --example generate -- man DIRECTORY
//! cargo run --locked --example generate -- completions DIRECTORY
//! ```
//!
//! An example and not a command of the binary: what it needs is not linked into what runs on an edge host.

mod files;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// What to write, and where.
#[derive(Debug, Parser)]
struct Arguments {
    what: What,
    /// Directory; it is made
    directory: PathBuf,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Manual pages, section 1
    Man,
    /// Completions for bash, zsh and fish
    Completions,
}

fn write(what: What, directory: &Path) -> io::Result<()> {
    let files = match what {
        What::Man => files::man_pages()?,
        What::Completions => files::completions(),
    };
    std::fs::create_dir_all(directory)?;
    files.into_iter().try_for_each(|(name, text)| std::fs::write(directory.join(name), text))
}

fn main() -> ExitCode {
    let Arguments { what, directory } = Arguments::parse();
    match write(what, &directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: cannot write to {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
