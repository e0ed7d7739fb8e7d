//! Choosing an upstream and connecting to it. What comes out belongs to one session; there is nowhere to put
//! it back.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;
use socket2::SockAddr;

use super::settings::Upstream;
use super::worker::Worker;
use crate::uring::{Address, Ring, Shortage, Socket, is_out_of_descriptors};

/// How long connecting pauses without a descriptor.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// The upstreams of a worker and whose turn it is.
pub(super) struct Upstreams {
    upstreams: Vec<Named>,
    next: Cell<usize>,
}

struct Named {
    name: String,
    addresses: Vec<(Address, Rc<SockAddr>)>,
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
            Ok(Named { name: upstream.name.clone(), addresses })
        };
        let upstreams = upstreams.iter().map(named).collect::<io::Result<_>>()?;
        Ok(Self { upstreams, next: Cell::new(0) })
    }
}

/// Connects to the upstream whose turn it is, else to the one after it, and so on once round. No byte of the
/// client has gone out yet, so trying the next one is safe. Gives the index of the one that took it.
pub(super) async fn connect(worker: &Worker) -> Result<(usize, Socket), Unconnected> {
    let Upstreams { upstreams, next } = &worker.upstreams;
    let first = next.get();
    next.set((first + 1) % upstreams.len());
    let mut why = Unconnected::Refused;
    for index in (first..upstreams.len()).chain(0..first) {
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
        });
        match connected.await {
            Err(error) if is_out_of_descriptors(&error) && ring.now() + DESCRIPTOR_PAUSE < deadline => {
                pause(ring).await;
            }
            connected => return connected,
        }
    }
}

async fn pause(ring: &Ring) {
    ring.note_shortage(Shortage::Descriptors);
    ring.sleep(DESCRIPTOR_PAUSE).await;
}
