//! A TCP connection between the worker (the near end) and a scripted peer (the far end).
//!
//! It behaves as tcp(7) does as far as a session can tell; the rules are those of Linux' `tcp_recvmsg_locked`,
//! `tcp_sendmsg_locked`, `tcp_poll`, `tcp_reset` and `tcp_close`, named beside them.

use std::collections::VecDeque;
use std::time::Instant;

/// The result of a read at the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// This many bytes were appended.
    Bytes(usize),
    /// None now.
    Nothing,
    /// The end of the stream.
    End,
    /// The connection was reset.
    Reset,
}

/// One direction: bytes sent and not yet received.
#[derive(Debug)]
pub(crate) struct Stream {
    queue: VecDeque<u8>,
    /// Position of an urgent byte in the queue (tcp(7), `MSG_OOB`), which is not part of the stream. There is at most
    /// one: Linux turns an older one into an ordinary byte (`tcp_check_urg`).
    mark: Option<usize>,
    bytes_max: usize,
    /// Whether the sender has ended it.
    ended: bool,
    /// Since when there has been something to receive.
    pub(crate) readable_since: Option<Instant>,
    /// Since when there has been room.
    pub(crate) room_since: Option<Instant>,
    /// When bytes last entered.
    pub(crate) last_put: Option<Instant>,
    /// All bytes that ever entered.
    pub(crate) sent_bytes: u64,
    /// All bytes that ever left.
    pub(crate) received_bytes: u64,
}

impl Stream {
    fn new(bytes_max: usize, now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            mark: None,
            bytes_max,
            ended: false,
            readable_since: None,
            room_since: Some(now),
            last_put: None,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    /// Whether its sender has ended it.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Free space. An urgent byte takes none: it would fill the smallest stream.
    fn room(&self) -> usize {
        self.bytes_max - (self.queue.len() - usize::from(self.mark.is_some()))
    }

    fn put(&mut self, bytes: &[u8], now: Instant) -> usize {
        let count = bytes.len().min(self.room());
        self.queue.extend(&bytes[..count]);
        self.sent_bytes += count as u64;
        self.last_put = Some(now);
        self.noted(now);
        count
    }

    /// Appends an urgent byte, if there is none already.
    fn put_mark(&mut self, now: Instant) {
        if self.mark.is_none() {
            self.mark = Some(self.queue.len());
            self.queue.push_back(b'!');
            self.noted(now);
        }
    }

    /// Bytes up to the urgent one.
    fn bytes_before_mark(&self) -> usize {
        self.mark.unwrap_or(self.queue.len())
    }

    /// Skips an urgent byte that is next.
    fn pass_mark(&mut self, now: Instant) {
        if self.mark == Some(0) {
            self.mark = None;
            self.queue.pop_front();
            self.noted(now);
        }
    }

    /// Whether poll(2) reports the stream readable; it does not count an urgent byte that is next (`tcp_poll`).
    fn is_readable(&self) -> bool {
        self.queue.len() > usize::from(self.mark == Some(0)) || self.ended
    }

    fn take(&mut self, into: &mut Vec<u8>, bytes_max: usize, now: Instant) -> usize {
        let count = bytes_max.min(self.bytes_before_mark());
        into.extend(self.queue.drain(..count));
        self.mark = self.mark.map(|at| at - count);
        self.received_bytes += count as u64;
        self.noted(now);
        count
    }

    fn keep(&mut self, bytes: usize, now: Instant) {
        self.queue.truncate(bytes);
        self.mark = self.mark.filter(|at| *at < bytes);
        self.noted(now);
    }

    fn end(&mut self, now: Instant) {
        self.ended = true;
        self.noted(now);
    }

    fn noted(&mut self, now: Instant) {
        let since = |holds: bool, since: Option<Instant>| if holds { since.or(Some(now)) } else { None };
        self.readable_since = since(self.is_readable(), self.readable_since);
        self.room_since = since(self.room() > 0, self.room_since);
    }
}

/// The state in which the near end was closed, for judging why a session ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NearClose {
    pub(crate) at: Instant,
    /// Since when something had been waiting to be received.
    pub(crate) readable_since: Option<Instant>,
    /// Since when it had been dead.
    pub(crate) dead_since: Option<Instant>,
    /// Since when there had been room to send.
    pub(crate) room_since: Option<Instant>,
    /// Whether its own stream had been ended before.
    pub(crate) had_ended: bool,
}

/// The state of the far end towards its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FarEnd {
    Open,
    /// A send to it is answered by a reset, which may be on its way.
    Closed {
        reset_due: bool,
    },
    Reset,
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Connection {
    /// From the far end to the near one.
    pub(crate) inward: Stream,
    /// From the near end to the far one.
    pub(crate) outward: Stream,
    /// Since when it is in `TCP_CLOSE`: by a reset of either end or a time-out.
    dead_since: Option<Instant>,
    /// `sk_err` of the near end: reported once.
    error: Option<i32>,
    reset_on_close: bool,
    far: FarEnd,
    /// When the near end was closed.
    pub(crate) near_close: Option<NearClose>,
    /// When the near end last sent or received a byte.
    pub(crate) last_moved: Instant,
    /// Same, but without bytes of a receive that had delivered some before: the session may be busy with those and see
    /// the later ones only when it is done.
    pub(crate) last_awaited: Instant,
    /// Whether an error was injected: any consequence is plausible then.
    pub(crate) faulted: bool,
}

impl Connection {
    pub(super) fn new(inward_bytes_max: usize, outward_bytes_max: usize, now: Instant) -> Self {
        Self {
            inward: Stream::new(inward_bytes_max, now),
            outward: Stream::new(outward_bytes_max, now),
            dead_since: None,
            error: None,
            reset_on_close: false,
            far: FarEnd::Open,
            near_close: None,
            last_moved: now,
            last_awaited: now,
            faulted: false,
        }
    }

    // The near end.

    /// recv(2): data first, then the end of the stream (`SOCK_DONE`), then the error, once. It skips urgent data that
    /// is next, and otherwise stops in front of it.
    pub(super) fn near_receive(
        &mut self,
        into: &mut Vec<u8>,
        bytes_max: usize,
        now: Instant,
    ) -> Result<usize, i32> {
        self.inward.pass_mark(now);
        self.near_splice(into, bytes_max, now)
    }

    /// splice(2): same as recv(2), but in front of urgent data it sees no bytes (`tcp_read_sock`), and so looks for the
    /// end or an error (`tcp_splice_read`).
    pub(super) fn near_splice(
        &mut self,
        into: &mut Vec<u8>,
        bytes_max: usize,
        now: Instant,
    ) -> Result<usize, i32> {
        if self.inward.bytes_before_mark() > 0 {
            self.moved(now);
            return Ok(self.inward.take(into, bytes_max, now));
        }
        self.near_read_end()
    }

    fn moved(&mut self, now: Instant) {
        self.last_moved = now;
        self.last_awaited = now;
    }

    /// recv(2) of one byte with `MSG_PEEK`. It consumes the error as a plain one does.
    pub(super) fn near_peek(&mut self) -> Result<usize, i32> {
        let behind = self.inward.queue.len() > usize::from(self.inward.mark == Some(0));
        if behind { Ok(1) } else { self.near_read_end() }
    }

    fn near_read_end(&mut self) -> Result<usize, i32> {
        if self.inward.ended {
            return Ok(0);
        }
        match self.error.take() {
            Some(error) => Err(error),
            None if self.is_dead() => Ok(0),
            None => Err(libc::EAGAIN),
        }
    }

    /// getsockopt(2) with `SO_ERROR`.
    pub(super) fn near_take_error(&mut self) -> Option<i32> {
        self.error.take()
    }

    /// Readable bytes up to urgent ones; `passes` says whether to skip an urgent byte that is next.
    pub(super) fn near_readable_bytes(&self, passes: bool) -> usize {
        if passes && self.inward.mark == Some(0) {
            self.inward.queue.len() - 1
        } else {
            self.inward.bytes_before_mark()
        }
    }

    /// Whether any byte is readable (`tcp_inq_hint`).
    pub(super) fn near_is_nonempty(&self) -> bool {
        !self.inward.queue.is_empty()
    }

    /// send(2), as much as there is room for.
    pub(super) fn near_send(&mut self, bytes: &[u8], now: Instant) -> Result<usize, i32> {
        if self.is_dead() {
            return Err(self.error.take().unwrap_or(libc::EPIPE));
        }
        if self.outward.ended {
            return Err(libc::EPIPE);
        }
        if self.outward.room() == 0 {
            return Err(libc::EAGAIN);
        }
        self.moved(now);
        let sent = self.outward.put(bytes, now);
        if let FarEnd::Closed { reset_due } = &mut self.far {
            *reset_due = true;
        }
        Ok(sent)
    }

    /// shutdown(2) with `SHUT_WR`.
    pub(super) fn near_shutdown_write(&mut self, now: Instant) -> Result<(), i32> {
        if self.is_dead() {
            return Err(libc::ENOTCONN);
        }
        self.outward.end(now);
        Ok(())
    }

    /// Bytes sent that the far end has not read; 0 if all of them `have_arrived`.
    pub(super) fn near_unread_bytes(&self, have_arrived: bool) -> usize {
        if have_arrived { 0 } else { self.outward.queue.len() }
    }

    /// Whether the near end has ended its stream.
    pub(super) fn near_has_ended(&self) -> bool {
        self.outward.ended
    }

    fn is_dead(&self) -> bool {
        self.dead_since.is_some()
    }

    pub(super) fn near_is_connected(&self) -> bool {
        !self.is_dead()
    }

    /// Whether the connection is dead without an end of the stream before.
    pub(super) fn near_is_reset(&self) -> bool {
        self.is_dead() && !self.inward.ended
    }

    pub(super) fn near_reset_on_close(&mut self) {
        self.reset_on_close = true;
    }

    /// close(2): a reset if requested, or when received bytes were not read. `kept` of the sent bytes reach the far end
    /// before a reset does.
    pub(super) fn near_close(&mut self, kept: impl FnOnce(usize) -> usize, now: Instant) {
        self.near_close = Some(NearClose {
            at: now,
            readable_since: self.inward.readable_since,
            dead_since: self.dead_since,
            room_since: self.outward.room_since,
            had_ended: self.outward.ended,
        });
        if self.is_dead() {
            return;
        }
        if self.reset_on_close || !self.inward.queue.is_empty() {
            self.reset_far(kept, now);
        } else {
            self.outward.end(now);
        }
    }

    fn reset_far(&mut self, kept: impl FnOnce(usize) -> usize, now: Instant) {
        self.dead_since = Some(now);
        self.far = FarEnd::Reset;
        let sent = self.outward.queue.len();
        let kept = kept(sent);
        self.outward.keep(kept, now);
        // The end is behind all bytes.
        self.outward.ended &= kept == sent;
    }

    /// poll(2) of a connected socket.
    pub(super) fn near_events(&self) -> u32 {
        let no_more_in = self.inward.ended || self.is_dead();
        let no_more_out = self.outward.ended || self.is_dead();
        let mut events = 0;
        let mut set = |event: i16, holds: bool| {
            if holds {
                events |= u32::from(event as u16);
            }
        };
        set(libc::POLLHUP, no_more_in && no_more_out);
        set(libc::POLLRDHUP, no_more_in);
        set(libc::POLLIN, no_more_in || self.inward.is_readable());
        set(libc::POLLOUT, no_more_out || self.outward.room() > 0);
        set(libc::POLLERR, self.error.is_some());
        events
    }

    /// The connection dies of `error`, which neither end caused.
    pub(super) fn fail(&mut self, error: i32, now: Instant) {
        self.dead_since = Some(now);
        self.error = Some(error);
        self.far = FarEnd::Reset;
        self.faulted = true;
    }

    // The far end.

    /// Tells a sending near end now that the far end is gone.
    pub(super) fn deliver_due_reset(&mut self, now: Instant) {
        if self.is_reset_due() {
            self.reset_near(|bytes| bytes, now);
        }
    }

    pub(super) fn is_reset_due(&self) -> bool {
        self.far == FarEnd::Closed { reset_due: true } && !self.is_dead()
    }

    /// Receives at most `bytes_max`.
    pub(crate) fn far_receive(&mut self, into: &mut Vec<u8>, bytes_max: usize, now: Instant) -> Heard {
        if !self.outward.queue.is_empty() {
            return Heard::Bytes(self.outward.take(into, bytes_max, now));
        }
        match (self.far, self.outward.ended) {
            // The end of the stream came before the reset.
            (_, true) => Heard::End,
            (FarEnd::Reset, false) => Heard::Reset,
            (_, false) => Heard::Nothing,
        }
    }

    /// Sends what there is room for; nothing when the connection was reset, which a send to a closed near end causes.
    pub(crate) fn far_send(&mut self, bytes: &[u8], now: Instant) -> Option<usize> {
        if self.far == FarEnd::Reset {
            return None;
        }
        if self.near_close.is_some() && !self.is_dead() {
            self.reset_far(|bytes| bytes, now);
            return None;
        }
        Some(self.inward.put(bytes, now))
    }

    /// Sends an urgent byte, unless one is on its way already.
    pub(crate) fn far_send_urgent(&mut self, now: Instant) {
        if self.far != FarEnd::Reset && self.near_close.is_none() {
            self.inward.put_mark(now);
        }
    }

    /// Ends the far end's stream.
    pub(crate) fn far_shutdown_write(&mut self, now: Instant) {
        if !self.is_dead() {
            self.inward.end(now);
        }
    }

    /// close(2) of the far end.
    pub(crate) fn far_close(&mut self, now: Instant) {
        if self.outward.queue.is_empty() {
            self.far_shutdown_write(now);
            self.far = FarEnd::Closed { reset_due: false };
        } else {
            self.far_reset(|bytes| bytes, now);
        }
    }

    /// Resets the connection; `kept` of the sent bytes reach the near end before.
    pub(crate) fn far_reset(&mut self, kept: impl FnOnce(usize) -> usize, now: Instant) {
        self.far = FarEnd::Reset;
        self.reset_near(kept, now);
    }

    /// `tcp_reset`: received bytes stay, bytes to be sent are dropped.
    fn reset_near(&mut self, kept: impl FnOnce(usize) -> usize, now: Instant) {
        if self.is_dead() {
            return;
        }
        self.dead_since = Some(now);
        self.error = Some(if self.inward.ended { libc::EPIPE } else { libc::ECONNRESET });
        // An end of the stream that has arrived means that all bytes before it have.
        let arrived = self.inward.queue.len();
        let kept = if self.inward.ended { arrived } else { kept(arrived) };
        self.inward.keep(kept, now);
        self.outward.keep(0, now);
    }
}
