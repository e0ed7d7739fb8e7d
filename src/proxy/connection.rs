//! A session's connection to one of its two peers: the socket, the bytes that have arrived and were not taken yet, and
//! TLS where the peer uses it.
//!
//! ```text
//!   socket --receive--> (decrypt) --> unread --take--> peek or relay
//!   socket <--send----- (encrypt) <------------------- send_now
//! ```
//!
//! Between two connections without TLS the relay bypasses this path: it moves buffers and pipes from socket to socket.

use std::cell::{OnceCell, Ref, RefCell};
use std::io;
use std::rc::Rc;

use futures_lite::future::or;

use super::peek_memory::{Exceeded, PeekMemory, Unfinished, append_tightly, memory_bytes};
use super::tls::Tls;
use crate::uring::{Buffer, Expect, Received, Ring, Socket};

/// See the module docs. It belongs to one session; the socket cannot be taken out.
pub(super) struct Connection {
    socket: Socket,
    unread: RefCell<Unread>,
    tls: OnceCell<Box<Tls>>,
    /// Accounts for a client's unread bytes while the session waits for more.
    memory: Option<Rc<PeekMemory>>,
}

/// Memory that TLS takes during a handshake, beyond the bytes received: keys, hashes, records to send.
const HANDSHAKE_BYTES: usize = 8 * 1024;

/// Bytes that have arrived and were not taken.
enum Unread {
    None,
    /// A kernel-provided buffer, unless buffers were scarce: it may be held for an unknown time.
    Buffer(Buffer),
    /// Collected from several receives, or decrypted. Boxed, since most connections never have any.
    Pieces(Box<Pieces>),
    /// Dropped: the bytes took too much memory, and the connection closes.
    Exceeded,
}

#[derive(Default)]
struct Pieces {
    bytes: Vec<u8>,
    /// How many of `bytes` were taken.
    taken: usize,
    /// Set while the session waits for more behind them.
    unfinished: Option<Unfinished>,
}

impl Unread {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::None | Self::Exceeded => &[],
            Self::Buffer(buffer) => buffer,
            Self::Pieces(pieces) => &pieces.bytes[pieces.taken..],
        }
    }

    /// The bytes as a vector that can be appended to.
    fn pieces(&mut self) -> &mut Pieces {
        let mut pieces = match std::mem::replace(self, Self::None) {
            Self::None | Self::Exceeded => Box::default(),
            Self::Buffer(buffer) => {
                let mut pieces = Box::<Pieces>::default();
                append_tightly(&mut pieces.bytes, &buffer);
                pieces
            }
            Self::Pieces(pieces) => pieces,
        };
        pieces.bytes.drain(..std::mem::take(&mut pieces.taken));
        *self = Self::Pieces(pieces);
        match self {
            Self::Pieces(pieces) => pieces,
            Self::None | Self::Buffer(_) | Self::Exceeded => unreachable!("set above"),
        }
    }

    fn take(&mut self, count: usize) {
        match self {
            Self::None | Self::Exceeded => return,
            Self::Buffer(buffer) => buffer.advance(count),
            Self::Pieces(pieces) => {
                pieces.taken += count;
                // The expected bytes have arrived.
                if count > 0 {
                    pieces.unfinished = None;
                }
            }
        }
        if self.bytes().is_empty() {
            // An idle connection holds no memory for bytes.
            *self = Self::None;
        }
    }
}

/// More bytes have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    /// They filled a buffer.
    pub(super) is_full: bool,
    /// Further bytes were waiting.
    pub(super) more: bool,
}

impl Connection {
    /// A connection to a server, without TLS for now.
    pub(super) fn to_server(socket: Socket) -> Self {
        Self::new(socket, None)
    }

    /// A connection of a client, without TLS for now. Unfinished input counts in `memory`.
    pub(super) fn of_client(socket: Socket, memory: &Rc<PeekMemory>) -> Self {
        Self::new(socket, Some(Rc::clone(memory)))
    }

    fn new(socket: Socket, memory: Option<Rc<PeekMemory>>) -> Self {
        Self { socket, unread: RefCell::new(Unread::None), tls: OnceCell::new(), memory }
    }

    /// Whether the connection closes because unfinished input took too much memory. A receive has failed then.
    pub(super) fn has_exceeded_memory(&self) -> bool {
        matches!(*self.unread.borrow(), Unread::Exceeded)
    }

    /// Starts TLS and performs the handshake. Bytes that have arrived already are its beginning; bytes behind it stay
    /// unread. False when the peer ended its stream before the handshake completed. Each step takes a set-up turn: a
    /// signature takes as long as hundreds of messages.
    ///
    /// # Errors
    /// Those of recv(2) and send(2); `InvalidData` for a handshake error, of which the peer has been told.
    pub(super) async fn handshake(&self, ring: &Ring, tls: Tls) -> io::Result<bool> {
        let tls = self.tls.get_or_init(|| Box::new(tls));
        let mut plaintext = Vec::new();
        let unfinished = self.memory.as_ref().map(PeekMemory::begin);
        let mut bytes = HANDSHAKE_BYTES + self.unread().len();
        if !self.unread().is_empty() {
            self.handshake_turn(ring).await?;
            let begun = self.unread.replace(Unread::None);
            tls.decrypt(&self.socket, begun.bytes(), &mut plaintext)?;
        }
        let mut expect = Expect::Now;
        loop {
            self.flush().await?;
            if !tls.is_handshaking() {
                break;
            }
            if let Some(unfinished) = &unfinished {
                unfinished.holds(bytes);
            }
            let exceeded = unfinished.as_ref().map(Unfinished::exceeded);
            let Some(Received { mut buffer, more }) = self.receive_unless(exceeded, expect).await? else {
                return Ok(false);
            };
            bytes += buffer.len();
            buffer.park_when_scarce();
            self.handshake_turn(ring).await?;
            tls.decrypt(&self.socket, &buffer, &mut plaintext)?;
            expect = if more { Expect::Now } else { Expect::Later };
        }
        if !plaintext.is_empty() {
            self.unread.replace(Unread::Pieces(Box::new(Pieces { bytes: plaintext, ..Pieces::default() })));
        }
        Ok(true)
    }

    /// Waits for a set-up turn; fails when the peer has left meanwhile.
    async fn handshake_turn(&self, ring: &Ring) -> io::Result<()> {
        ring.set_up_turn().await;
        if ring.set_ups_wait() && !self.socket.is_connected() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    /// The TLS state, if TLS is used.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.get().map(|tls| &**tls)
    }

    /// Whether the peer has ended its stream with TLS's `close_notify`. Later errors of the connection do not matter
    /// then.
    pub(super) fn has_received_close_notify(&self) -> bool {
        self.tls().is_some_and(Tls::has_received_close_notify)
    }

    /// The socket, for operations on the connection itself. Bytes go through this type, or from socket to socket where
    /// there is no TLS and nothing unread.
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether the connection uses TLS. The bytes of the socket are then not those of the session.
    pub(super) fn has_tls(&self) -> bool {
        self.tls().is_some()
    }

    /// Bytes that have arrived and were not taken.
    pub(super) fn unread(&self) -> Ref<'_, [u8]> {
        Ref::map(self.unread.borrow(), Unread::bytes)
    }

    /// Removes the first `count` unread bytes, which were handled.
    pub(super) fn take(&self, count: usize) {
        self.unread.borrow_mut().take(count);
    }

    /// Makes a buffer received from the [`socket`](Self::socket) the unread bytes; there must be none.
    pub(super) fn put_back(&self, mut buffer: Buffer) {
        buffer.park_when_scarce();
        let before = self.unread.replace(Unread::Buffer(buffer));
        debug_assert!(before.bytes().is_empty(), "bytes would be lost");
    }

    /// Receives more behind the unread bytes; nothing when the peer has ended its stream.
    ///
    /// # Errors
    /// Those of recv(2); `InvalidData` for bytes that are not TLS where TLS is used.
    pub(super) async fn receive(&self, mut expect: Expect) -> io::Result<Option<Arrived>> {
        loop {
            if self.has_received_close_notify() {
                return Ok(None);
            }
            let received = if self.unread().is_empty() {
                self.socket.receive(expect).await?
            } else {
                // Boxed, because this is rare: nearly every message arrives in one piece.
                Box::pin(self.receive_behind_unread(expect)).await?
            };
            let Some(Received { mut buffer, more }) = received else { return Ok(None) };
            let arrived = Arrived { is_full: buffer.is_full(), more };
            let mut unread = self.unread.borrow_mut();
            let Some(tls) = self.tls() else {
                if unread.bytes().is_empty() {
                    buffer.park_when_scarce();
                    *unread = Unread::Buffer(buffer);
                } else {
                    append_tightly(&mut unread.pieces().bytes, &buffer);
                }
                return Ok(Some(arrived));
            };
            let before = unread.bytes().len();
            tls.decrypt(&self.socket, &buffer, &mut unread.pieces().bytes)?;
            if unread.bytes().len() > before {
                return Ok(Some(arrived));
            }
            unread.take(0);
            expect = if more { Expect::Now } else { Expect::Later };
        }
    }

    /// Receives what has arrived, at most a block, and returns how many bytes those were; nothing at the end of the stream.
    /// Without TLS `send` gets them, at most `bytes_max`, and returns how many it has taken; the others are unread then, and with
    /// TLS what was decrypted is. There must be no unread bytes before.
    ///
    /// # Errors
    /// Those of recv(2), with `WouldBlock` when nothing has arrived; `InvalidData` for bytes that are not TLS where TLS is used.
    pub(super) fn receive_block(
        &self,
        bytes_max: usize,
        send: impl FnOnce(&[u8]) -> usize,
    ) -> io::Result<Option<usize>> {
        debug_assert!(self.unread().is_empty(), "unread bytes would be overtaken");
        let mut unread = self.unread.borrow_mut();
        let Some(tls) = self.tls() else {
            return self.socket.receive_block(bytes_max, |bytes| {
                let taken = send(bytes);
                if taken < bytes.len() {
                    append_tightly(&mut unread.pieces().bytes, &bytes[taken..]);
                }
                bytes.len()
            });
        };
        let decrypt = |bytes: &[u8]| {
            let decrypted = tls.decrypt(&self.socket, bytes, &mut unread.pieces().bytes);
            decrypted.map(|()| bytes.len())
        };
        let received = self.socket.receive_block(usize::MAX, decrypt)?.transpose();
        unread.take(0);
        received
    }

    /// Receives while unread bytes wait for more behind them.
    async fn receive_behind_unread(&self, expect: Expect) -> io::Result<Option<Received>> {
        let exceeded = {
            let mut unread = self.unread.borrow_mut();
            // A waiting connection holds no buffer: peers that send half a head and stop could otherwise take them all.
            let Pieces { bytes, unfinished, .. } = unread.pieces();
            if let (None, Some(memory)) = (&unfinished, &self.memory) {
                *unfinished = Some(memory.begin());
            }
            unfinished.as_ref().map(|unfinished| {
                unfinished.holds(memory_bytes(bytes.len()));
                unfinished.exceeded()
            })
        };
        self.receive_unless(exceeded, expect).await
    }

    /// Receives unless the memory for unfinished input runs out.
    async fn receive_unless(
        &self,
        exceeded: Option<impl Future<Output = Exceeded>>,
        expect: Expect,
    ) -> io::Result<Option<Received>> {
        let Some(exceeded) = exceeded else { return self.socket.receive(expect).await };
        let closing = async {
            let exceeded = exceeded.await;
            self.unread.replace(Unread::Exceeded);
            Err(exceeded.into())
        };
        or(closing, self.socket.receive(expect)).await
    }

    /// Receives and drops bytes until the peer has ended its stream.
    ///
    /// # Errors
    /// Those of [`receive`](Self::receive).
    pub(super) async fn discard(&self) -> io::Result<()> {
        loop {
            let unread = self.unread().len();
            self.take(unread);
            if self.receive(Expect::Now).await?.is_none() {
                return Ok(());
            }
        }
    }

    /// Sends what fits into the socket's send buffer; 0 when it is full. With TLS some of what was taken may still be
    /// unsent: see [`flush`](Self::flush).
    ///
    /// # Errors
    /// Those of send(2).
    pub(super) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.tls() {
            None => self.socket.send_now(bytes),
            Some(tls) => tls.encrypt(&self.socket, bytes),
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// Those of send(2) and poll(2); some bytes may have been sent.
    pub(super) async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.send_now(bytes)? {
                0 => self.socket.writable().await?,
                sent => bytes = &bytes[sent..],
            }
        }
        self.flush().await
    }

    /// Sends what TLS holds in its own buffers, which is at most a record or two.
    ///
    /// # Errors
    /// Those of send(2) and poll(2).
    pub(super) async fn flush(&self) -> io::Result<()> {
        let Some(tls) = self.tls() else { return Ok(()) };
        while !tls.flush(&self.socket)? {
            self.socket.writable().await?;
        }
        Ok(())
    }

    /// Ends our stream to the peer, which may continue its own.
    ///
    /// # Errors
    /// Those of send(2) and shutdown(2).
    pub(super) async fn end_stream(&self) -> io::Result<()> {
        if let Some(tls) = self.tls() {
            tls.end();
            Box::pin(self.flush()).await?;
        }
        self.socket.shutdown_write()
    }

    /// Sends `close_notify` before an orderly close of a TLS connection; nothing before a reset.
    pub(super) fn end(&self) {
        if let Some(tls) = self.tls()
            && !self.socket.resets_on_close()
        {
            tls.end();
            // One alert. It is best effort: when there is no room for it or no reader, the close does not wait.
            let _ = tls.flush(&self.socket);
        }
    }

    /// Makes the close a reset, which tells the peer that bytes were lost.
    pub(super) fn reset_on_close(&self) {
        self.socket.reset_on_close();
    }

    /// Whether bytes are on the way, from the peer or to it, that a close now would lose.
    pub(super) fn has_undelivered(&self) -> bool {
        !self.unread().is_empty() || self.tls().is_some_and(Tls::has_unsent) || self.socket.has_undelivered()
    }
}

/// Closes the two connections of a session that neither peer has ended. Closes by reset where bytes are on the way
/// between the peers, because half of them would look complete, or where one connection is dead and this was not
/// reported yet; otherwise in order.
pub(super) fn cut(client: &Connection, upstream: &Connection) {
    let is_whole = |one: &Connection| !one.has_undelivered() && one.socket.is_connected();
    if !is_whole(client) || !is_whole(upstream) {
        client.reset_on_close();
        upstream.reset_on_close();
    } else {
        client.end();
        upstream.end();
    }
}

/// The kernel resets a connection that is closed while received bytes are unread (RFC 2525 section 2.17). Dropping does
/// the same for bytes that were read here and not forwarded.
impl Drop for Connection {
    fn drop(&mut self) {
        if !self.unread().is_empty() || self.socket.holds_bytes() {
            self.socket.reset_on_close();
        }
    }
}
