//! The result of a run as one value: built by `run`, written and read as JSON, merged, and rendered by `report`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::identity::Identities;
use super::objective::Verdict;
use super::plan::{Arrivals, Rate, Scenario};
use super::recorder::{self, Counts, Cut, Leg};
use super::samples::{Packed, Samples};
use super::search::Step;
use super::timeline::{self, STRETCHES_MAX, Stretch};

/// The version of the JSON form. Increases when an older reader would misread it.
pub const FORMAT: u32 = 1;

/// The result of a run, or of several that were merged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORMAT`].
    pub format: u32,
    /// The runs: one, or one for each merged run.
    pub runs: Vec<Run>,
    /// From the end of the warm-up to the stop.
    pub measured_seconds: f64,
    /// The counters up to the stop, for the rates.
    pub in_time: Counts,
    /// The same plus the replies after the stop to requests sent before it.
    pub counts: Counts,
    /// The samples of the legs, including those replies.
    pub legs: BTreeMap<Leg, Samples>,
    /// How late the generator itself sent due requests (open loop).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_lag: Option<Samples>,
    /// The connections and logins made before the clock started.
    pub prepared: Part,
    /// Second by second; the last may be shorter.
    pub seconds: Vec<Part>,
    /// The same in a bounded number of stretches, with figures instead of histograms; empty: an older version wrote the
    /// file, see [`Self::timeline`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Stretch>,
    /// Requests that had no answer when the run ended.
    pub unanswered: Left,
    /// Open loop: requests that were due and found no free connection before the end.
    pub unsent: Left,
    /// The users that the replies named; `None`: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Identities>,
    /// Whether the run kept its objective; `None`: it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Verdict>,
    /// The rates that the search tried, in order; this run is its result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<Step>,
    /// Addresses that were skipped because no connect succeeded before the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_addresses: Vec<SkippedAddress>,
}

/// An address of a name that no connection used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedAddress {
    /// The URL of the name.
    pub url: String,
    /// Address and port.
    pub address: String,
    /// Why the connect failed.
    pub cause: String,
}

/// The requests left when the run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// How many.
    pub count: u64,
    /// How long the oldest had waited.
    pub oldest_seconds: f64,
}

impl Left {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        self.oldest_seconds = self.oldest_seconds.max(other.oldest_seconds);
    }
}

/// A run on one machine: its settings and the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// As it was typed.
    pub command: String,
    /// When the clock started, RFC 3339, UTC.
    pub started: String,
    /// The same, seconds since 1970.
    pub started_unix_seconds: f64,
    /// The machine.
    pub machine: Machine,
    /// What each connection did.
    pub scenario: Scenario,
    /// The scheme of the logins: `none`, `ntlm`, `negotiate`.
    pub auth: String,
    /// The targets.
    pub urls: Vec<String>,
    /// The request's method; `None`: an older version wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The size of the request's body, 0 without one; `None`: an older version wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// Connections over all threads.
    pub connections: usize,
    /// The time ignored at the start.
    pub warmup_seconds: f64,
    /// The open loop's rate; `None`: closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Offered>,
    /// CPU time divided by measured time for each thread of the generator: 1 is a whole core.
    pub thread_cpu_shares: Vec<f64>,
    /// Largest resident memory of the process, 0 if unknown.
    pub memory_peak_bytes: u64,
}

/// The rate that an open loop was asked to send.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Offered {
    /// Requests per second.
    #[serde(flatten)]
    pub rate: Rate,
    /// How they were spread.
    pub arrivals: Arrivals,
}

/// The machine that measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Version of iisplice.
    pub version: String,
}

impl Machine {
    /// This machine. Unknown values are empty strings.
    pub fn this() -> Self {
        let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = line("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map(|p| p.1);
        Self {
            host: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            cpu: cpu.unwrap_or_default().to_owned(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A period of the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Part {
    /// Since the end of the warm-up.
    pub start_seconds: f64,
    /// How long it was.
    pub length_seconds: f64,
    /// Its counters.
    pub counts: Counts,
    /// Its samples by leg.
    pub legs: BTreeMap<Leg, Packed>,
}

impl Part {
    /// Packs a cut.
    pub fn new(start: Duration, length: Duration, cut: &Cut) -> Self {
        Self {
            start_seconds: start.as_secs_f64(),
            length_seconds: length.as_secs_f64(),
            counts: cut.counts.clone(),
            legs: cut.legs.iter().map(|(leg, samples)| (*leg, Packed::new(samples))).collect(),
        }
    }
}

impl Summary {
    /// Whether there were errors and not one good reply.
    pub fn has_failed_wholly(&self) -> bool {
        let good = [Leg::Request, Leg::Login].iter().any(|leg| self.legs.contains_key(leg));
        !good && self.counts.errors_total() > 0
    }

    /// The run over time, in a bounded number of stretches.
    pub fn timeline(&self) -> Cow<'_, [Stretch]> {
        // A file can have anything.
        if self.timeline.is_empty() || self.timeline.len() > STRETCHES_MAX {
            timeline::of(&self.seconds).into()
        } else {
            (&self.timeline[..]).into()
        }
    }

    /// Whether one of its runs is one of the other's as well: by machine, start and command.
    pub fn shares_a_run(&self, other: &Self) -> bool {
        let key =
            |run: &Run| (run.machine.host.clone(), run.started_unix_seconds.to_bits(), run.command.clone());
        self.runs.iter().any(|mine| other.runs.iter().any(|others| key(mine) == key(others)))
    }

    /// Whether a reply named another user than that of its connection.
    pub fn has_leak(&self) -> bool {
        self.identities.as_ref().is_some_and(|found| found.leaked > 0)
    }
}

/// Why summaries could not be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Written by another version.
    #[error("format {0} is not supported; this version reads format {FORMAT}")]
    Format(u32),
}

impl Summary {
    /// Adds a run of another machine at the same time: counts and samples are added, percentiles come from the added
    /// samples, and the seconds of both runs are matched.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        self.add(other)?;
        self.measured_seconds = self.measured_seconds.max(other.measured_seconds);
        self.seconds.resize_with(self.seconds.len().max(other.seconds.len()), Part::default);
        for (mine, others) in self.seconds.iter_mut().zip(&other.seconds) {
            mine.add(others);
        }
        self.timeline = timeline::of(&self.seconds);
        Ok(())
    }

    /// Adds a run of another time, as if it had followed this one at once: as [`Self::merge`], but the measured times add
    /// up, and the other's seconds come behind.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn append(&mut self, other: &Self) -> Result<(), MergeError> {
        self.add(other)?;
        let later = |second: &Part| Part {
            start_seconds: second.start_seconds + self.measured_seconds,
            ..second.clone()
        };
        self.seconds.extend(other.seconds.iter().map(later));
        self.measured_seconds += other.measured_seconds;
        self.timeline = timeline::of(&self.seconds);
        Ok(())
    }

    /// All but times.
    fn add(&mut self, other: &Self) -> Result<(), MergeError> {
        for format in [self.format, other.format] {
            if format != FORMAT {
                return Err(MergeError::Format(format));
            }
        }
        self.runs.extend(other.runs.iter().cloned());
        self.in_time.add(&other.in_time);
        self.counts.add(&other.counts);
        for (leg, samples) in &other.legs {
            let sum = self.legs.entry(*leg).or_insert_with(|| Samples(recorder::histogram()));
            recorder::add(&mut sum.0, &samples.0);
        }
        if let Some(lag) = &other.send_lag {
            let sum = self.send_lag.get_or_insert_with(|| Samples(recorder::histogram()));
            recorder::add(&mut sum.0, &lag.0);
        }
        self.prepared.add(&other.prepared);
        self.unanswered.add(other.unanswered);
        self.unsent.add(other.unsent);
        if let Some(found) = &other.identities {
            self.identities.get_or_insert_default().add(found);
        }
        self.skipped_addresses.extend(other.skipped_addresses.iter().cloned());
        // Each was judged, and searched for, by itself.
        self.objective = None;
        self.search.clear();
        Ok(())
    }
}

impl Part {
    fn add(&mut self, other: &Self) {
        self.start_seconds = self.start_seconds.max(other.start_seconds);
        self.length_seconds = self.length_seconds.max(other.length_seconds);
        self.counts.add(&other.counts);
        for (leg, samples) in &other.legs {
            let mut sum = self.legs.get(leg).map_or_else(recorder::histogram, Packed::unpack);
            recorder::add(&mut sum, &samples.unpack());
            self.legs.insert(*leg, Packed::new(&sum));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A summary with these requests, in microseconds, in one second.
    pub(crate) fn summary(requests_us: &[u64]) -> Summary {
        let mut samples = recorder::histogram();
        for micros in requests_us {
            samples.record(micros * 1000).unwrap();
        }
        let counts = Counts { requests: requests_us.len() as u64, ..Counts::default() };
        let cut =
            Cut { counts: counts.clone(), legs: [(Leg::Request, samples.clone())].into(), ..Cut::default() };
        let second = Part::new(Duration::ZERO, Duration::from_secs(1), &cut);
        Summary {
            format: FORMAT,
            runs: vec![Run {
                command: "iisplice load http://127.0.0.1/".into(),
                started: "2026-01-02T03:04:05Z".into(),
                started_unix_seconds: 1_767_323_045.0,
                machine: Machine::this(),
                scenario: Scenario::Steady,
                auth: "none".into(),
                urls: vec!["http://127.0.0.1/".into()],
                method: Some("GET".into()),
                body_bytes: Some(0),
                connections: 1,
                warmup_seconds: 0.0,
                offered: None,
                thread_cpu_shares: vec![0.5],
                memory_peak_bytes: 1 << 20,
            }],
            measured_seconds: 1.0,
            in_time: counts.clone(),
            counts,
            legs: [(Leg::Request, Samples(samples))].into(),
            send_lag: None,
            prepared: Part::default(),
            timeline: timeline::of(std::slice::from_ref(&second)),
            seconds: vec![second],
            unanswered: Left::default(),
            unsent: Left::default(),
            identities: None,
            objective: None,
            search: Vec::new(),
            skipped_addresses: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_as_json_reads_back() {
        let written = summary(&[10, 20, 30_000]);
        let text = serde_json::to_string(&written).unwrap();
        let read: Summary = serde_json::from_str(&text).unwrap();
        assert_eq!(read.legs, written.legs);
        assert_eq!(read.seconds[0].legs, written.seconds[0].legs);
        assert_eq!((&read.counts, read.format), (&written.counts, FORMAT));
        assert_eq!(read.timeline, written.timeline);
    }

    #[test]
    fn a_file_without_a_timeline_has_it_from_its_seconds() {
        let written = summary(&[10, 20, 30_000]);
        let mut old = serde_json::to_value(&written).unwrap();
        old.as_object_mut().unwrap().remove("timeline").expect("a newer version writes it");
        let read: Summary = serde_json::from_value(old).unwrap();
        assert!(read.timeline.is_empty());
        assert_eq!(*read.timeline(), written.timeline);
        // One that is longer than any version writes.
        let long = vec![written.timeline[0].clone(); STRETCHES_MAX + 1];
        assert_eq!(*Summary { timeline: long, ..written.clone() }.timeline(), written.timeline);
    }

    #[test]
    fn merged_runs_have_the_percentiles_of_all_samples_and_not_their_mean() {
        let (fast, slow) = (vec![100; 900], vec![10_000; 100]);
        let mut merged = summary(&fast);
        merged.merge(&summary(&slow)).unwrap();
        let whole = summary(&[fast, slow].concat());
        assert_eq!(merged.legs, whole.legs);
        assert_eq!(
            merged.seconds[0].legs[&Leg::Request].unpack(),
            whole.seconds[0].legs[&Leg::Request].unpack()
        );
        assert_eq!((merged.counts.requests, merged.runs.len(), merged.seconds.len()), (1000, 2, 1));
        assert!((0.9..1.1).contains(&merged.measured_seconds), "they went on at the same time");
    }

    #[test]
    fn another_format_is_not_merged() {
        let other = Summary { format: 9, ..summary(&[1]) };
        assert_eq!(summary(&[1]).merge(&other), Err(MergeError::Format(9)));
    }
}
