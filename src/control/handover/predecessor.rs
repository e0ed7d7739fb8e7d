//! The new process's side of a handover.
//!
//! ```text
//!   Hello --> Welcome, Sockets.., Older.., All --> (binds, checks) Ready --> Go --> (accepts) Serving
//! ```
//!
//! A process before this one that gives the upgrade up says so. One that is gone without a word has crashed: then this one
//! serves, because no other does. Whatever else it says, and however slowly, there is an end: everything has to arrive by one
//! deadline, the number of sockets has a bound, and a socket that is not what it is said to be is refused.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

use super::generations::{Generations, OLDER_MAX, Older, Report};
use super::message::{PROTOCOL, ToPredecessor, ToSuccessor};
use super::starter::{HANDOVER, is_pair};
use super::wire;
use crate::control::given::Given;
use crate::control::timeouts::ADMIN_UPGRADE;
use crate::proxy::bind;
use crate::uring::Address;

/// Most sockets that a process takes over. The limit on descriptors is usually below it.
const SOCKETS_MAX: usize = 1 << 16;

/// The process that this one takes over from.
#[derive(Debug)]
pub struct Predecessor {
    socket: Arc<OwnedFd>,
    /// Until when it is listened to.
    deadline: Instant,
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
        Some(Self::at(socket, ADMIN_UPGRADE))
    }

    /// The process at the other end of this socket, which has this much time.
    fn at(socket: OwnedFd, patience: Duration) -> Self {
        let (socket, is_over) = (Arc::new(socket), AtomicBool::new(false));
        Self { socket, deadline: Instant::now() + patience, is_over }
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
                    if given.count() + sockets.len() > SOCKETS_MAX {
                        return Err(format!("there are more than {SOCKETS_MAX} sockets; restart instead"));
                    }
                    for (socket, descriptor) in std::iter::zip(sockets, descriptors) {
                        let address = Address::from(socket.address.clone());
                        if !bind::listens_at(&descriptor, &address) {
                            return Err(format!(
                                "what is given for {address} is not a socket that listens there; restart instead"
                            ));
                        }
                        given.add(socket, descriptor);
                    }
                }
                ToSuccessor::Older { reports }
                    if reports.len() == descriptors.len() && older.len() <= OLDER_MAX =>
                {
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
        wire::send(&self.socket, message, &[], self.deadline)
    }

    /// `None`: it has ended.
    fn receive(&self) -> Result<Option<wire::Message<ToSuccessor>>, String> {
        // A flood of messages leaves no time to wait.
        if Instant::now() > self.deadline {
            return Err(TOO_SLOW.to_owned());
        }
        wire::receive(&self.socket, self.deadline).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => TOO_SLOW.to_owned(),
            _ => format!("cannot understand the process before this one: {error}"),
        })
    }
}

const TOO_SLOW: &str = "the process before this one does not say in time what comes next";

fn refused(by: ToSuccessor) -> String {
    match by {
        ToSuccessor::Refused { why } => why,
        ToSuccessor::Abort => "the process before this one has given the upgrade up".to_owned(),
        _ => "the process before this one says something unexpected; restart instead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::BorrowedFd;
    use std::thread;

    use super::*;
    use crate::control::handover::{At, Description, Role};

    /// This process, and the end of a process before it.
    fn met(patience: Duration) -> (Predecessor, OwnedFd) {
        let (own, before) = wire::pair().expect("sockets");
        (Predecessor::at(own, patience), before)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn say(before: &OwnedFd, message: &ToSuccessor, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        wire::send(before, message, descriptors, soon())
    }

    fn welcome() -> ToSuccessor {
        ToSuccessor::Welcome { from: Report { generation: 1, pid: 1, since: 0, connections: 0 } }
    }

    fn described(at: std::net::SocketAddr) -> Description {
        Description {
            role: Role::Listener,
            address: At::Ip(at),
            written: At::Ip(at),
            service: "a".to_owned(),
            worker: 0,
            file: None,
            is_of_unit: false,
        }
    }

    #[test]
    fn a_process_that_says_nothing_or_never_ends_is_given_up_in_time() {
        let patience = Duration::from_millis(200);
        let begun = Instant::now();
        let (silent, _before) = met(patience);
        assert_eq!(silent.meet().expect_err("it says nothing"), TOO_SLOW);
        assert_eq!(silent.ready(Vec::new()).expect_err("it says nothing"), TOO_SLOW);
        let (flooded, before) = met(patience);
        let flood = thread::spawn(move || {
            say(&before, &welcome(), &[]).expect("it is read");
            while say(&before, &ToSuccessor::Sockets { sockets: Vec::new() }, &[]).is_ok() {}
        });
        assert_eq!(flooded.meet().expect_err("there is no end of it"), TOO_SLOW);
        assert!(begun.elapsed() < Duration::from_secs(30));
        drop(flooded);
        flood.join().expect("its other end is closed");
    }

    #[test]
    fn one_that_is_gone_has_crashed_and_one_that_makes_no_sense_is_refused() {
        let (alone, before) = met(Duration::from_secs(60));
        drop(before);
        assert!(alone.meet().expect("this one serves").given.is_empty());
        alone.ready(Vec::new()).expect("this one serves");
        let senseless = [
            ToSuccessor::Go,
            // Without their descriptors.
            ToSuccessor::Sockets { sockets: vec![described(([127, 0, 0, 1], 1).into())] },
            ToSuccessor::Older { reports: vec![Report { generation: 1, pid: 1, since: 0, connections: 0 }] },
        ];
        for message in senseless {
            let (refusing, before) = met(Duration::from_secs(60));
            say(&before, &welcome(), &[]).expect("it fits");
            say(&before, &message, &[]).expect("it fits");
            let why = refusing.meet().expect_err("it makes no sense");
            assert!(why.contains("something unexpected"), "{message:?}: {why}");
        }
    }

    #[test]
    fn only_sockets_that_listen_where_they_are_said_to_are_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = listener.local_addr().expect("it is bound");
        let give = |descriptor: BorrowedFd<'_>, at| {
            let (taking, before) = met(Duration::from_secs(60));
            say(&before, &welcome(), &[]).expect("it fits");
            say(&before, &ToSuccessor::Sockets { sockets: vec![described(at)] }, &[descriptor])
                .expect("it fits");
            say(&before, &ToSuccessor::All, &[]).expect("it fits");
            taking.meet().map(|inheritance| inheritance.given.count())
        };
        assert_eq!(give(listener.as_fd(), at), Ok(1));
        let file = File::open("/dev/null").expect("it is everywhere");
        let connected = TcpStream::connect(at).expect("it listens");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let unbound =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let (pair, _other) = wire::pair().expect("sockets");
        for wrong in [
            file.as_fd(),
            connected.as_fd(),
            datagrams.as_fd(),
            elsewhere.as_fd(),
            unbound.as_fd(),
            pair.as_fd(),
        ] {
            let why = give(wrong, at).expect_err("it is another");
            assert!(why.contains(&format!("given for {at} is not a socket that listens there")), "{why}");
        }
        let own = connected.local_addr().expect("it is connected");
        give(connected.as_fd(), own).expect_err("it does not listen");
    }
}
