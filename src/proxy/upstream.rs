//! Choosing a server and connecting to it. The connection belongs to one session; there is no pool to return it to.

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

/// How long connecting pauses when no descriptor is free.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// The servers of a worker and whose turn it is.
pub(super) struct Upstreams(Vec<Named>);

struct Named {
    name: String,
    addresses: Vec<(Address, SockAddr)>,
    /// Whose turn it is in the group that begins with this server.
    turn: Cell<usize>,
}

/// One address of a server, to connect to.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Index into `Settings::upstreams`.
    pub(super) index: usize,
    pub(super) name: &'a str,
    pub(super) address: &'a Address,
    /// The position of this address among those of the server.
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

    /// The candidates in order: the server of the group whose turn it is, then each of the others once.
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

/// Connects within the connect time-out, including pauses for a descriptor.
///
/// # Errors
/// How a session ends that connects nowhere else; the cause is logged here.
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
                tracing::warn!(upstream = name, %address, cause, %error, "cannot connect to server; trying the next, if any");
                if end != End::LocalLimit {
                    note_failure(worker, candidate);
                }
                return Err(end);
            }
        }
    }
}

/// Notes that a server cannot be used; logs once that it is down.
pub(super) fn note_failure(worker: &Worker, candidate: Candidate<'_>) {
    let Candidate { index, name, address, nth, .. } = candidate;
    if worker.shared.outages.note_failure(index, nth) {
        tracing::warn!(upstream = name, %address, "server is down; still trying it in turn");
    }
}

/// Notes that a server can be used; logs once that it is up again.
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

/// A one-word name of the cause.
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

/// Raises the count by one until it is dropped.
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
