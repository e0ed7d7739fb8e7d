//! The seeds that a simulation runs: those given in the environment, or a fixed number from 0 on.
//!
//! ```text
//! IISPLICE_SEED=4711 cargo test --lib simulation          replays one run, with its log
//! IISPLICE_SEEDS=1000000 cargo test --lib simulation      runs the seeds below that number
//! IISPLICE_SEEDS=500..900 cargo test --lib simulation     runs this range
//! IISPLICE_SOAK_SECONDS=60 cargo test --lib simulation    runs random seeds, each test for that time
//! scripts/soak 20m                                        does that on all processors, with optimized code
//! ```

use std::env;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Calls `run` with each seed: the first `seeds`, unless the environment says otherwise. A run that fails prints its
/// seed and how to replay it.
pub(super) fn for_each_seed(seeds: u64, run: fn(u64)) {
    if let Some(seed) = variable::<u64>("IISPLICE_SEED") {
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).try_init();
        return run_one(seed, run);
    }
    if let Some(seconds) = variable("IISPLICE_SOAK_SECONDS") {
        return soak(Duration::from_secs(seconds), run);
    }
    let Seeds(seeds) = variable("IISPLICE_SEEDS").unwrap_or(Seeds(0..seeds));
    seeds.for_each(|seed| run_one(seed, run));
}

/// Runs seeds that were most likely never run before: each test begins at a random seed.
fn soak(time: Duration, run: fn(u64)) {
    let begin = Instant::now();
    let first = fastrand::u64(..u64::MAX / 2);
    let mut seed = first;
    while begin.elapsed() < time {
        run_one(seed, run);
        seed += 1;
    }
    eprintln!("{}: {} seeds from {first}", test_name(), seed - first);
}

fn run_one(seed: u64, run: fn(u64)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
        eprintln!("seed {seed}: failed with the message above; replay it with");
        eprintln!("    IISPLICE_SEED={seed} cargo test --lib {}", test_name());
        resume_unwind(panic);
    }
}

/// The name of the current test; the test harness names threads by their tests.
fn test_name() -> String {
    std::thread::current().name().unwrap_or("simulation").to_owned()
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    let parsed = value.parse().ok();
    assert!(parsed.is_some(), "{name}={value} is not what simulation/seeds.rs describes");
    parsed
}

/// `N` for the seeds below it, or `BEGIN..END`.
struct Seeds(Range<u64>);

impl FromStr for Seeds {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (begin, end) = text.split_once("..").unwrap_or(("0", text));
        Ok(Self(begin.parse()?..end.parse()?))
    }
}
