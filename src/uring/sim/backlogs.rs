//! Listening sockets of a simulated kernel, and the clients that wait to be accepted.

use std::collections::VecDeque;

use socket2::SockAddr;

use super::faults::Dice;

/// A listening socket.
struct Backlog {
    address: SockAddr,
    is_open: bool,
    /// Connections, with the addresses of their clients.
    waiting: VecDeque<(usize, SockAddr)>,
}

/// All listening sockets that ever were, in the order of their opening.
#[derive(Default)]
pub(super) struct Backlogs(Vec<Backlog>);

impl Backlogs {
    /// Opens one and returns its index.
    pub(super) fn open(&mut self, address: SockAddr) -> usize {
        self.0.push(Backlog { address, is_open: true, waiting: VecDeque::new() });
        self.0.len() - 1
    }

    /// The one that a client gets that connects to this address, if there is any. The kernel chooses between several
    /// (`SO_REUSEPORT`).
    pub(super) fn at(&self, address: &SockAddr, dice: &mut Dice) -> Option<usize> {
        let is_at = |index: &usize| self.0[*index].is_open && self.0[*index].address == *address;
        match &(0..self.0.len()).filter(is_at).collect::<Vec<_>>()[..] {
            [] => None,
            [one] => Some(*one),
            several => Some(dice.one_of(several)),
        }
    }

    pub(super) fn address(&self, index: usize) -> &SockAddr {
        &self.0[index].address
    }

    /// Adds a connection behind those that wait.
    pub(super) fn push(&mut self, index: usize, connection: usize, client: SockAddr) {
        self.0[index].waiting.push_back((connection, client));
    }

    /// Whether a client waits to be accepted.
    pub(super) fn has_waiting(&self, index: usize) -> bool {
        !self.0[index].waiting.is_empty()
    }

    /// Takes the connection that has waited longest, with its client's address.
    pub(super) fn pop(&mut self, index: usize) -> Option<(usize, SockAddr)> {
        self.0[index].waiting.pop_front()
    }

    /// Closes one, and returns the connections that waited: they are lost.
    pub(super) fn close(&mut self, index: usize) -> impl Iterator<Item = usize> + use<> {
        self.0[index].is_open = false;
        std::mem::take(&mut self.0[index].waiting).into_iter().map(|(connection, _client)| connection)
    }
}
