//! Relays that keep two design choices measured: the data plane is not built on tokio-uring, and does not use
//! `IORING_OP_SPLICE`. They are no proxies for production.
//!
//! Each runs in its own child process, so that the benchmark can measure its CPU time and memory.

pub(crate) mod op_splice;
pub(crate) mod tokio_uring;
