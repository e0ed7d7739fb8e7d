//! A peer's end of a connection, at the seed's pace; its part decides what it sends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::wire::Wire;
use crate::proxy::simulation::pace::{self, Leaving, Patience, Steps};
use crate::proxy::simulation::peer::Hears;
use crate::uring::sim::{Dice, Far, Heard, Next, Peer};

/// What a client or a server sends and receives.
pub(super) trait Part {
    /// Handles what has arrived.
    fn read(&mut self, unread: &mut Vec<u8>);

    /// The other end's stream is over, with these bytes left that were no complete message.
    fn ended(&mut self, unread: &[u8]);

    /// Appends what to send now.
    fn write(&mut self, out: &mut VecDeque<u8>, now: Instant, dice: &mut Dice);

    /// Whether it receives now, with `out` still to be sent.
    fn listens(&self, out: &VecDeque<u8>) -> bool;

    /// Whether it has nothing more to say. If it `gives_up`, unsent bytes no longer matter.
    fn is_through(&self) -> bool;

    fn gives_up(&self) -> bool;

    /// How its stream ends when everything is sent.
    fn parting(&self) -> Parting;
}

/// How one end closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// It ends its stream and reads the other one to the end.
    Orderly,
    /// Same, without `close_notify`.
    Bare,
    /// It closes immediately.
    Close,
    Reset,
}

/// How fast a peer is, and whether it leaves early.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    pub(super) piece_bytes_max: usize,
    pub(super) pause_max: Duration,
    pub(super) patience: Patience,
    /// This many bytes are sent one by one when there was nothing to send before: heads.
    pub(super) single_bytes: usize,
    /// The longest time from having something to say to saying it, when nothing was to be sent before.
    pub(super) rest_max: Duration,
}

/// What is known of an end from outside.
#[derive(Debug, Default)]
pub(super) struct LineNotes {
    /// The connection in the world, once there is one.
    pub(super) connection: Option<usize>,
    pub(super) began: Option<Instant>,
    /// When the first byte of its stream arrived.
    pub(super) spoken_to: Option<Instant>,
    /// How it left early, if it did.
    pub(super) left: Option<Leaving>,
    pub(super) left_at: Option<Instant>,
    pub(super) hears: Hears,
    /// When it saw an end or a reset.
    pub(super) heard_at: Option<Instant>,
    /// Whether it has announced its end, or is about to.
    pub(super) says_end: bool,
    /// How it ended its stream by itself.
    pub(super) parted: Option<Parting>,
    /// Whether it had not seen the end of the other stream by then.
    pub(super) parted_unasked: bool,
    /// When it rested, unless it left before: from when until when it did not send what it had to say.
    pub(super) rests: Vec<(Instant, Instant)>,
}

/// See the module docs.
pub(super) struct Line<P> {
    part: P,
    pace: Pace,
    notes: Rc<RefCell<LineNotes>>,
    wire: Wire,
    unread: Vec<u8>,
    out: VecDeque<u8>,
    single_bytes_left: usize,
    begin: Option<Instant>,
    receive_at: Option<Instant>,
    send_at: Option<Instant>,
}

impl<P: Part> Line<P> {
    pub(super) fn new(part: P, pace: Pace, notes: Rc<RefCell<LineNotes>>, wire: Wire) -> Self {
        Self {
            part,
            pace,
            notes,
            wire,
            unread: Vec::new(),
            out: VecDeque::new(),
            single_bytes_left: 0,
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
        let heard = self.wire.receive(&mut self.unread, wanted, far);
        if !self.unread.is_empty() {
            self.notes.borrow_mut().spoken_to.get_or_insert(far.now);
        }
        match heard {
            Heard::Nothing => return false,
            Heard::Bytes(_) => self.part.read(&mut self.unread),
            Heard::End => {
                // `close_notify` may come right behind the last bytes.
                self.part.read(&mut self.unread);
                self.part.ended(&self.unread);
                self.heard(Hears::End, far);
            }
            Heard::Reset => self.heard(Hears::Reset, far),
        }
        true
    }

    fn heard(&self, hears: Hears, far: &Far<'_>) {
        let notes = &mut *self.notes.borrow_mut();
        notes.hears = hears;
        notes.heard_at = Some(far.now);
    }

    /// Sends a piece. False when there is no room for one now.
    fn send(&mut self, far: &mut Far<'_>) -> bool {
        let is_single = self.single_bytes_left > 0;
        let wanted = if is_single { 1 } else { far.dice.number(1, self.pace.piece_bytes_max) };
        match self.wire.send(&mut self.out, wanted, far) {
            None => self.heard(Hears::Reset, far),
            Some(0) => return false,
            Some(_sent) => self.single_bytes_left -= usize::from(is_single),
        }
        true
    }

    /// Whether everything written is sent.
    fn has_sent_all(&self) -> bool {
        self.out.is_empty() && !self.wire.has_unsent()
    }

    /// Ends its stream, since it has nothing more to say. True if the connection is gone then.
    fn part(&mut self, far: &mut Far<'_>) -> bool {
        let parting = self.part.parting();
        if parting == Parting::Orderly && !std::mem::replace(&mut self.notes.borrow_mut().says_end, true) {
            self.wire.end();
        }
        if !self.has_sent_all() {
            return false;
        }
        let notes = &mut *self.notes.borrow_mut();
        notes.parted = Some(parting);
        notes.parted_unasked = notes.hears == Hears::More;
        match parting {
            Parting::Orderly | Parting::Bare => far.shutdown_write(),
            Parting::Close => far.close(),
            Parting::Reset => far.reset(),
        }
        matches!(parting, Parting::Close | Parting::Reset)
    }
}

impl<P: Part> Peer for Line<P> {
    fn turn(&mut self, far: &mut Far<'_>) -> Next {
        let begin = *self.begin.get_or_insert(far.now);
        {
            let notes = &mut *self.notes.borrow_mut();
            (notes.connection, notes.began) = (Some(far.id), Some(begin));
        }
        if let Some(leaving) = pace::leave(self.pace.patience, begin, far) {
            let notes = &mut *self.notes.borrow_mut();
            notes.left = Some(leaving);
            notes.left_at = Some(far.now);
            return Next::Done;
        }
        let mut steps = Steps::new(self.pace.patience, begin);
        let mut receive_at = *self.receive_at.get_or_insert(begin);
        if self.hears() == Hears::More && (self.wire.is_handshaking() || self.part.listens(&self.out)) {
            steps.take(&mut receive_at, self.pace.pause_max, far, |far| self.receive(far));
            self.receive_at = Some(receive_at);
        }
        if self.hears() == Hears::Reset {
            return Next::Done;
        }
        let had_sent_all = self.has_sent_all();
        if had_sent_all {
            self.single_bytes_left = self.pace.single_bytes;
        }
        self.part.write(&mut self.out, far.now, far.dice);
        if self.part.gives_up() {
            self.out.clear();
        }
        if had_sent_all && !self.has_sent_all() && !self.pace.rest_max.is_zero() {
            let until = far.now + far.dice.time(self.pace.rest_max);
            self.notes.borrow_mut().rests.push((far.now, until));
            self.send_at = Some(until);
        }
        let has_parted = self.notes.borrow().parted.is_some();
        if self.has_sent_all() && self.part.is_through() && !has_parted && self.part(far) {
            return Next::Done;
        }
        let mut send_at = *self.send_at.get_or_insert(begin);
        if !self.has_sent_all() {
            steps.take(&mut send_at, self.pace.pause_max, far, |far| self.send(far));
            self.send_at = Some(send_at);
        }

        if self.hears() == Hears::Reset {
            return Next::Done;
        }
        if self.hears() == Hears::End && self.notes.borrow().parted.is_some() {
            far.close();
            return Next::Done;
        }
        steps.next(far.now)
    }
}
