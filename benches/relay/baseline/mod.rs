//! Relays that nobody would run, kept so that two choices of the design stay measured: why the data plane is not
//! built on tokio-uring, and why it does not use `IORING_OP_SPLICE`.
//!
//! Each runs in a child process of its own, so that its processor time and memory are its own too.

pub(crate) mod op_splice;
pub(crate) mod tokio_uring;
