//! Relays that are no proxies for production. [`floor`] shows what the bytes of a case cost in bare system calls. The
//! others keep two design choices measured: the data plane is not built on tokio-uring, and does not use
//! `IORING_OP_SPLICE`.
//!
//! Each runs in its own child process, so that the benchmark can measure its CPU time and memory.

pub(crate) mod floor;
pub(crate) mod op_splice;
mod pipe;
pub(crate) mod tokio_uring;
