//! `/metrics`: what workers count, and what is known of servers and of the process, in the `OpenMetrics` text format.
//!
//! ```text
//!   workers' cells --sums--> traffic --.
//!   workers' rings ----------> workers --+--> page (prometheus-client) --> text
//!   servers, queues ---------> servers --|
//!   this host, certificates -> process --'
//! ```
//!
//! It reads numbers while their owners write them, and must never make one wait. What can be served bounds the number of
//! lines: no label has a value that a client chooses.

mod page;
mod process;
mod servers;
mod sums;
mod traffic;
mod workers;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use super::certificates::Owner;
use super::handover::{Generations, Report};
use super::service_manager::Stuck;
use super::tls::Expiry;
use crate::proxy::counters::{Counter, Counters};
use crate::proxy::seats::Seats;
use crate::proxy::settings::Service;
use page::{About, Page};

/// What HTTP calls the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const BUILD: About = About::new("build", "The version of iisplice");
const LIMIT: About = About::new("connections_max", "Most connections of clients at once");
const LIMIT_REACHED: About =
    About::new("connections_max_reached", "How often a client had to wait because there were as many");
const LOG_DROPPED: About =
    About::new("access_log_lines_dropped", "Lines of the access log that were never written");
const CHANGES: About =
    About::new("identity_changes", "How often the user of a client connection changed, or was about to");
const UNNAMED: About =
    About::new("unnamed_requests", "Requests whose credentials name no user in readable form");
const GENERATION: About =
    About::new("generation_connections", "Connections of clients that a process of the proxy serves");
const EXPIRY: About =
    About::new("certificate_not_after", "When a certificate expires, in seconds since 1970").seconds();

/// What the text is made of: all that is shared between threads.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    /// Of each worker.
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) seats: Arc<Seats>,
    /// Workers that take no turn.
    pub(super) stuck: Arc<Stuck>,
    pub(super) sessions_max: usize,
    pub(super) log: DroppedLines,
    pub(super) services: Vec<Arc<Service>>,
    /// The proxy's own certificates.
    pub(super) certificates: Vec<(Owner, Expiry)>,
    /// When the process started.
    pub(super) started: SystemTime,
    pub(super) generations: Arc<Generations>,
}

impl Sources {
    /// The processes of the proxy that live, each with its state: this one, then those before it.
    pub(super) fn generations(&self) -> Vec<(&'static str, Report)> {
        let own = ("serving", self.generations.own(&self.counters));
        let older = self.generations.older().into_iter().map(|report| ("draining", report));
        std::iter::once(own).chain(older).collect()
    }
}

/// How many lines the access log has lost.
#[derive(Debug, Clone, Default)]
pub(super) struct DroppedLines {
    /// Logs that have ended.
    pub(super) earlier: u64,
    /// The log in use.
    pub(super) current: Option<Arc<AtomicU64>>,
}

impl DroppedLines {
    fn count(&self) -> u64 {
        self.earlier + self.current.as_ref().map_or(0, |lines| lines.load(Ordering::Relaxed))
    }
}

/// The text.
pub(super) fn text(sources: &Sources) -> String {
    let mut text = String::new();
    let mut own = Registry::with_prefix("iisplice");
    own.register_collector(Box::new(Own(sources.clone())));
    let mut process = Registry::default();
    process.register_collector(Box::new(Process(sources.started)));
    // Writing to a String does not fail.
    let _ = encode_registry(&mut text, &own);
    let _ = encode_registry(&mut text, &process);
    let _ = encode_eof(&mut text);
    text
}

/// What only iisplice has.
#[derive(Debug)]
struct Own(Sources);

impl Collector for Own {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(sources) = self;
        let page = &mut Page(encoder);
        page.info(BUILD, &vec![("version", env!("CARGO_PKG_VERSION"))])?;
        traffic::write(&sums::sums(&sources.counters), page)?;
        servers::write(&sources.services, page)?;
        workers::write(&sources.counters, &sources.stuck, page)?;
        write_rest(sources, page)
    }
}

fn write_rest(sources: &Sources, page: &mut Page<'_>) -> fmt::Result {
    let one = |value| [(Vec::new(), value)];
    let sum = |of: fn(&Counters) -> &Counter| sources.counters.iter().map(|all| of(all).get()).sum();
    page.gauges(LIMIT, one(sources.sessions_max as f64))?;
    page.counters(LIMIT_REACHED, [(Vec::new(), sources.seats.times_full())])?;
    page.counters(LOG_DROPPED, [(Vec::new(), sources.log.count())])?;
    page.counters(CHANGES, [(Vec::new(), sum(Counters::identity_changes))])?;
    page.counters(UNNAMED, [(Vec::new(), sum(Counters::unnamed_requests))])?;
    let generations = sources.generations();
    let numbered: Vec<_> =
        generations.iter().map(|(state, report)| (report.generation.to_string(), *state, report)).collect();
    let lines = numbered.iter().map(|(number, state, report)| {
        (vec![("generation", number.as_str()), ("state", *state)], report.connections as f64)
    });
    page.gauges(GENERATION, lines)?;
    // Two can have the same name, one for each type of key: the first that expires is the one to know of.
    let mut first = BTreeMap::new();
    for (owner, Expiry { name, not_after }) in &sources.certificates {
        let known = first.entry((owner, &**name)).or_insert(*not_after);
        *known = (*known).min(*not_after);
    }
    let certificates = first.into_iter().map(|((owner, name), not_after)| {
        let [service, group] = [owner.service(), owner.group()].map(Option::unwrap_or_default);
        let labels = vec![("service", service), ("group", group), ("side", owner.side()), ("name", name)];
        (labels, not_after as f64)
    });
    page.gauges(EXPIRY, certificates)
}

/// What every exporter tells of its process.
#[derive(Debug)]
struct Process(SystemTime);

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(started) = self;
        let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        process::write(since.as_secs_f64(), &mut Page(encoder))
    }
}
