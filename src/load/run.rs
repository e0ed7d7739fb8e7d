//! A whole run: starts the threads, adds up their cuts, returns the summary.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::oneshot;

use super::failure::LoadError;
use super::plan::{Length, Pace, Plan};
use super::recorder::{Counts, Cut};
use super::samples::Samples;
use super::summary::{FORMAT, Left, Machine, Offered, Part, Run, Summary};
use super::timeline;
use super::worker::{self, Backlog, CUT_PERIOD, Clock, Done, News};

/// The time between the last ready thread and the start of the clock, so that all threads wait for it.
const START_AFTER: Duration = Duration::from_millis(5);
/// Open files besides the connections: rings, timers, epoll, standard streams, the report's files.
const OTHER_FILES: u64 = 64;

/// Runs the plan and returns the result. Calls `watch` after each second; `stop` ends the run early with the summary
/// up to then.
///
/// # Errors
/// Why the run did not start. Failures during the run are counted in the summary.
pub fn run(plan: &Plan, stop: &Arc<AtomicBool>, mut watch: impl FnMut(&Part)) -> Result<Summary, LoadError> {
    allow_descriptors(plan.connections as u64 + OTHER_FILES)?;
    let mut plan = plan.clone();
    let probe = move || worker::probe(&mut plan).map(|skipped| (plan, skipped));
    let probe = thread::Builder::new().spawn(probe).map_err(LoadError::Thread)?;
    let (plan, skipped_addresses) = probe.join().map_err(|_| LoadError::ThreadLost)??;
    let plan = Arc::new(plan);
    let mut threads = Vec::with_capacity(plan.threads);
    let mut clocks = Vec::with_capacity(plan.threads);
    let mut news = Vec::with_capacity(plan.threads);
    for index in 0..plan.threads {
        let (news_sender, news_receiver) = mpsc::channel();
        let (clock_sender, clock_receiver) = oneshot::channel();
        let (plan, stop) = (Arc::clone(&plan), Arc::clone(stop));
        let thread = thread::Builder::new()
            .name(format!("load-{index}"))
            .spawn(move || worker::run(&plan, index, &news_sender, clock_receiver, &stop))
            .map_err(LoadError::Thread)?;
        threads.push(thread);
        clocks.push(clock_sender);
        news.push(news_receiver);
    }
    let summary = add_up(&plan, clocks, &news, &mut watch);
    for thread in threads {
        thread.join().map_err(|_| LoadError::ThreadLost)?;
    }
    summary.map(|summary| Summary { skipped_addresses, ..summary })
}

/// Raises the soft limit of open files as far as needed and allowed.
fn allow_descriptors(needed: u64) -> Result<(), LoadError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| LoadError::Thread(e.into()))?;
    if needed <= soft {
        return Ok(());
    }
    if needed > hard {
        return Err(LoadError::Descriptors { needed, limit: hard });
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).map_err(|e| LoadError::Thread(e.into()))
}

fn add_up(
    plan: &Plan,
    clocks: Vec<oneshot::Sender<Clock>>,
    news: &[Receiver<News>],
    watch: &mut impl FnMut(&Part),
) -> Result<Summary, LoadError> {
    let preparing_since = Instant::now();
    let mut prepared = Cut::default();
    let mut is_ended = vec![false; news.len()];
    for (receiver, is_ended) in news.iter().zip(&mut is_ended) {
        match receiver.recv().map_err(|_| LoadError::ThreadLost)? {
            News::Ready(cut) => prepared.add(&cut),
            News::Failed(error) => return Err(error),
            News::Done(_) | News::Second(_) => *is_ended = true,
        }
    }
    let prepared_identities = std::mem::take(&mut prepared.identities);
    let prepared = Part::new(Duration::ZERO, preparing_since.elapsed(), &prepared);
    let start = Instant::now() + START_AFTER;
    let started = SystemTime::now();
    let measure_from = start + plan.warmup;
    let stop_at = match plan.length {
        Length::Time(duration) => Some(measure_from + duration),
        Length::Requests(_) => None,
    };
    // A run that is stopped before it begins has no clock: dropping the senders ends the other threads.
    if is_ended.contains(&true) {
        drop(clocks);
    } else {
        for clock in clocks {
            // If a thread has ended, reading its news finds that.
            let _ = clock.send(Clock { start, measure_from, stop_at });
        }
    }
    let mut sum = Sum::default();
    // Preparation gives no samples, but its leaks count.
    sum.drained.identities = prepared_identities;
    let mut is_open = is_ended.iter().map(|ended| !ended).collect::<Vec<_>>();
    while is_open.contains(&true) {
        let mut second = Cut::default();
        for (receiver, is_open) in news.iter().zip(&mut is_open).filter(|(_, is_open)| **is_open) {
            match receiver.recv().map_err(|_| LoadError::ThreadLost)? {
                News::Ready(_) => {}
                News::Second(cut) => second.add(&cut),
                News::Done(done) => {
                    *is_open = false;
                    second.add(&done.last);
                    sum.end(&done);
                }
                News::Failed(error) => return Err(error),
            }
        }
        sum.second(&second, watch);
    }
    Ok(sum.into_summary(plan, prepared, started))
}

/// The cuts of all threads so far.
#[derive(Default)]
struct Sum {
    in_time: Cut,
    drained: Cut,
    seconds: Vec<Part>,
    measured: Duration,
    thread_cpu: Vec<(Duration, Duration)>,
    unanswered: Left,
    unsent: Left,
}

impl Sum {
    fn second(&mut self, cut: &Cut, watch: &mut impl FnMut(&Part)) {
        self.in_time.add(cut);
        let start = CUT_PERIOD * self.seconds.len() as u32;
        // Threads end shortly after the last whole second, mostly with empty cuts.
        let is_empty = cut.counts == Counts::default() && cut.legs.is_empty();
        if is_empty && self.measured > Duration::ZERO && self.measured < start + CUT_PERIOD / 10 {
            return;
        }
        let ends_at = if self.measured > start { self.measured } else { start + CUT_PERIOD };
        let part = Part::new(start, ends_at.saturating_sub(start).min(CUT_PERIOD), cut);
        watch(&part);
        self.seconds.push(part);
    }

    fn end(&mut self, done: &Done) {
        self.drained.add(&done.drained);
        self.measured = self.measured.max(done.measured);
        self.thread_cpu.push((done.cpu, done.measured));
        self.unanswered.add(done.unanswered.into());
        self.unsent.add(done.unsent.into());
    }

    fn into_summary(mut self, plan: &Plan, prepared: Part, started: SystemTime) -> Summary {
        let in_time = self.in_time.counts.clone();
        self.in_time.add(&self.drained);
        let all = self.in_time;
        let offered = match plan.pace {
            Pace::Closed => None,
            Pace::Open { rate, arrivals } => Some(Offered { rate, arrivals }),
        };
        let run = Run {
            command: plan.command.clone(),
            started: humantime::format_rfc3339_seconds(started).to_string(),
            started_unix_seconds: started.duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
            machine: Machine::this(),
            scenario: plan.scenario,
            auth: plan.auth.name().to_owned(),
            urls: plan.targets.iter().map(|target| target.url.clone()).collect(),
            method: Some(plan.request.method.clone()),
            body_bytes: Some(plan.request.body.as_ref().map_or(0, |body| body.len() as u64)),
            connections: plan.connections,
            warmup_seconds: plan.warmup.as_secs_f64(),
            offered,
            thread_cpu_shares: self.thread_cpu.iter().map(|(cpu, time)| share(*cpu, *time)).collect(),
            memory_peak_bytes: memory_peak_bytes(),
        };
        let samples: BTreeMap<_, _> = all.legs.into_iter().map(|(leg, s)| (leg, Samples(s))).collect();
        Summary {
            format: FORMAT,
            runs: vec![run],
            measured_seconds: self.measured.as_secs_f64(),
            in_time,
            counts: all.counts,
            legs: samples,
            send_lag: all.send_lag.map(Samples),
            prepared,
            timeline: timeline::of(&self.seconds),
            seconds: self.seconds,
            unanswered: self.unanswered,
            unsent: self.unsent,
            identities: plan.identity.is_some().then_some(all.identities),
            objective: None,
            search: Vec::new(),
            skipped_addresses: Vec::new(),
        }
    }
}

impl From<Backlog> for Left {
    fn from(backlog: Backlog) -> Self {
        Self { count: backlog.count, oldest_seconds: backlog.oldest.as_secs_f64() }
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

/// `VmHWM` of proc(5).
fn memory_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::load::plan::tests::plan;
    use crate::load::warning::Warning;

    /// A server that answers whatever it reads; its address.
    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                thread::spawn(move || {
                    while client.read(&mut [0; 4096]).is_ok_and(|count| count > 0)
                        && client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
                    {
                    }
                });
            }
        });
        address
    }

    #[test]
    fn a_dead_address_of_a_name_is_left_out_and_said() {
        // Taken, without a listener.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let dead = socket.local_addr().unwrap().as_socket().unwrap();
        let mut plan = plan("http://127.0.0.1:1/");
        plan.targets[0].addresses = vec![dead, server()];
        (plan.connections, plan.length) = (2, Length::Requests(10));
        let summary = run(&plan, &Arc::default(), |_| ()).unwrap();
        assert_eq!((summary.counts.requests, summary.counts.errors_total()), (10, 0));
        let warnings = summary.warnings();
        let [Warning::SkippedAddress { cause, .. }] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(cause.contains(&dead.to_string()), "{cause}");
    }
}
