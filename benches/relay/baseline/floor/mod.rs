//! The floor: a relay that makes the system calls that the bytes need, and does nothing else.
//!
//! A message costs one `epoll_wait`, one `recv` and one `send`, what a pipe holds two `splice` (see [`Direction`]), a
//! connection an `accept4` and a `connect` that blocks, which does not wait on loopback. With a certificate it speaks TLS with
//! clients ([`tls`]). There are no time-outs, limits, counters and logs, and no look at the bytes.
//!
//! ```text
//! a turn: epoll_wait -> messages: recv + send -> bulk of one direction: splice + splice -> one new client
//! ```

mod direction;
mod tls;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::ServerConfig;
use slab::Slab;

use self::direction::{Direction, READ_BYTES, State};
pub(crate) use self::tls::Identity;
use self::tls::Tls;
use super::pipe::Pipe;
use crate::load::listen_on;

const EVENTS_MAX: usize = 256;
/// The side of the client, and the direction from it.
const CLIENT: usize = 0;
const LISTENER_KEY: u64 = u64::MAX;
/// Edge-triggered, so that the kernel does not look at a socket again that has been read.
const NEWS: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP).union(EpollFlags::EPOLLET);
const ROOM: EpollFlags = EpollFlags::EPOLLOUT.union(EpollFlags::EPOLLET);

/// A client's connection and its server connection.
struct Session {
    /// Direction `d` goes from socket `d` to the other.
    sockets: [TcpStream; 2],
    directions: [Direction; 2],
    /// The client's.
    tls: Option<Tls>,
    /// What events tell of each socket: of room from the first time on that there was none.
    awaited: [EpollFlags; 2],
}

struct Relay {
    epoll: Epoll,
    listener: TcpListener,
    upstream: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    sessions: Slab<Session>,
    /// The slots and directions of messages that have arrived.
    due: Vec<(usize, usize)>,
    /// The same of bulk, of which each turn moves one pipe: messages do not wait behind all of it.
    due_bulk: VecDeque<(usize, usize)>,
    buffer: Vec<u8>,
}

/// Relays until the process ends; with `polling` it never sleeps.
pub(crate) fn run(
    listen: SocketAddr,
    upstream: SocketAddr,
    polling: bool,
    identity: &Identity,
) -> Result<()> {
    let listener = listen_on(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("cannot make an epoll")?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER_KEY)).context("epoll_ctl")?;
    let relay = Relay {
        epoll,
        listener,
        upstream,
        tls: identity.settings().context("the certificate")?,
        sessions: Slab::new(),
        due: Vec::new(),
        due_bulk: VecDeque::new(),
        buffer: vec![0; READ_BYTES],
    };
    relay.run(polling)
}

impl Relay {
    fn run(mut self, polling: bool) -> Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        loop {
            let sleeps = !polling && self.due_bulk.is_empty();
            let timeout = if sleeps { EpollTimeout::NONE } else { EpollTimeout::ZERO };
            let count = match self.epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) => 0,
                other => other.context("epoll_wait")?,
            };
            let mut has_client = false;
            for event in &events[..count] {
                match event.data() {
                    LISTENER_KEY => has_client = true,
                    key => self.note(key, event.events()),
                }
            }
            let mut due = mem::take(&mut self.due);
            for (slot, direction) in due.drain(..) {
                self.advance(slot, direction)?;
            }
            self.due = due;
            if let Some((slot, direction)) = self.due_bulk.pop_front() {
                self.advance(slot, direction)?;
            }
            // Last: no event of this turn names a session in a slot that a new one takes.
            if has_client {
                self.accept()?;
            }
        }
    }

    /// Notes what an event says about a socket.
    fn note(&mut self, key: u64, flags: EpollFlags) {
        let (slot, side) = ((key >> 1) as usize, (key & 1) as usize);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if flags.contains(EpollFlags::EPOLLERR) {
            drop(self.sessions.remove(slot));
            return;
        }
        session.directions[side].hangs_up |= flags.contains(EpollFlags::EPOLLRDHUP);
        for (direction, state, awaited) in [(side, State::Waits, NEWS), (1 - side, State::Blocked, ROOM)] {
            let one = &mut session.directions[direction];
            if one.state != state || !flags.intersects(awaited) {
                continue;
            }
            one.state = State::Due;
            if one.has_bulk {
                self.due_bulk.push_back((slot, direction));
            } else {
                self.due.push((slot, direction));
            }
        }
    }

    /// Moves what there is in one direction.
    fn advance(&mut self, slot: usize, direction: usize) -> Result<()> {
        let Some(session) = self.sessions.get_mut(slot) else { return Ok(()) };
        let (this, other) = (direction, 1 - direction);
        let (from, to) = (&session.sockets[this], &session.sockets[other]);
        let (one, buffer) = (&mut session.directions[this], &mut self.buffer);
        let outcome = match &mut session.tls {
            None => one.advance(from, to, buffer),
            Some(tls) if this == CLIENT => one.decrypt(tls, (from, to), buffer),
            Some(tls) => one.encrypt(tls, (from, to), buffer),
        };
        let Ok(state) = outcome else {
            // The client counts the error.
            drop(self.sessions.remove(slot));
            return Ok(());
        };
        let moved = &mut session.directions[this];
        moved.state = state;
        if moved.has_bulk && moved.pipe.is_none() && session.tls.is_none() {
            // splice(2) waits unless the socket itself says not to.
            from.set_nonblocking(true).context("O_NONBLOCK")?;
            to.set_nonblocking(true).context("O_NONBLOCK")?;
            moved.pipe = Some(Pipe::new()?);
        }
        if let Some(tls) = session.tls.as_mut().filter(|_| state == State::Ended && this != CLIENT) {
            // This fails if the client has closed already.
            let _ = tls.end(to);
        }
        match state {
            State::Waits => session.set_awaited(&self.epoll, slot, this, session.awaited[this] | NEWS)?,
            State::Due => self.due_bulk.push_back((slot, this)),
            State::Blocked => {
                // What arrives meanwhile would wake the relay for nothing.
                session.set_awaited(&self.epoll, slot, this, session.awaited[this] & ROOM)?;
                session.set_awaited(&self.epoll, slot, other, session.awaited[other] | ROOM)?;
            }
            State::Ended if session.directions[other].state == State::Ended => {
                drop(self.sessions.remove(slot));
            }
            State::Ended => {
                // This fails if the other end has closed already.
                let _ = to.shutdown(Shutdown::Write);
            }
        }
        Ok(())
    }

    /// Accepts one client: another event tells of the next one, and no call has to fail for that.
    fn accept(&mut self) -> Result<()> {
        match self.listener.accept() {
            Ok((client, _)) => self.begin(client),
            // The client has reset the connection before it was accepted (accept(2)).
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {
                Ok(())
            }
            Err(error) => Err(error).context("cannot accept"),
        }
    }

    fn begin(&mut self, client: TcpStream) -> Result<()> {
        // The client counts the error of a connection that closes at once.
        let Ok(upstream) = TcpStream::connect(self.upstream) else { return Ok(()) };
        let tls = self.tls.as_ref().map(Tls::new).transpose()?;
        // The client's socket has it from the listener.
        upstream.set_nodelay(true).context("TCP_NODELAY")?;
        let entry = self.sessions.vacant_entry();
        for (side, socket) in [&client, &upstream].into_iter().enumerate() {
            self.epoll.add(socket, EpollEvent::new(NEWS, key(entry.key(), side))).context("epoll_ctl")?;
        }
        entry.insert(Session {
            sockets: [client, upstream],
            directions: [Direction::default(), Direction::default()],
            tls,
            awaited: [NEWS; 2],
        });
        Ok(())
    }
}

impl Session {
    /// Sets what events tell of a socket. The kernel looks at it at once: what has happened before is an event too.
    fn set_awaited(&mut self, epoll: &Epoll, slot: usize, side: usize, flags: EpollFlags) -> Result<()> {
        if self.awaited[side] != flags {
            self.awaited[side] = flags;
            let mut event = EpollEvent::new(flags, key(slot, side));
            epoll.modify(&self.sockets[side], &mut event).context("epoll_ctl")?;
        }
        Ok(())
    }
}

fn key(slot: usize, side: usize) -> u64 {
    (slot as u64) << 1 | side as u64
}
