//! Addresses for programs that must be told where to listen.

use std::net::{Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// An address at 127.0.0.1. Its port is no other's until this process ends, at no address of this host; connections to it
/// are refused as long as nothing listens there.
///
/// A socket that does not listen holds the port: who has `SO_REUSEADDR` as well can bind to it (socket(7)), and the kernel
/// gives it to no one who asks for any port.
pub(crate) fn address() -> SocketAddr {
    let holder = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a descriptor is free");
    holder.set_only_v6(false).and_then(|()| holder.set_reuse_address(true)).expect("a socket of ours");
    holder.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).expect("a free port");
    let held = holder.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound");
    std::mem::forget(holder);
    SocketAddr::from(([127, 0, 0, 1], held.port()))
}
