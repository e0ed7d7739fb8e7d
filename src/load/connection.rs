//! One connection: opened, asked, answered, closed, with its reads and writes on the thread's ring.
//!
//! A read in flight owns its buffer until it completes, so nothing here is cancelled by dropping a future. What
//! takes too long is ended by shutting the socket down from outside, through the [`Slot`]: the read then completes.

use std::cell::{Cell, RefCell};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

use super::failure::Failure;
use crate::protocol::http1::response::{AnswerTo, Body, ResponseError, ResponseHead, read_head};

/// A reply's head may have so many bytes: what IIS sends has a few hundred, Kerberos' tokens some thousands.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// An idle connection holds a buffer of this size, so it decides how much memory 9,000 of them take.
const BUFFER_BYTES: usize = 4 * 1024;
/// Reads of large bodies; larger ones do not get faster.
const BULK_BUFFER_BYTES: usize = 256 * 1024;

/// What a connection shows to the thread's ticker, which ends what takes too long.
#[derive(Debug, Default)]
pub(super) struct Slot {
    stream: RefCell<Option<Rc<StreamShown>>>,
    /// Since when an answer is awaited.
    busy_since: Cell<Option<Instant>>,
    /// Why the ticker shut the socket down.
    ended_by: Cell<Option<EndedBy>>,
}

/// The stream has no `Debug` of its own.
struct StreamShown(TcpStream);

impl std::fmt::Debug for StreamShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TcpStream")
    }
}

/// Why a socket was shut down under a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    Timeout,
    RunEnd,
}

impl Slot {
    /// Since when this connection awaits an answer.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.busy_since.get()
    }

    /// Shuts the socket down, so that whatever waits on it ends.
    pub(super) fn end(&self, by: EndedBy) {
        if let Some(stream) = &*self.stream.borrow() {
            self.ended_by.set(Some(by));
            // It may have been closed by the peer at this very moment; it is over either way.
            let _ = stream.0.shutdown(Shutdown::Both);
        }
    }

    /// What the end of the connection means.
    fn failure(&self, otherwise: Failure) -> Failure {
        match self.ended_by.get() {
            Some(EndedBy::Timeout) => Failure::TimedOut,
            Some(EndedBy::RunEnd) => Failure::RunEnded,
            None => otherwise,
        }
    }
}

/// A connection to a target. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Rc<StreamShown>,
    slot: Rc<Slot>,
    /// Bytes read and not yet used.
    input: Vec<u8>,
    received_bytes: u64,
    sent_bytes: u64,
}

/// A whole reply: what was wanted of its head, and what it means for the connection.
#[derive(Debug)]
pub(super) struct Reply<T> {
    /// 101, or 200 to 999.
    pub status: u16,
    /// What `see` made of the head.
    pub seen: T,
    /// When its last byte was there.
    pub ended: Instant,
    /// Whether the connection can be used again.
    pub keep_alive: bool,
}

impl Connection {
    /// Connects; `timeout` is for this step only.
    pub(super) async fn open(
        address: SocketAddr,
        slot: &Rc<Slot>,
        timeout: Duration,
        is_bulk: bool,
    ) -> Result<Self, Failure> {
        // Readiness by epoll, not the ring: a connect on the ring could not be given up before its time.
        let connecting = tokio::net::TcpStream::connect(address);
        let stream = match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => connected.and_then(|stream| {
                stream.set_nodelay(true)?;
                let stream = stream.into_std()?;
                // On the ring a non-blocking socket answers EAGAIN where a blocking one waits without blocking us.
                stream.set_nonblocking(false)?;
                Ok(stream)
            }),
            Err(_) => return Err(Failure::TimedOut),
        };
        let stream = stream.map_err(|cause| Failure::Connect { address, cause })?;
        let stream = Rc::new(StreamShown(TcpStream::from_std(stream)));
        slot.ended_by.set(None);
        *slot.stream.borrow_mut() = Some(Rc::clone(&stream));
        let input = Vec::with_capacity(if is_bulk { BULK_BUFFER_BYTES } else { BUFFER_BYTES });
        Ok(Self { stream, slot: Rc::clone(slot), input, received_bytes: 0, sent_bytes: 0 })
    }

    /// Sends `request`, now being `began`, and reads the whole reply; shows its head to `see` and its content to `content`.
    pub(super) async fn exchange<T>(
        &mut self,
        began: Instant,
        request: Bytes,
        answer_to: AnswerTo,
        see: impl FnMut(&ResponseHead<'_, '_>) -> T,
        content: impl FnMut(&[u8]),
    ) -> Result<Reply<T>, Failure> {
        self.slot.busy_since.set(Some(began));
        let reply = self.exchange_untimed(request, answer_to, see, content).await;
        self.slot.busy_since.set(None);
        reply.map_err(|failure| self.slot.failure(failure))
    }

    async fn exchange_untimed<T>(
        &mut self,
        request: Bytes,
        answer_to: AnswerTo,
        mut see: impl FnMut(&ResponseHead<'_, '_>) -> T,
        mut content: impl FnMut(&[u8]),
    ) -> Result<Reply<T>, Failure> {
        self.sent_bytes += request.len() as u64;
        self.stream.0.write_all(request).await.0?;
        let (status, seen, length_bytes, mut body, keep_alive) = loop {
            if self.receive().await? == 0 {
                let nothing_came = self.input.is_empty();
                return Err(if nothing_came { Failure::Closed } else { ResponseError::CutShort.into() });
            }
            let head = read_head(&self.input, answer_to, |head| {
                (head.status, see(head), head.length_bytes, head.body, head.keep_alive)
            })?;
            match head {
                Some(head) => break head,
                None if self.input.len() > HEAD_BYTES_MAX => return Err(Failure::HeadTooLarge),
                None => {}
            }
        };
        let mut taken = length_bytes + body.advance(&self.input[length_bytes..], &mut content)?;
        while !body.is_complete() {
            self.make_room_for(&body);
            if self.receive().await? == 0 {
                taken = 0;
                body.end_of_connection()?;
            } else {
                taken = body.advance(&self.input, &mut content)?;
            }
        }
        if taken < self.input.len() {
            return Err(Failure::BytesAfterReply);
        }
        self.input.clear();
        Ok(Reply { status, seen, ended: Instant::now(), keep_alive })
    }

    /// All of the input was taken; a body that needs many more reads gets a larger buffer for them.
    fn make_room_for(&mut self, body: &Body) {
        self.input.clear();
        if let Body::Sized { remaining_bytes } = body
            && *remaining_bytes > 4 * self.input.capacity() as u64
        {
            self.input.reserve(BULK_BUFFER_BYTES);
        }
    }

    /// Adds what comes next to the input; 0: the connection ended.
    async fn receive(&mut self) -> Result<usize, Failure> {
        if self.input.len() == self.input.capacity() {
            self.input.reserve(self.input.len());
        }
        let input = std::mem::take(&mut self.input);
        let filled = input.len();
        let (result, slice) = self.stream.0.read(input.slice(filled..)).await;
        self.input = slice.into_inner();
        let received = result?;
        self.received_bytes += received as u64;
        Ok(received)
    }

    /// Bytes sent and received since this was last asked.
    pub(super) fn take_traffic_bytes(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.sent_bytes), std::mem::take(&mut self.received_bytes))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.slot.stream.borrow_mut().take();
    }
}
