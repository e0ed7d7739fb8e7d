//! A client, or a server's end of a connection: does what the test says, and nothing else.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{PATIENCE, uninterrupted};

/// A connected stream socket of any family. What must happen on it and does not within the patience fails.
pub(crate) struct Peer(Socket);

impl Peer {
    pub(super) fn new(socket: Socket) -> Self {
        let peer = Self(socket);
        peer.be_patient();
        peer
    }

    /// Connects to an address as it is written on the command line.
    pub(crate) fn connect(address: &str) -> Self {
        let socket = socket(address);
        socket
            .connect_timeout(&sock_addr(address), PATIENCE)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Self::new(socket)
    }

    /// The same from this address of the host.
    pub(crate) fn connect_from(source: IpAddr, address: &str) -> Self {
        let socket = socket(address);
        let source = SocketAddr::new(source, 0);
        // A port that is bound is not free at any other address either.
        setsockopt(&socket, IpBindAddressNoPort, &true).expect("a TCP socket");
        socket.bind(&source.into()).unwrap_or_else(|error| panic!("cannot bind {source}: {error}"));
        socket
            .connect_timeout(&sock_addr(address), PATIENCE)
            .unwrap_or_else(|error| panic!("cannot connect from {source} to {address}: {error}"));
        Self::new(socket)
    }

    pub(super) fn be_patient(&self) {
        self.0.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        self.0.set_write_timeout(Some(PATIENCE)).expect("a valid time");
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.0
    }

    pub(super) fn into_socket(self) -> Socket {
        self.0
    }

    /// This end's address, as it is written in logs.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().ok().and_then(|address| address.as_socket()).expect("an IP socket")
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        (&self.0).write_all(bytes).unwrap_or_else(|error| panic!("sending failed: {error}"));
    }

    /// Sends, if the other end still receives.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    /// Receives everything up to the end of the stream, or a reset.
    pub(crate) fn receive_all(&self) -> String {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.receive(&mut buffer) {
                Ok(0) => break,
                Ok(received) => all.extend_from_slice(&buffer[..received]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("receiving failed: {error}"),
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Receives what is there, or waits for it.
    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| (&self.0).read(into))
    }

    /// Receives exactly these bytes; more may follow.
    pub(crate) fn expect(&self, bytes: &[u8]) {
        let mut received = vec![0; bytes.len()];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.receive(&mut received[filled..]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) => panic!("receiving failed after {filled} bytes: {error}"),
            }
        }
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(shown(&received[..filled]), shown(bytes), "received (left) is not what was expected");
    }

    /// The other end's stream is over, in order.
    pub(crate) fn expect_end(&self) {
        match self.receive(&mut [0]) {
            Ok(0) => {}
            Ok(_) => panic!("expected the end of the stream, received a byte"),
            Err(error) => panic!("expected the end of the stream, not: {error}"),
        }
    }

    /// The connection is closed, in order or by a reset, after whatever was still to be received.
    pub(crate) fn expect_close(&self) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.receive(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("expected the connection to be closed, not: {error}"),
            }
        }
    }

    /// The connection is reset, after whatever was still to be received.
    pub(crate) fn expect_reset(&self) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.receive(&mut buffer) {
                Ok(0) => panic!("expected a reset, the stream ended in order"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("expected a reset, not: {error}"),
            }
        }
    }

    /// The connection does not exist any more, although this end's stream or the other's ended before.
    pub(crate) fn expect_dead(&self) {
        // Errors and hang-ups are always looked for (poll(2)).
        let mut looked = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        let patience = PollTimeout::try_from(PATIENCE).expect("it fits");
        let found = uninterrupted(|| Ok(poll(&mut looked, patience)?)).expect("poll(2) works");
        assert_eq!(found, 1, "waited {PATIENCE:?} in vain for the connection to die");
    }

    /// Ends this end's stream; the other may go on. The proxy may have reset the connection for what was sent before.
    pub(crate) fn finish(&self) {
        match self.0.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != ErrorKind::NotConnected => {
                panic!("the stream cannot be ended: {error}")
            }
            _ => {}
        }
    }

    /// Closes by a reset.
    pub(crate) fn reset(self) {
        self.0.set_linger(Some(Duration::ZERO)).expect("the connection is alive");
    }
}

/// A socket of the right family for an address.
pub(super) fn socket(address: &str) -> Socket {
    let domain = if address.starts_with("unix:") {
        Domain::UNIX
    } else if address.starts_with('[') {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let socket = Socket::new(domain, Type::STREAM, None).expect("a descriptor is free");
    if domain != Domain::UNIX {
        socket.set_tcp_nodelay(true).expect("a TCP socket");
    }
    socket
}

pub(super) fn sock_addr(address: &str) -> SockAddr {
    match address.strip_prefix("unix:") {
        Some(path) => SockAddr::unix(path).expect("a short path"),
        None => address.parse::<SocketAddr>().unwrap_or_else(|error| panic!("{address}: {error}")).into(),
    }
}
