//! The interface to the kernel: the only room that knows `io_uring`, and the only one with `unsafe`.
//!
//! It owns a worker's ring and everything that the kernel may access: descriptors, buffers, pipes. It knows nothing of
//! sessions, servers or protocols, and never lets a caller name memory or a descriptor that the kernel still uses.
//!
//! ```text
//!   Socket, Listener, Bell, Pipe, Sleep        what sessions use: futures and plain values
//!        |
//!   Ring: tasks, shares of a turn, deadlines   the turn: run, enter, complete      (ring, task, share, deadline)
//!        |
//!   ops: operations in flight own their memory              (ops, receive, suspect, send, buffers)
//!        |
//!   Kernel                                     Linux, or a simulation      (kernel, linux, submission, setup)
//! ```
//!
//! Start with [`ring`](Ring), then `socket.rs` and `ops.rs`.
#![allow(unsafe_code)]

mod address;
mod bell;
mod block;
mod buffers;
mod call;
mod clock;
mod counters;
mod deadline;
mod due;
mod feature;
mod inherited;
mod kernel;
mod linux;
mod listener;
mod memory;
mod notify;
mod ops;
mod pager;
mod pipe;
mod probe;
mod provided;
mod receive;
mod ring;
mod send;
mod setup;
mod share;
mod shortage;
#[cfg(test)]
pub(crate) mod sim;
mod socket;
mod sockopt;
mod spin;
mod submission;
mod suspect;
mod task;
#[cfg(test)]
mod testing;
mod violation;

use std::rc::Rc;

pub use address::Address;
pub use bell::{Bell, Hearing};
pub use block::BLOCK_BYTES;
pub use buffers::Buffer;
pub use call::Call;
pub use clock::{Clock, clock};
pub use counters::RingCounters;
pub use deadline::{Sleep, Timeout};
pub use feature::{Feature, FeatureSet};
pub use inherited::take_inherited;
pub use kernel::{LocalEnd, SocketOptions};
pub use listener::{Listener, LooseClient, NewClient};
pub use memory::{LARGE_BYTES, return_large_allocations};
pub use notify::Notify;
pub use pager::Pager;
pub use pipe::{Moved, Pipe, PipeSet};
pub use probe::{Error, Features, probe, probe_basics};
#[doc(hidden)]
pub use provided::ProvidedTurns;
pub use receive::{Expect, Received, Receiving};
pub use ring::Ring;
pub use send::{Sent, Unsent};
pub use shortage::Shortage;
pub use socket::{NewSocket, Socket, is_out_of_descriptors};
pub use sockopt::{
    bind_local_end, detach_reuseport_program, set_defer_accept, set_fastopen_queue, set_keepalive,
    turn_new_clients_away, turns_new_clients_away,
};
pub use spin::Spin;
pub use task::{Parts, TaskId};
pub use violation::{VIOLATION_EXIT_CODE, name_violations};

/// Options of a worker's ring.
#[derive(Debug, Clone, Copy)]
pub struct RingOptions {
    /// Entries of the submission queue; the kernel rounds up to a power of two.
    pub entries: u32,
    /// Receive buffers, 1 to 32768.
    pub buffers: u16,
    /// Bytes of each buffer.
    pub buffer_bytes: u32,
    /// How long to poll for completions before sleeping.
    pub spin: Spin,
    /// Optional features that it does without.
    pub without: FeatureSet,
}

impl Ring {
    /// Creates a kernel ring for the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses; see [`probe`].
    pub fn open(options: &RingOptions, pipes: PipeSet) -> Result<Self, Error> {
        let region = Rc::new(buffers::Region::new(options.buffers, options.buffer_bytes));
        let RingOptions { entries, spin, without, .. } = *options;
        let kernel = linux::Linux::new(entries, spin, without, Rc::clone(&region)).map_err(probe::explain)?;
        Ok(Self::new(Box::new(kernel), region, pipe::Pipes::new(pipes)))
    }
}
