//! Parses arguments, dispatches the command, sets the exit code.

use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser;
use iisplice::cli::demo::DemoArgs;
use iisplice::cli::mock::MockArgs;
use iisplice::cli::proxy::{Effective, ProxyArgs};
use iisplice::cli::{self, Cli, Command};
use iisplice::control::handover::Predecessor;
use iisplice::control::handover::starter::{self, Starter};
use iisplice::control::limits::Host;
use iisplice::control::service_manager::PassedSockets;
use iisplice::control::signals::Signals;
use iisplice::control::{self, logging, service_manager};
use iisplice::report::live::Live;
use iisplice::{mock, report};
use nix::sys::signal::{SigSet, Signal};
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    if let Some(successor) = starter::ordered(std::env::args_os()) {
        return starter::run(&successor);
    }
    let predecessor = Predecessor::of_this_process();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            return refuse(predecessor.as_ref(), cli::one_line(&error), ExitCode::from(2));
        }
        Err(help) => {
            // A closed standard output leaves no way to report the error.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let log_level = cli.verbosity.filter();
    match cli.command {
        Command::Proxy(arguments) => proxy(*arguments, log_level, predecessor.as_ref()),
        Command::Demo(arguments) => demo(arguments, log_level),
        Command::Mock(arguments) => mock(*arguments, log_level),
        Command::Load(arguments) => {
            let live = Live::new(log_level < LevelFilter::INFO);
            cli::load::execute(*arguments, &live).unwrap_or_else(|error| fail(&error, error.exit_code()))
        }
        Command::Doctor(arguments) => {
            cli::doctor::execute(&arguments).unwrap_or_else(|error| fail(&error, error.exit_code()))
        }
        Command::Status(arguments) => {
            cli::status::execute(&arguments).unwrap_or_else(|error| fail(&error, error.exit_code()))
        }
        Command::Top(arguments) => {
            cli::top::execute(&arguments).unwrap_or_else(|error| fail(&error, error.exit_code()))
        }
        Command::Upgrade(arguments) => {
            cli::upgrade::execute(&arguments).unwrap_or_else(|error| fail(&error, error.exit_code()))
        }
        Command::Report(arguments) => {
            cli::report::execute(arguments).unwrap_or_else(|error| fail(&error, error.exit_code()))
        }
    }
}

fn proxy(arguments: ProxyArgs, log_level: LevelFilter, predecessor: Option<&Predecessor>) -> ExitCode {
    let fail = |line: &dyn Display, code| refuse(predecessor, line, code);
    let passed = match PassedSockets::take() {
        Ok(passed) => passed,
        Err(fault) => {
            service_manager::say_failure(&fault, &fault);
            return fail(&fault, ExitCode::from(2));
        }
    };
    let host = match Host::prepare() {
        Ok(host) => host,
        Err(error) => {
            return fail(&format_args!("cannot read this process's limits: {error}"), ExitCode::FAILURE);
        }
    };
    let effective = match arguments.settings(&host) {
        Ok(effective) => effective,
        Err(error) => {
            if predecessor.is_none() && !arguments.is_check() {
                service_manager::say_failure(&error, &error);
            }
            return fail(&error, error.exit_code());
        }
    };
    if arguments.is_check() {
        return check(effective, log_level);
    }
    // Before anything is given up of what this process was started with.
    let starter = Starter::start();
    // After the resolver, which can take long, and before any other thread starts, because threads inherit the mask.
    let signals = match Signals::block() {
        Ok(signals) => signals,
        Err(error) => return fail(&format_args!("cannot block signals: {error}"), ExitCode::FAILURE),
    };
    let logging = logging::start_without_thread(log_level);
    let places = effective.plan.places.clone();
    let read = move || {
        let read = arguments.settings(&host);
        read.map(|effective| effective.plan).map_err(|error| error.to_string())
    };
    match control::serve(effective.plan, Box::new(read), signals, (starter, predecessor), &logging, passed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = places.describe(&error);
            if !predecessor.is_some_and(|predecessor| predecessor.fail(&line)) {
                service_manager::say_failure(&line, &error);
                self::fail(line, error.exit_code());
            }
            error.exit_code()
        }
    }
}

/// Checks the settings and prints them.
fn check(effective: Effective, log_level: LevelFilter) -> ExitCode {
    let places = effective.plan.places.clone();
    let checked = {
        let _ends_here = logging::start_without_thread(log_level);
        control::check(effective.plan)
    };
    match checked {
        Ok(()) => match report::print(&effective.text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, ExitCode::FAILURE),
        },
        Err(error) => {
            report::complain(&places.describe(&error));
            error.exit_code()
        }
    }
}

fn demo(arguments: DemoArgs, log_level: LevelFilter) -> ExitCode {
    // Raises the limit on descriptors.
    if let Err(error) = Host::prepare() {
        return fail(format_args!("cannot read this process's limits: {error}"), ExitCode::FAILURE);
    }
    let live = Live::new(log_level < LevelFilter::INFO);
    if let Err(error) = cli::demo::end_on_signal(&live) {
        return fail(format_args!("cannot watch for Ctrl-C: {error}"), ExitCode::FAILURE);
    }
    let _written_when_dropped = logging::start_to(log_level, live.stderr());
    cli::demo::execute(arguments, &live).unwrap_or_else(|error| fail(&error, ExitCode::FAILURE))
}

/// Serves until SIGINT or SIGTERM.
fn mock(arguments: MockArgs, log_level: LevelFilter) -> ExitCode {
    let host = match Host::prepare() {
        Ok(host) => host,
        Err(error) => {
            return fail(format_args!("cannot read this process's limits: {error}"), ExitCode::FAILURE);
        }
    };
    let settings = match arguments.settings(&host) {
        Ok(settings) => settings,
        Err(error) => return fail(&error, error.exit_code()),
    };
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    // Blocked before the threads start and inherit the mask: only this thread receives the signals.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    if let Err(error) = signals.thread_block() {
        return fail(format_args!("cannot block signals: {error}"), ExitCode::FAILURE);
    }
    let _written_when_dropped = logging::start(log_level);
    let mock = match mock::start(settings) {
        Ok(mock) => mock,
        Err(error) => return fail(&error, error.exit_code()),
    };
    for address in mock.addresses() {
        tracing::info!("mock IIS on {scheme}://{address}");
    }
    // It fails only for an invalid set.
    let _ = signals.wait();
    mock.stop();
    ExitCode::SUCCESS
}

/// Says in one line why it does not serve: to the process that it was to take over from, which logs it, or as [`fail`].
fn refuse(predecessor: Option<&Predecessor>, line: impl Display, code: ExitCode) -> ExitCode {
    if predecessor.is_some_and(|predecessor| predecessor.fail(&line)) { code } else { fail(line, code) }
}

/// Prints one line on standard error, through the log once it runs, because the log never waits for the terminal.
fn fail(line: impl Display, code: ExitCode) -> ExitCode {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{line}");
    } else {
        eprintln!("iisplice: {line}");
    }
    code
}
