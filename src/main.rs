//! Parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use iisplice::cli::mock::MockArgs;
use iisplice::cli::{self, Cli, Command};
use iisplice::control::limits::Host;
use iisplice::mock;
use nix::sys::signal::{SigSet, Signal};

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
        Command::Mock(arguments) => mock(*arguments),
    }
}

/// Serves until SIGINT or SIGTERM.
fn mock(arguments: MockArgs) -> ExitCode {
    let host = match Host::prepare() {
        Ok(host) => host,
        Err(error) => return fail(&format!("cannot read this process's limits: {error}"), ExitCode::FAILURE),
    };
    let settings = match arguments.settings(&host) {
        Ok(settings) => settings,
        Err(error) => return fail(&error.to_string(), error.exit_code()),
    };
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    // Blocked before the threads start, which inherit it: the signals wait for this thread.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    if let Err(error) = signals.thread_block() {
        return fail(&format!("cannot wait for signals: {error}"), ExitCode::FAILURE);
    }
    let mock = match mock::start(settings) {
        Ok(mock) => mock,
        Err(error) => return fail(&error.to_string(), ExitCode::FAILURE),
    };
    for address in mock.addresses() {
        eprintln!("iisplice: mock IIS on {scheme}://{address}");
    }
    // It fails only for a set that is no set.
    let _ = signals.wait();
    mock.stop();
    ExitCode::SUCCESS
}

fn fail(line: &str, code: ExitCode) -> ExitCode {
    eprintln!("iisplice: {line}");
    code
}
