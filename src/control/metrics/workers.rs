//! What each worker and its ring count of themselves.

use std::fmt;
use std::sync::Arc;

use super::page::{About, Labels, Page};
use crate::control::service_manager::Stuck;
use crate::proxy::counters::Counters;
use crate::uring::{RingCounters, Shortage};

const ACCEPTED: About =
    About::new("worker_connections_accepted", "Connections of clients that the worker has begun to serve");
const GIVEN: About = About::new(
    "worker_connections_given",
    "Connections of clients that the worker has accepted and given to another one, which had fewer by more than a quarter",
);
const ACTIVE: About =
    About::new("worker_connections_active", "Connections of clients that the worker serves");
const TURNS: About =
    About::new("worker_turn_completions", "Completions that a turn of the worker's ring began with");
const BUSY: About = About::new(
    "worker_turn_in_progress",
    "For how long the worker's turn has been taking; 0 while it waits for something to do",
)
.seconds();
const STUCK: About = About::new(
    "worker_stuck",
    "For how long the worker has taken no turn although it was told to; 0 if it takes turns",
)
.seconds();
const OVERFLOWS: About = About::new(
    "worker_completion_overflows",
    "Turns that found more completions than the worker's completion queue holds",
);
const BUFFERS: About = About::new("worker_buffers", "Receive buffers of the worker");
const BUFFERS_LENT: About =
    About::new("worker_buffers_lent", "Receive buffers of the worker that hold bytes");
const PIPES: About = About::new("worker_pipes", "Pipes of the worker");
const PIPES_LENT: About = About::new("worker_pipes_lent", "Pipes of the worker that move bulk");
const SHORTAGES: About =
    About::new("worker_shortages", "How often the worker needed a resource that had run out");

/// A worker's number, as it is in its thread's name.
struct Worker<'a> {
    number: String,
    counters: &'a Counters,
}

/// Writes all of it.
pub(super) fn write(counters: &[Arc<Counters>], stuck: &Stuck, page: &mut Page<'_>) -> fmt::Result {
    let all: Vec<_> = counters
        .iter()
        .enumerate()
        .map(|(number, counters)| Worker { number: number.to_string(), counters })
        .collect();
    page.counters(ACCEPTED, all.iter().map(|one| (one.labels(), one.counters.accepted().get())))?;
    page.counters(GIVEN, all.iter().map(|one| (one.labels(), one.counters.given().get())))?;
    page.gauges(ACTIVE, all.iter().map(|one| (one.labels(), one.counters.active().get() as f64)))?;
    let rings: Vec<_> = all.iter().filter_map(|one| Some((one, one.counters.ring()?))).collect();
    let gauges = |of: fn(&RingCounters) -> f64| {
        rings.iter().map(move |(one, ring)| (one.labels(), of(ring))).collect::<Vec<_>>()
    };
    let turns =
        rings.iter().map(|(one, ring)| (one.labels(), (ring.completions() as f64, ring.turns().to_vec())));
    page.spreads(TURNS, &RingCounters::BOUNDS.map(|bound| bound as f64), turns)?;
    page.gauges(BUSY, gauges(|ring| ring.turn_takes().as_secs_f64()))?;
    let stuck = stuck.workers();
    let silent = |worker: usize| {
        stuck.iter().find(|(number, _)| *number == worker).map_or(0.0, |(_, silent)| silent.as_secs_f64())
    };
    page.gauges(STUCK, all.iter().enumerate().map(|(worker, one)| (one.labels(), silent(worker))))?;
    page.counters(OVERFLOWS, rings.iter().map(|(one, ring)| (one.labels(), ring.overflows.get())))?;
    page.gauges(BUFFERS, gauges(|ring| ring.buffers.get() as f64))?;
    page.gauges(BUFFERS_LENT, gauges(|ring| ring.buffers_lent.get() as f64))?;
    page.gauges(PIPES, gauges(|ring| ring.pipes.get() as f64))?;
    page.gauges(PIPES_LENT, gauges(|ring| ring.pipes_lent.get() as f64))?;
    let shortages = Shortage::ALL.into_iter().flat_map(|shortage| {
        rings.iter().map(move |(one, ring)| {
            let mut labels = one.labels();
            labels.push(("resource", shortage.as_str()));
            (labels, ring.shortages(shortage))
        })
    });
    page.counters(SHORTAGES, shortages)
}

impl Worker<'_> {
    fn labels(&self) -> Labels<'_> {
        vec![("worker", &self.number)]
    }
}
