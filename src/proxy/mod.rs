//! The proxy: from a listener to the end of a session.
//!
//! This room owns every connection, and decides everything about it. It must never share an upstream connection
//! between clients, and never call `control`, take a lock, allocate or format on the way of a message. (TLS and HTTP
//! mode allocate: the one for records, the other for heads.)
//!
//! ```text
//!   listener --accept--> session --look--> client_header
//!                           |----choose-------------> opening (TLS with the client, or its hello), routes
//!                           |----connect------------> upstream, tls
//!                           |----relay--------------> relay, a direction each way; or http, message by message
//!                           '----close, record------> access_log
//! ```
//!
//! A [`worker`] is a thread with all of this to itself. Start with `session.rs`, which is that line as code.

pub mod access_log;
pub mod bind;
mod client_header;
mod connection;
pub mod counters;
mod direction;
mod drain;
mod http;
mod listener;
mod meter;
pub mod names;
mod networks;
mod opening;
pub mod outage;
mod peek_memory;
pub mod record;
mod relay;
pub mod routes;
pub mod seats;
mod session;
pub mod settings;
pub mod shared;
#[cfg(test)]
mod simulation;
pub mod stop;
pub mod tls;
mod upstream;
pub mod worker;

use std::io;

use crate::uring::{self, Address};

/// Why a worker cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listening socket is not to be had.
    #[error("cannot listen on {address}: {source}{}", bind_hint(.source))]
    Bind {
        /// Where.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// A listening socket that is of no use any more.
    #[error("the listener {address} failed: {source}")]
    Listener {
        /// Where.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// An upstream's address that no socket can be connected to.
    #[error("an upstream's address cannot be used: {0}")]
    Address(#[source] io::Error),
    /// No ring.
    #[error(transparent)]
    Kernel(#[from] uring::Error),
    /// The ring failed while it was used: our bug, or the kernel's.
    #[error("the ring failed: {0}")]
    Ring(#[source] io::Error),
}

fn bind_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process listens there (see `ss -ltnp`)",
        io::ErrorKind::PermissionDenied => {
            "; ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE (setcap \
             cap_net_bind_service=+ep), a Unix socket needs a directory that can be written to"
        }
        _ if uring::is_out_of_descriptors(error) => {
            "; raise the limit of open files (ulimit -n, LimitNOFILE=)"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address (see `ip address`)",
        _ => "",
    }
}
