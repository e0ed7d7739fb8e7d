//! A load by another program, while this one serves.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Set, Stage};
use crate::cases::{Case, Plan, Rate};
use crate::child::Program;
use crate::clocks::{Spent, Watch};
use crate::figures::Measured;
use crate::generators::{self, Counted, Order};

/// How long a generator takes to start and to connect, at most as a rule.
const START: Duration = Duration::from_millis(150);
/// How much longer than asked for a generator may take.
const END_TIMEOUT: Duration = Duration::from_secs(30);

impl Stage<'_> {
    pub(super) fn generated(
        &mut self,
        case: &Case,
        plan: &Plan,
        set: &Set,
        realtime: bool,
    ) -> Result<Measured> {
        for (errand, count) in plan.beside {
            self.load.open(*errand, *count)?;
        }
        let order = Order {
            plan,
            target: set.target,
            has_tls: case.front.has_tls(),
            rate: self.rate(case, plan)?,
            threads: self.seat_of_ends(realtime).cpus.len(),
            warm_up: self.warm_up,
            // It measures all of the window, however late it starts.
            window: self.window + START,
        };
        let mut measured = Measured::default();
        let json = set.directory.path().join("load.json");
        self.load.take_tally()?;
        let (spent, mut program) =
            self.run(&order.iisplice_load(&json), self.warm_up, self.window, set, realtime)?;
        let beside = self.load.take_tally()?;
        self.wait_for(&mut program).context("iisplice load")?;
        let counted = generators::read_iisplice_load(&json)?;
        add_counted(&counted, &spent, &mut measured);
        if let Some(asked) = order.rate {
            let reached = if plan.logs_in() { counted.logins_per_s } else { counted.requests_per_s };
            measured.push("of_asked_rate_percent", reached / asked * 100.0);
        }
        if plan.beside.is_empty() {
            add_bulk(&counted, &spent, &mut measured);
        } else {
            measured.push("bulk_gb_per_s", beside.bulk_bytes as f64 / 1e9 / spent.seconds);
            measured.push("proxy_cpu_s_per_s", spent.proxy_cpu_share().unwrap_or(f64::NAN));
        }
        spent.add_conditions(self.options.proxy_cpu, &self.load_cpus, &mut measured);
        if plan.twice && self.without_wrk.is_none() {
            let (spent, mut program) = self.run(
                &order.wrk(),
                Duration::ZERO,
                order.wrk_window().saturating_sub(START),
                set,
                realtime,
            )?;
            self.wait_for(&mut program).context("wrk")?;
            let counted = generators::read_wrk(&program.output())?;
            measured.push("wrk_requests_per_s", counted.requests_per_s);
            measured.push("wrk_p50_us", counted.p50_us.unwrap_or(f64::NAN));
            let share = spent.proxy_cpu_share().unwrap_or(f64::NAN);
            measured.push("wrk_proxy_cpu_us_per_request", share * 1e6 / counted.requests_per_s);
            measured.push("wrk_errors", counted.errors);
        }
        Ok(measured)
    }

    /// The rate of an open loop.
    fn rate(&self, case: &Case, plan: &Plan) -> Result<Option<f64>> {
        match plan.rate {
            Rate::Closed => Ok(None),
            Rate::Fixed(per_s) => Ok(Some(per_s.into())),
            Rate::ShareOfBestPeer { case: needed, .. } => match self.rates.get(case.name) {
                Some(per_s) => Ok(Some(per_s.max(1.0))),
                None => bail!("no peer has a rate in {needed}, of which this one is a share"),
            },
        }
    }

    /// Starts a generator, and reads the clocks within its measured time.
    fn run(
        &mut self,
        command: &[OsString],
        warm_up: Duration,
        window: Duration,
        set: &Set,
        realtime: bool,
    ) -> Result<(Spent, Program)> {
        let log = set.directory.path().join("generator.out");
        let program = Program::start(command, &self.seat_of_ends(realtime), &log)?;
        self.load.run_for(warm_up + START)?;
        self.load.take_tally()?;
        let mut ends = set.servers();
        ends.push(&program);
        let watch = Watch::start(set.proxy.as_ref(), &ends)?;
        self.load.run_for(window)?;
        Ok((watch.stop()?, program))
    }

    /// Serves until the generator has ended.
    fn wait_for(&mut self, generator: &mut Program) -> Result<()> {
        let began_at = Instant::now();
        loop {
            match generator.exit_status()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("it ended with {status}: {}", generator.last_words()),
                None if began_at.elapsed() > END_TIMEOUT => bail!("it does not end"),
                None => self.load.run_for(Duration::from_millis(5))?,
            }
        }
    }
}

/// The figures of all cases; the report picks those of this one.
fn add_counted(counted: &Counted, spent: &Spent, measured: &mut Measured) {
    measured.push("requests_per_s", counted.requests_per_s);
    measured.push("logins_per_s", counted.logins_per_s);
    measured.push("p50_us", counted.p50_us.unwrap_or(f64::NAN));
    measured.push("p99_us", counted.p99_us.unwrap_or(f64::NAN));
    measured.push("errors", counted.errors);
    if let Some(share) = spent.proxy_cpu_share() {
        measured.push("proxy_cpu_us_per_request", share * 1e6 / counted.requests_per_s);
        measured.push("proxy_cpu_us_per_login", share * 1e6 / counted.logins_per_s);
    }
}

/// The bodies that the generator itself has received.
fn add_bulk(counted: &Counted, spent: &Spent, measured: &mut Measured) {
    measured.push("bulk_gb_per_s", counted.received_gb_per_s);
    if let Some(share) = spent.proxy_cpu_share() {
        measured.push("proxy_cpu_s_per_gb", share / counted.received_gb_per_s);
    }
}
