//! The thread that tells the service manager what happens, keeps its line of status up to date, and feeds its watchdog.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::super::admin::Board;
use super::Note;
use super::message::Message;
use super::outbox::{Outbox, RETRY};
use super::status::{self, Reload};
use super::store::Store;
use super::turns::Turns;

/// How often the line of status is renewed at most.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How long a word while draining has the service manager wait for the next one, whatever `TimeoutStopSec=` says.
const EXTENSION: Duration = Duration::from_secs(20);

/// How often to look whether the workers have begun.
const BEGIN_INTERVAL: Duration = Duration::from_millis(5);

/// See the module docs.
pub(super) struct Keeper {
    /// `None` without a service manager.
    outbox: Option<Outbox>,
    has_watchdog: bool,
    turns: Turns,
    store: Store,
    board: Arc<Board>,
    state: State,
    reload: Reload,
    next_look: Instant,
    next_status: Instant,
    last_status: String,
}

/// What the service manager has been told last of what the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing yet.
    Starts,
    /// Nothing yet; it is to be told as soon as the workers have begun.
    Begins,
    /// That it serves.
    Serves,
    /// That it stops; connections have until then.
    Stops(Instant),
}

impl Keeper {
    pub(super) fn new(
        (outbox, has_watchdog, store): (Option<Outbox>, bool, Store),
        turns: Turns,
        board: Arc<Board>,
    ) -> Self {
        let now = Instant::now();
        Self {
            outbox,
            has_watchdog,
            next_look: now + turns.tick(),
            turns,
            store,
            board,
            state: State::Starts,
            reload: Reload::default(),
            next_status: now,
            last_status: String::new(),
        }
    }

    /// Works until no note can come any more.
    pub(super) fn run(mut self, notes: &Receiver<Note>) {
        loop {
            match notes.recv_timeout(self.wait()) {
                Ok(note) => self.take(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.work(Instant::now());
        }
        if let Some(outbox) = self.outbox {
            outbox.finish();
        }
    }

    /// Until the next thing that is to be done without a note.
    fn wait(&self) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let look = until(self.next_look);
        let Some(outbox) = &self.outbox else { return look };
        let mut wait = look;
        if self.state == State::Begins {
            wait = wait.min(BEGIN_INTERVAL);
        } else if self.state != State::Starts {
            wait = wait.min(until(self.next_status));
        }
        if outbox.is_waiting() { wait.min(RETRY) } else { wait }
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Serves => self.state = State::Begins,
            Note::Reloads(at) => {
                self.reload = Reload::Reads;
                let status = self.status();
                self.send(
                    Message::lasting()
                        .field("RELOADING", 1)
                        .field("MONOTONIC_USEC", at.as_micros())
                        .field("STATUS", status),
                );
            }
            Note::Reloaded(outcome) => {
                self.reload = outcome.err().map_or(Reload::Fine, Reload::Failed);
                self.say_ready();
            }
            Note::Leaves => self.outbox = None,
            Note::Keep(sockets) => {
                for message in self.store.replace(sockets) {
                    self.send(message);
                }
            }
            Note::Stops(drain_timeout) => {
                let now = Instant::now();
                // A time-out of centuries is beyond what an Instant holds.
                let end = now.checked_add(drain_timeout + EXTENSION).unwrap_or(now + EXTENSION);
                self.state = State::Stops(end);
                self.reload = Reload::Fine;
                let message = self.extended(Message::lasting().field("STOPPING", 1));
                let status = self.status();
                self.send(message.field("STATUS", status));
            }
        }
    }

    fn work(&mut self, now: Instant) {
        if let Some(outbox) = &mut self.outbox {
            outbox.flush();
        }
        if self.state == State::Begins && self.turns.have_begun() {
            self.state = State::Serves;
            self.say_ready();
        }
        if now >= self.next_look {
            self.next_look = now + self.turns.tick();
            if self.turns.look(&self.board.stuck) && self.has_watchdog {
                self.send(Message::passing().field("WATCHDOG", 1));
            }
        }
        if now >= self.next_status && matches!(self.state, State::Serves | State::Stops(_)) {
            self.renew_status();
        }
    }

    fn say_ready(&mut self) {
        let status = self.status();
        self.send(Message::lasting().field("READY", 1).field("STATUS", status));
    }

    /// Renews the line of status if it has changed, and has the service manager wait for connections that may go on.
    fn renew_status(&mut self) {
        let before = std::mem::take(&mut self.last_status);
        let status = self.status();
        let mut message = Message::passing();
        if before != status {
            message = message.field("STATUS", status);
        }
        message = self.extended(message);
        if !message.bytes().is_empty() {
            self.send(message);
        }
    }

    /// The line of status now, which is about to be sent.
    fn status(&mut self) -> String {
        self.next_status = Instant::now() + STATUS_INTERVAL;
        self.last_status = status::line(&self.board, &self.reload);
        self.last_status.clone()
    }

    /// While connections have time to end, the service manager is to wait for them.
    fn extended(&self, message: Message) -> Message {
        match self.state {
            State::Stops(end) if Instant::now() < end && self.board.stuck.workers().is_empty() => {
                message.field("EXTEND_TIMEOUT_USEC", EXTENSION.as_micros())
            }
            _ => message,
        }
    }

    fn send(&mut self, message: Message) {
        if let Some(outbox) = &mut self.outbox {
            outbox.push(message);
        }
    }
}
