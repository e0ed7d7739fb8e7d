//! Warnings: reasons to doubt the figures of a run.

use super::recorder::{Counts, Leg};
use super::summary::Summary;

/// A reason to doubt the figures.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// A thread of the generator was near the limit of its core.
    GeneratorBusy {
        /// The busiest thread's share of a core.
        share: f64,
    },
    /// The generator sent requests late.
    SendLag {
        /// Its 99th percentile, in nanoseconds.
        p99_ns: u64,
    },
    /// Requests that were due waited for a free connection.
    RateMissed {
        /// Requests due per second.
        due_per_second: f64,
        /// Requests answered per second.
        answered_per_second: f64,
    },
    /// The server did not require a login.
    Unprotected {
        /// How often.
        count: u64,
    },
    /// A connection belonged to a user before the client logged in on it.
    Inherited {
        /// How often.
        count: u64,
    },
    /// The server sent challenges that differ from the recorded ones.
    OtherChallenges {
        /// How often.
        count: u64,
    },
    /// An address of a name was skipped.
    SkippedAddress {
        /// Whose it is.
        url: String,
        /// What happened there.
        cause: String,
    },
    /// Nothing was measured.
    NothingMeasured,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::GeneratorBusy { share } => write!(
                f,
                "one thread of the generator used {:.0} % of a core, so the generator may limit the result; \
                 use more --threads, dedicated cores, or another machine",
                share * 100.0
            ),
            Self::SendLag { p99_ns } => write!(
                f,
                "the generator sent requests {:.1} ms late (p99), which the latencies from the intended start include; \
                 use more --threads, dedicated cores, or a lower --rate",
                *p99_ns as f64 / 1e6
            ),
            Self::RateMissed { due_per_second, answered_per_second } => write!(
                f,
                "{due_per_second:.0} requests per second were due and {answered_per_second:.0} were answered: the server \
                 did not keep up, or there were too few --connections"
            ),
            Self::Unprotected { count } => {
                write!(
                    f,
                    "the server answered {count} times without requiring a login: the URL is open to everyone"
                )
            }
            Self::Inherited { count } => write!(
                f,
                "{count} times a connection was already logged in as a user before the client logged in on it: a proxy between \
                 client and server shares connections between clients"
            ),
            Self::OtherChallenges { count } => write!(
                f,
                "{count} times the server's challenge was not the recorded one, and a recorded login answers only its own \
                 challenge; replay against a server with a fixed challenge (`iisplice mock --fixed-challenge HEX`, with \
                 the file's server_challenge), or log in live with --auth and --users"
            ),
            Self::SkippedAddress { url, cause } => {
                write!(f, "{url}: skipped one address of the name: {cause}")
            }
            Self::NothingMeasured => f.write_str("nothing was measured; see the errors"),
        }
    }
}

/// At this share of a core or more, a thread cannot react in time.
const BUSY_SHARE: f64 = 0.9;
/// Above this, the generator's own lag shows in the results.
const SEND_LAG_NS_MAX: u64 = 1_000_000;
/// An open loop that gets replies to less than this part of the due requests does not keep up.
const RATE_KEPT_MIN: f64 = 0.99;

impl Summary {
    /// The warnings of this run.
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
        let samples = |leg| self.legs.get(&leg).map_or(0, |samples| samples.0.len());
        let answered = samples(Leg::FromIntendedStart) + samples(Leg::ErrorReply);
        let due = self.counts.arrivals;
        if (answered as f64) < due as f64 * RATE_KEPT_MIN && self.measured_seconds > 0.0 {
            warnings.push(Warning::RateMissed {
                due_per_second: due as f64 / self.measured_seconds,
                answered_per_second: answered as f64 / self.measured_seconds,
            });
        }
        let of_both = |count: fn(&Counts) -> u64| count(&self.counts) + count(&self.prepared.counts);
        let (let_in, inherited) = (of_both(|counts| counts.unprotected), of_both(|counts| counts.inherited));
        // A reply that names a user does not prove that the URL is open.
        if let_in > inherited {
            warnings.push(Warning::Unprotected { count: let_in - inherited });
        }
        if inherited > 0 {
            warnings.push(Warning::Inherited { count: inherited });
        }
        let other_challenges = of_both(|counts| counts.other_challenges);
        if other_challenges > 0 {
            warnings.push(Warning::OtherChallenges { count: other_challenges });
        }
        warnings.extend(self.skipped_addresses.iter().map(|skipped| Warning::SkippedAddress {
            url: skipped.url.clone(),
            cause: skipped.cause.clone(),
        }));
        // Without a required login none is measured, and the warning above says so.
        if self.counts.requests == 0 && self.counts.logins == 0 && self.counts.unprotected == 0 {
            warnings.push(Warning::NothingMeasured);
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::summary::tests::summary;

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

    #[test]
    fn a_connection_that_already_has_a_user_is_no_open_url() {
        let mut login = summary(&[]);
        login.counts.unprotected = 3;
        assert_eq!(login.warnings(), [Warning::Unprotected { count: 3 }]);
        login.counts.inherited = 3;
        assert_eq!(login.warnings(), [Warning::Inherited { count: 3 }]);
        login.prepared.counts.unprotected = 2;
        assert_eq!(login.warnings(), [Warning::Unprotected { count: 2 }, Warning::Inherited { count: 3 }]);
    }
}
