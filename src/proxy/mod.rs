//! The proxy: from a listener to the end of a session.
//!
//! This room owns every connection and decides everything about it. It must never share an upstream connection between
//! clients, and on the path of a message never call `control`, take a lock, allocate or format. (TLS and HTTP mode
//! allocate: TLS for records, HTTP for heads.)
//!
//! ```text
//!   listener --accept--> session --read--> client_header
//!                           |----route--------------> opening (TLS with the client, or its hello), routes
//!                           |----connect------------> upstream, tls; or warm, where a connection was opened ahead
//!                           |----relay--------------> relay, a direction each way; or http, message by message
//!                           '----close, record------> access_log
//! ```
//!
//! A [`worker`] is a thread that runs all of this by itself; one that accepts more than its share gives clients to others
//! (`desks`). What it serves can change between two accepts (`serving`). Start with `session.rs`, which is that line as code.

pub mod access_log;
mod admission;
pub mod bind;
mod client_header;
mod clients;
mod connection;
mod context;
pub mod counters;
mod desks;
mod drain;
mod http;
mod listener;
pub mod names;
mod networks;
mod opening;
pub mod orders;
mod peek_memory;
pub mod record;
mod relay;
pub mod routes;
pub mod seats;
mod service;
mod serving;
mod session;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod survey;
pub mod tls;
mod warm;
pub mod worker;

use std::io;

use crate::uring::{self, Address};

/// Why a worker cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listening socket cannot be created.
    #[error("cannot listen on {address}: {source}{}", bind_hint(.source))]
    Bind {
        /// The address to listen on.
        address: Address,
        /// The cause.
        source: io::Error,
    },
    /// A listening socket has become unusable.
    #[error("listener {listener} failed: {source}")]
    Listener {
        /// The listener's address.
        listener: String,
        /// The cause.
        source: io::Error,
    },
    /// The ring cannot be created.
    #[error(transparent)]
    Kernel(#[from] uring::Error),
    /// The ring failed in use: a bug of ours or of the kernel.
    #[error("the ring failed: {0}")]
    Ring(#[source] io::Error),
}

fn bind_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process listens there, or on [::] with IPv4 included (see `ss -ltnp`)"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE (setcap \
             cap_net_bind_service=+ep), a Unix socket needs a writable directory"
        }
        _ if uring::is_out_of_descriptors(error) => {
            "; raise the limit on open files (ulimit -n, LimitNOFILE=)"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address (see `ip address`)",
        io::ErrorKind::NotFound => {
            "; the directory of the Unix socket does not exist: create it (RuntimeDirectory= in a systemd unit)"
        }
        io::ErrorKind::InvalidInput => {
            "; an IPv6 link-local address needs its interface, as in [fe80::1%eth0]:80"
        }
        _ => "",
    }
}
