//! The relay benchmark: `iisplice proxy` beside nginx and `HAProxy`, on one machine.
//!
//! It starts each proxy (an *arm*) in turn, loads it from other cores, and shows what it measured. It asserts nothing.
//! `scripts/bench` installs what it needs and runs it; `benches/README.md` says how to read its report.
//!
//! ```text
//! options -> cases, arms (those that this host can run) -> for each round, case, arm: set up + load -> figures -> report
//! ```
//!
//! Start with [`cases`], then [`measure`], which takes one case's figures from one arm.

mod arms;
mod baseline;
mod cases;
mod child;
mod clocks;
mod figures;
mod front;
mod generators;
mod host;
mod load;
mod measure;
mod options;
mod report;

use std::process::ExitCode;

use clap::Parser;

use crate::arms::{Arm, Arms};
use crate::cases::{CASES, Case};
use crate::child::Seat;
use crate::figures::Figures;
use crate::host::Host;
use crate::measure::Stage;
use crate::options::{Options, Role};
use crate::report::Report;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.role {
        Some(Role::Launch { cpus, realtime, parent, command }) => {
            child::launch(&Seat { cpus: cpus.clone(), realtime: *realtime }, *parent, command)
        }
        Some(Role::Floor { listen, upstream, polling, identity }) => {
            baseline::floor::run(*listen, *upstream, *polling, identity)
        }
        Some(Role::TokioUring { listen, upstream }) => baseline::tokio_uring::run(*listen, *upstream),
        Some(Role::OpSplice { listen, upstream }) => baseline::op_splice::run(*listen, *upstream),
        None if options.list => {
            for case in CASES {
                println!("{:16}{}", case.name, case.summary);
            }
            Ok(())
        }
        // `cargo test --all-targets` runs benchmarks without this flag, and must not take minutes.
        None if !options.bench => {
            eprintln!("this program is a benchmark; run it with `scripts/bench`");
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
    let cases = options.cases();
    let host = Host::describe(options);
    let arms = Arms::find(options)?;
    for (arm, reason) in &arms.missing {
        eprintln!("skipped: {arm}: {reason}");
    }
    let mut stage = Stage::new(options, &cases)?;
    let limits = stage.limits();
    for limit in &limits {
        eprintln!("note: {limit}");
    }
    let mut order = fastrand::Rng::with_seed(options.seed);
    let mut figures = Figures::default();
    for round in 0..options.rounds() {
        for case in &cases {
            let mut arms_of_case = arms.of(case);
            if let Some(needed) = case.needs() {
                stage.set_rate(case, best_peer_per_s(needed, &arms, &figures));
            }
            // No arm is always first, and slow changes of the host affect all of them.
            order.shuffle(&mut arms_of_case);
            for arm in &arms_of_case {
                eprintln!("round {}/{}: {} through {}", round + 1, options.rounds(), case.name, arm.name());
                measure(&mut stage, case, arm, &mut figures)?;
            }
        }
    }
    Report { host: &host, arms: &arms, limits: &limits, cases: &cases, figures: &figures }
        .show(options.json, options.out.as_deref())
}

/// Takes the figures of one round; an error ends the benchmark only if a signal has done so.
fn measure(stage: &mut Stage<'_>, case: &Case, arm: &Arm, figures: &mut Figures) -> anyhow::Result<()> {
    if let Some(reason) = arm.unfit_for(case) {
        figures.note(case, arm.name(), reason);
        return Ok(());
    }
    match stage.measure(case, arm) {
        Ok(measured) => figures.add(case, arm.name(), measured),
        Err(error) if stage.interrupted() => return Err(error),
        Err(error) => {
            eprintln!("  failed: {error:#}");
            figures.note(case, arm.name(), &format!("failed: {error:#}"));
        }
    }
    Ok(())
}

/// The highest rate of logins that a peer has reached in this case so far.
fn best_peer_per_s(case: &Case, arms: &Arms, figures: &Figures) -> Option<f64> {
    let column = case.columns.iter().find(|column| column.key == "logins_per_s")?;
    let arms = arms.of(case);
    let (_, best) = figures.best(case, column, arms.iter().filter(|arm| arm.is_peer()))?;
    Some(best.median)
}
