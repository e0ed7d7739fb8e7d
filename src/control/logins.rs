//! The login symptoms and counts of all workers together: logged while they occur, and at the end.
//!
//! One failed login is a user's typing error. The same symptom repeatedly at one server has a cause that can be named.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::protocol::login::{Leg, Mechanism, Symptom};
use crate::proxy::counters::{Counter, Counters, Histogram};
use crate::upstream::Server;

/// How often the counters are read.
const INTERVAL: Duration = Duration::from_secs(1);
/// Shortest interval between two lines about the same symptom at the same server.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// This many of a kind since the last line are not chance.
const MANY: u64 = 3;

/// Starts the thread that watches for symptoms. It ends with the process.
///
/// # Errors
/// No thread.
pub(super) fn watch(servers: Vec<Arc<Server>>) -> io::Result<()> {
    let mut trouble = Trouble::new(servers);
    thread::Builder::new()
        .name("logins".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(INTERVAL);
                for Sign { upstream, symptom, count } in trouble.look(Instant::now()) {
                    tracing::warn!(
                        upstream = &*upstream,
                        symptom = symptom.as_str(),
                        count,
                        "{}; check {}",
                        symptom.explanation(),
                        symptom.check()
                    );
                }
            }
        })
        .map(drop)
}

/// A symptom to log.
#[derive(Debug, PartialEq, Eq)]
struct Sign {
    upstream: Arc<str>,
    symptom: Symptom,
    /// Number since the last line.
    count: u64,
}

/// The servers of each name, and what was logged of them.
struct Trouble(Vec<(Vec<Arc<Server>>, [Logged; Symptom::ALL.len()])>);

#[derive(Clone, Copy, Default)]
struct Logged {
    count: u64,
    at: Option<Instant>,
}

impl Trouble {
    fn new(servers: Vec<Arc<Server>>) -> Self {
        let mut by_name: Vec<(Vec<Arc<Server>>, _)> = Vec::new();
        for server in servers {
            match by_name.iter_mut().find(|(known, _)| known[0].name() == server.name()) {
                Some((known, _)) => known.push(server),
                None => by_name.push((vec![server], Default::default())),
            }
        }
        Self(by_name)
    }

    fn look(&mut self, now: Instant) -> Vec<Sign> {
        let mut signs = Vec::new();
        for (servers, logged) in &mut self.0 {
            for symptom in Symptom::ALL {
                let count = servers.iter().map(|server| server.symptoms(symptom)).sum::<u64>();
                let logged = &mut logged[symptom as usize];
                let is_due = logged.at.is_none_or(|at| now.duration_since(at) >= LOG_INTERVAL);
                if is_due && count - logged.count >= MANY {
                    signs.push(Sign {
                        upstream: Arc::clone(servers[0].name()),
                        symptom,
                        count: count - logged.count,
                    });
                    *logged = Logged { count, at: Some(now) };
                }
            }
        }
        signs
    }
}

/// All logins of a run in one line: the number by mechanism, and the durations of the legs. `None` if there were none.
pub(super) fn summary(counters: &[Arc<Counters>]) -> Option<String> {
    let mut line = String::new();
    for mechanism in Mechanism::ALL {
        let count: u64 = counters.iter().map(|counters| counters.logins(mechanism).get()).sum();
        // Writing to a String does not fail.
        let _ = write!(line, "{}={count} ", mechanism.as_str());
    }
    let of_all = |counter: fn(&Counters) -> &Counter| {
        counters.iter().map(|counters| counter(counters).get()).sum::<u64>()
    };
    let mut any = false;
    for (name, count) in [
        ("refused", of_all(Counters::refused_logins)),
        ("identity_changes", of_all(Counters::identity_changes)),
        ("unnamed_requests", of_all(Counters::unnamed_requests)),
    ] {
        any |= count > 0;
        let _ = write!(line, "{name}={count} ");
    }
    for leg in Leg::ALL {
        let histograms = counters.iter().map(|counters| counters.leg(leg));
        let percentile = |share| Histogram::percentile(&histograms, share);
        if let (Some(median), Some(p99)) = (percentile(0.5), percentile(0.99)) {
            any = true;
            let milliseconds = |duration: Duration| duration.as_micros() as f64 / 1000.0;
            let name = leg.as_str();
            let _ =
                write!(line, "{name}_p50_ms={} {name}_p99_ms={} ", milliseconds(median), milliseconds(p99));
        }
    }
    any.then(|| line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::Address;

    fn trouble() -> Trouble {
        let server = |name: &str, number| {
            let address = Address::Ip(([192, 0, 2, number], 80).into());
            Arc::new(Server::new(name, address, None).expect("an IP address"))
        };
        Trouble::new(vec![server("a:80", 1), server("b:80", 2), server("b:80", 3)])
    }

    fn happens(trouble: &Trouble, server: usize, times: u64) {
        let servers = &trouble.0[server].0;
        for server in servers.iter().cycle().take(times as usize) {
            server.count_symptom(Symptom::Type3Refused);
        }
    }

    fn sign(upstream: &str, count: u64) -> Sign {
        Sign { upstream: upstream.into(), symptom: Symptom::Type3Refused, count }
    }

    #[test]
    fn the_same_sign_again_and_again_is_said_once_a_minute_for_each_upstream() {
        let mut trouble = trouble();
        let begin = Instant::now();
        assert_eq!(trouble.look(begin), []);
        happens(&trouble, 1, 2);
        assert_eq!(trouble.look(begin), [], "two can be chance");
        happens(&trouble, 1, 1);
        assert_eq!(trouble.look(begin), [sign("b:80", 3)], "counted over all sessions");
        happens(&trouble, 1, 100);
        happens(&trouble, 0, 3);
        assert_eq!(trouble.look(begin + Duration::from_secs(59)), [sign("a:80", 3)]);
        assert_eq!(trouble.look(begin + Duration::from_secs(60)), [sign("b:80", 100)]);
        assert_eq!(trouble.look(begin + Duration::from_secs(600)), []);
    }

    #[test]
    fn a_run_without_logins_has_nothing_to_say_of_them() {
        assert_eq!(summary(&[Arc::new(Counters::default())]), None);
    }
}
