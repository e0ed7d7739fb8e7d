//! What a run measured, as one value: built by `run`, written and read as JSON, merged, and rendered by `report`.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HdrDeserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::identity::Identities;
use super::plan::{Arrivals, Rate, Scenario};
use super::recorder::{self, Counts, Cut, Leg};

/// The version of the JSON form. Grows when an older reader would misread it.
pub const FORMAT: u32 = 1;

/// The result of a run, or of several that were merged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORMAT`].
    pub format: u32,
    /// Who measured: one, or one for each merged run.
    pub runs: Vec<Run>,
    /// From the end of the warm-up to the stop.
    pub measured_seconds: f64,
    /// What was counted up to the stop, for the rates.
    pub in_time: Counts,
    /// The same with the replies that came after the stop to what was sent before it.
    pub counts: Counts,
    /// The legs' samples, those replies included.
    pub legs: BTreeMap<Leg, Samples>,
    /// How late the generator itself was with what was due (open loop).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_lag: Option<Samples>,
    /// The connections and logins made before the clock started.
    pub prepared: Part,
    /// Second by second; the last may be shorter.
    pub seconds: Vec<Part>,
    /// Requests that had no answer when the run ended.
    pub unanswered: Left,
    /// Open loop: requests that were due and found no free connection before the end.
    pub unsent: Left,
    /// Whom the replies named; `None`: nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Identities>,
}

/// What was left when the run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// How many.
    pub count: u64,
    /// How long the oldest had waited.
    pub oldest_seconds: f64,
}

impl Left {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        self.oldest_seconds = self.oldest_seconds.max(other.oldest_seconds);
    }
}

/// A run on one machine: what was asked for, and of what machine.
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
    /// The scheme it logged in by: `none`, `ntlm`, `negotiate`.
    pub auth: String,
    /// Where to.
    pub urls: Vec<String>,
    /// Connections over all threads.
    pub connections: usize,
    /// Left out at the start.
    pub warmup_seconds: f64,
    /// The open loop's rate; `None`: closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Offered>,
    /// CPU time by measured time, for each thread of the generator: 1 is a whole core.
    pub thread_cpu_shares: Vec<f64>,
    /// Largest resident memory of the process, 0 if unknown.
    pub memory_peak_bytes: u64,
}

/// What an open loop was asked to send.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Offered {
    /// How many in a second.
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
    /// This machine. What cannot be found out is an empty string.
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

/// A stretch of the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Part {
    /// Since the end of the warm-up.
    pub start_seconds: f64,
    /// How long it was.
    pub length_seconds: f64,
    /// What was counted in it.
    pub counts: Counts,
    /// The legs' samples in it.
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

/// A histogram of nanoseconds at full size; in JSON with the figures a reader wants beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples(pub Histogram<u64>);

/// A histogram of nanoseconds as it is in files: `HdrHistogram`'s V2 form, deflated, in base64. A second's histogram
/// is some hundred bytes so, instead of a quarter of a megabyte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Packed(String);

impl Packed {
    /// Packs a histogram.
    pub fn new(samples: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        // Writing to memory does not fail, and the counts of a run are below the format's 63 bits.
        let _ = V2DeflateSerializer::new().serialize(samples, &mut bytes);
        Self(STANDARD.encode(bytes))
    }

    /// The histogram.
    pub fn unpack(&self) -> Histogram<u64> {
        // It was packed here, or checked when it was read.
        unpack(&self.0).unwrap_or_else(|_| recorder::histogram())
    }
}

impl TryFrom<String> for Packed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        unpack(&text).map(|_| Self(text))
    }
}

impl From<Packed> for String {
    fn from(packed: Packed) -> Self {
        packed.0
    }
}

fn unpack(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD.decode(text).map_err(|e| format!("a histogram that is not base64: {e}"))?;
    HdrDeserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|e| format!("a histogram that HdrHistogram does not read: {e:?}"))
}

/// The percentiles of tables and files.
pub const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

impl Samples {
    /// The time below which `percentile` of the samples are, in nanoseconds; `None` if fewer than five samples are
    /// above it, which would make it a matter of chance.
    pub fn percentile(&self, percentile: f64) -> Option<u64> {
        let above = self.0.len() as f64 * (1.0 - percentile / 100.0);
        // A little below five, because 100 - 99.99 is not exact.
        (above >= 4.999).then(|| self.0.value_at_percentile(percentile))
    }
}

/// What of [`Samples`] stands in JSON.
#[derive(Serialize, Deserialize)]
struct SamplesInFile {
    count: u64,
    min_ns: u64,
    mean_ns: f64,
    #[serde(default)]
    percentiles_ns: BTreeMap<String, u64>,
    max_ns: u64,
    hdr: Packed,
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let percentiles = PERCENTILES.iter().filter_map(|&p| Some((format!("p{p}"), self.percentile(p)?)));
        SamplesInFile {
            count: self.0.len(),
            min_ns: self.0.min(),
            mean_ns: self.0.mean(),
            percentiles_ns: percentiles.collect(),
            max_ns: self.0.max(),
            hdr: Packed::new(&self.0),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(SamplesInFile::deserialize(deserializer)?.hdr.unpack()))
    }
}

/// What a reader must know before he believes the figures.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// The generator used up its cores.
    GeneratorBusy {
        /// The busiest thread's share of a core.
        share: f64,
    },
    /// The generator was late with what was due.
    SendLag {
        /// Its 99th percentile, in nanoseconds.
        p99_ns: u64,
    },
    /// Requests that were due waited for a free connection.
    RateMissed {
        /// What was due, by second.
        due_per_second: f64,
        /// What was answered, by second.
        answered_per_second: f64,
    },
    /// Nobody had to log in.
    Unprotected {
        /// How often.
        count: u64,
    },
    /// Nothing was measured.
    NothingMeasured,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::GeneratorBusy { share } => write!(
                f,
                "the generator used {:.0} % of a core in one thread and may itself be what limits the result; \
                 give it more --threads, cores of its own, or another machine",
                share * 100.0
            ),
            Self::SendLag { p99_ns } => write!(
                f,
                "the generator sent late by {:.1} ms (p99); latencies from the intended start include that; \
                 give it more --threads, cores of its own, or a lower --rate",
                *p99_ns as f64 / 1e6
            ),
            Self::RateMissed { due_per_second, answered_per_second } => write!(
                f,
                "{due_per_second:.0} a second were due and {answered_per_second:.0} were answered: the server, or \
                 too few --connections, did not keep up"
            ),
            Self::Unprotected { count } => {
                write!(
                    f,
                    "{count} times the server let the client in without a login: the URL is open to everyone"
                )
            }
            Self::NothingMeasured => f.write_str("nothing was measured; see the errors"),
        }
    }
}

/// From this share of a core on a thread has no room to react in time.
const BUSY_SHARE: f64 = 0.9;
/// Later than this the generator's own lag shows in the results.
const SEND_LAG_NS_MAX: u64 = 1_000_000;
/// An open loop that answers less than this part of what is due is not keeping up.
const RATE_KEPT_MIN: f64 = 0.99;

impl Summary {
    /// What the reader must know.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let shares = self.runs.iter().flat_map(|run| run.thread_cpu_shares.iter().copied());
        let share = shares.fold(0.0, f64::max);
        if share >= BUSY_SHARE {
            warnings.push(Warning::GeneratorBusy { share });
        }
        if let Some(p99_ns) = self.send_lag.as_ref().map(|lag| lag.0.value_at_quantile(0.99))
            && p99_ns > SEND_LAG_NS_MAX
        {
            warnings.push(Warning::SendLag { p99_ns });
        }
        let answered = self.legs.get(&Leg::FromIntendedStart).map_or(0, |samples| samples.0.len());
        let due = self.counts.arrivals;
        if (answered as f64) < due as f64 * RATE_KEPT_MIN && self.measured_seconds > 0.0 {
            warnings.push(Warning::RateMissed {
                due_per_second: due as f64 / self.measured_seconds,
                answered_per_second: answered as f64 / self.measured_seconds,
            });
        }
        let unprotected = self.counts.unprotected + self.prepared.counts.unprotected;
        if unprotected > 0 {
            warnings.push(Warning::Unprotected { count: unprotected });
        }
        if self.counts.requests == 0 && self.counts.logins == 0 {
            warnings.push(Warning::NothingMeasured);
        }
        warnings
    }

    /// Whether a reply named another user than its connection's.
    pub fn has_leak(&self) -> bool {
        self.identities.as_ref().is_some_and(|found| found.leaked > 0)
    }
}

/// Why summaries could not be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Written by another version.
    #[error("format {0} is not {FORMAT}, which this version reads")]
    Format(u32),
}

impl Summary {
    /// Adds a run of another machine that went on at the same time: counts and samples add up, percentiles come out of
    /// the added samples, and the seconds are taken as the same ones.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        for format in [self.format, other.format] {
            if format != FORMAT {
                return Err(MergeError::Format(format));
            }
        }
        self.runs.extend(other.runs.iter().cloned());
        self.measured_seconds = self.measured_seconds.max(other.measured_seconds);
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
        self.seconds.resize_with(self.seconds.len().max(other.seconds.len()), Part::default);
        for (mine, others) in self.seconds.iter_mut().zip(&other.seconds) {
            mine.add(others);
        }
        self.unanswered.add(other.unanswered);
        self.unsent.add(other.unsent);
        if let Some(found) = &other.identities {
            self.identities.get_or_insert_default().add(found);
        }
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
            seconds: vec![second],
            unanswered: Left::default(),
            unsent: Left::default(),
            identities: None,
        }
    }

    #[test]
    fn what_is_written_as_json_reads_back() {
        let written = summary(&[10, 20, 30_000]);
        let text = serde_json::to_string(&written).unwrap();
        let read: Summary = serde_json::from_str(&text).unwrap();
        assert_eq!(read.legs, written.legs);
        assert_eq!(read.seconds[0].legs, written.seconds[0].legs);
        assert_eq!((read.counts, read.format), (written.counts, FORMAT));
    }

    #[test]
    fn a_damaged_histogram_is_refused_when_it_is_read() {
        let text = serde_json::to_string(&summary(&[10])).unwrap();
        let hdr = Packed::new(&summary(&[10]).legs[&Leg::Request].0).0;
        for damaged in ["", "!!", "AAAA", &hdr[..hdr.len() / 2]] {
            let error = serde_json::from_str::<Summary>(&text.replace(&hdr, damaged)).unwrap_err();
            assert!(error.to_string().contains("a histogram that"), "{damaged:?}: {error}");
        }
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

    #[test]
    fn a_percentile_with_fewer_than_five_samples_above_it_is_left_out() {
        let samples = |count| Samples(summary(&vec![5; count]).legs[&Leg::Request].0.clone());
        assert_eq!((samples(499).percentile(99.0), samples(9).percentile(50.0)), (None, None));
        assert!(samples(500).percentile(99.0).is_some() && samples(50_000).percentile(99.99).is_some());
    }

    #[test]
    fn the_reader_is_warned_of_what_makes_the_figures_doubtful() {
        assert_eq!(summary(&[10]).warnings(), []);
        let mut busy = summary(&[10]);
        busy.runs[0].thread_cpu_shares = vec![0.1, 0.97];
        assert_eq!(busy.warnings(), [Warning::GeneratorBusy { share: 0.97 }]);
        let mut late = summary(&[10]);
        late.counts.arrivals = 100;
        late.legs.insert(Leg::FromIntendedStart, summary(&[10; 50]).legs[&Leg::Request].clone());
        late.send_lag = Some(summary(&[5000; 50]).legs[&Leg::Request].clone());
        let warnings = late.warnings();
        assert!(
            matches!(warnings[..], [Warning::SendLag { .. }, Warning::RateMissed { .. }]),
            "{warnings:?}"
        );
        assert_eq!(summary(&[]).warnings(), [Warning::NothingMeasured]);
    }
}
