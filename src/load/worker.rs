//! One thread of the load: a ring, its connections, its recorder. It shares only the plan and the stop flag with other
//! threads.
//!
//! ```text
//! connections prepared -> Ready -> the clock starts -> a cut a second -> stop -> requests in flight end -> Done
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::arrivals::{self, Unreleased};
use super::client;
use super::connection::{self, EndedBy, Slot};
use super::failure::LoadError;
use super::plan::{Length, Pace, Plan};
use super::recorder::{Cut, Recorder};
use super::request::Requests;
use super::summary::SkippedAddress;

/// Concurrent connects of one thread before the clock starts: below every listen backlog.
const PREPARED_AT_ONCE: usize = 64;
/// The number of probes of a target before the run.
const PROBES_MAX: u32 = 3;
/// How long requests in flight at the end of the run may take to end by themselves.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// The series is cut once a second.
pub(super) const CUT_PERIOD: Duration = Duration::from_secs(1);
/// Submission entries of the ring.
const RING_ENTRIES: u32 = 1024;

/// The times of a run, the same for all threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// The first request may be sent.
    pub start: Instant,
    /// The warm-up ends.
    pub measure_from: Instant,
    /// No more requests are sent; `None`: the run stops after a number of requests.
    pub stop_at: Option<Instant>,
}

/// A message of a thread to the one that adds up.
#[derive(Debug)]
pub(super) enum News {
    /// The connections are ready. The cut of the preparation.
    Ready(Cut),
    /// The cut of a second after the warm-up; in order.
    Second(Cut),
    /// The thread has ended.
    Done(Box<Done>),
    /// The thread could not start.
    Failed(LoadError),
}

/// The last message of a thread.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The last, shorter second, up to the stop.
    pub last: Cut,
    /// The cut after the stop: replies to requests sent before it.
    pub drained: Cut,
    /// From the end of the warm-up to the stop.
    pub measured: Duration,
    /// CPU time of this thread in that time.
    pub cpu: Duration,
    /// Requests without an answer at the end.
    pub unanswered: Backlog,
    /// Open loop: requests that were due and not sent because no connection was free.
    pub unsent: Backlog,
}

/// The requests left when the run ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backlog {
    /// How many.
    pub count: u64,
    /// How long the oldest had waited.
    pub oldest: Duration,
}

impl Backlog {
    fn add(&mut self, waited: Duration) {
        self.count += 1;
        self.oldest = self.oldest.max(waited);
    }
}

/// One thread's state, shared by its tasks.
#[derive(Debug)]
pub(super) struct Worker {
    pub plan: Arc<Plan>,
    pub index: usize,
    /// For each target.
    pub requests: Vec<Requests>,
    pub recorder: RefCell<Recorder>,
    pub slots: RefCell<Vec<Rc<Slot>>>,
    /// Limits concurrent connects before the clock starts.
    pub preparing: Semaphore,
    clock: Cell<Option<Clock>>,
    clock_started: Notify,
    is_stopped: Cell<bool>,
    /// Connections not yet ready, then clients that have not ended.
    under_way: Cell<usize>,
    under_way_changed: Notify,
    /// Requests left to send after the warm-up.
    budget: Cell<u64>,
    /// Open loop: due requests that wait for a free connection.
    pub due: RefCell<VecDeque<Instant>>,
    pub due_changed: Notify,
    is_last_due: Cell<bool>,
}

impl Worker {
    fn new(plan: Arc<Plan>, index: usize) -> Self {
        let connections = plan.connections_of(index).count();
        let budget = match plan.length {
            Length::Time(_) => u64::MAX,
            Length::Requests(all) => share_of(all, index, plan.threads),
        };
        Self {
            index,
            requests: plan.targets.iter().map(|target| Requests::new(&plan, target)).collect(),
            recorder: RefCell::new(Recorder::default()),
            slots: RefCell::new(Vec::with_capacity(connections)),
            preparing: Semaphore::new(PREPARED_AT_ONCE),
            clock: Cell::new(None),
            clock_started: Notify::new(),
            is_stopped: Cell::new(false),
            under_way: Cell::new(connections),
            under_way_changed: Notify::new(),
            budget: Cell::new(budget),
            due: RefCell::new(VecDeque::new()),
            due_changed: Notify::new(),
            is_last_due: Cell::new(false),
            plan,
        }
    }

    /// Counts one less under way: a connection is ready or a client has ended.
    pub(super) fn one_less(&self) {
        self.under_way.set(self.under_way.get() - 1);
        self.under_way_changed.notify_one();
    }

    async fn none_under_way(&self) {
        while self.under_way.get() > 0 {
            self.under_way_changed.notified().await;
        }
    }

    /// Waits until the clock starts.
    pub(super) async fn clock_start(&self) {
        while self.clock.get().is_none() {
            self.clock_started.notified().await;
        }
    }

    /// The due time of the next request, which may have passed; `None`: there is none.
    pub(super) async fn next_due(&self) -> Option<Instant> {
        match self.plan.pace {
            Pace::Closed => {
                let now = Instant::now();
                self.may_begin(now).then_some(now)
            }
            Pace::Open { .. } => loop {
                if self.is_stopped.get() {
                    return None;
                }
                if let Some(due) = self.due.borrow_mut().pop_front() {
                    return Some(due);
                }
                if self.is_last_due.get() {
                    return None;
                }
                self.due_changed.notified().await;
            },
        }
    }

    /// Whether a request that is due now may still begin; takes it off the budget.
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        let Some(clock) = self.clock.get() else { return false };
        if self.is_stopped.get() || clock.stop_at.is_some_and(|stop_at| now >= stop_at) {
            return false;
        }
        if now >= clock.measure_from {
            let Some(left) = self.budget.get().checked_sub(1) else { return false };
            self.budget.set(left);
        }
        true
    }

    /// Open loop: no more requests follow those in the queue.
    pub(super) fn no_more_due(&self) {
        self.is_last_due.set(true);
        self.due_changed.notify_waiters();
    }

    pub(super) fn is_open_loop(&self) -> bool {
        self.plan.pace != Pace::Closed
    }

    fn stop(&self) {
        self.is_stopped.set(true);
        self.due_changed.notify_waiters();
    }

    /// Ends connections that have waited for an answer longer than the time-out.
    fn end_overdue(&self, now: Instant) {
        for slot in self.slots.borrow().iter() {
            if slot.busy_since().is_some_and(|since| now.duration_since(since) >= self.plan.timeout) {
                slot.end(EndedBy::Timeout);
            }
        }
    }

    /// Ends all connections; returns the requests without an answer.
    fn end_all(&self, now: Instant) -> Backlog {
        let mut unanswered = Backlog::default();
        for slot in self.slots.borrow().iter() {
            if let Some(since) = slot.busy_since() {
                unanswered.add(now.duration_since(since));
            }
            slot.end(EndedBy::RunEnd);
        }
        unanswered
    }
}

/// The share of thread `index` in `all`, as even as possible.
fn share_of(all: u64, index: usize, threads: usize) -> u64 {
    let (index, threads) = (index as u64, threads as u64);
    all / threads + u64::from(index < all % threads)
}

/// Runs one thread's share of the plan on the calling thread to its end. `stop` ends it early.
pub(super) fn run(
    plan: &Arc<Plan>,
    index: usize,
    news: &Sender<News>,
    clock: oneshot::Receiver<Clock>,
    stop: &AtomicBool,
) {
    let worker = Rc::new(Worker::new(Arc::clone(plan), index));
    match tokio_uring::Runtime::new(&ring()) {
        Ok(runtime) => {
            let last_message = match runtime.block_on(live(worker, news, clock, stop)) {
                Ok(done) => News::Done(Box::new(done)),
                Err(error) => News::Failed(error),
            };
            // The receiver is gone only if the thread that adds up has ended, which needs no news.
            let _ = news.send(last_message);
        }
        Err(cause) => {
            let _ = news.send(News::Failed(LoadError::Ring(cause)));
        }
    }
}

/// The settings of a thread's ring.
fn ring() -> tokio_uring::Builder {
    let mut settings = tokio_uring::uring_builder();
    // A completion waits for the thread's next system call and does not interrupt the thread. An interrupt for each
    // reply costs a busy core up to a quarter of its requests (io_uring_setup(2), IORING_SETUP_COOP_TASKRUN).
    settings.setup_coop_taskrun();
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES).uring_builder(&settings);
    builder
}

/// Probes each target once, so that a run that cannot work ends at once with the reason. A target that fails sometimes,
/// which the run may want to measure, gets three probes. Skips addresses that do not answer if their name has others.
pub(super) fn probe(plan: &mut Plan) -> Result<Vec<SkippedAddress>, LoadError> {
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder()).map_err(LoadError::Ring)?;
    let skipped = runtime.block_on(skip_dead_addresses(plan));
    // The login of a probe is not recorded.
    let plan = Arc::new(Plan { record: None, ..plan.clone() });
    let worker = Rc::new(Worker::new(Arc::clone(&plan), 0));
    runtime.block_on(async {
        let sweeper = Rc::clone(&worker);
        tokio_uring::spawn(async move {
            loop {
                tokio::time::sleep(sweeper.sweep_period()).await;
                sweeper.end_overdue(Instant::now());
            }
        });
        for (connection, target) in plan.targets.iter().enumerate() {
            let mut tries = 0;
            while let Err(failure) = client::probe(&worker, connection).await {
                tries += 1;
                if tries == PROBES_MAX {
                    return Err(LoadError::Target { url: target.url.clone(), failure });
                }
            }
        }
        Ok(skipped)
    })
}

/// Removes dead addresses of names that have others. If no address answers, all stay: the probe reports the reason.
async fn skip_dead_addresses(plan: &mut Plan) -> Vec<SkippedAddress> {
    let (source, timeout) = (plan.source_of(0), plan.timeout);
    let mut skipped = Vec::new();
    for target in plan.targets.iter_mut().filter(|target| target.addresses.len() > 1) {
        let mut dead = Vec::new();
        for &address in &target.addresses {
            // An address of another family than the source also fails here.
            if let Err(failure) = connection::try_address(address, source, timeout).await {
                let (address, cause) = (address.to_string(), failure.to_string());
                dead.push(SkippedAddress { url: target.url.clone(), address, cause });
            }
        }
        if dead.len() < target.addresses.len() {
            target.addresses.retain(|kept| dead.iter().all(|dead| dead.address != kept.to_string()));
            skipped.append(&mut dead);
        }
    }
    skipped
}

async fn live(
    worker: Rc<Worker>,
    news: &Sender<News>,
    clock: oneshot::Receiver<Clock>,
    stop: &AtomicBool,
) -> Result<Done, LoadError> {
    let timer = arrivals::Timer::new().map_err(LoadError::Thread)?;
    let mut clients: Vec<_> = worker
        .plan
        .connections_of(worker.index)
        .map(|connection| tokio_uring::spawn(client::live(Rc::clone(&worker), connection)))
        .collect();
    while worker.under_way.get() > 0 && !stop.load(Ordering::Relaxed) {
        // The time-out of the wait only starts the next sweep.
        let _ = tokio::time::timeout(worker.sweep_period(), worker.none_under_way()).await;
        worker.end_overdue(Instant::now());
    }
    if stop.load(Ordering::Relaxed) {
        worker.end_all(Instant::now());
        return Ok(Done::default());
    }
    let _ = news.send(News::Ready(worker.recorder.borrow_mut().cut()));
    // Another thread did not start, or saw the stop flag first.
    let Ok(clock) = clock.await else { return Ok(Done::default()) };
    // Requests that began earlier would count as warm-up.
    tokio::time::sleep_until(clock.start.into()).await;

    worker.under_way.set(clients.len());
    worker.recorder.borrow_mut().leave_out_before(clock.measure_from);
    worker.clock.set(Some(clock));
    worker.clock_started.notify_waiters();
    let unreleased = if let Pace::Open { rate, arrivals } = worker.plan.pace {
        let unreleased = Rc::new(Unreleased::new(&worker.plan, worker.index, rate, arrivals, clock));
        let release = arrivals::release(Rc::clone(&worker), timer, Rc::clone(&unreleased));
        clients.push(tokio_uring::spawn(release));
        Some(unreleased)
    } else {
        None
    };
    let (measured, cpu) = measure(&worker, news, clock, stop).await;
    if let Some(unreleased) = unreleased {
        unreleased.release_overdue(&worker, Instant::now());
    }
    worker.stop();
    let last = worker.recorder.borrow_mut().cut();
    let now = Instant::now();
    let mut unsent = Backlog::default();
    for due in worker.due.borrow().iter() {
        unsent.add(now.saturating_duration_since(*due));
    }
    let drain_time = DRAIN_TIME_MAX.min(worker.plan.timeout);
    let _ = tokio::time::timeout(drain_time, worker.none_under_way()).await;
    let unanswered = worker.end_all(Instant::now());
    // Now every read ends at once. Other tasks only sleep or connect and can be dropped.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, worker.none_under_way()).await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    let drained = worker.recorder.borrow_mut().cut();
    Ok(Done { last, drained, measured, cpu, unanswered, unsent })
}

/// From the start of the clock to the stop: sends a cut each second and ends what takes too long. Returns the measured
/// time and the CPU time used in it.
async fn measure(
    worker: &Worker,
    news: &Sender<News>,
    clock: Clock,
    stop: &AtomicBool,
) -> (Duration, Duration) {
    let mut next_cut = clock.measure_from + CUT_PERIOD;
    let mut cpu_before = None;
    loop {
        let now = Instant::now();
        if cpu_before.is_none() && now >= clock.measure_from {
            cpu_before = Some(cpu_time());
        }
        let is_over = clock.stop_at.is_some_and(|stop_at| now >= stop_at)
            || stop.load(Ordering::Relaxed)
            || worker.under_way.get() == 0;
        if now >= next_cut {
            next_cut += CUT_PERIOD;
            let _ = news.send(News::Second(worker.recorder.borrow_mut().cut()));
        }
        if is_over {
            let cpu = cpu_time().saturating_sub(cpu_before.unwrap_or_default());
            return (now.saturating_duration_since(clock.measure_from), cpu);
        }
        worker.end_overdue(now);
        let mut wake_at = next_cut.min(now + worker.sweep_period());
        wake_at = clock.stop_at.map_or(wake_at, |stop_at| wake_at.min(stop_at));
        if cpu_before.is_none() {
            wake_at = wake_at.min(clock.measure_from);
        }
        let _ = tokio::time::timeout_at(wake_at.into(), worker.none_under_way()).await;
    }
}

impl Worker {
    /// How often the thread looks for overdue answers and the stop flag: a time-out is exact to a fiftieth.
    fn sweep_period(&self) -> Duration {
        (self.plan.timeout / 50).clamp(Duration::from_millis(1), Duration::from_millis(100))
    }
}

/// CPU time of the calling thread so far.
fn cpu_time() -> Duration {
    let microseconds = getrusage(UsageWho::RUSAGE_THREAD)
        .map_or(0, |usage| (usage.user_time() + usage.system_time()).num_microseconds());
    Duration::from_micros(microseconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_dealt_out_without_loss() {
        for (all, threads) in [(0, 3), (1, 3), (10, 3), (10, 1), (7, 7)] {
            let dealt: u64 = (0..threads).map(|index| share_of(all, index, threads)).sum();
            assert_eq!(dealt, all, "{all} over {threads}");
        }
    }
}
