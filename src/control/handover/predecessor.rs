//! The new process's side of a handover.
//!
//! ```text
//!   Hello --> Welcome, Sockets.., Older.., All --> (binds, checks) Ready --> Go --> (accepts) Serving
//! ```
//!
//! A process before this one that gives the upgrade up says so. One that is gone without a word has crashed: then this one
//! serves, because no other does.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::signal::SigSet;

use super::generations::{Generations, Older, Report};
use super::message::{PROTOCOL, ToPredecessor, ToSuccessor};
use super::starter::{HANDOVER, is_pair};
use super::wire;
use crate::control::given::Given;
use crate::control::timeouts::{ADMIN_UPGRADE, UPGRADE};

/// The process that this one takes over from.
#[derive(Debug)]
pub struct Predecessor {
    socket: Arc<OwnedFd>,
    /// Whether what becomes of this process is its own matter.
    is_over: AtomicBool,
}

/// What this process takes over.
#[derive(Debug, Default)]
pub(in crate::control) struct Inheritance {
    pub(in crate::control) given: Given,
    pub(in crate::control) generations: Generations,
}

impl Predecessor {
    /// That of this process, if it was started by one. Standard input leads nowhere from then on.
    pub fn of_this_process() -> Option<Self> {
        env::var_os(HANDOVER)?;
        let stdin = io::stdin();
        let socket = is_pair(&stdin).then(|| stdin.as_fd().try_clone_to_owned().ok())??;
        let nothing = std::fs::File::open("/dev/null").ok()?;
        nix::unistd::dup2_stdin(nothing).ok()?;
        // The starter has all blocked, and a child inherits that.
        SigSet::empty().thread_set_mask().ok()?;
        Some(Self { socket: Arc::new(socket), is_over: AtomicBool::new(false) })
    }

    /// Says why this process cannot take over. False if it is not waited for, so that it has to say so itself.
    pub fn fail(&self, why: &impl ToString) -> bool {
        let failed = ToPredecessor::Failed { why: why.to_string() };
        !self.is_over.load(Ordering::Relaxed) && self.send(&failed).is_ok()
    }

    /// Takes what the process before this one has.
    ///
    /// # Errors
    /// It gives nothing, and why.
    pub(in crate::control) fn meet(&self) -> Result<Inheritance, String> {
        let (version, pid) = (env!("CARGO_PKG_VERSION").to_owned(), std::process::id());
        // If it is gone the next step finds out.
        let _ = self.send(&ToPredecessor::Hello { protocol: PROTOCOL, version, pid });
        let Some(first) = self.receive()? else { return Ok(Inheritance::default()) };
        let (ToSuccessor::Welcome { from }, _) = first else { return Err(refused(first.0)) };
        let mut given = Given::default();
        let number = from.generation + 1;
        let mut older = vec![Older { report: from, socket: Arc::clone(&self.socket) }];
        loop {
            let Some((message, descriptors)) = self.receive()? else { break };
            match message {
                ToSuccessor::Sockets { sockets } if sockets.len() == descriptors.len() => {
                    for (socket, descriptor) in std::iter::zip(sockets, descriptors) {
                        given.add(socket, descriptor);
                    }
                }
                ToSuccessor::Older { reports } if reports.len() == descriptors.len() => {
                    let with_socket =
                        |(report, socket): (Report, _)| Older { report, socket: Arc::new(socket) };
                    older.extend(std::iter::zip(reports, descriptors).map(with_socket));
                }
                ToSuccessor::All => break,
                other => return Err(refused(other)),
            }
        }
        Ok(Inheritance { given, generations: Generations::new(number, older) })
    }

    /// Says that this process can serve with these of the sockets that it was given, and waits until it is to.
    ///
    /// # Errors
    /// It is not, and why.
    pub(in crate::control) fn ready(&self, taken: Vec<usize>) -> Result<(), String> {
        let _ = self.send(&ToPredecessor::Ready { taken });
        match self.receive()? {
            // It has crashed.
            None | Some((ToSuccessor::Go, _)) => Ok(()),
            Some((other, _)) => Err(refused(other)),
        }
    }

    /// Says that this process accepts clients.
    pub(in crate::control) fn serving(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.send(&ToPredecessor::Serving);
    }

    fn send(&self, message: &ToPredecessor) -> io::Result<()> {
        wire::send(&self.socket, message, &[], Instant::now() + UPGRADE)
    }

    /// `None`: it has ended.
    fn receive(&self) -> Result<Option<wire::Message<ToSuccessor>>, String> {
        let received = wire::receive(&self.socket, Instant::now() + ADMIN_UPGRADE);
        received.map_err(|error| format!("cannot understand the process before this one: {error}"))
    }
}

fn refused(by: ToSuccessor) -> String {
    match by {
        ToSuccessor::Refused { why } => why,
        ToSuccessor::Abort => "the process before this one has given the upgrade up".to_owned(),
        _ => "the process before this one says something unexpected; restart instead".to_owned(),
    }
}
