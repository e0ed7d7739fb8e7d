//! A peer's end of a connection, at the pace that the seed has it: what it says is up to its part.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::proxy::simulation::pace::{self, Leaving, Patience, Steps};
use crate::proxy::simulation::peer::Hears;
use crate::uring::sim::{Dice, Far, Heard, Next, Peer};

/// What a client or a server says and hears.
pub(super) trait Part {
    /// Takes in what has arrived.
    fn read(&mut self, unread: &mut Vec<u8>);

    /// The other end's stream is over, with these bytes left that were no message.
    fn ended(&mut self, unread: &[u8]);

    /// Appends what is to be said now.
    fn write(&mut self, out: &mut VecDeque<u8>, dice: &mut Dice);

    /// Is all said, for good? What was not sent yet matters no more if it `gives_up`.
    fn is_through(&self) -> bool;

    fn gives_up(&self) -> bool;
}

/// How fast a peer is, and whether it leaves early.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    pub(super) piece_bytes_max: usize,
    pub(super) pause_max: Duration,
    pub(super) patience: Patience,
}

/// What is known of an end from outside.
#[derive(Debug, Default)]
pub(super) struct LineNotes {
    /// The connection in the world, once there is one.
    pub(super) connection: Option<usize>,
    /// Before its time, and how.
    pub(super) left: Option<Leaving>,
    pub(super) hears: Hears,
}

/// See the module's head.
pub(super) struct Line<P> {
    part: P,
    pace: Pace,
    notes: Rc<RefCell<LineNotes>>,
    unread: Vec<u8>,
    out: VecDeque<u8>,
    has_ended: bool,
    begin: Option<Instant>,
    receive_at: Option<Instant>,
    send_at: Option<Instant>,
}

impl<P: Part> Line<P> {
    pub(super) fn new(part: P, pace: Pace, notes: Rc<RefCell<LineNotes>>) -> Self {
        Self {
            part,
            pace,
            notes,
            unread: Vec::new(),
            out: VecDeque::new(),
            has_ended: false,
            begin: None,
            receive_at: None,
            send_at: None,
        }
    }

    fn hears(&self) -> Hears {
        self.notes.borrow().hears
    }

    /// Receives a piece. False when there is none now.
    fn receive(&mut self, far: &mut Far<'_>) -> bool {
        let wanted = far.dice.number(1, self.pace.piece_bytes_max);
        match far.receive(&mut self.unread, wanted) {
            Heard::Nothing => return false,
            Heard::Bytes(_) => self.part.read(&mut self.unread),
            Heard::End => {
                self.part.ended(&self.unread);
                self.notes.borrow_mut().hears = Hears::End;
            }
            Heard::Reset => self.notes.borrow_mut().hears = Hears::Reset,
        }
        true
    }

    /// Sends a piece. False when there is no room for one now.
    fn send(&mut self, far: &mut Far<'_>) -> bool {
        let wanted = far.dice.number(1, self.pace.piece_bytes_max);
        let piece: Vec<u8> = self.out.iter().copied().take(wanted).collect();
        match far.send(&piece) {
            None => self.notes.borrow_mut().hears = Hears::Reset,
            Some(0) => return false,
            Some(sent) => drop(self.out.drain(..sent)),
        }
        true
    }
}

impl<P: Part> Peer for Line<P> {
    fn turn(&mut self, far: &mut Far<'_>) -> Next {
        let begin = *self.begin.get_or_insert(far.now);
        self.notes.borrow_mut().connection = Some(far.id);
        if let Some(leaving) = pace::leave(self.pace.patience, begin, far) {
            self.notes.borrow_mut().left = Some(leaving);
            return Next::Done;
        }
        let mut steps = Steps::new(self.pace.patience, begin);
        let mut receive_at = *self.receive_at.get_or_insert(begin);
        if self.hears() == Hears::More {
            steps.take(&mut receive_at, self.pace.pause_max, far, |far| self.receive(far));
            self.receive_at = Some(receive_at);
        }
        self.part.write(&mut self.out, far.dice);
        if self.part.gives_up() {
            self.out.clear();
        }
        let mut send_at = *self.send_at.get_or_insert(begin);
        if !self.out.is_empty() {
            steps.take(&mut send_at, self.pace.pause_max, far, |far| self.send(far));
            self.send_at = Some(send_at);
        }

        if self.hears() == Hears::Reset {
            return Next::Done;
        }
        if self.out.is_empty() && self.part.is_through() && !self.has_ended {
            self.has_ended = true;
            far.shutdown_write();
        }
        if self.hears() == Hears::End && self.has_ended {
            far.close();
            return Next::Done;
        }
        steps.next(far.now)
    }
}
