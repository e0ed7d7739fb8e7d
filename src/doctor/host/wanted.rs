//! What the proxy is going to want of this machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::uring::RingOptions;

/// What a process with its settings, or with the default ones, takes.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Worker threads.
    pub workers: usize,
    /// The ring of each.
    pub ring: RingOptions,
    /// Pipes over all workers.
    pub pipes: usize,
    /// Bytes of each.
    pub pipe_bytes: usize,
    /// Most connections at once, if the settings ask for a number; otherwise as many as fit.
    pub connections: Option<u64>,
    /// Descriptors of a connection.
    pub descriptors_a_connection: u64,
    /// Descriptors that connections cannot use.
    pub descriptors_reserved: u64,
    /// The descriptor limit.
    pub descriptors_max: u64,
    /// The servers' TCP addresses, each with every address of this host that connections to it come from (`None`: the
    /// kernel's choice); `None` if no settings name any.
    pub servers: Option<BTreeSet<(SocketAddr, Option<IpAddr>)>>,
    /// The longest backlog of a listener.
    pub backlog: u32,
    /// Whether a process that root starts stays root; `None` without settings.
    pub stays_root: Option<bool>,
    /// The name of a setting as the operator gives it.
    pub named: fn(&str) -> String,
}

impl Wanted {
    /// The connections that the descriptor limit allows.
    pub(super) fn fitting(&self) -> u64 {
        self.descriptors_max.saturating_sub(self.descriptors_reserved) / self.descriptors_a_connection.max(1)
    }
}
