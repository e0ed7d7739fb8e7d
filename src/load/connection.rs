//! One connection: connects, sends requests, reads replies, with its reads and writes on the thread's ring.
//!
//! A read in flight owns its buffer until it completes, so dropping a future cancels nothing here. To end what takes
//! too long, the thread shuts the socket down through the [`Slot`]: the read then completes.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream as ConnectingStream};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

use super::failure::Failure;
use super::{plan, tls};
use crate::protocol::http1::response::{AnswerTo, Body, ResponseError, ResponseHead, read_head};
use crate::protocol::ntlm::ChannelBindings;

/// The largest head of a reply: those of IIS have a few hundred bytes, Kerberos tokens some thousands.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Every idle connection holds a buffer of this size, which decides the memory of 9,000 of them.
const BUFFER_BYTES: usize = 4 * 1024;
/// The largest TLS record, and parts of those next to it.
const TLS_BUFFER_BYTES: usize = 17 * 1024;
/// Reads of large bodies; larger buffers are not faster.
const BULK_BUFFER_BYTES: usize = 256 * 1024;

/// A connection that has been idle for longer is looked at before it is used again. Shorter pauses are many in a loop, and a
/// server does not end connections after them.
const IDLE_LOOKED_AT: Duration = Duration::from_millis(100);

/// The view of a connection for the thread's timer, which ends what takes too long.
#[derive(Debug, Default)]
pub(super) struct Slot {
    stream: RefCell<Option<Rc<StreamShown>>>,
    /// Since when it waits for an answer.
    busy_since: Cell<Option<Instant>>,
    /// Why the thread shut the socket down.
    ended_by: Cell<Option<EndedBy>>,
}

/// The stream has no `Debug` of its own.
struct StreamShown(TcpStream);

impl std::fmt::Debug for StreamShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TcpStream")
    }
}

/// Why the thread shut a socket down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    Timeout,
    RunEnd,
}

impl Slot {
    /// Since when this connection waits for an answer.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.busy_since.get()
    }

    /// Shuts the socket down, so that reads and writes on it end.
    pub(super) fn end(&self, by: EndedBy) {
        if let Some(stream) = &*self.stream.borrow() {
            self.ended_by.set(Some(by));
            // The server may have closed it at the same time; the connection ends either way.
            let _ = stream.0.shutdown(Shutdown::Both);
        }
    }

    /// The failure that the end of the connection means.
    fn failure(&self, otherwise: Failure) -> Failure {
        match self.ended_by.get() {
            Some(EndedBy::Timeout) => Failure::TimedOut,
            Some(EndedBy::RunEnd) => Failure::RunEnded,
            None => otherwise,
        }
    }
}

/// A TLS session and the buffer for bytes from the socket.
#[derive(Debug)]
struct Tls {
    session: tls::Session,
    wire: Vec<u8>,
}

/// A connection to a target. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Rc<StreamShown>,
    slot: Rc<Slot>,
    /// Bytes read and decrypted, not yet used.
    input: Vec<u8>,
    tls: Option<Tls>,
    /// When the last reply had come.
    idle_since: Option<Instant>,
    received_bytes: u64,
    sent_bytes: u64,
}

/// A complete reply: the result of its head, and whether the connection can be used again.
#[derive(Debug)]
pub(super) struct Reply<T> {
    /// 101, or 200 to 999.
    pub status: u16,
    /// What `see` returned for the head.
    pub seen: T,
    /// When its last byte was received.
    pub ended: Instant,
    /// Whether the connection can be used again.
    pub keep_alive: bool,
}

impl Connection {
    /// Connects, from `source` if given; `timeout` limits this step only.
    pub(super) async fn open(
        address: SocketAddr,
        source: Option<IpAddr>,
        slot: &Rc<Slot>,
        timeout: Duration,
        is_bulk: bool,
    ) -> Result<Self, Failure> {
        // By epoll, not the ring: a connect on the ring cannot be cancelled at its time-out.
        let connecting = connect(address, source);
        let stream = match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => connected.and_then(|stream| {
                stream.set_nodelay(true)?;
                let stream = stream.into_std()?;
                // On the ring a non-blocking socket returns EAGAIN, where a blocking one waits without blocking the thread.
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
        Ok(Self {
            stream,
            slot: Rc::clone(slot),
            input,
            tls: None,
            idle_since: None,
            received_bytes: 0,
            sent_bytes: 0,
        })
    }

    /// The TLS handshake, which starts at `began`.
    pub(super) async fn handshake(&mut self, began: Instant, tls: &plan::Tls) -> Result<(), Failure> {
        self.slot.busy_since.set(Some(began));
        let wire = Vec::with_capacity(TLS_BUFFER_BYTES);
        self.tls = Some(Tls { session: tls::Session::new(tls)?, wire });
        let result = self.handshake_untimed().await;
        self.slot.busy_since.set(None);
        result.map_err(|failure| self.slot.failure(failure))
    }

    async fn handshake_untimed(&mut self) -> Result<(), Failure> {
        loop {
            self.send_records().await?;
            match &self.tls {
                Some(tls) if tls.session.is_handshaking() => {}
                _ => return Ok(()),
            }
            if self.receive_records().await? == 0 {
                return Err(Failure::Closed);
            }
        }
    }

    /// The channel bindings that tie a login to this connection, if it has TLS.
    pub(super) fn channel_bindings(&self) -> Option<ChannelBindings> {
        self.tls.as_ref()?.session.channel_bindings()
    }

    async fn send(&mut self, request: Bytes) -> Result<(), Failure> {
        if let Some(tls) = &mut self.tls {
            tls.session.send(&request)?;
            return self.send_records().await;
        }
        self.sent_bytes += request.len() as u64;
        Ok(self.stream.0.write_all(request).await.0?)
    }

    async fn send_records(&mut self) -> Result<(), Failure> {
        let output = self.tls.as_mut().map_or(Ok(Vec::new()), |tls| tls.session.take_output())?;
        if output.is_empty() {
            return Ok(());
        }
        self.sent_bytes += output.len() as u64;
        Ok(self.stream.0.write_all(output).await.0?)
    }

    /// One read of the socket, of any length; 0: the connection ended.
    async fn receive_records(&mut self) -> Result<usize, Failure> {
        let Some(tls) = &mut self.tls else { return Ok(0) };
        let (result, wire) = self.stream.0.read(std::mem::take(&mut tls.wire)).await;
        tls.wire = wire;
        let received = result?;
        self.received_bytes += received as u64;
        tls.session.receive(&tls.wire[..received], &mut self.input)?;
        Ok(received)
    }

    /// Sends `request`, starting at `began`, and reads the whole reply; passes its head to `see` and its content to
    /// `content`.
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
        self.send(request).await?;
        let (status, seen, length_bytes, mut body, keep_alive) = loop {
            if self.receive().await? == 0 {
                let nothing_came = self.input.is_empty();
                return Err(if nothing_came { Failure::Closed } else { ResponseError::CutShort.into() });
            }
            // An alert, as a record of TLS (RFC 8446 section 5.1).
            if self.input.starts_with(&[0x15, 0x03]) {
                return Err(Failure::SpeaksTls);
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
        let ended = Instant::now();
        self.idle_since = Some(ended);
        Ok(Reply { status, seen, ended, keep_alive })
    }

    /// Whether the server ended the connection while it was idle, as it may at any time (RFC 9112 section 9.5).
    pub(super) async fn has_ended_idle(&mut self) -> bool {
        if self.idle_since.is_none_or(|since| since.elapsed() < IDLE_LOOKED_AT) {
            return false;
        }
        loop {
            match recv(self.stream.0.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
                // A session ticket, or `close_notify` with the end behind it.
                Ok(1) if self.tls.is_some() => match self.receive_records().await {
                    Ok(_) if self.input.is_empty() => {}
                    received => return received.is_err(),
                },
                // What came unasked will be told as what it is.
                Ok(1) | Err(Errno::EAGAIN) => return false,
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// Clears the input, which was used. A body that needs many more reads gets a larger buffer.
    fn make_room_for(&mut self, body: &Body) {
        self.input.clear();
        if let Body::Sized { remaining_bytes } = body
            && *remaining_bytes > 4 * self.input.capacity() as u64
        {
            self.input.reserve(BULK_BUFFER_BYTES);
        }
    }

    /// Appends received bytes to the input; 0: the connection ended.
    async fn receive(&mut self) -> Result<usize, Failure> {
        if self.tls.is_some() {
            let before = self.input.len();
            while self.input.len() == before {
                if self.receive_records().await? == 0 {
                    return Ok(0);
                }
                self.send_records().await?;
            }
            return Ok(self.input.len() - before);
        }
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

    /// Bytes sent and received since the last call.
    pub(super) fn take_traffic_bytes(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.sent_bytes), std::mem::take(&mut self.received_bytes))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.slot.stream.borrow_mut().take();
    }
}

/// Tries to connect to an address.
pub(super) async fn try_address(
    address: SocketAddr,
    source: Option<IpAddr>,
    timeout: Duration,
) -> Result<(), Failure> {
    match tokio::time::timeout(timeout, connect(address, source)).await {
        Ok(connected) => connected.map(drop).map_err(|cause| Failure::Connect { address, cause }),
        Err(_) => Err(Failure::TimedOut),
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<ConnectingStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source {
        // ip(7): the kernel chooses the port at the connect, by both addresses; chosen now, it would serve one target only.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}
