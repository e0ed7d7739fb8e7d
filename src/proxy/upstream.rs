//! Choosing an upstream and connecting to it. What comes out belongs to one session; there is nowhere to put
//! it back.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use futures_lite::future::or;
use socket2::SockAddr;

use super::record::End;
use super::routes::Group;
use super::settings::Upstream;
use super::worker::Worker;
use crate::uring::{Address, Shortage, Socket, is_out_of_descriptors};

/// How long connecting pauses without a descriptor.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// The upstreams of a worker and whose turn it is.
pub(super) struct Upstreams(Vec<Named>);

struct Named {
    name: String,
    addresses: Vec<(Address, SockAddr)>,
    /// Whose turn it is in the group that begins with this one.
    turn: Cell<usize>,
}

/// A place to connect to: one of the addresses of a server.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Index into `Settings::upstreams`.
    pub(super) index: usize,
    pub(super) name: &'a str,
    pub(super) address: &'a Address,
    /// Which of the server's addresses that is.
    nth: usize,
    sock_addr: &'a SockAddr,
}

impl Upstreams {
    pub(super) fn new(upstreams: &[Upstream]) -> io::Result<Self> {
        let named = |upstream: &Upstream| {
            let addresses = upstream
                .addresses
                .iter()
                .map(|address| Ok((address.clone(), address.to_sock_addr()?)))
                .collect::<io::Result<_>>()?;
            Ok(Named { name: upstream.name.clone(), addresses, turn: Cell::new(0) })
        };
        upstreams.iter().map(named).collect::<io::Result<_>>().map(Self)
    }

    /// Where to try: at the server of a group whose turn it is, then at the one after it, and so on once round.
    pub(super) fn in_turn(&self, group: Group) -> impl Iterator<Item = Candidate<'_>> {
        let Group { first, count } = group;
        let turn = self.0[first].turn.get();
        self.0[first].turn.set((turn + 1) % count);
        (turn..count).chain(0..turn).map(move |nth| first + nth).flat_map(|index| {
            let Named { name, addresses, .. } = &self.0[index];
            addresses.iter().enumerate().map(move |(nth, (address, sock_addr))| Candidate {
                index,
                name,
                address,
                nth,
                sock_addr,
            })
        })
    }
}

/// Connects, with the connect time-out over all of it, pauses for a descriptor included.
///
/// # Errors
/// How a session ends that is connected nowhere else; it is logged.
pub(super) async fn connect(worker: &Worker, candidate: Candidate<'_>) -> Result<Socket, End> {
    let Candidate { name, address, sock_addr, .. } = candidate;
    let ring = &worker.ring;
    let deadline = ring.now() + worker.settings.connect_timeout;
    loop {
        let connected = or(Socket::connect(ring, address, sock_addr, &worker.socket_options), async {
            ring.sleep_until(deadline).await;
            Err(io::ErrorKind::TimedOut.into())
        })
        .await;
        match connected {
            Ok(socket) => return Ok(socket),
            Err(error) if is_out_of_descriptors(&error) && ring.now() + DESCRIPTOR_PAUSE < deadline => {
                pause(worker).await;
            }
            Err(error) => {
                let (end, cause) = (end(&error), cause(&error));
                tracing::warn!(upstream = name, %address, cause, %error, "cannot connect upstream");
                if end != End::LocalLimit {
                    note_failure(worker, candidate);
                }
                return Err(end);
            }
        }
    }
}

/// A server cannot be used: that it is down is logged once.
pub(super) fn note_failure(worker: &Worker, candidate: Candidate<'_>) {
    let Candidate { index, name, address, nth, .. } = candidate;
    if worker.shared.outages.note_failure(index, nth) {
        tracing::warn!(upstream = name, %address, "server is down; it is tried again in its turn");
    }
}

/// A server can be used: when it could not before, that is logged once.
pub(super) fn note_success(worker: &Worker, candidate: Candidate<'_>) {
    let Candidate { index, name, address, nth, .. } = candidate;
    if let Some(failures) = worker.shared.outages.note_success(index, nth) {
        tracing::info!(upstream = name, %address, failures, "server is up again");
    }
}

fn end(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::TimedOut => End::ConnectTimeout,
        io::ErrorKind::AddrNotAvailable => End::LocalLimit,
        _ if is_out_of_descriptors(error) => End::LocalLimit,
        _ => End::Refused,
    }
}

/// A word for it.
fn cause(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::TimedOut => "timed-out",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "reset",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            "unreachable"
        }
        io::ErrorKind::NotFound => "missing",
        io::ErrorKind::PermissionDenied => "not-permitted",
        io::ErrorKind::AddrNotAvailable => "no-port",
        _ if is_out_of_descriptors(error) => "no-descriptor",
        _ => "failed",
    }
}

async fn pause(worker: &Worker) {
    let _wanted = Wanted::new(&worker.descriptors_wanted);
    worker.ring.note_shortage(Shortage::Descriptors);
    worker.ring.sleep(DESCRIPTOR_PAUSE).await;
}

/// Counts as one more for as long as it lives, however that ends.
struct Wanted<'a>(&'a Cell<usize>);

impl<'a> Wanted<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
