//! The outside of a simulated kernel: the peers at the far ends of connections, scripted by tests.

use std::time::{Duration, Instant};

use socket2::SockAddr;

use super::connection::{Connection, Heard};
use super::faults::Dice;

/// A peer at the far end of a connection.
pub(crate) trait Peer {
    /// Acts, and returns when it acts again.
    fn turn(&mut self, far: &mut Far<'_>) -> Next;
}

/// When a peer acts again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Next {
    /// After this time.
    After(Duration),
    /// When something changes, or after this time.
    ChangeOr(Option<Duration>),
    /// Never.
    Done,
}

/// The servers that can be connected to.
pub(crate) trait Servers {
    /// Decides how an attempt to connect ends.
    fn answer(&mut self, to: &SockAddr, dice: &mut Dice) -> Answer;

    /// Provides the peer of an established connection.
    fn accept(&mut self, to: &SockAddr, dice: &mut Dice) -> Accepted;
}

/// How an attempt to connect ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// The time until the answer.
    pub(crate) after: Duration,
    /// The error, or none for success.
    pub(crate) error: Option<i32>,
}

/// A server's end of a connection.
pub(crate) struct Accepted {
    /// The peer at this end.
    pub(crate) peer: Box<dyn Peer>,
    /// Most bytes in flight to the worker and from it.
    pub(crate) socket_bytes: (usize, usize),
}

/// A client that will connect.
pub(crate) struct Arrival {
    /// Where it connects to; refused when no listener is there.
    pub(crate) to: SockAddr,
    /// The client's address.
    pub(crate) address: SockAddr,
    /// The client's peer.
    pub(crate) peer: Box<dyn Peer>,
    /// Most bytes in flight to the worker and from it.
    pub(crate) socket_bytes: (usize, usize),
}

/// A far end, for the turn of its peer.
pub(crate) struct Far<'a> {
    /// Its index among the connections of the world.
    pub(crate) id: usize,
    pub(crate) now: Instant,
    pub(crate) dice: &'a mut Dice,
    pub(super) connection: &'a mut Connection,
}

impl Far<'_> {
    pub(crate) fn receive(&mut self, into: &mut Vec<u8>, bytes_max: usize) -> Heard {
        self.connection.far_receive(into, bytes_max, self.now)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Option<usize> {
        self.connection.far_send(bytes, self.now)
    }

    /// Sends an urgent byte (`MSG_OOB`), which is not part of the stream.
    pub(crate) fn send_urgent(&mut self) {
        self.connection.far_send_urgent(self.now);
    }

    pub(crate) fn shutdown_write(&mut self) {
        self.connection.far_shutdown_write(self.now);
    }

    pub(crate) fn close(&mut self) {
        self.connection.far_close(self.now);
    }

    /// Resets the connection; some of what was sent may not arrive.
    pub(crate) fn reset(&mut self) {
        let dice = &mut *self.dice;
        self.connection
            .far_reset(|bytes| if dice.chance(500) { bytes } else { dice.number(0, bytes) }, self.now);
    }
}
