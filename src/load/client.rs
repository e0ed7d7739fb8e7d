//! What one connection does, from its preparation to the end of the run.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Reply, Slot};
use super::failure::Failure;
use super::identity::Witness;
use super::login::{Anonymous, Login};
use super::plan::Scenario;
use super::recorder::{ErrorClass, Leg};
use super::worker::Worker;
use crate::protocol::http1::response::ResponseHead;

/// The first wait after a failure, which doubles with each further failure up to the maximum: a dead server must not
/// get a tight loop of connects.
const RETRY_AFTER: Duration = Duration::from_millis(1);
const RETRY_AFTER_MAX: Duration = Duration::from_millis(200);

/// More logins in a row than this whose last reply ends the connection are no chance: the server ends each one.
const ENDED_LOGINS_MAX: u32 = 5;

/// One client: its current connection and the state of that.
struct Client {
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    /// Its number among all connections of the run.
    number: usize,
    connection: Option<Connection>,
    /// The number of its login, from 0; failed ones count.
    login: Option<usize>,
    /// Since the login, or since the connect if there is none.
    requests_on_connection: u64,
    retry_after: Duration,
    witness: Witness,
}

/// The result of a request or a login with its last reply.
struct Answered {
    /// When its last byte was received.
    ended: Instant,
    /// Whether the status of the reply is an error.
    is_error: bool,
}

impl Answered {
    fn by(reply: &Reply<()>) -> Self {
        Self { ended: reply.ended, is_error: error_class(reply.status).is_some() }
    }
}

/// The error class of the status of a final reply, if it is an error.
fn error_class(status: u16) -> Option<ErrorClass> {
    match status {
        401 => Some(ErrorClass::Unexpected401),
        400..=499 => Some(ErrorClass::Status4xx),
        500..=599 => Some(ErrorClass::Status5xx),
        _ => None,
    }
}

/// Runs one client: prepares if the scenario requires it, waits for the clock, works until nothing is due.
pub(super) async fn live(worker: Rc<Worker>, number: usize) {
    let mut client = Client::new(&worker, number);
    if worker.plan.scenario.prepares() {
        // The semaphore lives as long as the worker and is never closed.
        let _turn = worker.preparing.acquire().await;
        let began = Instant::now();
        // A failure is counted, and the first request tries again.
        if let Err(failure) = client.open(began).await {
            client.failed(&failure, began);
        }
        client.count_traffic(began);
    }
    worker.one_less();
    worker.clock_start().await;
    while let Some(due) = worker.next_due().await {
        client.work(due).await;
    }
    // Closes the connection first, so that "no client left" means "no connection left".
    drop(client);
    worker.one_less();
}

/// Connects and logs in once, or sends one request if there is no login.
pub(super) async fn probe(worker: &Rc<Worker>, number: usize) -> Result<(), Failure> {
    let mut client = Client::new(worker, number);
    if client.open(Instant::now()).await?.is_none() {
        client.exchange().await?;
    }
    Ok(())
}

impl Client {
    fn new(worker: &Rc<Worker>, number: usize) -> Self {
        let slot = Rc::new(Slot::default());
        worker.slots.borrow_mut().push(Rc::clone(&slot));
        Self {
            worker: Rc::clone(worker),
            slot,
            number,
            connection: None,
            login: None,
            requests_on_connection: 0,
            retry_after: RETRY_AFTER,
            witness: Witness::default(),
        }
    }

    /// One request, or one login, that was due at `due`.
    async fn work(&mut self, due: Instant) {
        let began = Instant::now();
        let outcome = match self.worker.plan.scenario {
            Scenario::Login => self.login_only(began).await,
            Scenario::Session { requests_per_login } => self.request(requests_per_login).await,
            Scenario::Steady | Scenario::Bulk => self.request(u64::MAX).await,
        };
        self.count_traffic(began);
        match outcome {
            Ok(Answered { ended, is_error }) => {
                self.retry_after = RETRY_AFTER;
                if self.worker.is_open_loop() && !is_error {
                    self.worker.recorder.borrow_mut().sample(Leg::FromIntendedStart, due, ended);
                }
            }
            Err(failure) => {
                self.connection = None;
                self.failed(&failure, began);
                tokio::time::sleep(self.retry_after).await;
                self.retry_after = (self.retry_after * 2).min(RETRY_AFTER_MAX);
            }
        }
    }

    /// Connect, log in, close. Without a login: connect, one request, close.
    async fn login_only(&mut self, began: Instant) -> Result<Answered, Failure> {
        let answered = match self.open(began).await {
            Ok(Some(reply)) => Answered::by(&reply),
            Ok(None) => self.exchange().await?,
            Err(failure) => return Err(failure),
        };
        self.close(began);
        Ok(answered)
    }

    /// One request, on a new connection if there is none; closes it after `requests_per_connection`.
    async fn request(&mut self, requests_per_connection: u64) -> Result<Answered, Failure> {
        if let Some(connection) = &mut self.connection
            && connection.has_ended_idle().await
        {
            self.close(Instant::now());
        }
        let mut ended_logins = 0;
        while self.connection.is_none() {
            let reply = self.open(Instant::now()).await?;
            if self.connection.is_none() {
                // A server or proxy that drains says so in the next reply, whichever that is, and has answered it.
                ended_logins += 1;
                let is_error = reply.is_some_and(|reply| error_class(reply.status).is_some());
                if is_error || ended_logins == ENDED_LOGINS_MAX {
                    return Err(Failure::ClosedAfterLogin);
                }
            }
        }
        let began = Instant::now();
        let answered = self.exchange().await?;
        if self.requests_on_connection >= requests_per_connection {
            self.close(began);
        }
        Ok(answered)
    }

    /// Connects, and logs in if the plan requires it. Returns the last reply of the login.
    async fn open(&mut self, began: Instant) -> Result<Option<Reply<()>>, Failure> {
        self.connect(began).await?;
        let worker = Rc::clone(&self.worker);
        let nth_login = self.login.map_or(0, |last| last.wrapping_add(1));
        let Some(proof) = worker.plan.proof_of(self.number, nth_login) else { return Ok(None) };
        self.login = Some(nth_login);
        let login = Login {
            proof,
            requests: &worker.requests[worker.plan.target_of(self.number)],
            recorder: &worker.recorder,
            identity: worker.plan.identity.as_ref(),
            record: worker.plan.record.as_ref(),
        };
        let mut connection = self.take_connection()?;
        let reply = match login.ask_anonymously(&mut connection, &mut self.witness).await? {
            Anonymous::Unprotected(reply) => {
                let is_named = worker.plan.identity.as_ref().is_some_and(|s| self.witness.name(s).is_some());
                if let Some(counts) = worker.recorder.borrow_mut().counts(began) {
                    counts.unprotected += 1;
                    counts.inherited += u64::from(is_named);
                }
                reply
            }
            challenged => {
                if let Anonymous::ChallengedAndClosed = challenged {
                    self.connection = Some(connection);
                    self.close(began);
                    self.connect(Instant::now()).await?;
                    connection = self.take_connection()?;
                }
                let reply = login.authenticate(&mut connection, &mut self.witness).await?;
                let mut recorder = worker.recorder.borrow_mut();
                recorder.sample(Leg::Login, began, reply.ended);
                if let Some(counts) = recorder.counts(began) {
                    counts.logins += 1;
                }
                reply
            }
        };
        self.connection = Some(connection);
        self.look_at(began, &reply);
        if !reply.keep_alive {
            self.close(began);
        }
        Ok(Some(reply))
    }

    /// The current connection.
    fn take_connection(&mut self) -> Result<Connection, Failure> {
        self.connection.take().ok_or(Failure::Closed)
    }

    async fn connect(&mut self, began: Instant) -> Result<(), Failure> {
        let plan = &self.worker.plan;
        let target = &plan.targets[plan.target_of(self.number)];
        let address = target.address_of(self.number);
        let is_bulk = plan.scenario == Scenario::Bulk;
        let mut connection =
            Connection::open(address, plan.source_of(self.number), &self.slot, plan.timeout, is_bulk).await?;
        let connected = Instant::now();
        if let Some(tls) = &target.tls {
            connection.handshake(connected, tls).await?;
            self.worker.recorder.borrow_mut().sample(Leg::Tls, connected, Instant::now());
        }
        let mut recorder = self.worker.recorder.borrow_mut();
        recorder.sample(Leg::Connect, began, connected);
        if let Some(counts) = recorder.counts(began) {
            counts.connects += 1;
        }
        self.connection = Some(connection);
        self.requests_on_connection = 0;
        Ok(())
    }

    fn close(&mut self, began: Instant) {
        self.count_traffic(began);
        self.connection = None;
    }

    /// One request on the connection.
    async fn exchange(&mut self) -> Result<Answered, Failure> {
        let requests = &self.worker.requests[self.worker.plan.target_of(self.number)];
        let Some(connection) = &mut self.connection else { return Err(Failure::Closed) };
        let began = Instant::now();
        let (request, answer_to) = (requests.plain.clone(), requests.answer_to);
        let reply = match &self.worker.plan.identity {
            None => connection.exchange(began, request, answer_to, |_| (), |_| ()).await?,
            Some(source) => {
                // Both closures write to it, in turn.
                let witness = RefCell::new(&mut self.witness);
                let see_head = |head: &ResponseHead<'_, '_>| witness.borrow_mut().see_head(head, source);
                let see_content = |piece: &[u8]| witness.borrow_mut().see_content(piece, source);
                connection.exchange(began, request, answer_to, see_head, see_content).await?
            }
        };
        self.requests_on_connection += 1;
        {
            let leg = if error_class(reply.status).is_some() { Leg::ErrorReply } else { Leg::Request };
            let mut recorder = self.worker.recorder.borrow_mut();
            recorder.sample(leg, began, reply.ended);
            if let Some(counts) = recorder.counts(began) {
                counts.requests += 1;
            }
        }
        self.look_at(began, &reply);
        // After an unexpected 401 the server has forgotten the user of this connection: log in on another.
        if !reply.keep_alive || reply.status == 401 {
            self.close(began);
        }
        Ok(Answered::by(&reply))
    }

    /// Counts the status of a reply and checks the user that it names.
    fn look_at(&self, began: Instant, reply: &Reply<()>) {
        let plan = &self.worker.plan;
        let class = error_class(reply.status);
        let proof = self.login.and_then(|nth| plan.proof_of(self.number, nth));
        match (class, &plan.identity, proof) {
            (Some(class), ..) => self.worker.recorder.borrow_mut().error(class, began),
            (None, Some(source), Some(proof)) => {
                let named = self.witness.name(source);
                let mut recorder = self.worker.recorder.borrow_mut();
                recorder.identities.check(
                    proof.user(),
                    named.as_deref(),
                    self.number,
                    self.requests_on_connection,
                );
            }
            (None, ..) => {}
        }
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
