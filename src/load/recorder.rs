//! The measurements of a thread: counters and one `HdrHistogram` for each leg, cut once a second.
//!
//! A recorder belongs to one thread and takes no lock. Its cuts go to the thread that adds up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::identity::Identities;

/// A stage of a connection with its own histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leg {
    /// TCP connect.
    Connect,
    /// From the connect to the end of the TLS handshake.
    Tls,
    /// Anonymous request to the 401 that names the schemes.
    #[serde(rename = "anonymous_to_401")]
    AnonymousTo401,
    /// Type 1 to Type 2.
    Type1ToType2,
    /// Type 3 to the final reply.
    Type3ToFinal,
    /// All of the above together.
    Login,
    /// Service time: from sending the request to the last byte of its reply, if that is not an error.
    Request,
    /// The same for a reply with an error status: fast refusals must not improve the percentiles.
    ErrorReply,
    /// Open loop: from the due time of the request (or login) to the last byte of its reply, if that is not an error.
    FromIntendedStart,
}

impl Leg {
    /// All legs in the order of a connection's life.
    pub const ALL: [Self; 9] = [
        Self::Connect,
        Self::Tls,
        Self::AnonymousTo401,
        Self::Type1ToType2,
        Self::Type3ToFinal,
        Self::Login,
        Self::Request,
        Self::ErrorReply,
        Self::FromIntendedStart,
    ];

    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::AnonymousTo401 => "anonymous -> 401",
            Self::Type1ToType2 => "Type 1 -> Type 2",
            Self::Type3ToFinal => "Type 3 -> final",
            Self::Login => "whole login",
            Self::Request => "request",
            Self::ErrorReply => "error reply",
            Self::FromIntendedStart => "from intended start",
        }
    }

    /// Its name in files: lower case, without blanks.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::AnonymousTo401 => "anonymous_to_401",
            Self::Type1ToType2 => "type1_to_type2",
            Self::Type3ToFinal => "type3_to_final",
            Self::Login => "login",
            Self::Request => "request",
            Self::ErrorReply => "error_reply",
            Self::FromIntendedStart => "from_intended_start",
        }
    }
}

/// Why a connect, a login or a request failed. The 401s of a login are not errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Nothing listens there.
    Refused,
    /// The connect failed for another reason: no route, no local port.
    Unreachable,
    /// No answer within the timeout.
    Timeout,
    /// The connection was reset.
    Reset,
    /// The connection ended before the reply did.
    Closed,
    /// The TLS handshake failed.
    Tls,
    /// The reply is not HTTP, or the login's messages are not NTLM.
    Protocol,
    /// 401 to a login's last message.
    LoginRefused,
    /// 401 on a connection that needs no login or has one.
    Unexpected401,
    /// 400 to 499 except 401.
    Status4xx,
    /// 500 to 599.
    Status5xx,
}

impl ErrorClass {
    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Closed => "closed early",
            Self::Tls => "TLS",
            Self::Protocol => "protocol",
            Self::LoginRefused => "login refused",
            Self::Unexpected401 => "unexpected 401",
            Self::Status4xx => "4xx",
            Self::Status5xx => "5xx",
        }
    }
}

/// Counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Connections made.
    pub connects: u64,
    /// Logins that ended in an accepted reply.
    pub logins: u64,
    /// Requests with a complete reply, whatever its status, without those of logins.
    pub requests: u64,
    /// Requests (or logins) that were due in an open loop.
    pub arrivals: u64,
    /// Bytes of replies read, heads and TLS records included.
    pub received_bytes: u64,
    /// Bytes of requests written.
    pub sent_bytes: u64,
    /// 401s of logins.
    pub challenges: u64,
    /// Logins that the server did not require.
    pub unprotected: u64,
    /// Those of them whose reply named a user: the connection was already logged in.
    pub inherited: u64,
    /// Answers to a recorded Type 1 that are not the recorded Type 2.
    pub other_challenges: u64,
    /// Failures by class.
    pub errors: BTreeMap<ErrorClass, u64>,
}

impl Counts {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.connects += other.connects;
        self.logins += other.logins;
        self.requests += other.requests;
        self.arrivals += other.arrivals;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.challenges += other.challenges;
        self.unprotected += other.unprotected;
        self.inherited += other.inherited;
        self.other_challenges += other.other_challenges;
        for (class, count) in &other.errors {
            *self.errors.entry(*class).or_default() += count;
        }
    }

    /// Failures of all classes.
    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// The longest time recorded: one hour; longer times count as that.
const NANOSECONDS_MAX: u64 = 3_600_000_000_000;

/// An empty histogram of nanoseconds, three significant digits from 1 ns to one hour.
pub fn histogram() -> Histogram<u64> {
    // Only invalid bounds could fail; these are valid constants.
    Histogram::new_with_bounds(1, NANOSECONDS_MAX, 3).unwrap_or_else(|_| unreachable!("bounds are constant"))
}

/// Counters and histograms of a period.
#[derive(Debug, Default)]
pub struct Cut {
    /// Counters.
    pub counts: Counts,
    /// Histograms of the legs that happened, in nanoseconds.
    pub legs: BTreeMap<Leg, Histogram<u64>>,
    /// How late the generator itself sent due requests, in nanoseconds.
    pub send_lag: Option<Histogram<u64>>,
    /// The users that the replies named, including those of the warm-up: every leak counts.
    pub identities: Identities,
}

impl Cut {
    /// Adds another's counts and samples.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        for (leg, samples) in &other.legs {
            add(self.legs.entry(*leg).or_insert_with(histogram), samples);
        }
        if let Some(samples) = &other.send_lag {
            add(self.send_lag.get_or_insert_with(histogram), samples);
        }
        self.identities.add(&other.identities);
    }
}

/// Adds `samples` to `sum`, both made by [`histogram`] or read from a file.
pub fn add(sum: &mut Histogram<u64>, samples: &Histogram<u64>) {
    for value in samples.iter_recorded() {
        sum.saturating_record_n(value.value_iterated_to(), value.count_at_value());
    }
}

/// The recorder of one thread. A new one records everything.
#[derive(Debug, Default)]
pub struct Recorder {
    counts: Counts,
    legs: [Option<Histogram<u64>>; Leg::ALL.len()],
    send_lag: Option<Histogram<u64>>,
    /// The users that the replies named.
    pub identities: Identities,
    /// Events that began before this are not recorded; `None`: all are.
    from: Option<Instant>,
}

impl Recorder {
    /// From now on ignores events that began before `from`: the warm-up.
    pub fn leave_out_before(&mut self, from: Instant) {
        self.from = Some(from);
    }

    fn takes(&self, began: Instant) -> bool {
        self.from.is_none_or(|from| began >= from)
    }

    /// The counters for an event that began then; `None` if it is ignored.
    pub fn counts(&mut self, began: Instant) -> Option<&mut Counts> {
        self.takes(began).then_some(&mut self.counts)
    }

    /// Records a sample of a leg.
    pub fn sample(&mut self, leg: Leg, began: Instant, ended: Instant) {
        if self.takes(began) {
            let samples = self.legs[leg as usize].get_or_insert_with(histogram);
            samples.saturating_record(nanoseconds(ended.saturating_duration_since(began)));
        }
    }

    /// Records how late a request was sent.
    pub fn send_lag(&mut self, due: Instant, now: Instant) {
        if self.takes(due) {
            let samples = self.send_lag.get_or_insert_with(histogram);
            samples.saturating_record(nanoseconds(now.saturating_duration_since(due)));
        }
    }

    /// Counts a failure of an event that began then.
    pub fn error(&mut self, class: ErrorClass, began: Instant) {
        if let Some(counts) = self.counts(began) {
            *counts.errors.entry(class).or_default() += 1;
        }
    }

    /// Returns the measurements since the last cut.
    pub fn cut(&mut self) -> Cut {
        let legs = Leg::ALL.into_iter().zip(&mut self.legs);
        Cut {
            counts: std::mem::take(&mut self.counts),
            legs: legs.filter_map(|(leg, samples)| Some((leg, samples.take()?))).collect(),
            send_lag: self.send_lag.take(),
            identities: std::mem::take(&mut self.identities),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_in_the_warm_up_is_left_out() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut recorder = Recorder::default();
        recorder.leave_out_before(at(100));
        recorder.sample(Leg::Request, at(99), at(500));
        recorder.sample(Leg::Request, at(100), at(120));
        recorder.error(ErrorClass::Timeout, at(1));
        assert!(recorder.counts(at(99)).is_none());
        let cut = recorder.cut();
        let samples = &cut.legs[&Leg::Request];
        assert_eq!((samples.len(), cut.counts.errors_total()), (1, 0));
        assert!(samples.equivalent(samples.max(), 20_000_000));
    }

    #[test]
    fn a_cut_starts_a_new_page() {
        let now = Instant::now();
        let mut recorder = Recorder::default();
        recorder.sample(Leg::Connect, now, now + Duration::from_micros(7));
        recorder.error(ErrorClass::Reset, now);
        let first = recorder.cut();
        assert_eq!((first.legs.len(), first.counts.errors[&ErrorClass::Reset]), (1, 1));
        let second = recorder.cut();
        assert_eq!((second.legs.len(), second.counts), (0, Counts::default()));
    }

    #[test]
    fn cuts_of_two_threads_add_up_sample_by_sample() {
        let now = Instant::now();
        let cut = |micros: &[u64]| {
            let mut recorder = Recorder::default();
            for &m in micros {
                recorder.sample(Leg::Request, now, now + Duration::from_micros(m));
                recorder.counts(now).unwrap().requests += 1;
            }
            recorder.cut()
        };
        let mut sum = cut(&[10, 20]);
        sum.add(&cut(&[30, 40_000]));
        let whole = cut(&[10, 20, 30, 40_000]);
        assert_eq!(sum.legs[&Leg::Request], whole.legs[&Leg::Request]);
        assert_eq!(sum.counts, whole.counts);
    }

    #[test]
    fn a_sample_keeps_three_digits_and_the_longest_is_an_hour() {
        let now = Instant::now();
        let mut recorder = Recorder::default();
        recorder.sample(Leg::Request, now, now + Duration::from_nanos(123_456));
        recorder.sample(Leg::Login, now, now + Duration::from_secs(9999));
        let cut = recorder.cut();
        let error = cut.legs[&Leg::Request].max().abs_diff(123_456);
        assert!(error * 1000 <= 123_456, "off by {error} ns");
        assert_eq!(cut.legs[&Leg::Login].len(), 1);
    }

    #[test]
    fn legs_index_their_own_slot() {
        for (index, leg) in Leg::ALL.into_iter().enumerate() {
            assert_eq!(leg as usize, index, "{leg:?}");
        }
    }
}
