//! `iisplice top`: a live view of a running proxy on a terminal, over its admin endpoint.
//!
//! ```text
//!   asker thread --Scrape--.                    .-> draw --> Screen (terminal)
//!   keys thread  --Input----+-> run: model, view
//!   signals      --Signal--'                    '-> Order --> asker thread
//! ```
//!
//! Owns the terminal while it is shown, and gives it back whatever ends it. It shows what the endpoint says and computes
//! rates and quantiles from two scrapes; it must never know more of the proxy than that, and sends an order only after a
//! question. What others say (names, reasons) is cleaned before it is drawn: see `text::shown`.
//!
//! `figures` and `model` are the numbers, `view` and `keys` what the operator does with them, `draw` a pure function of
//! all. Start at [`live`].

mod column;
mod draw;
mod events;
mod figures;
mod keys;
mod metrics;
mod model;
mod scrape;
pub mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod view;

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{Event as Input, KeyEventKind};

use crate::admin_client::{self, Client};
use draw::Setting;
use events::{Event, Signals};
use keys::Command;
use model::Model;
use scrape::Scrape;
use terminal::{Screen, Whom};
use view::{Message, Order, View};

/// The time that the proxy has not answered grows on the screen.
const TICK: Duration = Duration::from_secs(1);

/// Why a proxy cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not answer as it should.
    #[error(transparent)]
    Client(#[from] admin_client::Error),
    /// The terminal cannot be used, or has gone.
    #[error("cannot use this terminal: {0}; --once prints one picture as text")]
    Terminal(#[source] io::Error),
    /// No resources of our own.
    #[error("cannot start: {0}")]
    Local(#[from] io::Error),
}

/// How a view ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By a key.
    Quit,
    /// By a signal; this is the exit code.
    Signal(u8),
}

/// One picture as text, with what happened within an interval.
///
/// # Errors
/// [`Error::Client`].
pub fn once(client: &Client, interval: Duration, width: u16) -> Result<String, Error> {
    let mut model = Model::new(Scrape::ask(client)?);
    thread::sleep(interval);
    model.add(Scrape::ask(client)?);
    let address = text::shown(&client.address().to_string());
    let setting = Setting { now: Instant::now(), address: &address, interval, has_colours: false };
    Ok(draw::once(&model, width, &setting))
}

/// Shows the proxy on the terminal until a key or a signal ends it. A proxy that does not answer in the beginning is an
/// error; one that goes away is waited for.
///
/// # Errors
/// See [`Error`].
pub fn live(client: Client, interval: Duration, has_colours: bool) -> Result<Ending, Error> {
    let model = Model::new(Scrape::ask(&client)?);
    let address = text::shown(&client.address().to_string());
    let signals = Signals::block().map_err(|error: Errno| Error::Local(error.into()))?;
    let screen = Screen::open().map_err(Error::Terminal)?;
    let (sender, events) = mpsc::channel();
    let (orders, received) = mpsc::channel();
    signals.forward(sender.clone())?;
    events::ask(client, interval, received, sender.clone())?;
    events::read_keys(sender)?;
    let live = Live { model, view: View::new(), screen, orders, address, interval, has_colours };
    live.run(&events).map_err(Error::Terminal)
}

struct Live {
    model: Model,
    view: View,
    screen: Screen,
    orders: Sender<Order>,
    address: String,
    interval: Duration,
    has_colours: bool,
}

impl Live {
    fn run(mut self, events: &Receiver<Event>) -> io::Result<Ending> {
        loop {
            self.draw()?;
            let first = match events.recv_timeout(TICK) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => continue,
                // The threads that send hold the sender until they end.
                Err(RecvTimeoutError::Disconnected) => return Ok(Ending::Quit),
            };
            // A picture shows all that has happened so far.
            let mut next = Some(first);
            while let Some(event) = next {
                if let Some(ending) = self.take(event)? {
                    return Ok(ending);
                }
                next = events.try_recv().ok();
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let Self { model, view, address, interval, has_colours, .. } = self;
        let setting =
            Setting { now: Instant::now(), address, interval: *interval, has_colours: *has_colours };
        self.screen.draw(|buffer: &mut Buffer| draw::screen(buffer, model, view, &setting))
    }

    fn take(&mut self, event: Event) -> io::Result<Option<Ending>> {
        match event {
            Event::Scrape(Ok(scrape)) => self.model.add(*scrape),
            Event::Scrape(Err(why)) => self.model.fail(&why),
            Event::Ordered(message) => self.view.message = Some(message),
            Event::Input(Input::Key(key)) if key.kind != KeyEventKind::Release => {
                if let Some(command) = keys::press(&mut self.view, &self.model, key) {
                    return self.carry_out(command);
                }
            }
            Event::Input(Input::Paste(text)) => keys::paste(&mut self.view, &text),
            // Another size shows in the next picture.
            Event::Input(_) => {}
            Event::NoInput(error) => return Err(error),
            Event::Signal(signal) if events::ends(signal) => {
                return Ok(Some(Ending::Signal(events::exit_code(signal))));
            }
            Event::Signal(Signal::SIGTSTP) => self.screen.suspend(Whom::Process)?,
            // What stopped us may have let others write on the terminal.
            Event::Signal(_) => self.screen.resume()?,
        }
        Ok(None)
    }

    fn carry_out(&mut self, command: Command) -> io::Result<Option<Ending>> {
        match command {
            Command::Quit => return Ok(Some(Ending::Quit)),
            Command::Suspend => self.screen.suspend(Whom::Job)?,
            Command::Redraw => self.screen.clear()?,
            Command::Send(order) => {
                if self.orders.send(order).is_err() {
                    let text = "the proxy is not being asked any more".to_owned();
                    self.view.message = Some(Message { text, is_bad: true });
                }
            }
        }
        Ok(None)
    }
}
