//! What one scrape of a proxy counted, and what was counted between two.
//!
//! Counters go on as long as the process lives, and their lines come and go with reloads. So a change is taken line by
//! line, where both scrapes have it: what restarts, shrinks or comes back gives no rate rather than a wrong one.

use std::collections::BTreeMap;

use super::metrics::{Line, lines};

/// How a login is made, as metrics call it.
pub(super) const MECHANISMS: [&str; 4] = ["ntlm", "negotiate-ntlm", "kerberos", "basic"];

/// A number that only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    /// Connections of clients that were accepted.
    Accepted,
    /// Connections of clients that got no server.
    Refused,
    /// Connections that servers accepted.
    Connected,
    /// Attempts to connect that failed.
    ConnectFailures,
    ToServers,
    ToClients,
    Requests,
    /// Replies with a status of 500 or above.
    ServerErrors,
    /// Logins that servers refused, or that ended without a verdict.
    FailedLogins,
    Ntlm,
    NegotiateNtlm,
    Kerberos,
    Basic,
}

impl Counter {
    const COUNT: usize = Self::Basic as usize + 1;

    /// Accepted logins, in the order of [`MECHANISMS`].
    pub(super) const LOGINS: [Self; 4] = [Self::Ntlm, Self::NegotiateNtlm, Self::Kerberos, Self::Basic];

    fn of(line: &Line<'_>) -> Option<Self> {
        Some(match line.name {
            "iisplice_connections_accepted_total" => Self::Accepted,
            "iisplice_connections_refused_total" => Self::Refused,
            "iisplice_upstream_connections_total" => Self::Connected,
            "iisplice_upstream_connect_failures_total" => Self::ConnectFailures,
            "iisplice_to_upstream_bytes_total" => Self::ToServers,
            "iisplice_to_client_bytes_total" => Self::ToClients,
            "iisplice_requests_total" => Self::Requests,
            "iisplice_replies_total" if line.label("status") == "5xx" => Self::ServerErrors,
            "iisplice_logins_refused_total" | "iisplice_logins_abandoned_total" => Self::FailedLogins,
            "iisplice_logins_accepted_total" => {
                let nth = MECHANISMS.iter().position(|mechanism| *mechanism == line.label("mechanism"))?;
                Self::LOGINS[nth]
            }
            _ => return None,
        })
    }
}

/// Durations in buckets.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Times {
    /// How many took up to each bound, in seconds; the bounds ascend and the last is infinite.
    buckets: Vec<(f64, f64)>,
}

impl Times {
    /// Adds to a bucket. Several lines can stand for one.
    fn add(&mut self, bound: f64, count: f64) {
        match self.buckets.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
            Ok(nth) => self.buckets[nth].1 += count,
            Err(nth) => self.buckets.insert(nth, (bound, count)),
        }
    }

    fn add_all(&mut self, other: &Self) {
        for (bound, count) in &other.buckets {
            self.add(*bound, *count);
        }
    }

    fn since(&self, before: &Self) -> Option<Self> {
        let mut buckets = self.buckets.clone();
        for (bound, count) in &before.buckets {
            let (_, now) = buckets.iter_mut().find(|(known, _)| known.total_cmp(bound).is_eq())?;
            *now -= count;
            if *now < 0.0 {
                return None;
            }
        }
        Some(Self { buckets })
    }

    fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// The time, in seconds, that this part of all did not exceed: within its bucket by proportion, as Prometheus does
    /// it. Infinite beyond the last bound; `None` without any.
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let rank = part * self.count();
        let nth = self.buckets.iter().position(|(_, count)| *count > 0.0 && *count >= rank)?;
        let (bound, count) = self.buckets[nth];
        if bound.is_infinite() {
            return Some(bound);
        }
        let (from, below) = if nth == 0 { (0.0, 0.0) } else { self.buckets[nth - 1] };
        let share = if count > below { (rank - below) / (count - below) } else { 1.0 };
        Some(from + (bound - from) * share.clamp(0.0, 1.0))
    }
}

/// What is counted for a service, a group or a server.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Figures {
    /// Connections of clients that are open.
    pub(super) active: f64,
    counters: [f64; Counter::COUNT],
    /// From the attempt to connect to the server's accept.
    pub(super) connect: Times,
    /// From the head of a request to that of its reply.
    pub(super) reply_head: Times,
    /// From accepting a client to the first byte from its server.
    pub(super) first_byte: Times,
}

impl Figures {
    pub(super) fn get(&self, counter: Counter) -> f64 {
        self.counters[counter as usize]
    }

    /// Adds what another one counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.active += other.active;
        for (count, more) in self.counters.iter_mut().zip(other.counters) {
            *count += more;
        }
        self.connect.add_all(&other.connect);
        self.reply_head.add_all(&other.reply_head);
        self.first_byte.add_all(&other.first_byte);
    }

    /// From the request to its reply, or where requests are not looked at, from the accept to the first byte.
    pub(super) fn reply(&self) -> &Times {
        if self.reply_head.count() > 0.0 { &self.reply_head } else { &self.first_byte }
    }

    /// What was counted since then; `None` if anything shrank.
    fn since(&self, before: &Self) -> Option<Self> {
        let mut counters = self.counters;
        for (count, earlier) in counters.iter_mut().zip(before.counters) {
            *count -= earlier;
        }
        counters.iter().all(|count| *count >= 0.0).then_some(())?;
        Some(Self {
            active: self.active,
            counters,
            connect: self.connect.since(&before.connect)?,
            reply_head: self.reply_head.since(&before.reply_head)?,
            first_byte: self.first_byte.since(&before.first_byte)?,
        })
    }
}

/// What a worker and its ring count.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Worker {
    pub(super) active: f64,
    /// For how long its turn has been taking, in seconds.
    pub(super) turn_takes: f64,
    pub(super) buffers: f64,
    pub(super) buffers_lent: f64,
    pub(super) pipes: f64,
    pub(super) pipes_lent: f64,
    pub(super) accepted: f64,
    pub(super) turns: f64,
    pub(super) completions: f64,
    pub(super) shortages: f64,
}

impl Worker {
    fn add(&mut self, line: &Line<'_>) {
        *match line.name {
            "iisplice_worker_connections_active" => &mut self.active,
            "iisplice_worker_turn_in_progress_seconds" => &mut self.turn_takes,
            "iisplice_worker_buffers" => &mut self.buffers,
            "iisplice_worker_buffers_lent" => &mut self.buffers_lent,
            "iisplice_worker_pipes" => &mut self.pipes,
            "iisplice_worker_pipes_lent" => &mut self.pipes_lent,
            "iisplice_worker_connections_accepted_total" => &mut self.accepted,
            "iisplice_worker_turn_completions_count" => &mut self.turns,
            "iisplice_worker_turn_completions_sum" => &mut self.completions,
            "iisplice_worker_shortages_total" => &mut self.shortages,
            _ => return,
        } += line.value;
    }

    fn since(&self, before: &Self) -> Option<Self> {
        let change = Self {
            accepted: self.accepted - before.accepted,
            turns: self.turns - before.turns,
            completions: self.completions - before.completions,
            shortages: self.shortages - before.shortages,
            ..*self
        };
        let grown = [change.accepted, change.turns, change.completions, change.shortages];
        grown.iter().all(|count| *count >= 0.0).then_some(change)
    }
}

/// What a number counts for: names of a service, a group and a server; empty where it is for all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) service: String,
    pub(super) group: String,
    pub(super) server: String,
}

/// The numbers of one scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) version: String,
    /// When the process started, in seconds since 1970.
    pub(super) started: f64,
    pub(super) cells: BTreeMap<Key, Figures>,
    /// By their numbers.
    pub(super) workers: BTreeMap<String, Worker>,
}

impl Counts {
    /// Those that a text in the `OpenMetrics` format has; `None` if it has none of iisplice.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut counts = Self::default();
        for line in lines(text).filter(|line| line.value.is_finite()) {
            match line.name {
                "iisplice_build_info" => line.label("version").clone_into(&mut counts.version),
                "process_start_time_seconds" => counts.started = counts.started.max(line.value),
                _ if !line.label("worker").is_empty() => {
                    counts.workers.entry(line.label("worker").to_owned()).or_default().add(&line);
                }
                _ if !line.label("service").is_empty() => counts.add(&line),
                _ => {}
            }
        }
        (!counts.version.is_empty() || !counts.cells.is_empty()).then_some(counts)
    }

    fn add(&mut self, line: &Line<'_>) {
        let name = |label| line.label(label).to_owned();
        let key = || Key { service: name("service"), group: name("group"), server: name("server") };
        if let Some(counter) = Counter::of(line) {
            self.cells.entry(key()).or_default().counters[counter as usize] += line.value;
            return;
        }
        if line.name == "iisplice_connections_active" {
            self.cells.entry(key()).or_default().active += line.value;
            return;
        }
        let times: fn(&mut Figures) -> &mut Times = match line.name {
            "iisplice_connect_seconds_bucket" => |figures| &mut figures.connect,
            "iisplice_reply_head_seconds_bucket" => |figures| &mut figures.reply_head,
            "iisplice_first_byte_seconds_bucket" => |figures| &mut figures.first_byte,
            _ => return,
        };
        let Ok(bound) = line.label("le").parse::<f64>() else { return };
        if !bound.is_nan() {
            times(self.cells.entry(key()).or_default()).add(bound, line.value);
        }
    }

    /// Whether both are of one process.
    pub(super) fn is_of_process(&self, other: &Self) -> bool {
        self.started.total_cmp(&other.started).is_eq()
    }

    /// What was counted since then, where that can be told.
    pub(super) fn since(&self, before: &Self) -> Change {
        // Another process counts from the start.
        let known = if self.is_of_process(before) { before } else { &Self::default() };
        let cells = self.cells.iter().filter_map(|(key, figures)| {
            let earlier = known.cells.get(key)?;
            Some((key.clone(), figures.since(earlier)))
        });
        let workers = self.workers.iter().filter_map(|(number, worker)| {
            let earlier = known.workers.get(number)?;
            Some((number.clone(), worker.since(earlier)?))
        });
        Change { cells: cells.collect(), workers: workers.collect() }
    }
}

/// What was counted between two scrapes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Change {
    /// `None`: something shrank. What is not here is new, or was not counted before.
    cells: BTreeMap<Key, Option<Figures>>,
    pub(super) workers: BTreeMap<String, Worker>,
}

impl Change {
    /// The sum of what was counted for some; `None` if any of it cannot be told.
    pub(super) fn sum(&self, is_of: impl Fn(&Key) -> bool) -> Option<Figures> {
        let mut all = self.cells.iter().filter(|(key, _)| is_of(key)).peekable();
        all.peek()?;
        all.try_fold(Figures::default(), |mut sum, (_, figures)| {
            sum.add(figures.as_ref()?);
            Some(sum)
        })
    }
}
