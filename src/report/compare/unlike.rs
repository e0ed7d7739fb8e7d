//! What runs were asked for, and where it differs.

use std::fmt;

use url::Url;

use super::units;
use crate::load::Summary;
use crate::load::plan::{Arrivals, Scenario};
use crate::load::summary::Run;

/// What a run was asked for, or was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trait {
    /// Whether requests are due at times of their own.
    Loop,
    /// How many are due a second, in an open loop.
    Rate,
    /// How they are spread, in an open loop.
    Arrivals,
    /// What a connection does.
    Scenario,
    /// How it logs in.
    Auth,
    /// Connections at once.
    Connections,
    /// Whether there is TLS.
    Tls,
    /// Path and query.
    Target,
    /// The request's method.
    Method,
    /// The size of the request's body.
    Body,
    /// What is left out at the start.
    WarmUp,
    /// Whether replies are checked for the user they name.
    IdentityCheck,
    /// The generator's threads.
    Threads,
    /// The generator's processor.
    Machine,
}

/// Something that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlike {
    /// What it is.
    pub what: Trait,
    /// The base's.
    pub base: String,
    /// The new runs'.
    pub new: String,
    /// Whether the figures are of different loads, so that a judgement of them would say nothing.
    pub is_decisive: bool,
}

/// Something that is not the same in all of some runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixed {
    /// What it is.
    pub what: Trait,
    /// The values.
    pub values: String,
}

impl Trait {
    const ALL: [Self; 14] = [
        Self::Loop,
        Self::Rate,
        Self::Arrivals,
        Self::Scenario,
        Self::Auth,
        Self::Connections,
        Self::Tls,
        Self::Target,
        Self::Method,
        Self::Body,
        Self::WarmUp,
        Self::IdentityCheck,
        Self::Threads,
        Self::Machine,
    ];

    /// Where runs that are added up must be alike to be a sum of the same thing.
    const OF_A_SUM: [Self; 7] =
        [Self::Loop, Self::Scenario, Self::Auth, Self::Tls, Self::Target, Self::Method, Self::Body];

    fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Rate => "rate",
            Self::Arrivals => "arrivals",
            Self::Scenario => "scenario",
            Self::Auth => "auth",
            Self::Connections => "connections",
            Self::Tls => "scheme",
            Self::Target => "path",
            Self::Method => "method",
            Self::Body => "request body",
            Self::WarmUp => "warm-up",
            Self::IdentityCheck => "identity check",
            Self::Threads => "threads",
            Self::Machine => "generator",
        }
    }

    fn is_decisive(self) -> bool {
        matches!(
            self,
            Self::Loop | Self::Rate | Self::Arrivals | Self::Scenario | Self::Auth | Self::Connections
        )
    }

    /// Its value in a run of one machine; `None`: it has none, or the file does not say. Counts add up over machines and are
    /// none of these.
    fn of_run(self, run: &Run) -> Option<String> {
        match self {
            Self::Loop => Some(if run.offered.is_some() { "open" } else { "closed" }.to_owned()),
            Self::Arrivals => run.offered.as_ref().map(|offered| match offered.arrivals {
                Arrivals::Constant => "evenly spread".to_owned(),
                Arrivals::Poisson => "Poisson".to_owned(),
            }),
            Self::Scenario => Some(match run.scenario {
                Scenario::Session { requests_per_login } => {
                    format!("session of {requests_per_login} requests")
                }
                other => other.name().to_owned(),
            }),
            Self::Auth => Some(run.auth.clone()),
            Self::Tls => Some(joined(urls(run).map(|url| url.scheme().to_owned()))),
            Self::Target => Some(joined(urls(run).map(|url| url[url::Position::BeforePath..].to_owned()))),
            Self::Method => run.method.clone(),
            Self::Body => run.body_bytes.map(|bytes| units::bytes(bytes as f64)),
            Self::WarmUp => Some(units::time(run.warmup_seconds * 1e9)),
            Self::Machine => Some(format!("{}, {} cores", run.machine.cpu, run.machine.cores)),
            Self::Rate | Self::Connections | Self::Threads | Self::IdentityCheck => None,
        }
    }

    /// Its value in a result, of several machines in all of them together.
    fn of(self, summary: &Summary) -> Option<String> {
        match self {
            Self::Rate => rate(summary),
            Self::Connections => Some(sum(summary, |run| run.connections)),
            Self::Threads => Some(sum(summary, |run| run.thread_cpu_shares.len())),
            Self::IdentityCheck => Some(if summary.identities.is_some() { "on" } else { "off" }.to_owned()),
            _ => of_runs(self, &summary.runs),
        }
    }
}

fn sum(summary: &Summary, count: fn(&Run) -> usize) -> String {
    units::count(summary.runs.iter().map(|run| count(run) as u64).sum())
}

fn urls(run: &Run) -> impl Iterator<Item = Url> {
    run.urls.iter().filter_map(|url| Url::parse(url).ok())
}

/// What all machines of a run offered together.
fn rate(summary: &Summary) -> Option<String> {
    let offered: Option<Vec<_>> = summary.runs.iter().map(|run| Some(run.offered?.rate)).collect();
    let offered = offered.filter(|offered| !offered.is_empty())?;
    let first = units::rate(offered.iter().map(|rate| rate.first_per_second).sum());
    let last = units::rate(offered.iter().map(|rate| rate.last_per_second).sum());
    Some(if first == last { format!("{first} /s") } else { format!("{first} to {last} /s") })
}

/// Each value once, in order.
fn joined(values: impl IntoIterator<Item = String>) -> String {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort();
    values.dedup();
    values.join(" and ")
}

/// Its values in runs; `None` if one of them has none.
fn of_runs<'a>(what: Trait, runs: impl IntoIterator<Item = &'a Run>) -> Option<String> {
    runs.into_iter().map(|run| what.of_run(run)).collect::<Option<Vec<_>>>().map(joined)
}

/// What is not the same on both sides.
pub(super) fn unlike(base: &[Summary], new: &[Summary]) -> Vec<Unlike> {
    // The rate that a search found is a result, and the requests a second tell it.
    let are_searches = base.iter().chain(new).all(|run| !run.search.is_empty());
    let of_side = |what: Trait, runs: &[Summary]| {
        runs.iter().map(|run| what.of(run)).collect::<Option<Vec<_>>>().map(joined)
    };
    let difference = |what: Trait| {
        let (base, new) = (of_side(what, base)?, of_side(what, new)?);
        let is_decisive = what.is_decisive() && !(are_searches && what == Trait::Rate);
        (base != new).then_some(Unlike { what, base, new, is_decisive })
    };
    Trait::ALL.into_iter().filter_map(difference).collect()
}

/// What is not the same in all of the runs that are added up, of what makes them a sum of one thing.
pub(in crate::report) fn mixed(runs: &[&Run]) -> Vec<Mixed> {
    let value = |what: Trait| {
        let first = what.of_run(runs.first()?)?;
        let values = of_runs(what, runs.iter().copied())?;
        (values != first).then_some(Mixed { what, values })
    };
    Trait::OF_A_SUM.into_iter().filter_map(value).collect()
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} against {}", self.what.name(), self.base, self.new)
    }
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what.name(), self.values)
    }
}
