//! What the view waits for, each from a thread of its own: answers of the proxy, keys, signals.

use std::io;
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use hyper::Method;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ratatui::crossterm::event;

use super::scrape::Scrape;
use super::terminal;
use super::text::shown;
use super::view::{Message, Order, Verb};
use crate::admin_client::Client;

/// Something happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The proxy was asked again.
    Scrape(Result<Box<Scrape>, String>),
    /// An order was sent.
    Ordered(Message),
    /// A key, or another size of the terminal.
    Input(event::Event),
    /// The terminal gives no more keys.
    NoInput(io::Error),
    Signal(Signal),
}

/// Signals that end the view, besides those that stop it and let it go on.
const ENDS: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGXCPU,
];

/// How long the view has to end after a signal. It may wait for a terminal that takes nothing.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Exit code of what a signal ended.
pub(super) fn exit_code(signal: Signal) -> u8 {
    128 + signal as u8
}

/// Whether a signal ends the view.
pub(super) fn ends(signal: Signal) -> bool {
    ENDS.contains(&signal)
}

/// Asks the proxy from now on, once an interval, and sends it orders.
pub(super) fn ask(
    client: Client,
    interval: Duration,
    orders: Receiver<Order>,
    events: Sender<Event>,
) -> io::Result<()> {
    spawn("asker", move || {
        let mut next = Instant::now() + interval;
        loop {
            let event = match orders.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(order) => {
                    // What it led to is worth a look.
                    next = Instant::now();
                    Event::Ordered(send(&client, &order))
                }
                Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + interval;
                    let scrape = Scrape::ask(&client);
                    Event::Scrape(scrape.map(Box::new).map_err(|error| error.to_string()))
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if events.send(event).is_err() {
                return;
            }
        }
    })
}

fn send(client: &Client, Order { verb, group, name }: &Order) -> Message {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let path = format!("/v1/servers/{}/{}?group={}", encoded(name), verb.as_str(), encoded(group));
    match client.request(&Method::POST, &path, &[]) {
        Ok(_) => {
            let done = match verb {
                Verb::Drain => "drains: it gets no new connections",
                Verb::Enable => "is enabled",
            };
            Message { text: format!("{} {done}", shown(name)), is_bad: false }
        }
        Err(error) => Message { text: shown(&error.to_string()), is_bad: true },
    }
}

/// Reads keys from now on.
pub(super) fn read_keys(events: Sender<Event>) -> io::Result<()> {
    spawn("keys", move || {
        loop {
            let event = match event::read() {
                Ok(event) => Event::Input(event),
                Err(error) => Event::NoInput(error),
            };
            let is_last = matches!(event, Event::NoInput(_));
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    })
}

/// Signals, blocked for this thread and all that it starts later.
pub(super) struct Signals(SigSet);

impl Signals {
    pub(super) fn block() -> Result<Self, Errno> {
        let taken: SigSet = ENDS.into_iter().chain([Signal::SIGTSTP, Signal::SIGCONT]).collect();
        taken.thread_block()?;
        Ok(Self(taken))
    }

    /// Receives them from now on.
    pub(super) fn forward(self, events: Sender<Event>) -> io::Result<()> {
        let Self(taken) = self;
        spawn("signals", move || {
            // sigwait(3) fails only for a signal that does not exist.
            while let Ok(signal) = taken.wait() {
                if events.send(Event::Signal(signal)).is_err() {
                    return;
                }
                if ends(signal) {
                    thread::sleep(END_PATIENCE);
                    terminal::give_up();
                    process::exit(exit_code(signal).into());
                }
            }
        })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
