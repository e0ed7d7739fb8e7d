//! A mock of an IIS site with Windows Authentication: clients and proxies log in to it for real.
//!
//! This room owns listening sockets, connections and who is logged in on each. It must never look up a login anywhere
//! but in the connection it came on, never let a request through on a proof that it did not verify, and never stop
//! because of what a client sends.
//!
//! ```text
//! start -> worker (one a thread: runtime, listening sockets)
//!            -> session (one a connection) -> stream   bytes, plain or TLS
//!                                          -> login    which user (protocol::ntlm, protocol::spnego)
//!                                          -> paths    which page
//!                                          -> reply    the reply, and injected faults
//! ```
//!
//! Start with [`start`], then `session.rs`.

mod certificate;
mod error;
mod faults;
mod login;
mod paths;
mod pause;
mod reply;
mod session;
pub mod settings;
mod site;
mod stream;
mod websocket;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

pub use error::Error;
use settings::Settings;
use site::Site;

/// A mock that serves until it is stopped or dropped.
#[derive(Debug)]
pub struct Mock {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a mock; it accepts connections when this returns.
///
/// # Errors
/// See [`Error`].
pub fn start(settings: Settings) -> Result<Mock, Error> {
    let (stop, stopped) = watch::channel(false);
    let mut mock = Mock { addresses: Vec::new(), stop, threads: Vec::new() };
    let threads = settings.threads.max(1);
    let wanted = settings.listeners.clone();
    let resets = settings.faults.reset > 0.0;
    let site = Site::new(settings)?;
    for thread in 0..threads {
        // The first thread determines the ports, the others share them.
        let addresses = if thread == 0 { &wanted } else { &mock.addresses };
        if thread == 0 {
            addresses.iter().copied().try_for_each(worker::check_free)?;
        }
        let listeners =
            addresses.iter().map(|&at| worker::listen(at, resets)).collect::<Result<Vec<_>, _>>()?;
        if mock.addresses.is_empty() {
            for (listener, &address) in listeners.iter().zip(&wanted) {
                let bound = listener.local_addr().map_err(|reason| Error::Listen { address, reason })?;
                mock.addresses.push(bound);
            }
        }
        let worker = worker::start(Arc::clone(&site), listeners, stopped.clone())?;
        mock.threads.push(worker);
    }
    Ok(mock)
}

impl Mock {
    /// The addresses it listens on, in the order of the settings, with the ports it got.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Closes all sockets and waits for the threads to end, as dropping it does.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended and reported it.
            let _ = thread.join();
        }
    }
}
