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
//! only: connections, heads, bodies and times are bounded, see `listener.rs`.

mod answer;
mod certificates;
pub(super) mod config;
mod connections;
mod guard;
mod listener;
mod orders;
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
use std::sync::mpsc::Sender;
use std::thread;

use nix::unistd::Uid;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::Error;
use super::supervise::Event;
use crate::proxy::bind::{self, SocketFile};
use crate::proxy::orders::Orders;
use crate::proxy::settings::Listener;
use crate::uring::{Address, SocketOptions};
use guard::Guard;
use listener::Acceptor;
use routes::Site;
use token::Token;

pub(super) use certificates::Shown;
pub use listener::DESCRIPTORS_MAX as ADMIN_DESCRIPTORS_MAX;
pub(super) use orders::Asker;
pub use token::TokenFault;
pub(super) use view::{Board, View};

/// The nice value of the endpoint's thread: next to a worker that has something to do it gets a hundredth of a core.
const LEAST_PRIORITY: i32 = 19;

/// The endpoint as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where it listens.
    pub address: Address,
    /// The file with the token that clients must send, if they must.
    pub token_file: Option<PathBuf>,
}

impl fmt::Display for AdminSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The endpoint in use. Dropping it removes the file of a Unix socket; its thread ends with the process.
#[derive(Debug)]
pub(super) struct Admin {
    settings: AdminSettings,
    token: Option<Arc<Token>>,
    /// As bound.
    address: Address,
    /// Until the thread has it.
    socket: Option<Arc<OwnedFd>>,
    file: Option<SocketFile>,
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
    /// Binds the endpoint and reads its token; serves nothing yet.
    ///
    /// # Errors
    /// The address cannot be bound, or the token cannot be read.
    pub(super) fn open(settings: AdminSettings) -> Result<Self, Error> {
        let token = settings.token_file.as_deref().map(token::read).transpose()?;
        let options = SocketOptions { keepalive: None, user_timeout: None };
        let bound = bind::bind(&Listener::at(settings.address.clone()), &options, &[None], false)?;
        let socket = bound.sockets.into_iter().next();
        let token = token.map(|digest| Arc::new(Token::new(digest)));
        Ok(Self { settings, token, address: bound.address, socket, file: bound.file })
    }

    /// Checks that it could be opened; `owner` is as for [`bind::check`].
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(super) fn check(settings: &AdminSettings, owner: Option<Uid>) -> Result<(), Error> {
        if let Some(path) = &settings.token_file {
            token::read(path)?;
        }
        let options = SocketOptions { keepalive: None, user_timeout: None };
        Ok(bind::check(&Listener::at(settings.address.clone()), &options, owner)?)
    }

    /// Starts the thread, which answers from now on.
    ///
    /// # Errors
    /// No thread, or no descriptor.
    pub(super) fn start(&mut self, reach: Reach) -> io::Result<()> {
        let Some(socket) = self.socket.take() else { return Ok(()) };
        let guard = Guard::new(&self.address, self.token.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let acceptor = {
            let _entered = runtime.enter();
            Acceptor::new(&self.address, &socket)?
        };
        thread::Builder::new().name("admin".to_owned()).spawn(move || {
            // Where cores are short, clients of this endpoint are last. Of this thread only (setpriority(2)); being denied
            // it changes nothing else.
            let _ = rustix::process::setpriority_process(None, LEAST_PRIORITY);
            let site = Rc::new(Site { reach, guard, turn: connections::Turn::default() });
            LocalSet::new().block_on(&runtime, listener::run(acceptor, site));
        })?;
        let token = if self.token.is_some() { "required" } else { "none" };
        tracing::info!(address = %self.address, token, "admin endpoint is open");
        Ok(())
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
