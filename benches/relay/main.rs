//! The relay benchmark: `iisplice proxy` beside nginx stream and `HAProxy` tcp, on one machine.
//!
//! It starts each proxy (an *arm*) in turn, loads it from one pinned core, and prints what it measured. It asserts
//! nothing. `benches/README.md` says how to run it and how to read its report.
//!
//! ```text
//! options -> arms (those that this host can run) -> for each round, scenario, arm: child + load -> figures -> report
//! ```
//!
//! Start with [`measure`], which takes one scenario's figures from one arm.

mod arms;
mod baseline;
mod child;
mod figures;
mod host;
mod load;
mod measure;
mod options;
mod report;
mod scenarios;

use std::process::ExitCode;

use clap::Parser;

use crate::arms::Arm;
use crate::figures::Figures;
use crate::host::Host;
use crate::measure::Stage;
use crate::options::{Options, Role};

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.role {
        Some(Role::Launch { cpu, parent, command }) => child::launch(*cpu, *parent, command),
        Some(Role::TokioUring { listen, upstream }) => baseline::tokio_uring::run(*listen, *upstream),
        Some(Role::OpSplice { listen, upstream }) => baseline::op_splice::run(*listen, *upstream),
        // `cargo test --all-targets` runs benchmarks without this flag, and must not take minutes.
        None if !options.bench => {
            eprintln!("this program is a benchmark; run it with `cargo bench --bench relay -- [options]`");
            Ok(())
        }
        None => bench(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> anyhow::Result<()> {
    let scenarios = options.scenarios();
    let (arms, left_out) = arms::prepare(options)?;
    for line in &left_out {
        eprintln!("skipped: {line}");
    }
    let mut stage = Stage::new(options)?;
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        for scenario in &scenarios {
            for arm in in_turn(&arms, round) {
                if let Some(reason) = arm.unfit_for(*scenario) {
                    figures.note(*scenario, arm.name(), reason);
                    continue;
                }
                eprintln!("round {}/{}: {scenario} through {}", round + 1, options.rounds, arm.name());
                match stage.measure(*scenario, arm) {
                    Ok(samples) => figures.add(*scenario, arm.name(), &samples),
                    Err(error) if stage.interrupted() => return Err(error),
                    Err(error) => {
                        eprintln!("  failed: {error:#}");
                        figures.note(*scenario, arm.name(), &format!("failed: {error:#}"));
                    }
                }
            }
        }
    }
    let host = Host::describe(options);
    let text = if options.json {
        report::json(&host, &arms, &left_out, &scenarios, &figures)?
    } else {
        report::markdown(&host, &arms, &left_out, &scenarios, &figures)
    };
    println!("{text}");
    Ok(())
}

/// The arms in their order, starting with another one in each round, so that none is always first.
fn in_turn(arms: &[Arm], round: u32) -> impl Iterator<Item = &Arm> {
    arms.iter().cycle().skip(round as usize % arms.len().max(1)).take(arms.len())
}
