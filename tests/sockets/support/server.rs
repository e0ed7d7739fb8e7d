//! Servers behind the proxy, and places where there is none.

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use socket2::Socket;

use super::peer::{Peer, sock_addr, socket};
use super::{PATIENCE, uninterrupted, wait_for};

/// A listening socket; connections wait until the test accepts them.
pub(crate) struct Server {
    listener: Socket,
    address: String,
}

impl Server {
    pub(crate) fn v4() -> Self {
        Self::at("127.0.0.1:0")
    }

    pub(crate) fn v6() -> Self {
        Self::at("[::1]:0")
    }

    pub(crate) fn unix(path: &Path) -> Self {
        Self::at(&format!("unix:{}", path.display()))
    }

    pub(crate) fn at(address: &str) -> Self {
        let listener = socket(address);
        // So that a port can be one that the test has reserved.
        listener.set_reuse_address(true).expect("a socket of ours");
        let (listener, address) = bound(listener, address);
        listener.listen(4096).expect("a bound socket");
        listener.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        Self { listener, address }
    }

    /// A socket of [`refusing`] that listens now.
    pub(crate) fn of(listener: Socket, address: String) -> Self {
        Self { listener, address }
    }

    /// As it is written on the command line.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn listener(&self) -> &Socket {
        &self.listener
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> Peer {
        match uninterrupted(|| self.listener.accept()) {
            Ok((socket, _)) => Peer::new(socket),
            Err(error) => panic!("no connection came to {}: {error}", self.address),
        }
    }

    /// The next connection; none if none comes for long.
    pub(crate) fn accept_or_end(&self) -> Option<Peer> {
        uninterrupted(|| self.listener.accept()).ok().map(|(socket, _)| Peer::new(socket))
    }

    /// The next connection, if one waits.
    pub(crate) fn try_accept(&self) -> Option<Peer> {
        self.listener.set_nonblocking(true).expect("a socket");
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).expect("a socket");
        match accepted {
            Ok((socket, _)) => Some(Peer::new(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("accepting at {} failed: {error}", self.address),
        }
    }

    /// No connection waits to be accepted.
    pub(crate) fn expect_no_connection(&self) {
        assert!(self.try_accept().is_none(), "no connection was expected at {}", self.address);
    }
}

/// Servers that greet each of their clients with their number and keep the connection.
pub(crate) struct Farm {
    /// As they are written on the command line.
    pub(crate) addresses: Vec<String>,
}

impl Farm {
    pub(crate) fn of(count: u8) -> Self {
        let serve = |number: u8| {
            let server = Server::v4();
            let address = server.address.clone();
            // It ends with the test's process.
            thread::spawn(move || {
                let mut kept = Vec::new();
                while let Ok((socket, _)) = uninterrupted(|| server.listener.accept()) {
                    // A client that has left already is none of its business.
                    let _ = (&socket).write_all(&[number]);
                    kept.push(socket);
                }
            });
            address
        };
        Self { addresses: (0..count).map(serve).collect() }
    }

    /// The number of the server that a client of the proxy got.
    pub(crate) fn greeted(client: &Peer) -> usize {
        let mut number = [0];
        assert_eq!(client.receive(&mut number).expect("a greeting"), 1, "a greeting before the end");
        usize::from(number[0])
    }
}

fn bound(socket: Socket, address: &str) -> (Socket, String) {
    socket.bind(&sock_addr(address)).unwrap_or_else(|error| panic!("cannot bind {address}: {error}"));
    let bound = socket.local_addr().expect("it is bound").as_socket();
    (socket, bound.map_or_else(|| address.to_owned(), |address| address.to_string()))
}

/// An address where connections are refused: a port that stays taken while the socket lives, without a listener.
pub(crate) fn refusing() -> (Socket, String) {
    bound(socket("127.0.0.1:0"), "127.0.0.1:0")
}

/// A server whose queue is full: the kernel leaves who connects to it without an answer (listen(2)), until
/// [`Unanswering::answer`].
pub(crate) struct Unanswering {
    server: Server,
    queued: Vec<Socket>,
}

impl Unanswering {
    pub(crate) fn new() -> Self {
        let (listener, address) = refusing();
        listener.listen(0).expect("a bound socket");
        listener.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        let mut queued = Vec::new();
        wait_for("the queue of a server that does not accept to be full", || {
            let filler = socket(&address);
            let connected = filler.connect_timeout(&sock_addr(&address), Duration::from_millis(300));
            match connected {
                Ok(()) => queued.push(filler),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Some(()),
                Err(error) => panic!("cannot fill the queue of {address}: {error}"),
            }
            None
        });
        Self { server: Server { listener, address }, queued }
    }

    pub(crate) fn address(&self) -> &str {
        &self.server.address
    }

    /// Makes room: who waited is connected when its next attempt comes, about a second later.
    pub(crate) fn answer(self) -> Server {
        for _ in &self.queued {
            drop(self.server.accept());
        }
        // The proxy has one connection in the queue, and it is the next.
        self.server
    }
}
