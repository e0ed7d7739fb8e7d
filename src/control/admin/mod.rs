//! The admin endpoint: a small HTTP server on a listener and a thread of its own, by which operators and programs see what
//! the proxy does.
//!
//! ```text
//!   client --> listener (bounds) --> guard (browsers, token) --> routes --> answer
//!                                                                  |-- view: what is served, by names
//!                                                                  |-- ready: whether the proxy can serve
//!                                                                  '-- orders --> servers, workers, supervisor
//! ```
//!
//! It reads what workers and checks publish, and must never make a worker wait. What a client does here costs this thread
//! only: connections, heads, bodies and times are bounded, see `listener.rs`, and so is its CPU time, see `pace.rs`.

mod answer;
mod asker;
mod certificates;
pub(super) mod config;
mod connections;
mod guard;
mod listener;
mod orders;
mod pace;
mod ready;
mod routes;
mod rows;
mod token;
mod view;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use futures_lite::future::or;
use nix::unistd::Uid;
use tokio::runtime::Builder;
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

use super::Error;
use super::given::Given;
use super::handover::{At, Description, Role};
use super::supervise::Event;
use super::timeouts::ADMIN_ANSWERS;
use crate::proxy::bind::{self, Bound, SocketFile};
use crate::proxy::orders::Orders;
use crate::proxy::settings::Listener;
use crate::uring::{Address, SocketOptions};
use guard::Guard;
use listener::Acceptor;
use pace::Pace;
use routes::Site;
use token::Token;

pub(super) use asker::Asker;
pub use listener::DESCRIPTORS_MAX as ADMIN_DESCRIPTORS_MAX;
pub use token::TokenFault;
pub(super) use view::{Board, View};

/// How long the last answers may take at the end of the process.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Connections of clients are short.
const OPTIONS: SocketOptions = SocketOptions { keepalive: None, user_timeout: None };

/// The endpoint as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where it listens.
    pub address: Address,
    /// The file with the token that clients must send, if they must.
    pub token_file: Option<PathBuf>,
}

/// Where an endpoint with these settings listens, if there is one.
pub(super) fn address(settings: Option<&AdminSettings>) -> Option<&Address> {
    settings.map(|settings| &settings.address)
}

impl fmt::Display for AdminSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The endpoint in use. Dropping it removes the file of a Unix socket; its thread ends by
/// [`finish`](Self::finish), or with the process.
#[derive(Debug)]
pub(super) struct Admin {
    settings: AdminSettings,
    token: Option<Arc<Token>>,
    /// As bound.
    address: Address,
    socket: Arc<OwnedFd>,
    /// Once it runs.
    thread: Option<Ending>,
    file: Option<SocketFile>,
    /// Tells the thread to accept no more clients.
    closing: Arc<Notify>,
    /// Ends when it accepts no more.
    closed: Option<Receiver<()>>,
    /// Ends when it has answered those that it had.
    answered: Option<Receiver<()>>,
}

/// Tells the thread to end, and waits until it has.
#[derive(Debug)]
struct Ending {
    end: oneshot::Sender<()>,
    /// Nothing is sent.
    ended: Receiver<()>,
}

/// What the endpoint reads, and whom it can tell something.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) board: Arc<Board>,
    pub(super) workers: Vec<Orders>,
    pub(super) events: Sender<Event>,
}

/// A token that was read and is not in use yet.
#[derive(Debug)]
pub(super) struct NextToken(token::Digest);

impl Admin {
    /// Binds the endpoint, or takes what was given, and reads its token; does not listen yet.
    ///
    /// # Errors
    /// The address cannot be bound, or the token cannot be read.
    pub(super) fn open(settings: AdminSettings, given: &mut Given) -> Result<Self, Error> {
        let token = settings.token_file.as_deref().map(token::read).transpose()?;
        let bound = if let Some(given) = given.take_admin(&settings.address) {
            let file = match (&given.address, given.file) {
                (Address::Unix(path), Some(_)) => SocketFile::of_another(path).ok(),
                _ => None,
            };
            Bound { address: given.address.clone(), sockets: given.sockets(), file }
        } else {
            bind::bind(&Listener::at(settings.address.clone()), &OPTIONS, 1, None)?
        };
        let Some(socket) = bound.sockets.into_iter().next() else { unreachable!("a socket for one worker") };
        let token = token.map(|digest| Arc::new(Token::new(digest)));
        Ok(Self {
            settings,
            token,
            address: bound.address,
            socket,
            thread: None,
            file: bound.file,
            closing: Arc::default(),
            closed: None,
            answered: None,
        })
    }

    /// Has clients wait until it [starts](Self::start).
    ///
    /// # Errors
    /// Another process listens there by now.
    pub(super) fn listen(&self) -> Result<(), Error> {
        let sockets = std::slice::from_ref(&self.socket);
        bind::listen(sockets, &Listener::at(self.address.clone()), &OPTIONS, &[None], false)?;
        if let Some(file) = &self.file {
            file.remove_at_end();
        }
        Ok(())
    }

    /// The socket that clients connect to.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// What a successor gets.
    pub(super) fn to_hand_over(&self) -> (Description, Arc<OwnedFd>) {
        let description = Description {
            role: Role::Admin,
            address: At::from(&self.address),
            written: At::from(&self.settings.address),
            service: String::new(),
            worker: 0,
            file: self.file.as_ref().and_then(|file| file.id().ok()),
            is_of_unit: false,
        };
        (description, Arc::clone(&self.socket))
    }

    /// Waits until those whom it had when it left are answered, but not for long.
    pub(super) fn wait_for_answers(&self) {
        if let Some(answered) = &self.answered {
            // Nothing is sent.
            let _ = answered.recv_timeout(ADMIN_ANSWERS);
        }
    }

    /// Accepts no more clients when this returns: who is told of the successor after it can ask that one. Those that it has are
    /// answered. A successor that has the socket (`is_taken`) has its file.
    pub(super) fn leave(&self, is_taken: bool) {
        self.closing.notify_one();
        if let Some(closed) = &self.closed {
            // Nothing is sent.
            let _ = closed.recv_timeout(LAST_ANSWERS);
        }
        if let Some(file) = self.file.as_ref().filter(|_| is_taken) {
            file.keep();
        }
    }

    /// Checks that it could be opened; `owner` is as for [`bind::check`].
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(super) fn check(settings: &AdminSettings, owner: Option<Uid>) -> Result<(), Error> {
        if let Some(path) = &settings.token_file {
            token::read(path)?;
        }
        Ok(bind::check(&Listener::at(settings.address.clone()), &OPTIONS, owner)?)
    }

    /// Starts the thread, which answers from now on.
    ///
    /// # Errors
    /// No thread, or no descriptor.
    pub(super) fn start(&mut self, reach: Reach) -> io::Result<()> {
        let guard = Guard::new(&self.address, self.token.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let acceptor = {
            let _entered = runtime.enter();
            Acceptor::new(&self.address, &self.socket)?
        };
        let (begun, has_begun) = channel();
        let (end, ends) = oneshot::channel();
        let (ending, ended) = channel();
        let closing = Arc::clone(&self.closing);
        let (accepting, closed) = channel();
        let (answering, answered) = channel();
        (self.closed, self.answered) = (Some(closed), Some(answered));
        thread::Builder::new().name("admin".to_owned()).spawn(move || {
            pace::give_way();
            drop(begun);
            let site = Rc::new(Site { reach, guard, turn: connections::Turn::default(), pace: Pace::new() });
            let answers = listener::run(acceptor, site, closing, (accepting, answering));
            LocalSet::new().block_on(&runtime, or(answers, listener::last_answers(ends)));
            drop(ending);
        })?;
        self.thread = Some(Ending { end, ended });
        // What comes next at a start can take the right to it from all threads. Nothing is sent.
        let _: Result<(), _> = has_begun.recv();
        let token = if self.token.is_some() { "required" } else { "none" };
        tracing::info!(address = %self.address, token, "admin endpoint is open");
        Ok(())
    }

    /// Stops answering. What was answered reaches its client first, as long as that takes no time worth noticing: the last
    /// connection may have been closed by an operator, who is to learn that it was.
    pub(super) fn finish(self) {
        if let Some(Ending { end, ended }) = self.thread {
            let _ = end.send(());
            let _ = ended.recv_timeout(LAST_ANSWERS);
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The file of a Unix socket.
    pub(super) fn file(&self) -> Option<&SocketFile> {
        self.file.as_ref()
    }

    /// The settings that it was opened with.
    pub(super) fn settings(&self) -> &AdminSettings {
        &self.settings
    }

    /// Reads the file of the token again.
    ///
    /// # Errors
    /// As at start.
    pub(super) fn read_token(&self) -> Result<Option<NextToken>, Error> {
        Ok(self.settings.token_file.as_deref().map(token::read).transpose()?.map(NextToken))
    }

    /// Demands that token from now on.
    pub(super) fn set_token(&self, next: Option<NextToken>) {
        if let (Some(token), Some(NextToken(digest))) = (&self.token, next) {
            token.set(digest);
        }
    }
}
