//! The login symptoms and counts of all workers together: logged while they occur, and at the end.
//!
//! One failed login is a user's typing error. The same symptom repeatedly at one server has a cause that can be named.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::protocol::login::{Leg, Mechanism, Symptom};
use crate::proxy::counters::{Counter, Counters, Histogram};
use crate::upstream::{Incidents, Server};

/// How often the counters are read.
const INTERVAL: Duration = Duration::from_secs(1);
/// Shortest interval between two lines about the same symptom at the same server.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// This many of a kind since the last line are not chance.
const MANY: u64 = 3;

/// The thread that watches for symptoms. It ends with the process.
#[derive(Debug)]
pub(super) struct Watch(Arc<Mutex<Trouble>>);

impl Watch {
    /// Starts the thread, which watches no server yet.
    ///
    /// # Errors
    /// No thread.
    pub(super) fn start() -> io::Result<Self> {
        let trouble = Arc::new(Mutex::new(Trouble::default()));
        let watched = Arc::clone(&trouble);
        thread::Builder::new().name("logins".to_owned()).spawn(move || {
            loop {
                thread::sleep(INTERVAL);
                let signs = watched.lock().unwrap_or_else(PoisonError::into_inner).look(Instant::now());
                signs.iter().for_each(Sign::log);
            }
        })?;
        Ok(Self(trouble))
    }

    /// Watches these servers from now on. What was logged of a server counts for the one with its state.
    pub(super) fn set(&self, servers: Vec<Arc<Server>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).set(servers);
    }
}

/// A symptom to log.
#[derive(Debug, PartialEq, Eq)]
struct Sign {
    upstream: Arc<str>,
    symptom: Symptom,
    /// Number since the last line.
    count: u64,
}

impl Sign {
    fn log(&self) {
        let Self { upstream, symptom, count } = self;
        tracing::warn!(
            upstream = &**upstream,
            symptom = symptom.as_str(),
            count,
            "{}; check {}",
            symptom.explanation(),
            symptom.check()
        );
    }
}

/// The servers of each name, and what was logged of them.
#[derive(Debug, Default)]
struct Trouble(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    /// All of one name; never empty.
    servers: Vec<Arc<Server>>,
    logged: [Logged; Symptom::ALL.len()],
}

#[derive(Debug, Clone, Copy, Default)]
struct Logged {
    count: u64,
    at: Option<Instant>,
}

impl Watched {
    fn count(&self, symptom: Symptom) -> u64 {
        // The servers of a name in one group share them.
        let mut counted: Vec<&Arc<Incidents>> = Vec::new();
        for incidents in self.servers.iter().map(|server| server.incidents()) {
            if !counted.iter().any(|known| Arc::ptr_eq(known, incidents)) {
                counted.push(incidents);
            }
        }
        counted.into_iter().map(|incidents| incidents.symptoms(symptom)).sum()
    }
}

impl Trouble {
    /// Servers of the same name as some before take their place: what was logged of those is not logged again.
    fn set(&mut self, servers: Vec<Arc<Server>>) {
        let mut watched: Vec<Watched> = Vec::new();
        for server in servers {
            match watched.iter_mut().find(|known| known.servers[0].name() == server.name()) {
                Some(known) => known.servers.push(server),
                None => watched.push(Watched { servers: vec![server], logged: Default::default() }),
            }
        }
        for next in &mut watched {
            let before = self.0.iter().find(|known| known.servers[0].name() == next.servers[0].name());
            let Some(before) = before else { continue };
            for symptom in Symptom::ALL {
                let Logged { count, at } = before.logged[symptom as usize];
                let pending = before.count(symptom) - count;
                next.logged[symptom as usize] =
                    Logged { count: next.count(symptom).saturating_sub(pending), at };
            }
        }
        self.0 = watched;
    }

    fn look(&mut self, now: Instant) -> Vec<Sign> {
        let mut signs = Vec::new();
        for watched in &mut self.0 {
            for symptom in Symptom::ALL {
                let count = watched.count(symptom);
                let Watched { servers, logged } = &mut *watched;
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
        let mut trouble = Trouble::default();
        trouble.set(vec![server("a:80", 1), server("b:80", 2), server("b:80", 3)]);
        trouble
    }

    fn happens(trouble: &Trouble, server: usize, times: u64) {
        let servers = &trouble.0[server].servers;
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
    fn what_was_said_of_a_server_is_not_said_again_of_the_one_that_takes_its_place() {
        let mut trouble = trouble();
        let begin = Instant::now();
        happens(&trouble, 1, 3);
        assert_eq!(trouble.look(begin), [sign("b:80", 3)]);
        let heir = |server: &Arc<Server>| Arc::new(Server::clone(server).inherit(server));
        let [stays, goes] = &trouble.0[1].servers[..] else { panic!("two servers") };
        goes.count_symptom(Symptom::Type3Refused);
        let (stays, comes) = (heir(stays), Server::new("c:80", goes.address().clone(), None));
        trouble.set(vec![stays, Arc::new(comes.expect("an IP address"))]);
        let later = begin + LOG_INTERVAL;
        assert_eq!(trouble.look(later), []);
        happens(&trouble, 0, 2);
        happens(&trouble, 1, 3);
        assert_eq!(trouble.look(begin), [sign("c:80", 3)]);
        assert_eq!(trouble.look(later), [sign("b:80", 3)], "one was counted before");
    }

    #[test]
    fn a_run_without_logins_has_nothing_to_say_of_them() {
        assert_eq!(summary(&[Arc::new(Counters::default())]), None);
    }
}
