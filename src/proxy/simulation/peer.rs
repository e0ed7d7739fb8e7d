//! Clients and servers that act as the seed decides, and know exactly what they may receive.
//!
//! Every peer has a number; what it sends follows from that number and the position alone, and its first bytes are the
//! number itself. So the receiver knows the sender, and notices at once a byte that is lost, duplicated or of another
//! peer.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::pace::{self, Patience, Steps};
use crate::protocol::proxy_protocol::{self, Header, Progress};
use crate::uring::sim::{Far, Heard, Next, Peer};

/// Numbers from here on are server ends.
pub(super) const SERVER_NUMBER_MIN: u32 = 1_000_000;
/// Bytes of a number.
const NUMBER_BYTES: u64 = 4;

/// The byte that the peer with this number sends at this position.
pub(super) fn content(number: u32, position: u64) -> u8 {
    if position < NUMBER_BYTES {
        return number.to_le_bytes()[position as usize];
    }
    let mixed = (u64::from(number) << 32 ^ position).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as u8
}

/// Which peers exchanged bytes. Each server end has one client.
#[derive(Default)]
pub(super) struct Pairs {
    servers: BTreeMap<u32, BTreeSet<u32>>,
    clients: BTreeMap<u32, u32>,
}

impl Pairs {
    /// The server ends that exchanged bytes with the client, in the order in which they were connected.
    pub(super) fn servers_of(&self, client: u32) -> impl Iterator<Item = u32> {
        self.servers.get(&client).into_iter().flatten().copied()
    }

    pub(super) fn join(&mut self, client: u32, server: u32) {
        self.servers.entry(client).or_default().insert(server);
        let client_before = *self.clients.entry(server).or_insert(client);
        assert_eq!(
            client_before, client,
            "bytes of client {client} and server {server} met, but these are not of one session"
        );
    }

    /// Same, for a client that can have one server end only.
    pub(super) fn join_only(&mut self, client: u32, server: u32) {
        self.join(client, server);
        let servers: Vec<_> = self.servers_of(client).collect();
        assert_eq!(servers, [server], "the only server end that client {client} can have (right)");
    }
}

/// The state that all peers of a run share.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) pairs: RefCell<Pairs>,
    /// Maps the source address of a PROXY header to its client.
    pub(super) sources: RefCell<BTreeMap<SocketAddr, u32>>,
}

/// When a peer ends its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fin {
    AfterContent,
    AfterPeer,
    Never,
}

/// The behaviour of a peer.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// Sent before everything else: a PROXY header, or an invalid one.
    pub(super) preamble: Vec<u8>,
    pub(super) content_bytes: u64,
    pub(super) send_bytes_max: usize,
    pub(super) send_pause_max: Duration,
    /// In a thousand steps, how many begin with urgent data.
    pub(super) urgent: u32,
    pub(super) receive_bytes_max: usize,
    pub(super) receive_pause_max: Duration,
    /// The peer receives nothing before this time.
    pub(super) receive_from: Duration,
    pub(super) fin: Fin,
    pub(super) patience: Patience,
}

/// What a peer has seen of the other end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Hears {
    #[default]
    More,
    End,
    Reset,
}

/// What a peer did and saw.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) number: u32,
    /// For a server end: the server.
    pub(super) server: Option<SocketAddr>,
    /// The connection in the world, once there is one.
    pub(super) connection: Option<usize>,
    /// Unsent bytes of its preamble.
    pub(super) preamble_left_bytes: usize,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    /// Bytes of the PROXY header that a server got.
    pub(super) header_bytes: u64,
    pub(super) has_ended: bool,
    pub(super) has_left: bool,
    pub(super) hears: Hears,
}

/// See the module docs.
pub(super) struct Scripted {
    pub(super) notes: Rc<RefCell<Notes>>,
    pub(super) script: Script,
    pub(super) registry: Rc<Registry>,
    /// Whether a PROXY header must come first.
    pub(super) expects_header: bool,
    /// Whether it says nothing before the other end does.
    pub(super) listens_first: bool,
    /// Received and not parsed yet.
    unread: Vec<u8>,
    preamble_bytes: usize,
    partner: Option<u32>,
    begin: Option<Instant>,
    send_at: Option<Instant>,
    receive_at: Option<Instant>,
}

impl Scripted {
    pub(super) fn new(notes: Rc<RefCell<Notes>>, script: Script, registry: &Rc<Registry>) -> Self {
        Self {
            notes,
            script,
            registry: Rc::clone(registry),
            expects_header: false,
            listens_first: false,
            unread: Vec::new(),
            preamble_bytes: 0,
            partner: None,
            begin: None,
            send_at: None,
            receive_at: None,
        }
    }

    /// Sends the next piece. Returns false when there is no room for it.
    fn send(&mut self, far: &mut Far<'_>) -> bool {
        let notes = &mut *self.notes.borrow_mut();
        if far.dice.chance(self.script.urgent) {
            far.send_urgent();
        }
        let wanted = far.dice.number(1, self.script.send_bytes_max);
        let preamble = &self.script.preamble[self.preamble_bytes..];
        let mut piece: Vec<u8> = preamble.iter().copied().take(wanted).collect();
        let of_preamble = piece.len();
        let left = (self.script.content_bytes - notes.sent_bytes).min((wanted - of_preamble) as u64);
        piece.extend((0..left).map(|at| content(notes.number, notes.sent_bytes + at)));
        if piece.is_empty() {
            return true;
        }
        match far.send(&piece) {
            None => notes.hears = Hears::Reset,
            Some(0) => return false,
            Some(sent) => {
                let of_preamble = of_preamble.min(sent);
                self.preamble_bytes += of_preamble;
                notes.sent_bytes += (sent - of_preamble) as u64;
            }
        }
        notes.preamble_left_bytes = self.script.preamble.len() - self.preamble_bytes;
        true
    }

    /// Receives a piece. Returns false when there is none now.
    fn receive(&mut self, far: &mut Far<'_>) -> bool {
        let wanted = far.dice.number(1, self.script.receive_bytes_max);
        match far.receive(&mut self.unread, wanted) {
            Heard::Nothing => return false,
            Heard::Bytes(_) => self.read(),
            Heard::End => {
                self.read_rest();
                self.notes.borrow_mut().hears = Hears::End;
            }
            Heard::Reset => self.notes.borrow_mut().hears = Hears::Reset,
        }
        true
    }

    /// Checks received bytes.
    fn read(&mut self) {
        let notes = &mut *self.notes.borrow_mut();
        if self.expects_header {
            let parsed = proxy_protocol::parse(&self.unread);
            let Progress::Complete { header, consumed } = parsed.expect("upstreams get sound PROXY headers")
            else {
                return;
            };
            self.expects_header = false;
            notes.header_bytes = consumed as u64;
            self.unread.drain(..consumed);
            let sources = self.registry.sources.borrow();
            let Header::Tcp { source, .. } = header else { panic!("a header without the client's address") };
            let client = *sources.get(&source).expect("a header names an existing client");
            self.registry.pairs.borrow_mut().join_only(client, notes.number);
            self.partner = Some(client);
        }
        if notes.received_bytes == 0 {
            let Some(first) = self.unread.first_chunk() else { return };
            let from = u32::from_le_bytes(*first);
            let (client, server) =
                if notes.server.is_none() { (notes.number, from) } else { (from, notes.number) };
            assert!(
                client < SERVER_NUMBER_MIN && server >= SERVER_NUMBER_MIN,
                "peer {} received bytes that no peer sent to it: {first:?}",
                notes.number
            );
            self.registry.pairs.borrow_mut().join_only(client, server);
            assert!(self.partner.is_none_or(|partner| partner == from), "two clients on one connection");
            self.partner = Some(from);
        }
        let Some(from) = self.partner else { return };
        for byte in self.unread.drain(..) {
            let (right, at) = (content(from, notes.received_bytes), notes.received_bytes);
            assert_eq!(byte, right, "peer {} received a wrong byte at {at} of {from}", notes.number);
            notes.received_bytes += 1;
        }
    }

    /// Counts the rest of a stream that is too short to hold a number.
    fn read_rest(&mut self) {
        self.notes.borrow_mut().received_bytes += self.unread.len() as u64;
    }

    fn may_speak(&self) -> bool {
        let notes = self.notes.borrow();
        !self.listens_first || notes.received_bytes > 0 || notes.hears != Hears::More
    }

    fn has_sent_all(&self) -> bool {
        let notes = self.notes.borrow();
        self.preamble_bytes == self.script.preamble.len() && notes.sent_bytes == self.script.content_bytes
    }
}

impl Peer for Scripted {
    fn turn(&mut self, far: &mut Far<'_>) -> Next {
        let begin = *self.begin.get_or_insert(far.now);
        self.notes.borrow_mut().connection = Some(far.id);
        if pace::leave(self.script.patience, begin, far).is_some() {
            self.notes.borrow_mut().has_left = true;
            return Next::Done;
        }
        let mut steps = Steps::new(self.script.patience, begin);
        let mut receive_at = *self.receive_at.get_or_insert(begin + self.script.receive_from);
        if self.notes.borrow().hears != Hears::End {
            steps.take(&mut receive_at, self.script.receive_pause_max, far, |far| self.receive(far));
            self.receive_at = Some(receive_at);
        }
        let mut send_at = *self.send_at.get_or_insert(begin);
        if !self.has_sent_all() && self.may_speak() {
            steps.take(&mut send_at, self.script.send_pause_max, far, |far| self.send(far));
            self.send_at = Some(send_at);
        }

        let has_sent_all = self.has_sent_all() && self.may_speak();
        let notes = &mut *self.notes.borrow_mut();
        if notes.hears == Hears::Reset {
            return Next::Done;
        }
        let ends = match self.script.fin {
            Fin::AfterContent => true,
            Fin::AfterPeer => notes.hears == Hears::End,
            Fin::Never => false,
        };
        if has_sent_all && ends && !notes.has_ended {
            notes.has_ended = true;
            if far.dice.chance(self.script.urgent) {
                far.send_urgent();
            }
            far.shutdown_write();
        }
        if notes.hears == Hears::End && notes.has_ended {
            far.close();
            return Next::Done;
        }
        steps.next(far.now)
    }
}
