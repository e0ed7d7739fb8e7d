//! The load: clients and their server on one thread with one `epoll`, so that both ends share one core without
//! switching between threads.
//!
//! The first byte of a request names its [`Errand`], or begins HTTP. The server needs to know nothing else, so one server
//! address serves all cases, those whose clients are other programs included.
//!
//! Ports: in a one-shot connection the *server* closes first. `TIME_WAIT` therefore stays on the listening side of both
//! connections, and neither the client nor the proxy runs out of ephemeral ports. All arms use the same port one after
//! another, which bounds the number of such sockets. A measurement resets all open connections at its end.

mod client;
mod errand;
mod http;
mod outgoing;
mod server;
mod tls;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use slab::Slab;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use self::client::Client;
pub(crate) use self::errand::Errand;
use self::outgoing::Outgoing;
use self::server::Server;
pub(crate) use self::tls::TlsClients;

/// Bytes of a bulk stream that one system call moves at most, at the client and at the server.
const BULK_READ_BYTES: usize = 1 << 20;
const BULK_WRITE_BYTES: usize = 256 << 10;

/// Edge-triggered, because one call reads all that has arrived: the kernel does not check the socket again.
const NEWS: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLET);
/// The same, and room to send in.
const NEWS_AND_ROOM: EpollFlags = NEWS.union(EpollFlags::EPOLLOUT);
/// Bytes that one call reads of a small reply, which never are as many, and of what arrives at the server.
const SMALL_READ_BYTES: usize = 16 << 10;
const SERVER_READ_BYTES: usize = 64 << 10;
/// More than wait in the backlog.
const ACCEPTED_MAX: usize = 10_000;
/// The rate of a held stream, and how often what is due is sent.
pub(crate) const HELD_BYTES_PER_S: f64 = 60e6;
const HELD_TICK: Duration = Duration::from_millis(1);
/// The receive buffer of sockets for small messages.
const SMALL_RECEIVE_BYTES: usize = 64 << 10;

const LISTENER_KEY: u64 = u64::MAX;
const SIGNALS_KEY: u64 = u64::MAX - 1;

/// What the clients have counted since the last [`Load::take_tally`].
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) replies: u64,
    /// One-shot connections that ended as they should.
    pub(crate) connections: u64,
    /// Bytes of bulk that have arrived, at clients or at the server.
    pub(crate) bulk_bytes: u64,
    pub(crate) errors: u64,
    /// From the request (of a one-shot: from the connect) to the last byte of the reply.
    pub(crate) latency_ns: Histogram<u64>,
}

/// What happens to an end after its step.
enum Step {
    Keep,
    /// Wait for these events from now on.
    Await(EpollFlags),
    Close,
    /// Send at the held rate from now on.
    Hold,
    /// Close, and open another client with this errand.
    Renew(Errand),
}

enum End {
    Client(Client),
    Server(Server),
}

/// A stream at the held rate.
struct Held {
    key: usize,
    began_at: Instant,
    sent_bytes: u64,
}

/// Both ends of the load.
pub(crate) struct Load {
    epoll: Epoll,
    signals: SignalFd,
    listener: TcpListener,
    ends: Slab<End>,
    tally: Tally,
    buffer: Vec<u8>,
    /// Errands of clients that could not connect; they try again in the next turn.
    to_renew: Vec<Errand>,
    held: Vec<Held>,
    /// When the held streams send again.
    held_due_at: Instant,
    target: SocketAddr,
    interrupted: bool,
}

impl Load {
    /// Listens as the server. From now on SIGINT and SIGTERM end the benchmark with an error.
    pub(crate) fn new(listen: SocketAddr) -> Result<Self> {
        let mut ends_us = SigSet::empty();
        ends_us.add(Signal::SIGINT);
        ends_us.add(Signal::SIGTERM);
        ends_us.thread_block().context("cannot block signals")?;
        let signals = SignalFd::with_flags(&ends_us, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot receive signals")?;
        let listener = listen_on(listen).with_context(|| format!("the server cannot listen on {listen}"))?;
        lighten(&SockRef::from(&listener)).context("cannot set up the server")?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("cannot make an epoll")?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER_KEY))?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS_KEY))?;
        Ok(Self {
            epoll,
            signals,
            listener,
            ends: Slab::new(),
            tally: Tally::new()?,
            buffer: vec![b'x'; BULK_READ_BYTES],
            to_renew: Vec::new(),
            held: Vec::new(),
            held_due_at: Instant::now(),
            target: listen,
            interrupted: false,
        })
    }

    /// Whether a signal has interrupted the benchmark.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Sets the address that new clients connect to.
    pub(crate) fn aim_at(&mut self, target: SocketAddr) {
        self.target = target;
    }

    /// Opens connections, which send their requests as soon as they are established.
    pub(crate) fn open(&mut self, errand: Errand, count: u32) -> Result<()> {
        for _ in 0..count {
            self.open_one(errand)?;
        }
        Ok(())
    }

    /// Sends one more request on each idle connection, on `group` of them at a time.
    pub(crate) fn ask_again(&mut self, group: usize, timeout: Duration) -> Result<()> {
        let waiting: Vec<usize> =
            self.ends.iter().filter(|(_, end)| matches!(end, End::Client(_))).map(|(key, _)| key).collect();
        for keys in waiting.chunks(group) {
            let replies = self.tally.replies + keys.len() as u64;
            for key in keys {
                if let Some(End::Client(client)) = self.ends.get_mut(*key) {
                    client.ask(Instant::now());
                }
            }
            self.run_until(|tally| tally.replies >= replies, timeout)?;
        }
        Ok(())
    }

    /// Returns the tally and starts a new one.
    pub(crate) fn take_tally(&mut self) -> Result<Tally> {
        Ok(std::mem::replace(&mut self.tally, Tally::new()?))
    }

    /// The tally so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Runs both ends for a while.
    pub(crate) fn run_for(&mut self, duration: Duration) -> Result<()> {
        let ends_at = Instant::now() + duration;
        loop {
            let left = ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left)?;
        }
    }

    /// Runs both ends until `enough` accepts the tally.
    pub(crate) fn run_until(&mut self, enough: impl Fn(&Tally) -> bool, timeout: Duration) -> Result<()> {
        let ends_at = Instant::now() + timeout;
        while !enough(&self.tally) {
            let left = ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no reply within {timeout:?} ({} errors)", self.tally.errors);
            }
            self.turn(left)?;
        }
        Ok(())
    }

    /// Resets every connection, those that wait to be accepted included, so that a measurement leaves nothing to the next.
    pub(crate) fn reset_all(&mut self) {
        self.to_renew.clear();
        self.held.clear();
        for end in self.ends.drain() {
            let stream = match &end {
                End::Client(client) => SockRef::from(client.stream()),
                End::Server(server) => SockRef::from(server.stream()),
            };
            // On an error the socket closes without a reset.
            let _ = stream.set_linger(Some(Duration::ZERO));
        }
        // Bounded: a proxy that tries again would keep this going.
        for _ in 0..ACCEPTED_MAX {
            let Ok((stream, _)) = self.listener.accept() else { return };
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn turn(&mut self, at_most: Duration) -> Result<()> {
        for errand in std::mem::take(&mut self.to_renew) {
            self.open_or_retry(errand);
        }
        let at_most = if self.held.is_empty() { at_most } else { at_most.min(self.send_held()) };
        let timeout_ms = at_most.as_micros().div_ceil(1000).min(50) as u8;
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut events, EpollTimeout::from(timeout_ms)) {
            Err(nix::errno::Errno::EINTR) => 0,
            other => other.context("epoll_wait")?,
        };
        for event in &events[..count] {
            match event.data() {
                LISTENER_KEY => self.accept_all()?,
                SIGNALS_KEY => {
                    self.interrupted = true;
                    let signal = self.signals.read_signal().context("cannot read a signal")?;
                    bail!("interrupted by signal {}", signal.map_or(0, |info| info.ssi_signo));
                }
                key => self.step(key as usize)?,
            }
        }
        Ok(())
    }

    /// Handles an event of one end. A key is freed only by its own event, so no event of the batch names a later end.
    fn step(&mut self, key: usize) -> Result<()> {
        let Some(end) = self.ends.get_mut(key) else { return Ok(()) };
        let step = match end {
            End::Client(client) => client.step(&mut self.buffer, &mut self.tally),
            End::Server(server) => server.step(&mut self.buffer, &mut self.tally),
        };
        match step {
            Step::Keep => {}
            Step::Await(flags) => {
                let mut event = EpollEvent::new(flags, key as u64);
                let changed = match end {
                    End::Client(client) => self.epoll.modify(client.stream(), &mut event),
                    End::Server(server) => self.epoll.modify(server.stream(), &mut event),
                };
                changed.context("epoll_ctl")?;
            }
            Step::Close => drop(self.ends.remove(key)),
            Step::Hold => self.held.push(Held { key, began_at: Instant::now(), sent_bytes: 0 }),
            Step::Renew(errand) => {
                drop(self.ends.remove(key));
                self.open_or_retry(errand);
            }
        }
        Ok(())
    }

    /// Sends what is due on the held streams, once a tick; returns the time until the next one. What a slow proxy did not
    /// take is due later.
    fn send_held(&mut self) -> Duration {
        let now = Instant::now();
        if now >= self.held_due_at {
            self.held_due_at = now + HELD_TICK;
            let (ends, buffer) = (&self.ends, &self.buffer);
            self.held.retain_mut(|held| {
                let Some(End::Server(server)) = ends.get(held.key) else { return false };
                let due_bytes = ((now - held.began_at).as_secs_f64() * HELD_BYTES_PER_S) as u64;
                let sent = server.send_due(buffer, due_bytes.saturating_sub(held.sent_bytes) as usize);
                held.sent_bytes += sent.unwrap_or(0) as u64;
                sent.is_some()
            });
        }
        self.held_due_at.saturating_duration_since(now)
    }

    fn accept_all(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let entry = self.ends.vacant_entry();
                    let event = EpollEvent::new(NEWS, entry.key() as u64);
                    self.epoll.add(&stream, event).context("epoll_ctl")?;
                    entry.insert(End::Server(Server::new(stream)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                // The client has reset the connection before it was accepted (accept(2)).
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error).context("the server cannot accept"),
            }
        }
    }

    fn open_or_retry(&mut self, errand: Errand) {
        if self.open_one(errand).is_err() {
            self.tally.errors += 1;
            self.to_renew.push(errand);
        }
    }

    fn open_one(&mut self, errand: Errand) -> Result<()> {
        let mut client = Client::connect(self.target, errand).context("a client cannot connect")?;
        let awaited = client.ask(Instant::now());
        let entry = self.ends.vacant_entry();
        self.epoll
            .add(client.stream().as_fd(), EpollEvent::new(awaited, entry.key() as u64))
            .context("epoll_ctl")?;
        entry.insert(End::Client(client));
        Ok(())
    }
}

impl Tally {
    fn new() -> Result<Self> {
        // A minute is longer than any measurement.
        let latency_ns = Histogram::new_with_bounds(1_000, 60_000_000_000, 3).context("histogram")?;
        Ok(Self { replies: 0, connections: 0, bulk_bytes: 0, errors: 0, latency_ns })
    }

    /// A percentile in microseconds.
    pub(crate) fn latency_us(&self, percentile: f64) -> f64 {
        self.latency_ns.value_at_percentile(percentile) as f64 / 1e3
    }
}

/// A listening socket with a backlog for bursts; its address may be in `TIME_WAIT`.
pub(crate) fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Makes the load's sockets cheap. Both cores process the same number of segments, and the proxy's core should be full
/// first.
fn lighten(socket: &SockRef<'_>) -> std::io::Result<()> {
    socket.set_tcp_congestion(b"reno")?;
    // A fixed size turns auto-tuning off (tcp(7), `tcp_moderate_rcvbuf`).
    socket.set_recv_buffer_size(SMALL_RECEIVE_BYTES)
}

/// Free loopback addresses.
///
/// The ports are below the ephemeral range (`ip_local_port_range`, ip(7)), so that no outgoing connection of the load takes
/// one of them between two arms.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_ephemeral =
        range.split_whitespace().next().and_then(|port| port.parse().ok()).unwrap_or(32_768);
    // Two benchmarks that run at the same time start at different ports.
    let start = 10_000 + (std::process::id() % 10_000) as u16;
    let mut free = (start..first_ephemeral.max(1_024))
        .chain(1_024..start)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .filter(|address| listen_on(*address).is_ok());
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        *address = free.next().context("no free port below the ephemeral range")?;
    }
    Ok(addresses)
}
