//! What one connection does, from the preparation to the end of the run.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Reply, Slot};
use super::failure::Failure;
use super::plan::Scenario;
use super::recorder::{ErrorClass, Leg};
use super::worker::Worker;

/// After a failed connect the next try waits so long at first, and twice as long each time, up to the second one:
/// a dead server is not to be hammered in a tight loop.
const RETRY_AFTER: Duration = Duration::from_millis(1);
const RETRY_AFTER_MAX: Duration = Duration::from_millis(200);

/// One client: the connection it has at the moment and what it did on it.
struct Client {
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    /// Its number among all connections of the run.
    number: usize,
    connection: Option<Connection>,
    requests_on_connection: u64,
    retry_after: Duration,
}

/// Lives one client's life: prepares if the scenario says so, waits for the clock, works until nothing is due.
pub(super) async fn live(worker: Rc<Worker>, number: usize) {
    let slot = Rc::new(Slot::default());
    worker.slots.borrow_mut().push(Rc::clone(&slot));
    let mut client = Client {
        slot,
        number,
        connection: None,
        requests_on_connection: 0,
        retry_after: RETRY_AFTER,
        worker: Rc::clone(&worker),
    };
    if worker.plan.scenario.prepares() {
        // The semaphore lives as long as the worker and is never closed.
        let _turn = worker.preparing.acquire().await;
        client.prepare().await;
    }
    worker.one_less();
    worker.clock_start().await;
    while let Some(due) = worker.next_due().await {
        client.work(due).await;
    }
    // Closed before the end is told, so that "no client left" means "no connection left".
    drop(client);
    worker.one_less();
}

impl Client {
    /// Makes the connection ahead of the clock. If that fails it was counted, and the first request tries again.
    async fn prepare(&mut self) {
        let began = Instant::now();
        if let Err(failure) = self.connect(began).await {
            self.failed(&failure, began);
        }
    }

    /// One request that was due then, or one login.
    async fn work(&mut self, due: Instant) {
        let began = Instant::now();
        let outcome = match self.worker.plan.scenario {
            Scenario::Login => self.login_only(began).await,
            Scenario::Session { requests_per_login } => self.request(requests_per_login).await,
            Scenario::Steady | Scenario::Bulk => self.request(u64::MAX).await,
        };
        self.count_traffic(began);
        match outcome {
            Ok(ended) => {
                self.retry_after = RETRY_AFTER;
                if self.worker.is_open_loop() {
                    self.worker.recorder.borrow_mut().sample(Leg::FromIntendedStart, due, ended);
                }
            }
            Err(failure) => {
                self.connection = None;
                self.failed(&failure, began);
                if matches!(failure, Failure::Connect { .. }) {
                    tokio::time::sleep(self.retry_after).await;
                    self.retry_after = (self.retry_after * 2).min(RETRY_AFTER_MAX);
                }
            }
        }
    }

    /// Connect, log in, close.
    async fn login_only(&mut self, began: Instant) -> Result<Instant, Failure> {
        self.connect(began).await?;
        let ended = self.exchange().await?;
        self.count_traffic(began);
        self.connection = None;
        Ok(ended)
    }

    /// One request, on a new connection if there is none; closes it after so many.
    async fn request(&mut self, requests_per_connection: u64) -> Result<Instant, Failure> {
        if self.connection.is_none() {
            self.connect(Instant::now()).await?;
        }
        let ended = self.exchange().await?;
        if self.requests_on_connection >= requests_per_connection {
            self.connection = None;
        }
        Ok(ended)
    }

    async fn connect(&mut self, began: Instant) -> Result<(), Failure> {
        let plan = &self.worker.plan;
        let target = &plan.targets[plan.target_of(self.number)];
        let address = target.address_of(self.number);
        let source: Option<IpAddr> = None;
        let is_bulk = plan.scenario == Scenario::Bulk;
        let connection = Connection::open(address, source, &self.slot, plan.timeout, is_bulk).await?;
        let mut recorder = self.worker.recorder.borrow_mut();
        recorder.sample(Leg::Connect, began, Instant::now());
        if let Some(counts) = recorder.counts(began) {
            counts.connects += 1;
        }
        self.connection = Some(connection);
        self.requests_on_connection = 0;
        Ok(())
    }

    /// One request on the connection; returns when its reply was there.
    async fn exchange(&mut self) -> Result<Instant, Failure> {
        let requests = &self.worker.requests[self.worker.plan.target_of(self.number)];
        let Some(connection) = &mut self.connection else { return Err(Failure::Closed) };
        let began = Instant::now();
        let reply =
            connection.exchange(began, requests.plain.clone(), requests.answer_to, |_| (), |_| ()).await?;
        self.requests_on_connection += 1;
        self.count_reply(began, &reply);
        if !reply.keep_alive {
            self.count_traffic(began);
            self.connection = None;
        }
        Ok(reply.ended)
    }

    fn count_reply(&self, began: Instant, reply: &Reply<()>) {
        let mut recorder = self.worker.recorder.borrow_mut();
        recorder.sample(Leg::Request, began, reply.ended);
        if let Some(counts) = recorder.counts(began) {
            counts.requests += 1;
        }
        let class = match reply.status {
            401 => ErrorClass::Unexpected401,
            400..=499 => ErrorClass::Status4xx,
            500..=599 => ErrorClass::Status5xx,
            _ => return,
        };
        recorder.error(class, began);
    }

    fn count_traffic(&mut self, began: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let (sent_bytes, received_bytes) = connection.take_traffic_bytes();
        if let Some(counts) = self.worker.recorder.borrow_mut().counts(began) {
            counts.sent_bytes += sent_bytes;
            counts.received_bytes += received_bytes;
        }
    }

    fn failed(&self, failure: &Failure, began: Instant) {
        if let Some(class) = failure.class() {
            self.worker.recorder.borrow_mut().error(class, began);
        }
    }
}
