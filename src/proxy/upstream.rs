//! Choosing an upstream and connecting to it. What comes out belongs to one session; there is nowhere to put
//! it back.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;
use socket2::SockAddr;

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
    addresses: Vec<(Address, Rc<SockAddr>)>,
    /// Whose turn it is in the group that begins with this one.
    turn: Cell<usize>,
}

/// Why no upstream took the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unconnected {
    /// All refused or could not be reached.
    Refused,
    /// The last one did not answer in time.
    TimedOut,
    /// No descriptor or port on this host.
    LocalLimit,
}

impl Upstreams {
    pub(super) fn new(upstreams: &[Upstream]) -> io::Result<Self> {
        let named = |upstream: &Upstream| {
            let addresses = upstream
                .addresses
                .iter()
                .map(|address| Ok((address.clone(), Rc::new(address.to_sock_addr()?))))
                .collect::<io::Result<_>>()?;
            Ok(Named { name: upstream.name.clone(), addresses, turn: Cell::new(0) })
        };
        upstreams.iter().map(named).collect::<io::Result<_>>().map(Self)
    }
}

/// Connects to the upstream of a group whose turn it is, else to the one after it, and so on once round. No byte of the
/// client has gone out yet, so trying the next one is safe. Gives the index of the one that took it.
pub(super) async fn connect(worker: &Worker, group: Group) -> Result<(usize, Socket), Unconnected> {
    let Group { first, count } = group;
    let Upstreams(upstreams) = &worker.upstreams;
    let turn = upstreams[first].turn.get();
    upstreams[first].turn.set((turn + 1) % count);
    let mut why = Unconnected::Refused;
    for index in (turn..count).chain(0..turn).map(|nth| first + nth) {
        for (address, sock_addr) in &upstreams[index].addresses {
            match attempt(worker, address, sock_addr).await {
                Ok(socket) => return Ok((index, socket)),
                Err(error) => {
                    why = classify(&error);
                    tracing::warn!(upstream = upstreams[index].name, %address, %error, "cannot connect upstream");
                }
            }
        }
    }
    Err(why)
}

fn classify(error: &io::Error) -> Unconnected {
    match error.kind() {
        io::ErrorKind::TimedOut => Unconnected::TimedOut,
        io::ErrorKind::AddrNotAvailable => Unconnected::LocalLimit,
        _ if is_out_of_descriptors(error) => Unconnected::LocalLimit,
        _ => Unconnected::Refused,
    }
}

/// One address, with the connect time-out over all of it, pauses for a descriptor included.
async fn attempt(worker: &Worker, address: &Address, sock_addr: &Rc<SockAddr>) -> io::Result<Socket> {
    let ring = &worker.ring;
    let deadline = ring.now() + worker.settings.connect_timeout;
    loop {
        let connected = or(Socket::connect(ring, address, sock_addr, &worker.socket_options), async {
            ring.sleep_until(deadline).await;
            Err(io::ErrorKind::TimedOut.into())
        })
        .await;
        match connected {
            Err(error) if is_out_of_descriptors(&error) && ring.now() + DESCRIPTOR_PAUSE < deadline => {
                pause(worker).await;
            }
            connected => return connected,
        }
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
