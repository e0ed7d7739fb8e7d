//! Sending to the service manager, without ever waiting for it: what cannot be sent now is for the caller to keep.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, SockAddr, Socket, Type};

use super::address::NotifyAddress;

/// Longest wait for the host of a virtual machine, which this thread alone waits for.
const VSOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to one address. It is connected early, while the process may still do that.
#[derive(Debug)]
pub(super) struct NotifySocket {
    address: NotifyAddress,
    /// To an address of a Unix socket, once it is connected.
    connected: Option<UnixDatagram>,
}

impl NotifySocket {
    pub(super) fn to(address: NotifyAddress) -> Self {
        let connected = match &address {
            NotifyAddress::Unix(address) => connect(address).ok(),
            NotifyAddress::Vsock { .. } => None,
        };
        Self { address, connected }
    }

    /// Sends one message, and a descriptor with it, which leads nowhere in another machine.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where the receiver has no room now; otherwise it cannot be reached.
    pub(super) fn send(&mut self, bytes: &[u8], descriptor: Option<&OwnedFd>) -> io::Result<()> {
        match &self.address {
            NotifyAddress::Unix(address) => {
                let socket = match &self.connected {
                    Some(socket) => socket,
                    None => self.connected.insert(connect(address)?),
                };
                let sent = send_with(socket, bytes, descriptor);
                if sent.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                    // Another one may listen there by the next time.
                    self.connected = None;
                }
                sent
            }
            NotifyAddress::Vsock { kind, cid, port } => {
                send_to_host(*kind, &SockAddr::vsock(*cid, *port), bytes)
            }
        }
    }
}

fn send_with(socket: &UnixDatagram, bytes: &[u8], descriptor: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn connect(address: &SocketAddr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(address)?;
    Ok(socket)
}

/// A connection for each message, but with datagrams. Without a word about the type it is datagrams, or packets in order where
/// the kernel has no datagrams, as in `sd_notify` itself.
fn send_to_host(kind: Option<Type>, to: &SockAddr, bytes: &[u8]) -> io::Result<()> {
    let open = |kind| Socket::new(Domain::VSOCK, kind, None);
    let (kind, socket) = match kind {
        Some(kind) => (kind, open(kind)?),
        None => match open(Type::DGRAM) {
            Ok(socket) => (Type::DGRAM, socket),
            Err(_) => (Type::SEQPACKET, open(Type::SEQPACKET)?),
        },
    };
    socket.set_write_timeout(Some(VSOCK_TIMEOUT))?;
    if kind == Type::DGRAM {
        return socket.send_to(bytes, to).map(drop);
    }
    socket.connect_timeout(to, VSOCK_TIMEOUT)?;
    socket.send(bytes)?;
    socket.shutdown(Shutdown::Write)
}
