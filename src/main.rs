//! Parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use iisplice::cli::{self, Cli, Command};
use iisplice::control::limits::Host;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return fail(&cli::one_line(&error), ExitCode::from(2)),
        Err(help) => {
            // Nobody is left to tell when standard output is closed.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    match cli.command {
        Command::Report(arguments) => cli::report::execute(arguments)
            .unwrap_or_else(|error| fail(&error.to_string(), error.exit_code())),
        Command::Load(arguments) => {
            cli::load::execute(*arguments).unwrap_or_else(|error| fail(&error.to_string(), error.exit_code()))
        }
        Command::Proxy(arguments) => {
            let host = match Host::prepare() {
                Ok(host) => host,
                Err(error) => {
                    return fail(&format!("cannot read this process's limits: {error}"), ExitCode::FAILURE);
                }
            };
            match arguments.plan(&host) {
                Ok(_plan) => ExitCode::SUCCESS,
                Err(error) => fail(&error.to_string(), error.exit_code()),
            }
        }
    }
}

fn fail(line: &str, code: ExitCode) -> ExitCode {
    eprintln!("iisplice: {line}");
    code
}
