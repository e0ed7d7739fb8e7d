//! What is known of the proxy, as numbers in rows: the last scrape, and what was counted between it and those before.
//!
//! Rates are of the time between the last two scrapes. Quantiles are of the last [`WINDOW`], because a second often has
//! too few connections for them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::column::{Column, Section, Unit};
use super::figures::{Change, Counter, Counts, Figures, Key, Worker};
use super::scrape::{Scrape, Server, Service};
use super::text::shown;

/// What quantiles are of; longer where scrapes are rarer.
const WINDOW: Duration = Duration::from_secs(10);

/// Scrapes that are kept for it are at least this far apart.
const STEP: Duration = Duration::from_secs(1);

/// Most values of a sparkline: a screen is no wider.
const HISTORY: usize = 400;

/// A worker whose turn takes longer is stuck.
const STUCK_SECONDS: f64 = 1.0;

/// What a row is of; the names are the proxy's own, not fit for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Id {
    Server { group: String, name: String },
    Service(String),
    Worker(String),
}

/// Whether something is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warning,
    Bad,
}

/// A line of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: Id,
    /// What it is called on the screen.
    pub(super) name: String,
    pub(super) state: String,
    pub(super) tone: Tone,
    values: [Option<f64>; Column::ALL.len()],
}

impl Row {
    fn new(id: Id, name: &str, state: &str, tone: Tone) -> Self {
        Self { id, name: shown(name), state: shown(state), tone, values: [None; Column::ALL.len()] }
    }

    /// What it has in a column, if that is known.
    pub(super) fn value(&self, column: Column) -> Option<f64> {
        self.values[column as usize]
    }

    fn set(&mut self, column: Column, value: impl Into<Option<f64>>) {
        self.values[column as usize] = value.into();
    }

    /// Fills in what services and servers have in common.
    fn set_traffic(&mut self, rates: Option<&Rates>, window: Option<&Figures>) {
        let rate = |counter| rates.map(|rates| rates.of(counter));
        let logins = rates.map(|rates| Counter::LOGINS.iter().map(|login| rates.of(*login)).sum());
        self.set(Column::Logins, logins);
        for (column, counter) in [
            (Column::FailedLogins, Counter::FailedLogins),
            (Column::Ntlm, Counter::Ntlm),
            (Column::NegotiateNtlm, Counter::NegotiateNtlm),
            (Column::Kerberos, Counter::Kerberos),
            (Column::Basic, Counter::Basic),
            (Column::Requests, Counter::Requests),
            (Column::ServerErrors, Counter::ServerErrors),
            (Column::ToServers, Counter::ToServers),
            (Column::ToClients, Counter::ToClients),
        ] {
            self.set(column, rate(counter));
        }
        self.set(
            Column::Bytes,
            rates.map(|rates| rates.of(Counter::ToServers) + rates.of(Counter::ToClients)),
        );
        if let Some(window) = window {
            self.set(Column::ConnectMedian, window.connect.quantile(0.5));
            self.set(Column::ConnectP99, window.connect.quantile(0.99));
            self.set(Column::ReplyMedian, window.reply().quantile(0.5));
            self.set(Column::ReplyP99, window.reply().quantile(0.99));
        }
    }
}

/// What was counted in a second.
struct Rates {
    figures: Figures,
    seconds: f64,
}

impl Rates {
    fn of(&self, counter: Counter) -> f64 {
        self.figures.get(counter) / self.seconds
    }
}

/// A number of the whole proxy over time.
#[derive(Debug, Clone)]
pub(super) struct Total {
    pub(super) label: &'static str,
    pub(super) unit: Unit,
    /// Oldest first; `None` where it could not be told.
    pub(super) history: VecDeque<Option<f64>>,
}

impl Total {
    /// As it was last.
    pub(super) fn now(&self) -> Option<f64> {
        self.history.back().copied().flatten()
    }
}

/// Totals in the order of their importance.
const TOTALS: [(&str, Unit); 8] = [
    ("connections", Unit::Count),
    ("logins/s", Unit::PerSecond),
    ("new/s", Unit::PerSecond),
    ("failed logins/s", Unit::PerSecond),
    ("to clients/s", Unit::BytesPerSecond),
    ("requests/s", Unit::PerSecond),
    ("to servers/s", Unit::BytesPerSecond),
    ("refused/s", Unit::PerSecond),
];

/// See the module docs.
#[derive(Debug)]
pub(super) struct Model {
    last: Scrape,
    /// Earlier ones, oldest first.
    window: VecDeque<(Instant, Counts)>,
    rows: [Vec<Row>; Section::ALL.len()],
    pub(super) totals: [Total; TOTALS.len()],
    /// Why the proxy did not answer last time.
    pub(super) trouble: Option<String>,
}

impl Model {
    /// What a first look shows: no rates yet.
    pub(super) fn new(first: Scrape) -> Self {
        let totals = TOTALS.map(|(label, unit)| Total { label, unit, history: VecDeque::new() });
        let mut model = Self {
            last: first.clone(),
            window: VecDeque::new(),
            rows: Default::default(),
            totals,
            trouble: None,
        };
        model.show(first);
        model
    }

    /// Takes over what the next look showed.
    pub(super) fn add(&mut self, scrape: Scrape) {
        self.trouble = None;
        self.show(scrape);
    }

    /// Takes over that the proxy does not answer.
    pub(super) fn fail(&mut self, why: &str) {
        self.trouble = Some(shown(why));
    }

    pub(super) fn last(&self) -> &Scrape {
        &self.last
    }

    /// The rows of a table, in the order in which the proxy lists them.
    pub(super) fn rows(&self, section: Section) -> &[Row] {
        &self.rows[section as usize]
    }

    fn show(&mut self, scrape: Scrape) {
        if !scrape.counts.is_of_process(&self.last.counts) {
            self.window.clear();
        }
        let seconds = scrape.at.duration_since(self.last.at).as_secs_f64();
        let change = if seconds > 0.0 { scrape.counts.since(&self.last.counts) } else { Change::default() };
        // The oldest within the window, or where scrapes are rarer, the last one.
        while self.window.get(1).is_some_and(|(at, _)| scrape.at.duration_since(*at) >= WINDOW) {
            self.window.pop_front();
        }
        let window = self.window.front().map(|(_, counts)| scrape.counts.since(counts)).unwrap_or_default();
        if self.window.back().is_none_or(|(at, _)| scrape.at.duration_since(*at) >= STEP) {
            self.window.push_back((scrape.at, scrape.counts.clone()));
        }
        let looks = Looks { scrape: &scrape, change: &change, window: &window, seconds };
        self.rows = [looks.servers(), looks.services(), looks.workers()];
        for (total, value) in self.totals.iter_mut().zip(looks.totals()) {
            if total.history.len() == HISTORY {
                total.history.pop_front();
            }
            total.history.push_back(value);
        }
        self.last = scrape;
    }
}

/// What rows are made of.
struct Looks<'a> {
    scrape: &'a Scrape,
    /// Since the last one.
    change: &'a Change,
    /// Over the window.
    window: &'a Change,
    /// Since the last one.
    seconds: f64,
}

impl Looks<'_> {
    fn rates(&self, is_of: impl Fn(&Key) -> bool) -> Option<Rates> {
        let figures = self.change.sum(is_of)?;
        Some(Rates { figures, seconds: self.seconds })
    }

    fn servers(&self) -> Vec<Row> {
        // A name can have several addresses; the proxy lists them one after the other.
        let mut named: Vec<(&Server, Vec<&Server>)> = Vec::new();
        for server in &self.scrape.servers {
            let known =
                named.iter_mut().find(|(one, _)| one.group == server.group && one.name == server.name);
            match known {
                Some((_, addresses)) => addresses.push(server),
                None => named.push((server, vec![server])),
            }
        }
        // The group matters where there are several.
        let has_groups = named.iter().any(|(one, _)| one.group != named[0].0.group);
        named.into_iter().map(|(one, addresses)| self.server(one, &addresses, has_groups)).collect()
    }

    fn server(&self, Server { group, name, .. }: &Server, addresses: &[&Server], has_groups: bool) -> Row {
        let (state, tone) = state(addresses);
        let label = if has_groups { format!("{group}/{name}") } else { name.clone() };
        let id = Id::Server { group: group.clone(), name: name.clone() };
        let mut row = Row::new(id, &label, &state, tone);
        let is_of = |key: &Key| key.group == *group && key.server == *name;
        let rates = self.rates(is_of);
        row.set_traffic(rates.as_ref(), self.window.sum(is_of).as_ref());
        row.set(Column::Active, addresses.iter().map(|one| one.connections as f64).sum::<f64>());
        row.set(Column::New, rates.as_ref().map(|rates| rates.of(Counter::Connected)));
        row.set(Column::ConnectFailures, rates.map(|rates| rates.of(Counter::ConnectFailures)));
        row
    }

    fn services(&self) -> Vec<Row> {
        self.scrape.services.iter().map(|service| self.service(service)).collect()
    }

    fn service(&self, Service { name, mode, tls, groups }: &Service) -> Row {
        let is_served = |group: &String| {
            let mut servers = self.scrape.servers.iter().filter(|server| server.group == *group);
            servers.any(|server| is_up(&server.state))
        };
        let (state, tone) =
            if groups.iter().all(is_served) { ("up", Tone::Good) } else { ("down", Tone::Bad) };
        let label = format!("{name} ({mode}{})", if *tls { ", tls" } else { "" });
        let mut row = Row::new(Id::Service(name.clone()), &label, state, tone);
        let is_of = |key: &Key| key.service == *name;
        let rates = self.rates(is_of);
        row.set_traffic(rates.as_ref(), self.window.sum(is_of).as_ref());
        let cells = self.scrape.counts.cells.iter().filter(|(key, _)| is_of(key));
        row.set(Column::Active, cells.map(|(_, figures)| figures.active).sum::<f64>());
        row.set(Column::New, rates.as_ref().map(|rates| rates.of(Counter::Accepted)));
        row.set(Column::Refused, rates.map(|rates| rates.of(Counter::Refused)));
        row
    }

    fn workers(&self) -> Vec<Row> {
        let mut numbered: BTreeMap<(usize, &str), &Worker> = BTreeMap::new();
        for (number, worker) in &self.scrape.counts.workers {
            numbered.insert((number.len(), number), worker);
        }
        numbered.into_iter().map(|((_, number), worker)| self.worker(number, worker)).collect()
    }

    fn worker(&self, number: &str, worker: &Worker) -> Row {
        let (state, tone) =
            if worker.turn_takes > STUCK_SECONDS { ("stuck", Tone::Bad) } else { ("ok", Tone::Good) };
        let mut row = Row::new(Id::Worker(number.to_owned()), &format!("worker {number}"), state, tone);
        row.set(Column::Active, worker.active);
        row.set(Column::TurnTakes, worker.turn_takes);
        let share = |part: f64, all: f64| (all > 0.0).then(|| part / all);
        row.set(Column::Buffers, share(worker.buffers_lent, worker.buffers));
        row.set(Column::Pipes, share(worker.pipes_lent, worker.pipes));
        if let Some(change) = self.change.workers.get(number) {
            let rate = |count: f64| count / self.seconds;
            row.set(Column::New, rate(change.accepted));
            row.set(Column::Turns, rate(change.turns));
            row.set(Column::Shortages, rate(change.shortages));
            row.set(Column::TurnSize, share(change.completions, change.turns));
        }
        row
    }

    /// In the order of [`TOTALS`].
    fn totals(&self) -> [Option<f64>; TOTALS.len()] {
        let rates = self.rates(|_| true);
        let rate = |counter| rates.as_ref().map(|rates| rates.of(counter));
        let active = self.scrape.counts.cells.values().map(|figures| figures.active).sum();
        let logins =
            rates.as_ref().map(|rates| Counter::LOGINS.iter().map(|login| rates.of(*login)).sum::<f64>());
        [
            Some(active),
            logins,
            rate(Counter::Accepted),
            rate(Counter::FailedLogins),
            rate(Counter::ToClients),
            rate(Counter::Requests),
            rate(Counter::ToServers),
            rate(Counter::Refused),
        ]
    }
}

/// Whether a server in this state gets connections.
fn is_up(state: &str) -> bool {
    matches!(state, "up" | "slow-start" | "trial")
}

/// The state of a server in one word, or how many of its addresses are up.
fn state(addresses: &[&Server]) -> (String, Tone) {
    let up = addresses.iter().filter(|server| is_up(&server.state)).count();
    let first = addresses.first().map(|server| server.state.as_str()).unwrap_or_default();
    if addresses.iter().any(|server| server.state != first) {
        let tone = if up == 0 { Tone::Bad } else { Tone::Warning };
        return (format!("{up}/{} up", addresses.len()), tone);
    }
    let tone = match first {
        "up" => Tone::Good,
        "down" | "ejected" => Tone::Bad,
        _ => Tone::Warning,
    };
    // As many characters as the others.
    (if first == "slow-start" { "slow" } else { first }.to_owned(), tone)
}
